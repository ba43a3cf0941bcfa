"""The onnx engine with real models, embedded and external weights, and files that are not to be trusted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from modelyard.runtime import engines, v2
from modelyard.runtime.engines import onnx_files
from modelyard.runtime.engines.base import LoadOptions, SyncModel
from modelyard.runtime.errors import LoadFailure, RequestError
from modelyard.runtime.signature import TensorSpec


def load(path: Path) -> SyncModel:
    model = engines.load("onnx", LoadOptions(path))
    assert isinstance(model, SyncModel)
    return model


def failure(path: Path) -> LoadFailure:
    with pytest.raises(LoadFailure) as caught:
        load(path)
    assert caught.value.permanent
    return caught.value


def matrix_model(weights: np.ndarray[Any, Any]) -> onnx.ModelProto:
    """y = x @ w"""
    size = weights.shape[0]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", size])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def external(home: Path) -> Callable[..., Path]:
    """Writes a model with its weights in a file of their own; the model may name another location."""

    def write(location: str = "w.bin", rename: str | None = None) -> Path:
        path = home / "m" / "model.onnx"
        path.parent.mkdir(parents=True)
        model = matrix_model(np.eye(512, dtype=np.float32) * 2)
        onnx.save_model(model, str(path), save_as_external_data=True, location=location, size_threshold=0)
        if rename is not None:
            model = onnx.load(str(path), load_external_data=False)
            for entry in model.graph.initializer[0].external_data:
                if entry.key == "location":
                    entry.value = rename
            path.write_bytes(model.SerializeToString())
        return path

    return write


def test_digits_are_recognised(demo: Path) -> None:
    model = load(demo / "digits" / "model.onnx")
    assert model.platform == "onnx_onnxv1"
    assert model.signature.inputs == (TensorSpec("input", "FP32", (-1, 64)),)
    assert model.signature.outputs == (
        TensorSpec("label", "INT64", (-1,)),
        TensorSpec("probabilities", "FP32", (-1, 10)),
    )
    request = v2.decode((demo / "digits" / "sample.json").read_bytes(), None, model.signature)
    answers = model.predict(request.inputs, None, {})
    assert answers["label"].tolist() == [json.loads((demo / "digits" / "about.json").read_text())["sample_answer"]]
    assert list(model.predict(request.inputs, ("probabilities",), {})) == ["probabilities"]


def test_external_weights_are_mapped_from_their_file(external: Callable[..., Path]) -> None:
    path = external()
    model = load(path)
    assert str(path.parent / "w.bin") in Path("/proc/self/maps").read_text()
    x = np.ones((1, 512), np.float32)
    np.testing.assert_array_equal(model.predict({"x": x}, None, {})["y"], x * 2)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "a/../../w.bin", ""])
def test_weights_outside_the_models_folder_are_refused(external: Callable[..., Path], location: str) -> None:
    path = external(rename=location)
    (path.parent.parent / "w.bin").write_bytes((path.parent / "w.bin").read_bytes())
    assert failure(path).code == "path_escape"


def test_weights_that_a_link_leads_out_to_are_refused(external: Callable[..., Path]) -> None:
    path = external()
    outside = path.parent.parent / "outside.bin"
    (path.parent / "w.bin").rename(outside)
    (path.parent / "w.bin").symlink_to(outside)
    assert failure(path).code == "path_escape"


def test_missing_weights_are_named(external: Callable[..., Path]) -> None:
    path = external()
    (path.parent / "w.bin").unlink()
    reason = failure(path)
    assert (reason.code, "w.bin" in reason.message) == ("missing_file", True)


def test_weights_in_a_subgraph_are_checked_too(home: Path) -> None:
    weights = numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../secret")
    output = helper.make_tensor_value_info("o", TensorProto.FLOAT, [2, 2])
    branch = helper.make_graph([helper.make_node("Constant", [], ["o"], value=weights)], "b", [], [output])
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
    )
    path = home / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert failure(path).code == "path_escape"


def test_files_that_are_no_model_say_what_they_are(home: Path, demo: Path) -> None:
    whole = (demo / "digits" / "model.onnx").read_bytes()
    (home / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (home / "noise.onnx").write_bytes(b"this is no model at all")
    (home / "empty.onnx").write_bytes(b"")
    (home / "model.skops").write_bytes(whole)
    (home / "folder.onnx").mkdir()
    codes = {name: failure(home / name).code for name in ("cut.onnx", "noise.onnx", "empty.onnx")}
    assert set(codes.values()) == {"corrupt_file"}
    assert failure(home / "model.skops").code == "wrong_suffix"
    assert failure(home / "folder.onnx").code == "not_a_file"
    assert failure(home / "none.onnx").code == "missing_file"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_models_are_read_to_the_end_or_refused(data: st.DataObject) -> None:
    model = matrix_model(np.eye(4, dtype=np.float32)).SerializeToString()
    damaged = bytearray(model)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(damaged)))
    with contextlib.suppress(onnx_files.Malformed):
        list(onnx_files._locations(bytes(damaged[:end]), end))


def test_strings_go_in_and_out(home: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["t"], ["u"])],
        "g",
        [helper.make_tensor_value_info("t", TensorProto.STRING, [None])],
        [helper.make_tensor_value_info("u", TensorProto.STRING, [None])],
    )
    path = home / "text.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    loaded = load(path)
    values = np.empty(2, object)
    values[:] = ["grün".encode(), b""]
    answers = loaded.predict({"t": values}, None, {})
    encoded = v2.encode(v2.Request(None, {}, {}, None, {}, False), answers, "m", "1")
    assert json.loads(encoded.body)["outputs"][0]["data"] == ["grün", ""]
    values[0] = b"\xff"
    with pytest.raises(RequestError, match="UTF-8"):
        loaded.predict({"t": values}, None, {})


def test_probabilities_in_dicts_become_a_matrix_in_the_order_of_the_classes(home: Path) -> None:
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 3])
    zipmap = helper.make_node("ZipMap", ["scores"], ["p"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    graph = helper.make_graph([zipmap], "g", [scores], [helper.make_value_info("p", kind)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    path = home / "zipmap.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
    model = load(path)
    assert model.signature.outputs == (TensorSpec("p", "FP32", (-1, -1)),)
    rows = np.array([[0.25, 0.5, 0.25], [1, 0, 0]], np.float32)
    np.testing.assert_array_equal(model.predict({"scores": rows}, None, {})["p"], rows)


def test_outputs_that_v2_cannot_carry_are_refused(home: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["s"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)],
    )
    path = home / "sequence.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    reason = failure(path)
    assert (reason.code, "'s'" in reason.message) == ("unsupported_signature", True)


def test_inputs_that_do_not_go_together_are_the_requests_fault(home: Path) -> None:
    shape = ["n"]
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["c"])],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "ab"],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, shape)],
    )
    path = home / "add.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    inputs = {"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)}
    with pytest.raises(RequestError, match="'a' has 2 and 'b' has 3") as caught:
        load(path).predict(inputs, None, {})
    assert (caught.value.status, caught.value.code) == (422, "input_refused")


def test_an_index_beyond_its_table_is_the_requests_fault(home: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["row"])],
        "g",
        [helper.make_tensor_value_info("index", TensorProto.INT64, [None])],
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(np.eye(2, dtype=np.float32), "table")],
    )
    path = home / "gather.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RequestError) as caught:
        load(path).predict({"index": np.array([7])}, None, {})
    assert (caught.value.status, caught.value.code) == (422, "input_refused")
