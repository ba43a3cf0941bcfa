"""Which files an ONNX model names for its weights ("external data"), read without loading the model.

Walks the protobuf wire format over a mapping of the file and touches only what leads to a tensor's
``external_data``, so that a model of gigabytes costs as little as its graph. Source: onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from modelyard.protobuf import LENGTH_DELIMITED, Buffer, Fields, Malformed
from modelyard.runtime.engines.base import is_inside
from modelyard.runtime.errors import LoadFailure

# Far above what the graph of any model has.
_MAX_FIELDS: Final = 50_000_000

# Which field of a message holds which message, as far as tensors lie below it.
_CHILDREN: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {13: "StringStringEntryProto"},
}
_KEY, _VALUE = 1, 2


def external_files(path: Path) -> list[Path]:
    """The files that hold the weights of the model at ``path``: there, and inside its folder.

    Raises:
        LoadFailure: (``corrupt_file``, ``path_escape``, ``missing_file``)
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            locations = sorted(set(_locations(content, len(content))))
        except Malformed as error:
            raise LoadFailure("corrupt_file", f"{path} is not a whole ONNX model: {error}.") from error
    return [_checked(path, location) for location in locations]


def _checked(model: Path, location: str) -> Path:
    relative = PurePosixPath(location)
    file = model.parent / relative
    if not location or relative.is_absolute() or ".." in relative.parts or not is_inside(file, model.parent):
        raise LoadFailure(
            "path_escape",
            f"{model} names the weights file {location!r}, which leads out of the model's folder: put the file (or a "
            "hard link to it, not a symbolic one) beside the model and save the model again with that name.",
        )
    if not file.is_file():
        raise LoadFailure("missing_file", f"{model} names the weights file {location!r}, which is not beside it.")
    return file


def _locations(content: Buffer, end: int) -> Iterator[str]:
    fields = Fields(content, _MAX_FIELDS)
    pending = [("ModelProto", 0, end)]
    while pending:
        kind, start, stop = pending.pop()
        if kind == "StringStringEntryProto":
            entry = {field.number: bytes(content[field.first : field.last]) for field in fields.within(start, stop)}
            if entry.get(_KEY) == b"location":
                yield entry.get(_VALUE, b"").decode(errors="replace")
            continue
        children = _CHILDREN[kind]
        for field in fields.within(start, stop):
            child = children.get(field.number) if field.wire == LENGTH_DELIMITED else None
            if child is not None:
                pending.append((child, field.first, field.last))
