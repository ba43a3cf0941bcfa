"""Which ONNX models may run the rows of several requests together: by what they do, not by what their files say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.runtime import engines
from modelyard.runtime.engines.base import Batching, LoadOptions, SyncModel

AUTOMATIC = Batching(16)
Build = Callable[..., SyncModel]


@pytest.fixture
def build(home: Path) -> Build:
    """Loads a graph of ``nodes`` from x to y."""

    def make(
        nodes: list[Any],
        shape: list[Any],
        answer: list[Any],
        constants: dict[str, Any] | None = None,
        kind: int = TensorProto.FLOAT,
        inputs: tuple[str, ...] = ("x",),
    ) -> SyncModel:
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, answer)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
        )
        path = home / "m.onnx"
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path.write_bytes(model.SerializeToString())
        loaded = engines.load("onnx", LoadOptions(path))
        assert isinstance(loaded, SyncModel)
        return loaded

    return make


def test_a_classifier_answers_row_by_row(demo: Path) -> None:
    model = engines.load("onnx", LoadOptions(demo / "digits" / "model.onnx"))
    assert isinstance(model, SyncModel)
    assert model.rows_together(Batching()) == 64
    assert model.rows_together(Batching(7, 0, True)) == 7


@pytest.mark.parametrize("shape", [["n", 3], [None, 3], ["n", "width"], ["n", 2, "h", "w"], ["n"]])
def test_free_sizes_of_any_kind_are_tried_out(build: Build, shape: list[Any]) -> None:
    assert build([helper.make_node("Tanh", ["x"], ["y"])], shape, shape).rows_together(AUTOMATIC) == 16


def test_token_ids_are_tried_with_ids_that_a_table_has(build: Build) -> None:
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    table = {"table": np.eye(4, dtype=np.float32)}
    model = build(nodes, ["n", "tokens"], ["n", "tokens", 4], table, TensorProto.INT64)
    assert model.rows_together(AUTOMATIC) == 16


def later_row(lag: int) -> list[Any]:
    """y: the row ``lag`` places before, zeros where there is none."""
    return [
        helper.make_node("Pad", ["x", "pads"], ["p"]),
        helper.make_node("Slice", ["p", "from", "to", "axes"], ["y"]),
    ]


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([helper.make_node("Softmax", ["x"], ["y"], axis=0)], {}),
        ([helper.make_node("CumSum", ["x", "axis"], ["y"])], {"axis": np.int64(0)}),
        ([helper.make_node("ReduceMax", ["x"], ["m"], axes=[0]), helper.make_node("Sub", ["x", "m"], ["y"])], {}),
        (
            later_row(11),
            {"pads": [11, 0, 0, 0], "from": [0], "to": [-11], "axes": [0]},
        ),
        ([helper.make_node("RandomNormalLike", ["x"], ["y"])], {}),
    ],
    ids=["shares of all rows", "running sums", "distances from the largest", "a row long before", "chance"],
)
def test_rows_that_know_of_each_other_run_alone(build: Build, nodes: list[Any], constants: dict[str, Any]) -> None:
    assert build(nodes, ["n", 3], ["n", 3], constants).rows_together(AUTOMATIC) == 0


def test_shapes_that_leave_no_rows_free_are_not_tried(build: Build) -> None:
    tanh = [helper.make_node("Tanh", ["x"], ["y"])]
    assert build(tanh, [4, 3], [4, 3]).rows_together(AUTOMATIC) == 0
    assert build(tanh, [], []).rows_together(AUTOMATIC) == 0
    assert build(tanh, ["n", "n"], ["n", "n"]).rows_together(AUTOMATIC) == 0
    total = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    assert build(total, ["n", 3], []).rows_together(AUTOMATIC) == 0


def test_large_rows_run_together_only_where_their_owner_asks_for_it(build: Build) -> None:
    model = build([helper.make_node("Tanh", ["x"], ["y"])], ["n", 3, 500, 500], ["n", 3, 500, 500])
    assert model.rows_together(Batching()) == 0
    assert model.rows_together(Batching(4, 0, True)) == 4


def test_a_model_that_takes_no_made_up_values_runs_rows_alone(build: Build) -> None:
    shape = {"shape": np.array([-1, 7], np.int64)}
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    assert build(nodes, ["n", "w"], ["n", 7], shape).rows_together(AUTOMATIC) == 0


def test_answers_that_several_rows_share_are_those_of_each(demo: Path) -> None:
    """What the trial promises, on other values than its own."""
    model = engines.load("onnx", LoadOptions(demo / "digits" / "model.onnx"))
    assert isinstance(model, SyncModel)
    rows = np.random.default_rng(5).integers(0, 17, (64, 64)).astype(np.float32)
    together = model.predict({"input": rows}, None, {})
    for place in range(64):
        alone = model.predict({"input": rows[place : place + 1]}, None, {})
        assert alone["label"][0] == together["label"][place]
        np.testing.assert_allclose(alone["probabilities"][0], together["probabilities"][place], rtol=1e-4, atol=1e-6)
