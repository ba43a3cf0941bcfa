"""What all formats share: spans, how they cover a file, and reading a file without loading it."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

# Bits of one value, by the names that safetensors gives (https://github.com/huggingface/safetensors), which all formats
# here use. ``..FNUZ``, ``I4``, ``U4``, ``I2``, ``U2`` and ``C128`` are ONNX's types beyond those.
BITS: Final[dict[str, int]] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("F4", "I4", "U4"), 4),
    **dict.fromkeys(("I2", "U2"), 2),
    "C128": 128,
}


class Malformed(ValueError):
    """The file is not what its name or its beginning says; the message says why, without the file's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """``size`` bytes of a file from ``offset``: a tensor, or what lies between tensors (``tensor`` None).

    ``dtype`` is one of :data:`BITS`, ggml's name of a quantised type, or what a newer format has; ``shape`` is
    row-major.
    """

    offset: int
    size: int
    tensor: str | None = None
    dtype: str | None = None
    shape: tuple[int, ...] | None = None


def size_in_bytes(dtype: str, shape: Iterable[int]) -> int | None:
    """The bytes that a tensor takes; None for a dtype that is not in :data:`BITS`."""
    bits = BITS.get(dtype)
    return None if bits is None else (prod(shape) * bits + 7) // 8


def cover(tensors: Iterable[Span], size: int) -> tuple[Span, ...]:
    """The ``tensors`` in the order of a file of ``size`` bytes, with plain spans wherever there is none.

    Raises:
        Malformed: two tensors overlap, or one lies outside the file
    """
    spans: list[Span] = []
    offset = 0
    for span in sorted(tensors, key=lambda tensor: tensor.offset):
        if span.size == 0:
            continue
        if span.offset < offset:
            raise Malformed(f"the tensor {span.tensor!r} overlaps what is before it")
        if span.offset > offset:
            spans.append(Span(offset=offset, size=span.offset - offset))
        spans.append(span)
        offset = span.offset + span.size
    if offset > size:
        raise Malformed(f"the tensor {spans[-1].tensor!r} ends beyond the file's end")
    if offset < size:
        spans.append(Span(offset=offset, size=size - offset))
    return tuple(spans)


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """The content of a plain file, mapped. Whoever cuts the file short meanwhile ends this process (SIGBUS): map
    only what nobody is writing.

    Raises:
        OSError: it cannot be opened
        Malformed: it is not a plain file
    """
    # Not to wait for a writer, should it be a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb"):
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Malformed("it is not a plain file")
        if status.st_size == 0:
            yield b""
            return
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
            yield content
