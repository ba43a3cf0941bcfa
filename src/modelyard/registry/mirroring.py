"""From one store to another: of a version only what the other lacks, each byte checked on its way.

An object that a part has for itself is copied as it is, under its name; so is a pack of which the version needs most.
What it has in common with other versions, in objects of theirs, becomes a pack of its own over there, unless these
objects are there too. The manifest comes last, so a mirror may be cut off anywhere: what was copied is found by the
next one. No two stores need have one index, for keys are each store's own.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from typing import Final

from modelyard.registry.content.chunks import CHUNK, Buffer, matches
from modelyard.registry.content.fetching import Progress
from modelyard.registry.content.manifest import Damaged, Extent, Index, Manifest, encode, encode_index
from modelyard.registry.content.parallel import all_of, each
from modelyard.registry.content.pushing import merged
from modelyard.registry.content.shortcuts import Shortcuts, is_whole_pack, read_shortcuts, write_shortcuts
from modelyard.registry.content.storage import Missing, Storage
from modelyard.registry.content.stored import (
    MEND,
    chunks_at,
    index_name,
    manifest_name,
    name_of,
    object_name,
    read_index,
    read_manifest,
    records,
)

# Objects that are copied at a time; what is read at a time, and how much of it ahead of the writing.
_AT_ONCE: Final = 4
_RANGE: Final = 8 * 2**20
_AHEAD: Final = 2
_PACK: Final = 64 * 2**20
# Of a pack that is copied whole a version needs at least this share.
_MOST: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrored:
    """The version has ``size`` bytes, of which ``moved`` went over (or would have, on a dry run); with those of other
    versions in its packs, if there are any."""

    size: int
    moved: int


@dataclass(frozen=True, slots=True)
class _Copy:
    """An object that is to be copied whole: what is before the chunks, and these. No chunks: a pack."""

    key: str
    size: int
    chunks: Sequence[tuple[Extent, bytes]] = ()


@dataclass(frozen=True, slots=True)
class _Plan:
    """``kept`` are the target's keys of what it has already, by the source's; the chunks of all other objects but the
    ``copies`` become packs (``loose`` bytes). The ``shortcuts`` are in packs of their own, which are among both."""

    kept: Mapping[str, str]
    copies: Sequence[_Copy]
    loose: int
    shortcuts: Shortcuts

    @property
    def moved(self) -> int:
        return sum(copy.size for copy in self.copies) + self.loose


def mirror(
    source: Storage, digest: str, target: Storage, *, dry_run: bool = False, progress: Progress | None = None
) -> Mirrored:
    """Have the version with this manifest in ``target``. ``progress`` is told of bytes, by many threads.

    Raises:
        Missing, Damaged: ``source`` has not all of it; what is whole was copied all the same, as far as it got
        InvalidRequest: ``target`` does not take it
        Unavailable: one of the stores fails
    """
    manifest = read_manifest(source, digest)
    if not _is_there(target, digest):
        index = read_index(source, digest)
        plan = _planned(source, digest, manifest, index, target)
        if not dry_run:
            _Copying(source, manifest, index, target, plan, progress).run(digest)
        return Mirrored(size=manifest.size, moved=plan.moved)
    return Mirrored(size=manifest.size, moved=0)


def _is_there(target: Storage, digest: str) -> bool:
    """Whether all of a version is in a store. It is young then."""
    try:
        manifest, index = read_manifest(target, digest), read_index(target, digest)
        keys = records(target, digest)
    except (Missing, Damaged):
        return False
    if any(None in chunks_at(manifest.chunks[part.root], index.get(part.root, ())) for part in manifest.parts()):
        return False
    ends: defaultdict[str, int] = defaultdict(int)
    for extents in index.values():
        for at in extents:
            ends[at.key] = max(ends[at.key], at.offset + at.size)

    def is_there(item: tuple[str, int]) -> bool:
        key, end = item
        return (target.size(key) or 0) >= end and target.touch(key)

    return all(each(target, is_there, ends.items())) and all(each(target, target.touch, keys))


# ------------------------------------------------------------------------------------------------ what to move


def _planned(source: Storage, digest: str, manifest: Manifest, index: Index, target: Storage) -> _Plan:
    found = _located(manifest, index)
    kept: dict[str, str] = {}
    copies, loose = list[_Copy](), 0
    sizes = dict(zip(found, each(source, source.size, found), strict=True))
    there = each(target, lambda key: _same(target, name_of(key), sizes[key]), found)
    own = _owners(manifest, index)
    shortcuts = read_shortcuts(source, digest, manifest)
    for (key, chunks), its in zip(found.items(), there, strict=True):
        size, used = sizes[key], sum(at.size for at, _ in chunks)
        if size is None:
            raise Missing(f"The store has no {key}. {MEND}")
        if its is not None:
            kept[key] = its
        elif key in own:
            copies.append(_Copy(key, size, own[key]))
        elif key.startswith("packs/") and used >= _MOST * size:
            copies.append(_Copy(key, size))
        else:
            loose += used
    for key in sorted({way.key for ways in shortcuts.values() for way in ways} - sizes.keys()):
        size = source.size(key)
        if (its := _same(target, name_of(key), size)) is not None:
            kept[key] = its
        elif size is not None and is_whole_pack(source, key):
            copies.append(_Copy(key, size))
    # Nothing depends on them: those that are not whole stay behind.
    carried = kept.keys() | {copy.key for copy in copies}
    shortcuts = {root: ways for root, ways in shortcuts.items() if all(way.key in carried for way in ways)}
    return _Plan(kept, copies, loose, shortcuts)


def _located(manifest: Manifest, index: Index) -> dict[str, list[tuple[Extent, bytes]]]:
    """The version's chunks with their digests, by the objects that they are in. Raises Damaged."""
    found: defaultdict[str, list[tuple[Extent, bytes]]] = defaultdict(list)
    for part in manifest.parts():
        chunks = manifest.chunks[part.root]
        for number, at in enumerate(chunks_at(chunks, index.get(part.root, ()))):
            if at is None:
                raise Damaged(f"The store does not say where all of part {part.root} is. {MEND}")
            found[at.key].append((at, chunks.digest(number)))
    return found


