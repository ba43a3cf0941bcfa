"""Small real models: made node by node, or trained on scikit-learn's digits; and rows for them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from threadpoolctl import threadpool_limits

Array = np.ndarray[Any, Any]


def model_of(
    nodes: Sequence[Any],
    shape: Sequence[int | str],
    out: Sequence[int | str],
    weights: dict[str, Array],
    opset: int = 17,
) -> onnx.ModelProto:
    """From ``x`` to ``y``, both FP32."""
    graph = helper.make_graph(
        list(nodes), "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def dense(width: int = 64, *, rows: int | str = "n", opset: int = 17, scale: float = 1.0) -> onnx.ModelProto:
    """Two layers, MatMul and Gemm: [n, width] to [n, 10]."""
    random = np.random.default_rng(0)
    weights = {
        "w1": (random.standard_normal((width, width)) * scale / 8).astype(np.float32),
        "w2": (random.standard_normal((width, 10)) / 8).astype(np.float32), "b": np.zeros(10, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "w2", "b"], ["y"], name="second"),
    ]
    return model_of(nodes, [rows, width], [rows, 10], weights, opset)


def convolution() -> onnx.ModelProto:
    """[n, 1, 8, 8] to [n, 10]."""
    random = np.random.default_rng(0)
    weights = {
        "k": random.standard_normal((8, 1, 3, 3)).astype(np.float32), "c": np.zeros(8, np.float32),
        "w": (random.standard_normal((288, 10)) / 16).astype(np.float32), "b": np.zeros(10, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "k", "c"], ["h"], name="conv"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Flatten", ["r"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], name="gemm"),
    ]
    return model_of(nodes, ["n", 1, 8, 8], ["n", 10], weights)


def only_convolution() -> onnx.ModelProto:
    kernel = np.ones((1, 1, 3, 3), np.float32)
    return model_of([helper.make_node("Conv", ["x", "k"], ["y"])], ["n", 1, 8, 8], ["n", 1, 6, 6], {"k": kernel})


def sequence() -> onnx.ModelProto:
    """Words of a vocabulary of 50 through an LSTM: ids [n, s] to out [n, 16]."""
    random = np.random.default_rng(0)
    weights = {
        "words": random.standard_normal((50, 16)), "w": random.standard_normal((1, 64, 16)) / 4,
        "r": random.standard_normal((1, 64, 16)) / 4,
    }  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["words", "ids"], ["embedded"]),
            helper.make_node("Transpose", ["embedded"], ["steps"], perm=[1, 0, 2]),
            helper.make_node("LSTM", ["steps", "w", "r"], ["all", "last"], hidden_size=16),
            helper.make_node("Squeeze", ["last", "axis"], ["out"]),
        ],
        "graph",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "s"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 16])],
        [
            *(numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()),
            numpy_helper.from_array(np.array([0]), "axis"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def branches() -> onnx.ModelProto:
    """One of two matrices, by whether any input is above 0: [n, 64] to [n, 64]."""
    weight = (np.random.default_rng(0).standard_normal((64, 64)) / 8).astype(np.float32)

    def branch(name: str) -> Any:
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, ["n", 64])
        node = helper.make_node("MatMul", ["x", f"{name}_w"], [f"{name}_y"], name=f"{name}_node")
        return helper.make_graph([node], name, [], [out], [numpy_helper.from_array(weight, f"{name}_w")])

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "zero"], ["above"]),
        helper.make_node("If", ["above"], ["y"], then_branch=branch("then"), else_branch=branch("else")),
    ]
    return model_of(nodes, ["n", 64], ["n", 64], {"zero": np.array(0, np.float32)})


def saved(model: onnx.ModelProto, path: Path, *, apart: bool = False) -> Path:
    if apart:
        onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    else:
        onnx.save(model, path)
    return path


@cache
def digits() -> tuple[Array, Array]:
    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y


@cache
def trained(kind: str) -> Any:
    x, y = digits()
    made: dict[str, Any] = {
        "logistic": lambda: make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=200)),
        "mlp": lambda: make_pipeline(MinMaxScaler(), MLPClassifier((32,), max_iter=25, random_state=0)),
        "boosting": lambda: GradientBoostingClassifier(n_estimators=3, random_state=0),
        "histograms": lambda: HistGradientBoostingClassifier(max_iter=3, random_state=0),
        "forest": lambda: RandomForestRegressor(5, max_depth=4, random_state=0),
    }  # fmt: skip
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return made[kind]().fit(x[:1000], y[:1000])


def rows_in(path: Path, count: int = 256, *, labels: bool = True, name: str = "input") -> Path:
    """Of the digits that the trained models have not seen."""
    x, y = digits()
    arrays = {name: x[1000 : 1000 + count], **({"labels": y[1000 : 1000 + count]} if labels else {})}
    np.savez(path, **arrays)
    return path


def digits_network(path: Path) -> Path:
    """The trained perceptron as ONNX: input [n, 64] to label and probabilities."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    types = [("input", FloatTensorType([None, 64]))]
    return saved(to_onnx(trained("mlp"), initial_types=types, options={"zipmap": False}), path)
