"""Finding shorter ways to the parts that a push adds: what changed since the version before, and what compresses.

Each is kept only where it pays: a shortcut is bytes that are stored besides.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from modelyard.registry.content.chunks import CHUNK, Buffer, Chunks
from modelyard.registry.content.cutting import Cut, Piece, Reading, chunks_of
from modelyard.registry.content.deltas import WIDTHS, Match, ReadBase, encode, matched
from modelyard.registry.content.manifest import Index, Manifest, Part, Tensor
from modelyard.registry.content.shortcuts import Shortcut, Shortcuts, is_whole_pack
from modelyard.registry.content.storage import Missing, Storage
from modelyard.registry.content.stored import part_reader
from modelyard.registry.formats.parts import BITS

# Less is not worth asking for.
_LEAST: Final = 2**16
# What is encoded may have at most this share of what would be fetched without it.
_DELTA: Final = 0.8
_COMPRESSED: Final = 0.9
# So many chunks tell whether it is worth trying the others.
_SAMPLES: Final = 4
_PACK: Final = 64 * 2**20
# After so many parts in a row of which none was worth it no other is tried: the version is another model.
_TRIES: Final = 16


@dataclass(frozen=True, slots=True)
class Base:
    """A version whose parts are at hand: in the store with this index."""

    manifest: Manifest
    index: Index


@dataclass(frozen=True, slots=True)
class _Task:
    """A part to be encoded: as it ``matches`` the part ``base``, of which chunks ``known`` are in it too."""

    piece: Piece
    width: int
    base: str
    matches: tuple[Match, ...]
    read: ReadBase
    known: frozenset[bytes]
    share: float


class Shortening:
    """Makes shortcuts for what is pushed, and writes them to the store. ``written`` counts bytes."""

    def __init__(self, storage: Storage, cut: Cut, bases: Sequence[Base], *, compress: bool) -> None:
        self._storage, self._cut, self._bases, self._compress = storage, cut, bases, compress
        self.written = 0

    def run(self, there: Shortcuts) -> Shortcuts:
        """All shortcuts of the version: those that are ``there`` already as far as the store still has them, and new
        ones.

        Raises:
            InvalidRequest: a file changes meanwhile
            Unavailable: the store fails
        """
        keys = {way.key for ways in there.values() for way in ways}
        whole = {key for key in keys if self._storage.touch(key) and is_whole_pack(self._storage, key)}
        kept = {root: ways for root, ways in there.items() if all(way.key in whole for way in ways)}
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="shorten") as pool:
            made = self._stored(self._worthwhile(self._tasks(kept), pool))
        return {root: (*kept.get(root, ()), *made.get(root, ())) for root in (*kept, *made)}

    # ---------------------------------------------------------------- what to encode

    def _tasks(self, there: Shortcuts) -> Iterator[_Task]:
        known = {part.root for base in self._bases for part in base.manifest.parts()}
        by_name = self._by_name()
        done: set[str] = set()
        for part in self._cut.manifest.parts():
            piece = self._cut.pieces[part.root]
            if part.size < _LEAST or part.root in known or part.root in done or piece.made is not None:
                continue
            done.add(part.root)
            ways = {way.base for way in there.get(part.root, ())}
            found = by_name.get(_named(part.tensor)) if part.tensor is not None else None
            if found is not None and found[1].root not in ways and found[1].size:
                yield self._delta(piece, part, *found)
            if self._compress and "" not in ways:
                whole = (Match(0, part.size, None),)
                yield _Task(piece, _width(part), "", whole, _no_base, frozenset(), _COMPRESSED)

    def _by_name(self) -> Mapping[tuple[str, str], tuple[Base, Part]]:
        found: dict[tuple[str, str], tuple[Base, Part]] = {}
        for base in self._bases:
            for part in base.manifest.parts():
                if part.tensor is not None:
                    found.setdefault(_named(part.tensor), (base, part))
        return found

    def _delta(self, piece: Piece, part: Part, base: Base, old: Part) -> _Task:
        read = part_reader(self._storage, base.index.get(old.root, ()))
        chunks = base.manifest.chunks[old.root]
        try:
            prefix, suffix = (0, 0) if old.size == part.size else _ends(piece, chunks, read)
        except Missing:
            prefix = suffix = 0
        known = frozenset(chunks.digest(number) for number in range(chunks.count))
        return _Task(piece, _width(part), old.root, matched(old.size, part.size, prefix, suffix), read, known, _DELTA)

    # ---------------------------------------------------------------- encoding

    def _worthwhile(self, tasks: Iterable[_Task], pool: ThreadPoolExecutor) -> Iterator[tuple[_Task, Sequence[bytes]]]:
        failed = {True: 0, False: 0}
        for task in tasks:
            kind = bool(task.base)
            if failed[kind] == _TRIES:
                continue
            chunks = self._encoded(task, pool)
            failed[kind] = 0 if chunks else failed[kind] + 1
            if chunks:
                yield task, chunks

    def _encoded(self, task: _Task, pool: ThreadPoolExecutor) -> Sequence[bytes]:
        """All chunks, encoded; none where that does not pay, or the base is not whole."""
        chunks = task.piece.chunks
        fresh = [number for number in range(chunks.count) if chunks.digest(number) not in task.known]
        cost = _size(chunks, fresh)
        if cost < _LEAST:
            return ()
        step = max(1, len(fresh) // _SAMPLES)
        try:
            sample = frozenset(fresh[::step])
            tried = self._encode(task, pool, sample)
            if sum(len(encoded) for encoded in tried) > task.share * _size(chunks, sorted(sample)):
                return ()
            encoded = self._encode(task, pool, frozenset(range(chunks.count)))
        except Missing:
            return ()
        return encoded if sum(len(chunk) for chunk in encoded) <= task.share * cost else ()

    def _encode(self, task: _Task, pool: ThreadPoolExecutor, numbers: frozenset[int]) -> list[bytes]:
        offsets = [offset for offset, _ in task.piece.chunks.bounds()]

        def one(number: int, chunk: Buffer) -> bytes:
            return encode(chunk, offsets[number], task.matches, task.read, task.width)

        wanted = ((number, chunk) for number, chunk in enumerate(chunks_of(task.piece)) if number in numbers)
        found: list[bytes] = []
        # A few at a time: not the whole part in memory.
        while batch := list(itertools.islice(wanted, 32)):
            found += pool.map(one, *zip(*batch, strict=True))
        return found

    # ---------------------------------------------------------------- storing

    def _stored(self, encoded: Iterator[tuple[_Task, Sequence[bytes]]]) -> Shortcuts:
        made: dict[str, tuple[Shortcut, ...]] = {}
        pack = bytearray()
        waiting: list[tuple[_Task, int, tuple[int, ...]]] = []

        def flush() -> None:
            if not pack:
                return
            name = hashlib.sha256(pack).hexdigest()
            key = self._storage.write(f"packs/{name[:2]}/{name}", [bytes(pack)])
            self.written += len(pack)
            for task, offset, lengths in waiting:
                way = Shortcut(task.base, key, offset, lengths)
                made[task.piece.root] = (*made.get(task.piece.root, ()), way)
            pack.clear()
            waiting.clear()

        for task, chunks in encoded:
            waiting.append((task, len(pack), tuple(len(chunk) for chunk in chunks)))
            pack += b"".join(chunks)
            if len(pack) >= _PACK:
                flush()
        flush()
        return made


def _size(chunks: Chunks, numbers: Sequence[int]) -> int:
    lengths = [length for _, length in chunks.bounds()]
    return sum(lengths[number] for number in numbers)


def _named(tensor: Tensor) -> tuple[str, str]:
    return tensor.name, tensor.dtype


def _width(part: Part) -> int:
    width = BITS.get(part.tensor.dtype, 8) // 8 if part.tensor is not None else 1
    return width if width in WIDTHS else 1


def _no_base(offset: int, size: int) -> Buffer:
    raise AssertionError("it is encoded by itself")


def _ends(piece: Piece, chunks: Chunks, read: ReadBase) -> tuple[int, int]:
    """How many bytes a part has in common with its base at its beginning and, of the rest, at its end."""
    prefix = 0
    for number, chunk in enumerate(chunks_of(piece)):
        here = _common(chunk, read(prefix, min(len(chunk), chunks.size - prefix)))
        prefix += here
        if here < len(chunk) or number == piece.chunks.count - 1:
            break
    suffix, most = 0, min(piece.chunks.size, chunks.size) - prefix
    with Reading(piece.path) as reading:
        ours = reading.at(piece.offset)
        while suffix < most:
            size = min(CHUNK, most - suffix)
            tails = ours(piece.chunks.size - suffix - size, size), read(chunks.size - suffix - size, size)
            here = _common(bytes(tails[0])[::-1], bytes(tails[1])[::-1])
            suffix += here
            if here < size:
                break
    return prefix, suffix


def _common(one: Buffer, other: Buffer) -> int:
    """How many bytes both begin with."""
    one, other = memoryview(one), memoryview(other)
    alike, most = 0, min(len(one), len(other))
    while alike < most:
        # The next half of what is left, while it is alike.
        half = (most - alike + 1) // 2
        if one[alike : alike + half] == other[alike : alike + half]:
            alike += half
        elif half == 1:
            break
        else:
            most = alike + half
    return alike
