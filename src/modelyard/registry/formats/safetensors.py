"""safetensors: a length, a header in JSON, and the tensors' bytes.

Source: https://github.com/huggingface/safetensors#format. The strict reading is that of its own library: every byte
behind the header belongs to exactly one tensor.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelyard.registry.formats.parts import Malformed, Span, cover, size_in_bytes

SUFFIX: Final = ".safetensors"
MAX_HEADER: Final = 100_000_000
METADATA: Final = "__metadata__"  # no tensor has this name
# Each separator makes at most one more Python object: a bound on the memory that a header of 100 MB can take. A tensor
# has about eleven of them.
_MAX_SEPARATORS: Final = 4_000_000
_INTEGER_LIMIT: Final = 2**63
_MAX_RANK: Final = 64


@dataclass(frozen=True, slots=True)
class Tensor:
    """``start`` to ``end`` are offsets in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """``tensors`` by name, in the header's order; the tensors' bytes begin at ``data_start``."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    data_start: int


def header_of(path: Path) -> Header:
    """What the file says of itself, checked.

    Raises:
        Malformed: it is not a safetensors file, or has bytes that belong to no tensor or to several
        OSError: it cannot be read
    """
    header, size = _read(path)
    offset = header.data_start
    for name, tensor in sorted(header.tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != offset:
            fault = "overlaps what is before it" if tensor.start < offset else "leaves a hole before it"
            raise Malformed(f"the tensor {name!r} {fault}")
        offset = tensor.end
    if offset != size:
        raise Malformed(f"{size - offset} bytes at its end belong to no tensor")
    return header


def spans(path: Path) -> tuple[Span, ...]:
    """The header, then each tensor in the file's order; holes, which the format forbids, are plain.

    Raises:
        Malformed: it is not a safetensors file, or its tensors overlap
        OSError: it cannot be read
    """
    header, size = _read(path)
    tensors = (
        Span(offset=tensor.start, size=tensor.end - tensor.start, tensor=name, dtype=tensor.dtype, shape=tensor.shape)
        for name, tensor in header.tensors.items()
    )
    return cover(tensors, size)


def one_tensor_header(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """What, put before a tensor's bytes, makes a safetensors file that holds just it. Equal arguments, equal bytes;
    its length is a multiple of 8.

    Raises:
        ValueError: the dtype is unknown, or the name one that the format keeps for itself
    """
    if name == METADATA:
        raise ValueError(f"No tensor is called {name}.")
    size = size_in_bytes(dtype, shape)
    if size is None:
        raise ValueError(f"There is no dtype {dtype!r}.")
    entry = {name: {"dtype": dtype, "shape": list(shape), "data_offsets": [0, size]}}
    text = json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _read(path: Path) -> tuple[Header, int]:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(9)
        if len(prefix) < 9 or prefix[8:] != b"{":
            raise Malformed("it does not begin with a safetensors header")
        length = int.from_bytes(prefix[:8], "little")
        if length > min(MAX_HEADER, size - 8):
            raise Malformed(f"its header would have {length} bytes")
        text = b"{" + file.read(length - 1)
    if len(text) != length:
        raise Malformed("it ends within its header")
    return _header(text, 8 + length, size), size


def _header(text: bytes, data_start: int, size: int) -> Header:
    if sum(text.count(separator) for separator in (b",", b":", b"[", b"{")) > _MAX_SEPARATORS:
        raise Malformed("its header has too many parts")
    try:
        content: dict[str, Any] = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"its header cannot be read: {error}") from error
    metadata = content.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Malformed(f"{METADATA} is not a map of texts")
    tensors = {name: _tensor(name, entry, data_start, size) for name, entry in content.items()}
    return Header(tensors, metadata, data_start)


def _tensor(name: str, entry: Any, data_start: int, size: int) -> Tensor:
    try:
        name.encode()
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"the tensor {name!a} lacks its dtype, shape or data_offsets") from error
    sizes = (*shape, start, end)
    if not isinstance(dtype, str) or len(shape) > _MAX_RANK or not all(_is_size(value) for value in sizes):
        raise Malformed(f"the tensor {name!r} has a dtype, shape or data_offsets that are none")
    if not start <= end <= size - data_start:
        raise Malformed(f"the tensor {name!r} lies outside the file")
    expected = size_in_bytes(dtype, shape)
    # A dtype that is newer than this program says nothing of its size.
    if expected is not None and expected != end - start:
        raise Malformed(f"the tensor {name!r} has {end - start} bytes; its shape and dtype make {expected}")
    return Tensor(dtype, shape, data_start + start, data_start + end)


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < _INTEGER_LIMIT


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name is there twice")
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
