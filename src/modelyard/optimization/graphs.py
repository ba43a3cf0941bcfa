"""ONNX models as files: read whole, looked into, written with their weights inside or beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import onnx

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.runtime.engines.onnx_files import external_files

# A protobuf message has less than 2 GiB; what is about that large has its weights beside it.
_INSIDE_AT_MOST: Final = 1_800_000_000
# Datatypes of onnx.proto.
FLOAT, UINT8, INT8, HALF = 1, 2, 3, 10


def read(path: Path) -> Any:
    """The model with its external weights in memory.

    Raises:
        InvalidRequest: it is none
        LoadFailure: its weights are not beside it
    """
    external_files(path)
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's errors, and onnx's own
        message = f"{path.name} is no ONNX model, or a damaged one."
        raise InvalidRequest([Problem("model", "corrupt_file", message)]) from error


def files(path: Path) -> list[Path]:
    """Of the model: its own, and those of its external weights."""
    return [path, *external_files(path)]


def size(path: Path) -> int:
    """In bytes, with external weights."""
    return sum(file.stat().st_size for file in files(path))


def is_apart(path: Path) -> bool:
    """Whether the weights lie beside the model, or would have to if they were written anew."""
    found = files(path)
    return len(found) > 1 or found[0].stat().st_size > _INSIDE_AT_MOST


def write(model: Any, path: Path, *, apart: bool) -> None:
    """With its weights in one file beside it, if they are to be ``apart``."""
    if apart:
        onnx.save(
            model, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=f"{path.name}.data"
        )
    else:
        onnx.save(model, str(path))


def opset(model: Any) -> int:
    """The version of the standard operators."""
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)


def nodes(graph: Any) -> Iterator[Any]:
    """All of a graph, those of its subgraphs too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes(inner)


def weights(graph: Any, *datatypes: int) -> set[str]:
    """The names of its constant tensors, those of its subgraphs too; only of these ``datatypes``, if any are given."""
    found = {one.name for one in graph.initializer if not datatypes or one.data_type in datatypes}
    for node in graph.node:
        for attribute in node.attribute:
            is_constant = node.op_type == "Constant" and attribute.name == "value"
            if is_constant and (not datatypes or attribute.t.data_type in datatypes):
                found.add(node.output[0])
            for inner in (attribute.g, *attribute.graphs):
                found |= weights(inner, *datatypes)
    return found


def operators(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in nodes(model.graph))


def listed(counts: Counter[str] | dict[str, int]) -> str:
    """``3 Conv, 1 Gemm``: the most frequent first."""
    ranked: Sequence[tuple[str, int]] = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name}" for name, count in ranked[:8]) + (", …" if len(ranked) > 8 else "")