def _owners(manifest: Manifest, index: Index) -> Mapping[str, Sequence[tuple[Extent, bytes]]]:
    """The objects that hold one part of the version and nothing else, with its chunks."""
    found: dict[str, Sequence[tuple[Extent, bytes]]] = {}
    for part in manifest.parts():
        extents = index.get(part.root, ())
        if len(extents) == 1 and name_of(extents[0].key).partition(".")[0] == object_name(part.root, b""):
            chunks = manifest.chunks[part.root]
            all_at = enumerate(chunks_at(chunks, extents))
            found[extents[0].key] = [(at, chunks.digest(number)) for number, at in all_at if at is not None]
    return found


def _same(target: Storage, name: str, size: int | None) -> str | None:
    """The key of what the target has under the name, if that is as large. It is young then."""
    key = target.latest(name)
    return key if key is not None and size is not None and target.size(key) == size and target.touch(key) else None


# ------------------------------------------------------------------------------------------------ moving it


class _Copying:
    def __init__(
        self, source: Storage, manifest: Manifest, index: Index, target: Storage, plan: _Plan,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self._source, self._manifest, self._index, self._target = source, manifest, index, target
        self._plan, self._progress = plan, progress
        self._moved, self._lock = 0, Lock()

    def run(self, digest: str) -> None:
        with (
            ThreadPoolExecutor(_AT_ONCE * _AHEAD, thread_name_prefix="read") as self._readers,
            ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="copy") as pool,
        ):
            self._count(0)
            copying = {copy.key: pool.submit(self._copy, copy) for copy in self._plan.copies}
            keys = dict(self._plan.kept) | dict(zip(copying, all_of(list(copying.values())), strict=True))
            index = self._packed(keys)
        if self._plan.shortcuts:
            ways = {
                root: tuple(replace(way, key=keys[way.key]) for way in ways)
                for root, ways in self._plan.shortcuts.items()
            }
            write_shortcuts(self._target, digest, ways)
        self._target.write(index_name(digest), [encode_index(index)])
        self._target.write(manifest_name(digest), [encode(self._manifest)])

    def _copy(self, copy: _Copy) -> str:
        name = name_of(copy.key)
        return self._target.write(name, self._object(copy, name) if copy.chunks else self._pack(copy, name))

    def _object(self, copy: _Copy, name: str) -> Iterator[Buffer]:
        if before := copy.chunks[0][0].offset:
            header = bytes(self._source.read(copy.key, 0, before))
            root = name.rpartition("/")[2].partition(".")[0]
            if object_name(root, header) != name:
                raise Damaged(f"The store's {copy.key} is damaged at its beginning. {MEND}")
            self._count(before)
            yield header
        yield from self._checked(copy.chunks)

    def _pack(self, copy: _Copy, name: str) -> Iterator[Buffer]:
        digest = hashlib.sha256()
        starts = range(0, copy.size, CHUNK)
        for data in self._ahead(Extent(copy.key, at, min(CHUNK, copy.size - at)) for at in starts):
            digest.update(data)
            self._count(len(data))
            yield data
        if digest.hexdigest() != name.rpartition("/")[2]:
            # Whoever is to store it stores nothing of it then.
            raise Damaged(f"The store's {copy.key} is damaged. {MEND}")

    def _packed(self, keys: Mapping[str, str]) -> Index:
        """Write the packs, and say where everything is in the target."""
        index: dict[str, list[Extent]] = defaultdict(list)
        pack, waiting = bytearray(), list[tuple[str, int]]()

        def flush() -> None:
            name = hashlib.sha256(pack).hexdigest()
            path = f"packs/{name[:2]}/{name}"
            key = _same(self._target, path, len(pack)) or self._target.write(path, [bytes(pack)])
            for root, place in waiting:
                index[root][place] = Extent(key, index[root][place].offset, index[root][place].size)
            pack.clear()
            waiting.clear()

        for part in self._manifest.parts():
            chunks, extents = self._manifest.chunks[part.root], self._index.get(part.root, ())
            all_at = [at for at in chunks_at(chunks, extents) if at is not None]
            missing = [(at, chunks.digest(number)) for number, at in enumerate(all_at) if at.key not in keys]
            data = self._checked(missing)
            for at in all_at:
                if at.key in keys:
                    index[part.root].append(Extent(keys[at.key], at.offset, at.size))
                    continue
                if len(pack) + at.size > _PACK:
                    flush()
                waiting.append((part.root, len(index[part.root])))
                index[part.root].append(Extent("", len(pack), at.size))
                pack += next(data)
        if pack:
            flush()
        return {root: merged(extents) for root, extents in index.items()}

    def _checked(self, chunks: Sequence[tuple[Extent, bytes]]) -> Iterator[Buffer]:
        """Each chunk as its digest says. Raises Missing, Damaged."""
        digests = iter(chunks)
        for data in self._ahead(at for at, _ in chunks):
            at, digest = next(digests)
            if not matches(data, digest):
                raise Damaged(f"The store's {at.key} from byte {at.offset} on is damaged. {MEND}")
            self._count(len(data))
            yield data

    def _ahead(self, extents: Iterable[Extent]) -> Iterator[Buffer]:
        """What is there, read in larger runs, and the next ones while the one before is worked on."""
        reading: deque[tuple[list[Extent], Future[Buffer]]] = deque()
        runs = _runs(extents)
        while True:
            while len(reading) < _AHEAD and (run := next(runs, None)) is not None:
                size = sum(at.size for at in run)
                reading.append((run, self._readers.submit(self._source.read, run[0].key, run[0].offset, size)))
            if not reading:
                return
            run, future = reading.popleft()
            view = memoryview(future.result())
            for at in run:
                piece, view = view[: at.size], view[at.size :]
                yield piece

    def _count(self, moved: int) -> None:
        with self._lock:
            self._moved += moved
            if self._progress is not None:
                self._progress(self._moved, self._plan.moved)


def _runs(extents: Iterable[Extent]) -> Iterator[list[Extent]]:
    """Those that lie side by side, as many as are read at once."""
    run: list[Extent] = []
    for at in extents:
        last = run[-1] if run else None
        if last is not None and not (
            last.key == at.key and last.offset + last.size == at.offset
            and at.offset + at.size - run[0].offset <= _RANGE
        ):  # fmt: skip
            yield run
            run = []
        run.append(at)
    if run:
        yield run
