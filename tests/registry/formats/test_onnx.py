"""ONNX models cut by tensor and written anew with their weights beside them, run by ONNX Runtime to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from modelyard.protobuf import encoded_field
from modelyard.registry.formats.onnx import External, external, externalised, spans, spans_of_data
from modelyard.registry.formats.parts import Malformed
from tests.registry.formats.making import Array, assert_covers, matrix_model, model_of, tensor, weights, write


def run(path: Path, inputs: dict[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)  # type: ignore[no-any-return]


def laid_out(path: Path, to: Path) -> Path:
    """The model at ``path`` with each tensor that has a span, of it or of its data, in a file of its own in ``to``."""
    to.mkdir()
    content = path.read_bytes()
    pieces = {span.tensor: content[span.offset : span.offset + span.size] for span in spans(path) if span.tensor}
    regions = {}
    for name in {found.location for found in external(path)}:
        data = (path.parent / name).read_bytes()
        parts = spans_of_data(path, name, len(data))
        assert parts is not None
        assert_covers(parts, len(data))
        regions.update({(name, part.offset, part.size): data[part.offset :][: part.size] for part in parts})
    for found in external(path):
        pieces[found.tensor] = regions[found.location, found.offset, found.length]
    locations = {key: f"t{number}" for number, key in enumerate(pieces)}
    for key, name in locations.items():
        (to / name).write_bytes(pieces[key])
    return write(to / "model.onnx", externalised(path, lambda key: locations[key]))


def x(rows: int = 3) -> dict[str, Array]:
    return {"x": np.random.default_rng(9).standard_normal((rows, 64)).astype(np.float32)}


def branching_model() -> onnx.ModelProto:
    """y = (x @ w) through a branch of an If and three turns of a Loop, each with weights of its own called as the
    outer ones are, and a Constant without a name."""

    def branch(seed: int) -> onnx.GraphProto:
        return helper.make_graph(
            [
                helper.make_node("MatMul", ["h", f"inner{seed}"], ["t"]),
                helper.make_node("Constant", [], ["c"], value=tensor("", weights(seed + 50))),
                helper.make_node("MatMul", ["t", "c"], ["o"]),
            ],
            "branch",
            [],
            [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
            [tensor(f"inner{seed}", weights(seed))],
        )

    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "turn"], ["next"]),
            helper.make_node("Identity", ["going"], ["still"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
        [tensor("turn", weights(7) / 8)],
    )
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("If", ["choice"], ["b"], then_branch=branch(5), else_branch=branch(6)),
            helper.make_node("Loop", ["turns", "", "b"], ["y"], body=body),
        ],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64]),
            helper.make_tensor_value_info("choice", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [tensor("w", weights(4)), tensor("turns", np.array(3))],
    )
    return model_of(graph)


def function_model() -> onnx.ModelProto:
    """y = local.Double(x @ w), the function with a constant in it."""
    function = helper.make_function(
        "local",
        "Twist",
        ["a"],
        ["b"],
        [
            helper.make_node("Constant", [], ["k"], value=tensor("k", weights(8))),
            helper.make_node("MatMul", ["a", "k"], ["b"]),
        ],
        [helper.make_opsetid("", 17)],
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Twist", ["h"], ["y"], domain="local")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 64])],
        [tensor("w", weights(4))],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=9)


def test_large_initializers_are_spans_and_all_else_is_plain(home: Path) -> None:
    model = matrix_model()
    path = write(home / "model.onnx", model.SerializeToString())
    found = spans(path)
    content = path.read_bytes()
    assert_covers(found, len(content))
    tensors = [span for span in found if span.tensor is not None]
    # b is small, floats is no raw data.
    assert [(span.tensor, span.dtype, span.shape) for span in tensors] == [
        ("w1", "F32", (64, 64)),
        ("w2", "F32", (64, 64)),
        ("twin", "F32", (64, 64)),
    ]
    for span in tensors:
        (expected,) = (t.raw_data for t in model.graph.initializer if t.name == span.tensor)
        assert content[span.offset : span.offset + span.size] == expected


@pytest.mark.parametrize("make", [matrix_model, branching_model, function_model])
def test_a_model_with_its_weights_beside_it_gives_the_same_answers(home: Path, make: Any) -> None:
    path = write(home / "model.onnx", make().SerializeToString())
    twin = laid_out(path, home / "laid-out")
    assert twin.stat().st_size < path.stat().st_size
    for choice in (True, False):
        inputs = x() | ({"choice": np.array(choice)} if make is branching_model else {})
        for expected, given in zip(run(path, inputs), run(twin, inputs), strict=True):
            np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize(
    ("make", "threshold"),
    # Of a Loop ONNX Runtime wants the number of turns, which is small, to be in the model.
    [(matrix_model, 0), (function_model, 0), (matrix_model, 1024), (branching_model, 1024)],
)
def test_a_model_with_external_data_is_cut_up_and_gives_the_same_answers(home: Path, make: Any, threshold: int) -> None:
    embedded = write(home / "embedded.onnx", make().SerializeToString())
    path = home / "m" / "model.onnx"
    path.parent.mkdir()
    onnx.save_model(
        make(),
        str(path),
        save_as_external_data=True,
        location="model.data",
        size_threshold=threshold,
        convert_attribute=True,
    )
    assert len(external(path)) >= 2
    twin = laid_out(path, home / "laid-out")
    inputs = x() | ({"choice": np.array(True)} if make is branching_model else {})
    for expected, given in zip(run(embedded, inputs), run(twin, inputs), strict=True):
        np.testing.assert_array_equal(given, expected)


def test_nothing_changes_but_where_the_weights_are(home: Path) -> None:
    original = branching_model()
    original.doc_string = "kept"
    path = write(home / "model.onnx", original.SerializeToString())
    changed = onnx.load_from_string(externalised(path, lambda key: f"weights/{key}"))
    (w,) = (t for t in changed.graph.initializer if t.name == "w")
    assert {entry.key: entry.value for entry in w.external_data} == {
        "location": "weights/w",
        "offset": "0",
        "length": str(64 * 64 * 4),
    }
    w.CopyFrom(tensor("w", weights(4)))
    assert changed == original


def test_a_tensor_that_gets_no_location_stays_as_it_is(home: Path) -> None:
    path = write(home / "model.onnx", matrix_model().SerializeToString())
    assert externalised(path, lambda key: None) == path.read_bytes()
    changed = onnx.load_from_string(externalised(path, lambda key: "t" if key == "w2" else None))
    assert [t.name for t in changed.graph.initializer if t.data_location == TensorProto.EXTERNAL] == ["w2"]


def test_external_data_keeps_what_else_is_said_of_it(home: Path) -> None:
    model = matrix_model()
    w1 = model.graph.initializer[0]
    w1.ClearField("raw_data")
    w1.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.bin", "offset": "4096", "checksum": "abc"}.items():
        w1.external_data.add(key=key, value=value)
    path = write(home / "model.onnx", model.SerializeToString())
    assert external(path) == (
        External(tensor="w1", location="w.bin", offset=4096, length=64 * 64 * 4, dtype="F32", shape=(64, 64)),
    )
    changed = onnx.load_from_string(externalised(path, lambda key: key))
    assert {entry.key: entry.value for entry in changed.graph.initializer[0].external_data} == {
        "location": "w1",
        "offset": "0",
        "checksum": "abc",
        "length": str(64 * 64 * 4),
    }


def with_external(*tensors: tuple[str, str, int, int]) -> bytes:
    model = model_of(helper.make_graph([], "g", [], []))
    for name, location, offset, length in tensors:
        one = model.graph.initializer.add(name=name, data_type=TensorProto.UINT8, dims=[length])
        one.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": str(offset), "length": str(length)}.items():
            one.external_data.add(key=key, value=value)
    return model.SerializeToString()


def test_tensors_that_share_their_bytes_share_a_span(home: Path) -> None:
    path = write(home / "m.onnx", with_external(("a", "w", 0, 10), ("b", "./w", 0, 10), ("c", "w", 20, 5)))
    found = spans_of_data(path, "w", 30)
    assert found is not None
    assert {part.location for part in external(path)} == {"w"}
    assert [(span.tensor, span.offset, span.size) for span in found] == [
        ("a", 0, 10),
        (None, 10, 10),
        ("c", 20, 5),
        (None, 25, 5),
    ]


def test_an_external_tensor_without_bytes_goes_into_the_model(home: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Concat", ["x", "none"], ["y"], axis=0)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 64])],
        [tensor("none", np.zeros((0, 64), np.float32))],
    )
    path = home / "m" / "model.onnx"
    path.parent.mkdir()
    onnx.save_model(model_of(graph), str(path), save_as_external_data=True, size_threshold=0, location="w")
    assert [found.length for found in external(path)] == [0]
    twin = write(home / "alone" / "model.onnx", externalised(path, lambda key: pytest.fail(key)))
    np.testing.assert_array_equal(run(twin, x())[0], x()["x"])


@pytest.mark.parametrize(
    "tensors",
    [
        (("a", "w", 0, 10), ("b", "w", 5, 10)),
        (("a", "w", 25, 10),),
        (("a", "other", 0, 10),),
        (("a", "w", -5, 10),),
        (("a", "w", 10**30, 10),),
    ],
)
def test_data_that_cannot_be_cut_by_tensor_has_no_spans(home: Path, tensors: Any) -> None:
    path = write(home / "m.onnx", with_external(*tensors))
    assert spans_of_data(path, "w", 30) is None


def test_tensors_of_one_name_or_none_are_told_apart(home: Path) -> None:
    path = write(
        home / "m.onnx", with_external(("a", "w", 0, 9), ("a", "w", 9, 9), ("", "w", 18, 9), ("a#2", "w", 27, 9))
    )
    assert [found.tensor for found in external(path)] == ["a", "a#2", "#2", "a#2#2"]


def test_a_model_of_many_tensors_of_one_name_is_read_in_no_time(home: Path) -> None:
    path = write(home / "m.onnx", with_external(*(("a", "w", 0, 9) for _ in range(30_000))))
    assert external(path)[-1].tensor == "a#30000"


def test_an_initializer_has_its_name_as_key_whatever_comes_before_it(home: Path) -> None:
    model = branching_model()
    model.graph.initializer[0].name = "inner5"
    model.graph.node[0].input[1] = "inner5"
    path = home / "m" / "model.onnx"
    path.parent.mkdir()
    onnx.save_model(model, str(path), save_as_external_data=True, size_threshold=1024, location="w")
    keys = [found.tensor for found in external(path)]
    assert (sorted(keys), keys[-1]) == (["inner5", "inner5#2", "inner6", "turn"], "inner5")


def test_bytes_that_do_not_match_their_shape_stay_in_the_model(home: Path) -> None:
    model = matrix_model()
    model.graph.initializer[0].dims[0] = 63
    model.graph.initializer[1].data_type = 99
    path = write(home / "model.onnx", model.SerializeToString())
    assert [span.tensor for span in spans(path) if span.tensor] == ["twin"]


def test_packed_types_are_measured_in_bits(home: Path) -> None:
    model = model_of(helper.make_graph([], "g", [], []))
    model.graph.initializer.add(name="q", data_type=TensorProto.INT4, dims=[3, 2731], raw_data=bytes(4097))
    path = write(home / "model.onnx", model.SerializeToString())
    assert [(span.dtype, span.size) for span in spans(path) if span.tensor] == [("I4", 4097)]


def nested(depth: int) -> bytes:
    """A model whose graph holds a node with a graph that holds a node, and so on."""
    graph = encoded_field(5, encoded_field(8, b"w"))
    for _ in range(depth):
        graph = encoded_field(1, encoded_field(5, encoded_field(6, graph)))
    return encoded_field(7, graph)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"this is no model at all", "wire type"),
        (matrix_model().SerializeToString()[:-10], "ends too early"),
        (nested(2000), "too deep"),
        (encoded_field(7, encoded_field(5, b"\x08" + b"\xff" * 9 + b"\x01")), "below 0"),
        (encoded_field(7, encoded_field(5, b"\x08\x01" * 65)), "too many dimensions"),
        (b"\x08" + b"\xff" * 20, "too long"),
        (encoded_field(7, encoded_field(5, encoded_field(8, b"n" * 20_000))), "too long"),
        (encoded_field(7, b"\x2a\x00" * 500_001), "too many tensors"),
    ],
)
def test_a_file_that_is_no_model_is_refused(home: Path, content: bytes, message: str) -> None:
    path = write(home / "model.onnx", content)
    with pytest.raises(Malformed, match=message):
        external(path)
    with pytest.raises(Malformed):
        externalised(path, lambda key: key)


def test_a_file_of_more_parts_than_any_model_has_is_not_read_to_its_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.registry.formats.onnx._MAX_FIELDS", 10_000)
    path = write(home / "model.onnx", encoded_field(7, b"\x12\x00" * 11_000))
    with pytest.raises(Malformed, match="too many parts"):
        external(path)
