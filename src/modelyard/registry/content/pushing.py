"""From a folder of files to a version's bytes in a store: write what the store lacks, and the manifest last.

What the store has already is read and checked before this version relies on it, and what is damaged is written anew:
to push the same files again mends a version. Before the manifest is there the store holds objects that nothing names,
so a push may end anywhere. What is written is checked against the digests once more: a file that changes meanwhile
fails the push and never spoils the store.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from modelyard.domain.errors import Unavailable
from modelyard.registry.content.chunks import Buffer, Chunks, matches
from modelyard.registry.content.cutting import Cut, Piece, Progress, chunks_of, cut_folder
from modelyard.registry.content.manifest import Damaged, Extent, Index, digest_of, encode, encode_index
from modelyard.registry.content.parallel import each
from modelyard.registry.content.shortcuts import read_shortcuts, write_shortcuts
from modelyard.registry.content.shortening import Base, Shortening
from modelyard.registry.content.storage import Missing, Storage
from modelyard.registry.content.stored import (
    chunks_at,
    index_name,
    manifest_name,
    name_of,
    object_name,
    read_index,
    read_manifest,
)
from modelyard.registry.formats.scan import Found

# Parts below this size share an object: a store answers for each object that it is asked for.
_PACKED_BELOW: Final = 2**16
_PACK: Final = 64 * 2**20
# So many of the others are written at a time: what is on its way of each is in memory.
_BESIDE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """``written`` bytes were new to the store, ``shortcuts`` of them only another form of some of the others; the
    version has ``size`` bytes in ``files`` files."""

    manifest: str
    size: int
    files: int
    written: int
    shortcuts: int = 0


def push(
    root: Path, files: Sequence[Found], storage: Storage, *, like: Sequence[str] = (), compress: bool = False,
    progress: Progress | None = None,
) -> Pushed:  # fmt: skip
    """Store ``files`` below ``root``. ``like`` are the manifests of earlier versions, with which this one may share
    bytes, or be told from in few; ``compress``: also keep a compressed form of what compresses, for slow lines.
    ``progress`` is told of the bytes that were read, of twice as many as there are: first they are hashed,
    then stored.

    Raises:
        InvalidRequest: a file changes meanwhile
        Unavailable: the store fails
        OSError: a file cannot be read
    """
    tell = progress or (lambda done, total: None)
    cut = cut_folder(root, files, lambda done, total: tell(done, 2 * total))
    document = encode(cut.manifest)
    digest = digest_of(document)
    writing = _Writing(cut, storage, _Shared.of(storage, like), tell)
    index = writing.run()
    if not _keep(storage, index):
        # What it was to share was collected as garbage meanwhile. Nothing of its own can be: it was made young.
        again = _Writing(cut, storage, _Shared(bases=writing.shared.bases), tell, written=writing.written)
        index, writing = again.run(), again
        if not _keep(storage, index):
            raise Unavailable("The store has lost what this push has written to it. Push again.")
    shortening = Shortening(storage, cut, writing.shared.bases, compress=compress)
    if shortcuts := shortening.run(read_shortcuts(storage, digest, cut.manifest)):
        write_shortcuts(storage, digest, shortcuts)
    storage.write(index_name(digest), [encode_index(index)])
    # Though it never changes: one that is damaged is mended so.
    storage.write(manifest_name(digest), [document])
    stored = writing.written + shortening.written
    return Pushed(
        manifest=digest, size=cut.manifest.size, files=len(files), written=stored, shortcuts=shortening.written
    )


def _keep(storage: Storage, index: Index) -> bool:
    """Make all that the index names young, so that it outlives the time until the version is published; whether all of
    it is there."""
    keys = {extent.key for extents in index.values() for extent in extents}
    return all(each(storage, storage.touch, sorted(keys)))  # every one, also after one that is lost


@dataclass(slots=True)
class _Shared:
    """What earlier versions have in the store: parts by root, and chunks that were cut by content by digest."""

    bases: list[Base] = field(default_factory=list)
    parts: dict[str, tuple[Extent, ...]] = field(default_factory=dict)
    chunks: dict[bytes, Extent] = field(default_factory=dict)

    @classmethod
    def of(cls, storage: Storage, manifests: Sequence[str]) -> _Shared:
        shared = cls()
        for digest in manifests:
            try:
                manifest, index = read_manifest(storage, digest), read_index(storage, digest)
            except (Missing, Damaged):
                continue  # then nothing is shared with it
            shared.bases.append(Base(manifest, index))
            for part in manifest.parts():
                chunks, extents = manifest.chunks[part.root], index.get(part.root, ())
                found = [at for at in chunks_at(chunks, extents) if at is not None]
                if len(found) != chunks.count:
                    continue
                shared.parts[part.root] = extents
                if chunks.lengths is not None:
                    shared.chunks.update((chunks.digest(number), at) for number, at in enumerate(found))
        return shared


class _Writing:
    """What the store lacks of a version, and where everything of it is in the end."""

    def __init__(self, cut: Cut, storage: Storage, shared: _Shared, tell: Progress, written: int = 0) -> None:
        self._cut, self._storage, self.shared, self._tell = cut, storage, shared, tell
        self._total = cut.manifest.size
        self._done = 0
        self._index: dict[str, list[Extent]] = {}
        self._pack = bytearray()
        # The parts of which the pack that is being filled holds something.
        self._packed: set[str] = set()
        self.written = written
        # Parts that are placed beside each other, where the store takes its time for each.
        self._beside: deque[tuple[Piece, Future[int]]] = deque()
        self._ended = False

    def run(self) -> Index:
        readers = max(os.cpu_count() or 1, self._storage.at_once)
        with (
            ThreadPoolExecutor(readers, thread_name_prefix="check") as self._pool,
            ThreadPoolExecutor(_BESIDE, thread_name_prefix="place") as self._placing,
        ):
            try:
                return self._run()
            finally:
                self._ended = True
                for _, placed in self._beside:
                    placed.cancel()

    def _run(self) -> Index:
        for root, piece in self._cut.pieces.items():
            if self._storage.at_once > 1 and self._is_alone(piece):
                self._beside.append((piece, self._placing.submit(self._place, root, piece)))
                if len(self._beside) > _BESIDE:
                    self._count(*self._beside.popleft())
            else:
                self._count(piece, self._place(root, piece))
        while self._beside:
            self._count(*self._beside.popleft())
        self._flush()
        self._tell(2 * self._total, 2 * self._total)
        return {root: merged(extents) for root, extents in self._index.items()}

    def _count(self, piece: Piece, written: int | Future[int]) -> None:
        self.written += written if isinstance(written, int) else written.result()
        self._done += piece.chunks.size
        # What was made of the files, not read, counts for nothing.
        self._tell(min(self._total + self._done, 2 * self._total), 2 * self._total)

    def _is_alone(self, piece: Piece) -> bool:
        """Whether nothing of it goes into the pack, which is filled by one after the other."""
        chunks = piece.chunks
        return chunks.size >= _PACKED_BELOW and (chunks.lengths is None or not self._known_chunks(piece))

    def _place(self, root: str, piece: Piece) -> int:
        """Have it in the store, or in the pack; bytes that were written for it alone."""
        size = piece.chunks.size
        if root in self.shared.parts and self._is_whole(root, piece.chunks, self.shared.parts[root]):
            self._index[root] = list(self.shared.parts[root])
        elif size == 0:
            self._index[root] = []
        elif size < _PACKED_BELOW:
            self._add_to_pack(root, b"".join(chunks_of(piece)))
        elif (there := self._found(root, piece)) is not None:
            self._index[root] = [there]
        elif piece.chunks.lengths is not None and self._known_chunks(piece):
            self._compose(root, piece)
        else:
            key = self._storage.write(object_name(root, piece.header), self._object(piece))
            self._index[root] = [Extent(key, len(piece.header), size)]
            return len(piece.header) + size
        return 0

    def _found(self, root: str, piece: Piece) -> Extent | None:
        """The part where a push before left it, whatever header it has there."""
        size = piece.chunks.size
        for entry in self._storage.find(object_name(root, b"")):
            there = Extent(entry.key, entry.size - size, size)
            young = entry.size >= size and self._storage.touch(entry.key)
            if young and self._is_whole(root, piece.chunks, (there,)):
                return there
        return None

    def _is_whole(self, root: str, chunks: Chunks, extents: Sequence[Extent]) -> bool:
        """Whether the store has just these chunks there, and what goes before them in an object of the part's own."""
        for at in extents[:1]:
            if at.key.startswith(object_name(root, b"")) and not self._is_headed(root, at):
                return False

        def is_whole(number: int, at: Extent | None) -> bool:
            try:
                return at is not None and matches(self._storage.read(at.key, at.offset, at.size), chunks.digest(number))
            except Missing:
                return False

        return all(self._pool.map(is_whole, range(chunks.count), chunks_at(chunks, extents)))

    def _known_chunks(self, piece: Piece) -> bool:
        chunks = piece.chunks
        return any(chunks.digest(i) in self.shared.chunks for i in range(chunks.count))

    def _compose(self, root: str, piece: Piece) -> None:
        """A part of which an earlier version has some chunks: only the others are stored."""
        for index, data in enumerate(chunks_of(piece)):
            known = self.shared.chunks.get(piece.chunks.digest(index))
            if known is not None and self._has(known, data):
                self._index.setdefault(root, []).append(known)
            else:
                self._add_to_pack(root, data)

    def _is_headed(self, root: str, at: Extent) -> bool:
        """The key tells the header, and so whether that is whole."""
        try:
            return object_name(root, bytes(self._storage.read(at.key, 0, at.offset))) == name_of(at.key)
        except Missing:
            return False

    def _has(self, at: Extent, data: Buffer) -> bool:
        try:
            return self._storage.read(at.key, at.offset, at.size) == data
        except Missing:
            return False

    def _add_to_pack(self, root: str, data: Buffer) -> None:
        if len(self._pack) + len(data) > _PACK:
            self._flush()
        # The pack's name is known once it is full; until then an extent names none.
        self._index.setdefault(root, []).append(Extent("", len(self._pack), len(data)))
        self._packed.add(root)
        self._pack += data

    def _flush(self) -> None:
        if not self._pack:
            return
        name = hashlib.sha256(self._pack).hexdigest()
        path = f"packs/{name[:2]}/{name}"
        key = self._storage.latest(path)
        if not (key and self._storage.touch(key) and self._has(Extent(key, 0, len(self._pack)), bytes(self._pack))):
            key = self._storage.write(path, [bytes(self._pack)])
            self.written += len(self._pack)
        for root in self._packed:
            self._index[root] = [e if e.key else Extent(key, e.offset, e.size) for e in self._index[root]]
        self._pack, self._packed = bytearray(), set()

    def _object(self, piece: Piece) -> Iterator[Buffer]:
        if piece.header:
            yield piece.header
        told = self._total + self._done
        for chunk in chunks_of(piece):
            if self._ended:
                raise Unavailable("The push has ended before all was stored. Push again.")
            yield chunk
            told += len(chunk)
            # Of parts that are placed beside each other each counts when it is there.
            if self._storage.at_once == 1:
                self._tell(min(told, 2 * self._total), 2 * self._total)


def merged(extents: Sequence[Extent]) -> tuple[Extent, ...]:
    """The same with neighbours in one object made one, where no chunk of it is longer for that."""
    merged: list[Extent] = []
    for extent in extents:
        last = merged[-1] if merged else None
        if last is not None and last.key == extent.key and last.offset + last.size == extent.offset:
            merged[-1] = Extent(last.key, last.offset, last.size + extent.size)
        else:
            merged.append(extent)
    return tuple(merged)
