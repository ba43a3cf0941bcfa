"""Where the bytes of a version's chunks come from: files that this machine has, other machines' caches, what the store
keeps encoded, and the store. What comes from elsewhere and is not what its digest says is read from the store after
all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Final

from modelyard.registry.content.chunks import Buffer, matches
from modelyard.registry.content.deltas import Undecodable, decode
from modelyard.registry.content.having import Having, Place
from modelyard.registry.content.manifest import Damaged, Extent, Index, Manifest, Part
from modelyard.registry.content.peers import Peers
from modelyard.registry.content.shortcuts import Shortcut, Shortcuts
from modelyard.registry.content.storage import READ, Missing, Storage
from modelyard.registry.content.stored import MEND, chunks_at, name_of

# What is asked of the store at a time, where there is much to ask of it; of less, as much as gives each of many readers
# some of it.
_RANGE: Final = 8 * 2**20
_ASKED: Final = 64
# What of a file is made at a time.
_RUN: Final = 16 * 2**20
# From so many bytes a second on it takes longer to decompress than to read more.
_FAST: Final = 100e6
# So much tells how fast the store is.
_MEASURED: Final = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that belongs at ``offset`` of a file: number ``number`` of the part ``root``; where the store has it, and
    what it must hash to."""

    offset: int
    at: Extent
    digest: bytes
    root: str
    number: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A part as a store keeps it encoded: where each chunk is, and its base where this machine has that."""

    chunks: tuple[Extent, ...]
    base: Place | None

    @classmethod
    def of(cls, shortcut: Shortcut, base: Place | None) -> Encoded:
        return cls(tuple(shortcut.extents()), base)


@dataclass(frozen=True, slots=True)
class Run:
    """Chunks that lie side by side in a file and come at one go: from files near (``near``), encoded, or from the
    store."""

    chunks: Sequence[Chunk]
    near: bool = False
    encoded: Encoded | None = None

    @property
    def offset(self) -> int:
        return self.chunks[0].offset

    @property
    def size(self) -> int:
        return sum(chunk.at.size for chunk in self.chunks)


class Supply:
    """Gives the chunks of one version. ``having`` and ``shortcuts`` are asked for once something is missing. Many
    threads may read at once. ``fetched`` counts bytes that came from the store, ``from_peers`` those from ``peers``."""

    def __init__(
        self, storage: Storage, manifest: Manifest, index: Index, *,
        having: Callable[[], Having] = Having, shortcuts: Callable[[], Shortcuts] = dict,
        peers: Peers | None = None,
    ) -> None:  # fmt: skip
        self._storage, self._manifest, self._index = storage, manifest, index
        self._find_having, self._find_shortcuts = having, shortcuts
        self._having: Having | None = None
        self._deltas: dict[str, Encoded] = {}
        self._compressed: dict[str, Encoded] = {}
        self._looking, self._lock = Lock(), Lock()
        self._readers, self._reading_since, self._reading = 0, 0.0, 0.0
        self._peers = peers
        self.fetched = self.from_peers = 0

    def chunks(self, parts: Sequence[Part], header: int) -> list[Chunk]:
        """All of a file's that has ``header`` bytes and then these parts, in order. Raises Damaged."""
        found, offset = [], header
        for part in parts:
            chunks = self._manifest.chunks[part.root]
            for number, at in enumerate(chunks_at(chunks, self._index.get(part.root, ()))):
                if at is None:
                    raise Damaged(f"The store does not say where all of part {part.root} is. {MEND}")
                found.append(Chunk(offset, at, chunks.digest(number), part.root, number))
                offset += at.size
        return found

    def runs(self, chunks: Sequence[Chunk]) -> Iterator[Run]:
        """How to get these. Raises Unavailable."""
        having = self._look() if chunks else Having()
        most = min(max(sum(chunk.at.size for chunk in chunks) // _ASKED, READ), _RANGE)
        run: list[Chunk] = []
        way: tuple[bool, Encoded | None] = (False, None)
        for chunk in chunks:
            near = having.may_have(chunk.digest)
            to = near, None if near else self._deltas.get(chunk.root)
            stored = way[1] is None and not near
            if run and not (to == way and _continues(run, chunk, stored, most if stored else _RUN)):
                yield Run(tuple(run), *way)
                run = []
            run.append(chunk)
            way = to
        if run:
            yield Run(tuple(run), *way)

    def read(self, run: Run, file: str = "") -> Iterator[Buffer]:
        """The chunks, one after the other; each is what its digest says, and good until the next is asked for.
        ``file`` is what a cache calls the file that they are of, for peers.

        Raises:
            Missing, Damaged: the store has not all of it
            Unavailable: the store fails
        """
        if run.near:
            assert self._having is not None
            found = [self._having.chunk(chunk.digest) for chunk in run.chunks]
        elif (given := self._of_peers(run.chunks, file)) is not None:
            found = given
        elif (encoded := run.encoded or self._worth_decoding(run)) is not None:
            found = self._decoded(run.chunks, encoded)
        else:
            yield from self._stored(run.chunks)
            return
        for chunk, data in zip(run.chunks, found, strict=True):
            if data is None:
                yield from self._stored([chunk])
            else:
                yield data

    # ---------------------------------------------------------------- which way

    def _look(self) -> Having:
        with self._looking:
            if self._having is None:
                having = self._find_having()
                for root, ways in self._find_shortcuts().items():
                    for way in sorted(ways, key=lambda way: way.size):
                        base = having.part(way.base) if way.base else None
                        if base is not None:
                            self._deltas.setdefault(root, Encoded.of(way, base))
                        elif not way.base:
                            self._compressed.setdefault(root, Encoded.of(way, None))
                self._having = having
            return self._having

    def _worth_decoding(self, run: Run) -> Encoded | None:
        """The run's compressed form, where there is one and the store is slow."""
        first = run.chunks[0]
        encoded = self._compressed.get(first.root)
        if encoded is None or any(chunk.root != first.root for chunk in run.chunks):
            return None
        with self._lock:
            slow = self.fetched >= _MEASURED and self.fetched < _FAST * self._reading
        return encoded if slow else None

    # ---------------------------------------------------------------- peers

    def _of_peers(self, chunks: Sequence[Chunk], file: str) -> list[bytes | None] | None:
        """None for those that are not right; nothing at all where no peer gives them."""
        if self._peers is None or not file:
            return None
        first, size = chunks[0], sum(chunk.at.size for chunk in chunks)
        # Where the store's object is the file just as it is, a peer may have it in its store, if not laid out.
        stored = name_of(first.at.key) if first.at.offset == first.offset else ""
        given = self._peers.read(file, first.offset, size, stored)
        if given is None:
            return None
        view, found = memoryview(given.data), list[bytes | None]()
        for chunk in chunks:
            data, view = view[: chunk.at.size], view[chunk.at.size :]
            found.append(bytes(data) if matches(data, chunk.digest) else None)
        if None in found:
            self._peers.wrong(given)
        with self._lock:
            self.from_peers += sum(len(data) for data in found if data is not None)
        return found

    # ---------------------------------------------------------------- the store

    def _decoded(self, chunks: Sequence[Chunk], encoded: Encoded) -> list[bytes | None]:
        """None for those of which that cannot be made."""
        at = [encoded.chunks[chunk.number] for chunk in chunks]
        size = sum(one.size for one in at)
        # What takes that much more encoded than it is decoded nobody has made to be shorter.
        if size > 2 * _RUN or any(one.offset + one.size != other.offset for one, other in pairwise(at)):
            return [None] * len(chunks)
        try:
            data = memoryview(self._fetch(at[0].key, at[0].offset, size))
        except Missing:
            return [None] * len(chunks)
        found: list[bytes | None] = []
        for chunk, one in zip(chunks, at, strict=True):
            payload, data = data[: one.size], data[one.size :]
            found.append(_decoded(payload, chunk, encoded.base))
        return found

    def _stored(self, chunks: Sequence[Chunk]) -> Iterator[Buffer]:
        """Chunks that lie side by side in the store."""
        first = chunks[0].at
        pieces = self._storage.pieces(first.key, first.offset, [chunk.at.size for chunk in chunks])
        # To its end, or the connection that it comes over serves no other.
        for chunk, data in zip(chunks, self._each_timed(pieces), strict=True):
            self._count(len(data))
            if not matches(data, chunk.digest):
                where = f"{chunk.at.key} from byte {chunk.at.offset} on"
                raise Damaged(f"The store's {where} is damaged. {MEND}")
            yield data

    def _each_timed(self, pieces: Iterator[Buffer]) -> Iterator[Buffer]:
        while True:
            with self._timed():
                data = next(pieces, None)
            if data is None:
                return
            yield data

    def _fetch(self, key: str, offset: int, size: int) -> Buffer:
        with self._timed():
            data = self._storage.read(key, offset, size)
        self._count(len(data))
        return data

    def _count(self, fetched: int) -> None:
        with self._lock:
            self.fetched += fetched

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Counts the seconds in which anybody reads."""
        with self._lock:
            if not self._readers:
                self._reading_since = time.monotonic()
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                now = time.monotonic()
                self._reading, self._reading_since = self._reading + now - self._reading_since, now
                self._readers -= 1


def _continues(run: Sequence[Chunk], chunk: Chunk, stored: bool, most: int) -> bool:
    last = run[-1]
    if last.offset + last.at.size != chunk.offset or (chunk.root != last.root and not stored):
        return False
    beside = last.at.key == chunk.at.key and last.at.offset + last.at.size == chunk.at.offset
    return chunk.offset + chunk.at.size - run[0].offset <= most and (beside or not stored)


def _decoded(payload: memoryview, chunk: Chunk, base: Place | None) -> bytes | None:
    try:
        data = decode(payload, chunk.at.size, base.read if base is not None else None)
    except Undecodable:
        return None
    return data if matches(data, chunk.digest) else None
