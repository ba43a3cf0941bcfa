"""What a model takes and gives is read from its file, whatever else is in it."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from modelyard.registry.formats.interface import End, interface_of
from modelyard.registry.formats.parts import Malformed

INPUTS = [
    helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64]),
    helper.make_tensor_value_info("ids", TensorProto.INT64, [None, 3, 0]),
    helper.make_tensor_value_info("text", TensorProto.STRING, []),
    helper.make_tensor_value_info("unknown", TensorProto.FLOAT16, None),
    helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]),
    helper.make_tensor_sequence_value_info("many", TensorProto.FLOAT, [2]),
]
OUTPUTS = [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, [1])]


def model(inputs: list[onnx.ValueInfoProto]) -> bytes:
    own = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", inputs, OUTPUTS, [own])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 99)]
    made = helper.make_model(graph, producer_name="trainer", producer_version="2.1", opset_imports=opsets)
    return bytes(made.SerializeToString())


def test_inputs_and_outputs_are_read_with_their_types_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model(INPUTS))
    found = interface_of(path)
    assert found.inputs == (
        End("x", "FP32", (-1, 64)), End("ids", "INT64", (-1, 3, 0)), End("text", "BYTES", ()),
        End("unknown", "FP16", ()),
    )  # fmt: skip
    assert found.outputs == (End("y", "BF16", (1,)),)
    assert (found.producer, found.producer_version, found.opset) == ("trainer", "2.1", 18)


@given(st.integers(0, 2**32))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_model_is_read_or_refused_and_nothing_else(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    content = bytearray(model(INPUTS))
    for _ in range(draw.randint(1, 5)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: draw.randint(1, len(content))])
    with contextlib.suppress(Malformed):
        interface_of(path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"{}" * 100)
    with pytest.raises(Malformed):
        interface_of(path)
