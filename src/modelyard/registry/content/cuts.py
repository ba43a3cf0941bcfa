"""Where a run of bytes is cut by its content, so that an insertion changes the chunks that it touches and no others.

The cut follows a gear hash (Xia et al., "FastCDC", USENIX ATC 2016), computed for a whole window at once instead of
byte by byte.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelyard.registry.content.chunks import CHUNK, Buffer, Read

# A cut by content is no shorter and no longer than this; in between one byte in 2^_MASK_BITS ends a chunk.
_SHORTEST: Final = 2**16
_LONGEST: Final = CHUNK
_MASK_BITS: Final = 18
# The hash of a byte depends on so many bytes before it and on itself: one bit of the word leaves with each.
_WINDOW: Final = 32
# So much is hashed for cuts at a time: a few words a byte are held for it.
_BLOCK: Final = 2**22


def cut(read: Read, size: int) -> list[int]:
    """The lengths of the chunks of so many bytes: none below 64 KiB but the last, none over 1 MiB, about 300 KiB on
    average. A boundary depends on nothing but the bytes since the one before it."""
    lengths: list[int] = []
    start, marks = 0, _Marks(read, size)
    while size - start > _SHORTEST:
        end = marks.first(start + _SHORTEST, min(start + _LONGEST, size))
        lengths.append(end - start)
        start = end
    if size > start:
        lengths.append(size - start)
    return lengths


class _Marks:
    """Where the content says that a chunk may end, looked for block by block as far as it is asked for."""

    def __init__(self, read: Read, size: int) -> None:
        self._read, self._size = read, size
        self._known = 0
        self._ends: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def first(self, low: int, high: int) -> int:
        """The first end in ``low`` to ``high``, or ``high``."""
        while self._known < high:
            block_end = min(self._known + _BLOCK, self._size)
            before = min(self._known, _WINDOW - 1)
            block = self._read(self._known - before, block_end - self._known + before)
            found = _ends(block, before) + self._known
            self._ends = np.concatenate([self._ends[np.searchsorted(self._ends, low) :], found])
            self._known = block_end
        index = int(np.searchsorted(self._ends, low))
        return int(self._ends[index]) if index < len(self._ends) and self._ends[index] <= high else high


def _ends(block: Buffer, before: int) -> NDArray[np.int64]:
    """Where the hash of the last :data:`_WINDOW` bytes is all zero in its upper bits: the offsets after these bytes.
    ``before`` bytes at the front of the block are there for the window only; offsets begin after them."""
    hashed = _gear()[np.frombuffer(block, dtype=np.uint8)]
    # The sum of word[byte] << age over the window, doubled up: over 1, 2, 4, … 32 bytes.
    span = 1
    while span < _WINDOW:
        hashed[span:] += hashed[:-span] << np.uint32(span)
        span *= 2
    mask = np.uint32((2**_MASK_BITS - 1) << (32 - _MASK_BITS))
    return np.flatnonzero((hashed[before:] & mask) == 0).astype(np.int64) + 1


@cache
def _gear() -> NDArray[np.uint32]:
    """256 words that look random and never change: they decide where every file was ever cut."""
    words = b"".join(hashlib.sha256(b"modelyard gear %d" % value).digest()[:4] for value in range(256))
    return np.frombuffer(words, dtype=">u4").astype(np.uint32)
