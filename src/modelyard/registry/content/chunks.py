"""How a run of bytes is cut into chunks and named: the units of hashing, verification and transfer.

A *part* of known structure (a tensor) is cut every 1 MiB from its own start, so that what comes before it in its file
moves none of its boundaries. Any other part is cut where its content says so (:mod:`modelyard.registry.content.cuts`):
an insertion then changes the chunks that it touches and no others.

A part's *root* is the SHA-256 over the digests and lengths of its chunks, in order. Chunks can therefore be hashed on
many cores, and verified one by one as they arrive.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

CHUNK: Final = 2**20
DIGEST: Final = 32

_LENGTH = struct.Struct(">I")

Buffer = memoryview | bytes


@dataclass(frozen=True, slots=True)
class Chunks:
    """The chunks of one part: their ``digests`` one after the other (32 bytes each), and their lengths in bytes.

    ``lengths`` is None where all but the last are :data:`CHUNK` long; ``size`` is their sum.
    """

    size: int
    digests: bytes
    lengths: tuple[int, ...] | None = None

    @property
    def count(self) -> int:
        return len(self.digests) // DIGEST

    @property
    def root(self) -> str:
        """The part's name: 64 hexadecimal digits."""
        joined = hashlib.sha256()
        for index, (_, length) in enumerate(self.bounds()):
            joined.update(self.digest(index))
            joined.update(_LENGTH.pack(length))
        return joined.hexdigest()

    def digest(self, index: int) -> bytes:
        return self.digests[index * DIGEST : (index + 1) * DIGEST]

    def bounds(self) -> Iterator[tuple[int, int]]:
        """Offset and length of each chunk, in order."""
        if self.lengths is None:
            for offset in range(0, self.size, CHUNK):
                yield offset, min(CHUNK, self.size - offset)
            return
        offset = 0
        for length in self.lengths:
            yield offset, length
            offset += length

    def check(self) -> str | None:
        """Why this cannot be the chunks of any part, or None."""
        if len(self.digests) % DIGEST:
            return "its digests are cut off"
        # Counted, not listed: the size may be anything.
        expected = -(-self.size // CHUNK) if self.lengths is None else len(self.lengths)
        if self.size < 0 or expected != self.count or (self.lengths is not None and sum(self.lengths) != self.size):
            return "its chunks do not add up to its size"
        if any(not 0 < length <= CHUNK for length in self.lengths or ()):
            return "a chunk is empty or too long"
        return None


def matches(data: Buffer, digest: bytes) -> bool:
    """Whether a chunk is what its digest says."""
    return hashlib.sha256(data).digest() == digest


# Reads so many bytes at an offset of a part. What it reads from may change meanwhile: nothing is mapped, and whoever
# stores the bytes checks them against the digests once more.
Read = Callable[[int, int], Buffer]


class Hasher:
    """Hashes on as many cores as there are; :meth:`close` it, or use it as a context."""

    def __init__(self, threads: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="hash")

    def __enter__(self) -> Hasher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def aligned(self, read: Read, size: int) -> Chunks:
        """The chunks of a tensor: one every :data:`CHUNK`."""
        return Chunks(size, self._digests(read, [(at, min(CHUNK, size - at)) for at in range(0, size, CHUNK)]))

    def by_content(self, read: Read, size: int) -> Chunks:
        """The chunks of anything else."""
        # Late: those who only read chunks do without NumPy, which takes 20 MB.
        from modelyard.registry.content.cuts import cut

        lengths = cut(read, size)
        bounds, offset = [], 0
        for length in lengths:
            bounds.append((offset, length))
            offset += length
        return Chunks(size, self._digests(read, bounds), tuple(lengths))

    def whole(self, read: Read, size: int) -> Future[str]:
        """The SHA-256 of it all, as ``sha256sum`` prints it: one core's work, beside which others go on."""
        return self._pool.submit(_whole, read, size)

    def _digests(self, read: Read, bounds: Sequence[tuple[int, int]]) -> bytes:
        if len(bounds) <= 1:
            return b"".join(_digest(read, bound) for bound in bounds)
        return b"".join(self._pool.map(lambda bound: _digest(read, bound), bounds))


def _digest(read: Read, bound: tuple[int, int]) -> bytes:
    return hashlib.sha256(read(*bound)).digest()


def _whole(read: Read, size: int) -> str:
    joined = hashlib.sha256()
    for offset in range(0, size, CHUNK):
        joined.update(read(offset, min(CHUNK, size - offset)))
    return joined.hexdigest()
