"""GGUF, versions 2 and 3: metadata, a table of tensors, and the tensors' bytes, each aligned.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Big-endian files are not read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

from modelyard.protobuf import Buffer
from modelyard.registry.formats.parts import Malformed, Span, cover, mapped

SUFFIX: Final = ".gguf"
MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_ALIGNMENT_KEY: Final = b"general.alignment"
_DEFAULT_ALIGNMENT: Final = 32
_MAX_DIMENSIONS: Final = 4
# Far above the tokens and merges of any vocabulary; a file made to take for ever would have more.
_MAX_PARTS: Final = 10_000_000
_MAX_TENSORS: Final = 1_000_000
_MAX_NESTING: Final = 8

# Types of metadata: their size in bytes, or one of the two that have none.
_SCALARS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _STRING, _ARRAY = 4, 8, 9

# ggml_type: its name, the values in a block, and the bytes of a block (ggml's ggml-common.h). Of a type that is not
# here, the tensor reaches to the next one.
_TYPES: Final[dict[int, tuple[str, int, int]]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    def size(self) -> int | None:
        if self.type not in _TYPES:
            return None
        _, values, size = _TYPES[self.type]
        count = prod(self.shape)
        if count % values:
            raise Malformed(f"the tensor {self.name!r} is no whole number of blocks")
        return count // values * size


def spans(path: Path) -> tuple[Span, ...]:
    """The metadata and the table, then each tensor; what aligns them is plain.

    Raises:
        Malformed: it is not a GGUF file of version 2 or 3, or its tensors overlap or lie outside it
        OSError: it cannot be read
    """
    with mapped(path) as content:
        reader = _Reader(content)
        tensors, data_start = reader.table()
        return cover(_placed(tensors, data_start, len(content)), len(content))


def _placed(tensors: Iterable[_Tensor], data_start: int, end: int) -> Iterable[Span]:
    ordered = sorted(tensors, key=lambda tensor: tensor.offset)
    if data_start > end and any(tensor.size() for tensor in ordered):
        raise Malformed("it ends before its tensors")
    following = [tensor.offset + data_start for tensor in ordered[1:]] + [end]
    for tensor, next_offset in zip(ordered, following, strict=True):
        offset, size = data_start + tensor.offset, tensor.size()
        if size is None:
            size = max(next_offset - offset, 0)
        dtype = _TYPES[tensor.type][0] if tensor.type in _TYPES else f"ggml-{tensor.type}"
        yield Span(offset=offset, size=size, tensor=tensor.name, dtype=dtype, shape=tensor.shape)


class _Reader:
    def __init__(self, content: Buffer) -> None:
        self._content = content
        self._offset = 0
        self._parts = 0

    def table(self) -> tuple[list[_Tensor], int]:
        """The tensors, their offsets relative to where the data starts, and where that is."""
        if self._content[:4] != MAGIC:
            raise Malformed("it does not begin with GGUF")
        self._offset = 4
        version, count, pairs = self._unpack("<IQQ")
        if version not in _VERSIONS:
            raise Malformed(f"it is GGUF of version {version}, not 2 or 3")
        alignment = _DEFAULT_ALIGNMENT
        for _ in range(pairs):
            key, kind = self._string(), self._uint32()
            if key == _ALIGNMENT_KEY and kind == _UINT32:
                alignment = self._uint32()
            else:
                self._skip(kind)
        if alignment < 1 or alignment & (alignment - 1):
            raise Malformed(f"its alignment is {alignment}, not a power of two")
        if count > _MAX_TENSORS:
            raise Malformed(f"it would have {count} tensors")
        tensors = [self._tensor() for _ in range(count)]
        return tensors, -(-self._offset // alignment) * alignment

    def _tensor(self) -> _Tensor:
        name, dimensions = self._string(), self._uint32()
        if dimensions > _MAX_DIMENSIONS:
            raise Malformed(f"a tensor has {dimensions} dimensions")
        # The format has the innermost dimension first.
        shape = self._unpack(f"<{dimensions}Q")[::-1]
        kind, offset = self._unpack("<IQ")
        try:
            return _Tensor(name.decode(), shape, kind, offset)
        except UnicodeDecodeError as error:
            raise Malformed("a tensor's name is not UTF-8") from error

    def _skip(self, kind: int, nesting: int = 0) -> None:
        self._count()
        if kind in _SCALARS:
            self._advance(_SCALARS[kind])
        elif kind == _STRING:
            self._string()
        elif kind == _ARRAY and nesting < _MAX_NESTING:
            element, count = self._unpack("<IQ")
            if element in _SCALARS:
                self._advance(_SCALARS[element] * count)
            else:
                for _ in range(count):
                    self._skip(element, nesting + 1)
        else:
            raise Malformed(f"its metadata has a value of type {kind}")

    def _string(self) -> bytes:
        self._count()
        (length,) = self._unpack("<Q")
        start = self._offset
        self._advance(length)
        return self._content[start : self._offset] if length <= 2**16 else b""

    def _count(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise Malformed("its metadata has too many parts")

    def _uint32(self) -> int:
        (value,) = self._unpack("<I")
        return int(value)

    def _unpack(self, layout: str) -> tuple[int, ...]:
        start = self._offset
        self._advance(struct.calcsize(layout))
        return struct.unpack_from(layout, self._content, start)

    def _advance(self, size: int) -> None:
        self._offset += size
        if self._offset > len(self._content):
            raise Malformed("it ends too early")
