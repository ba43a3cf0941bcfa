"""Small versions of every kind, made with the formats' own libraries, and what is asked of stores and folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
import onnxruntime
import safetensors.numpy
from hypothesis import HealthCheck, settings

from modelyard.registry.content.pushing import Pushed, push
from modelyard.registry.content.storage import Storage
from modelyard.registry.formats.scan import Found, Kind, scan
from tests.registry.formats.making import matrix_model, model_of, tensor, weights, write

Array = np.ndarray[Any, Any]

WITH_FILES = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


def noise(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def tensors(count: int = 4, size: int = 2**15, seed: int = 0) -> dict[str, Array]:
    """``count`` tensors of ``size`` float32 values."""
    return {
        f"layer.{i}": np.random.default_rng(seed * 1000 + i).standard_normal(size).astype(np.float32)
        for i in range(count)
    }


def checkpoint(path: Path, content: Mapping[str, Array]) -> Path:
    return write(path, safetensors.numpy.save(dict(content), {"format": "np"}))


def mixed(folder: Path, seed: int = 0) -> Path:
    """A version with a file of each kind: large tensors and small ones, a model, text that is cut by content, an empty
    file, a program."""
    some = tensors(seed=seed) | {"bias": np.arange(10, dtype=np.float16), "empty": np.zeros((0, 3), np.float32)}
    checkpoint(folder / "model.safetensors", some)
    onnx.save(matrix_model(), folder / "net.onnx")
    write(folder / "deep" / "er" / "text.txt", noise(seed, 2**20).hex().encode())
    write(folder / "config.json", b"{}")
    write(folder / "EMPTY", b"")
    write(folder / "serve.py", b"print()\n").chmod(0o755)
    return folder


def accepted(folder: Path) -> Sequence[Found]:
    report = scan(folder, allow_code=True)
    assert report.problems == ()
    return report.files


def listed(folder: Path) -> Sequence[Found]:
    """All files of a folder, whatever is in them."""
    return [
        Found(PurePosixPath(path.relative_to(folder)), path.stat().st_size, Kind.PLAIN)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def typed(folder: Path) -> Sequence[Found]:
    """All files of a folder, those that are checkpoints as such."""
    return [
        replace(file, kind=Kind.SAFETENSORS) if file.path.suffix == ".safetensors" else file for file in listed(folder)
    ]


def pushed(folder: Path, storage: Storage, *, like: Sequence[str] = ()) -> Pushed:
    return push(folder, accepted(folder), storage, like=like)


def contents(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """Each file's bytes, and whether it is executable."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in folder.rglob("*")
        if path.is_file()
    }


def on_disk(*folders: Path) -> int:
    """Bytes of all files, each once however many names it has."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                status = path.stat()
                found[status.st_ino] = status.st_size
    return sum(found.values())


def unfinished(folder: Path) -> list[str]:
    """What is in a store or a cache without being a part of it."""
    marks = (".writing-", ".leaving-", ".making-")
    return [path.name for path in folder.rglob("*") if any(mark in path.name for mark in marks)]


def aged(folder: Path, by: float = 10_000.0) -> None:
    """Everything in it was last touched so many seconds ago."""
    for path in folder.rglob("*"):
        if path.is_file():
            status = path.stat()
            os.utime(path, (status.st_atime - by, status.st_mtime - by))


# ---------------------------------------------------------------------------------------------------------------- ONNX


def chain(*matrices: onnx.TensorProto) -> onnx.ModelProto:
    """y = x times each of the matrices."""
    names = ["x", *(f"h{i}" for i in range(len(matrices) - 1)), "y"]
    nodes = [
        onnx.helper.make_node("MatMul", [names[i], matrix.name], [names[i + 1]]) for i, matrix in enumerate(matrices)
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", 64]) for name in (names[0], names[-1])
    ]
    return model_of(onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], list(matrices)))


def matrix(name: str, seed: int) -> onnx.TensorProto:
    return tensor(name, weights(seed))


def beside(name: str, location: str, offset: int, rows: int = 64) -> onnx.TensorProto:
    """A matrix whose bytes are in another file."""
    found = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[rows, 64], data_location=1)
    entries = {"location": location, "offset": str(offset), "length": str(rows * 256)}
    found.external_data.extend(onnx.StringStringEntryProto(key=key, value=value) for key, value in entries.items())
    return found


def answers(model: Path) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(9).standard_normal((3, 64)).astype(np.float32)
    return session.run(None, {"x": x})[0]  # type: ignore[no-any-return]
