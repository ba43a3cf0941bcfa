"""Models of any size, whose work is what their weights are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write(folder: Path, layers: int, width: int, *, external: bool = False) -> Path:
    """The file of a model that multiplies rows (its input ``x``) with ``layers`` matrices, ``width`` by ``width`` in
    float32; ``external``: they lie in a file of their own."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    weights, nodes = [], []
    for number in range(layers):
        matrix = random.standard_normal((width, width), np.float32) * np.float32(width**-0.5)
        weights.append(numpy_helper.from_array(matrix, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [f"h{number}" if number else "x", f"w{number}"], [f"h{number + 1}"]))
    graph = helper.make_graph(
        nodes, "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info(f"h{layers}", TensorProto.FLOAT, ["rows", width])],
        weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=external, location="weights.bin" if external else None)
    return path
