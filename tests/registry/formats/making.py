"""Makes small files of the formats, good ones, for tests to check and to damage."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from modelyard.domain.errors import Problem
from modelyard.registry.formats.parts import Span
from modelyard.registry.formats.scan import Kind, Report

Array = np.ndarray[Any, Any]


def assert_covers(spans: tuple[Span, ...], size: int) -> None:
    """Every byte of the file in exactly one span, in order."""
    offset = 0
    for span in spans:
        assert span.offset == offset
        assert span.size > 0
        assert (span.tensor is None) == (span.dtype is None) == (span.shape is None)
        offset += span.size
    assert offset == size


def safetensors_bytes() -> bytes:
    tensors = {
        "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "bias": np.arange(4, dtype=np.float16),
        "empty": np.zeros((0, 7), np.float32),
        "step": np.array(7, np.int64),
    }
    return safetensors.numpy.save(tensors, {"format": "np"})


def raw_safetensors(header: dict[str, Any] | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def gguf_string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_bytes(*, version: int = 3, alignment: int | None = None, types: tuple[int, int] = (0, 8)) -> bytes:
    """Two tensors: ``a`` F32 (by default) [2, 32], ``b`` Q8_0 [64]; metadata of every shape."""
    pairs = [
        gguf_string("general.architecture") + struct.pack("<I", 8) + gguf_string("llama"),
        gguf_string("n") + struct.pack("<IQ", 11, 2**63 - 1),
        gguf_string("tokens") + struct.pack("<IIQ", 9, 8, 2) + gguf_string("one") + gguf_string("two"),
        gguf_string("scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.5, 1.5),
        gguf_string("nested") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ3B", 0, 3, 1, 2, 3),
    ]
    if alignment is not None:
        pairs.append(gguf_string("general.alignment") + struct.pack("<II", 4, alignment))
    step = alignment or 32
    sizes = {0: 256, 8: 68, 99: 100}
    first, second = sizes[types[0]], sizes[types[1]]
    gap = -first % step
    table = gguf_string("a") + struct.pack("<IQQIQ", 2, 32, 2, types[0], 0)
    table += gguf_string("b") + struct.pack("<IQIQ", 1, 64, types[1], first + gap)
    head = b"GGUF" + struct.pack("<IQQ", version, 2, len(pairs)) + b"".join(pairs) + table
    head += bytes(-len(head) % step)
    return head + b"A" * first + bytes(gap) + b"B" * second + bytes(-second % step)


def model_of(graph: onnx.GraphProto, **options: Any) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, **options)


def tensor(name: str, array: Array) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


def weights(seed: int, rows: int = 64, columns: int = 64) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def matrix_model() -> onnx.ModelProto:
    """y = (x @ w1 @ w2 @ w1's twin) + b, with b small enough to stay, and a large one that is no raw_data."""
    floats = helper.make_tensor("floats", TensorProto.FLOAT, [64, 64], weights(3).ravel().tolist())
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w1"], ["h1"]),
            helper.make_node("MatMul", ["h1", "w2"], ["h2"]),
            helper.make_node("MatMul", ["h2", "twin"], ["h3"]),
            helper.make_node("MatMul", ["h3", "floats"], ["h4"]),
            helper.make_node("Add", ["h4", "b"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 64])],
        [
            tensor("w1", weights(1)),
            tensor("w2", weights(2)),
            tensor("b", np.arange(64, dtype=np.float32)),
            tensor("twin", weights(1)),
            floats,
        ],
    )
    return model_of(graph)


def only(report: Report) -> Problem:
    """The report's one problem."""
    (problem,) = report.problems
    assert problem.message.endswith(".")
    return problem


def kinds(report: Report) -> dict[str, Kind]:
    return {str(file.path): file.kind for file in report.files}


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
