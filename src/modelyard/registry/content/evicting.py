"""What is in a cache, and making it smaller by the rule of :mod:`modelyard.domain.keeping`.

A file of the cache costs nothing as long as the store has it too, or another version that stays; what a version's going
frees is what nothing else needs. Whoever has a file open keeps it until it is closed: nothing that runs is disturbed.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from modelyard.domain.keeping import Choice, Stays, Thing, Use, choose
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.layout import Layout

# Seconds for which whatever is new in the cache is left alone: it may be about to be laid out or served.
GRACE: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaidVersion:
    """A version that is laid out. ``size`` is what its files hold, ``own`` what of that nothing else has; ``used_at``
    in seconds since the epoch."""

    digest: str
    layout: Layout
    used_at: float
    size: int
    own: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a cache takes: ``size`` bytes of its own, beside the ``shared`` ones, which the store has too."""

    size: int
    shared: int
    folders: tuple[LaidVersion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A version that stayed although there is not room enough: ``size`` is what its files cost the cache."""

    digest: str
    layout: Layout
    size: int
    reason: Stays


@dataclass(frozen=True, slots=True, kw_only=True)
class Evicted:
    """``removed`` versions' folders are gone (on a dry run: would be), and with them ``freed`` bytes; ``size`` bytes
    in ``folders`` folders are left. Bytes that the store holds too are not counted. Where that is ``over`` the
    ``limit``, ``kept`` says which versions are in the way of it."""

    removed: int
    freed: int
    size: int
    folders: int
    limit: int | None = None
    over: int = 0
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Laid:
    digest: str
    layout: Layout
    used_at: float
    inodes: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """``costs`` of each file by inode (0: somebody outside has it too), its size, and when it was made or linked."""

    costs: Mapping[int, int]
    sizes: Mapping[int, int]
    changed: Mapping[int, float]
    laid: Sequence[_Laid]


def usage(cache: Cache) -> Usage:
    """Look through the whole cache. Raises OSError."""
    found = _look(cache)
    needed = Counter(inode for folder in found.laid for inode in folder.inodes)
    folders = [
        LaidVersion(
            digest=one.digest, layout=one.layout, used_at=one.used_at,
            size=sum(found.sizes.get(inode, 0) for inode in one.inodes),
            own=sum(found.costs.get(inode, 0) for inode in one.inodes if needed[inode] == 1),
        )
        for one in found.laid
    ]  # fmt: skip
    size = sum(found.costs.values())
    return Usage(size=size, shared=sum(found.sizes.values()) - size, folders=tuple(folders))


def evict(
    cache: Cache, *, in_use: Collection[str], wanted: Collection[str] | None, max_bytes: int | None, now: float,
    pinned: Collection[str] = (), grace: float = GRACE, dry_run: bool = False,
) -> Evicted:  # fmt: skip
    """Remove the folders of versions that are not ``wanted`` by anybody any more (None: all are), then the longest
    unused ones until the cache is no larger than ``max_bytes`` (None: without limit), then the files that no folder
    needs. Those of the manifests ``in_use`` and ``pinned`` stay, whatever the size, and what was used in the last
    ``grace`` seconds. ``now`` in seconds since the epoch.

    Raises:
        OSError: the cache cannot be read
    """
    before = now - grace
    if not dry_run:
        cache.tidy(before)
    found = _look(cache)
    needed = {inode for folder in found.laid for inode in folder.inodes}
    # Files that no folder needs: of one that is being laid out just now they are young.
    loose = {inode for inode in found.costs if inode not in needed and found.changed[inode] < before}
    making = sum(cost for inode, cost in found.costs.items() if inode not in needed and inode not in loose)
    things = [_thing(folder, found.costs, in_use, pinned, wanted) for folder in found.laid]
    budget = None if max_bytes is None else max_bytes - making
    choice = choose(things, budget, before)
    while not dry_run and (refused := _refused(cache, choice, before)):
        # Used a moment ago: others go for it.
        things = [replace(t, use=replace(t.use, used_at=now)) if t.name in refused else t for t in things]
        choice = choose(things, budget, before)
    gone = {thing.name for thing in choice.going}
    needed = {inode for thing in things if thing.name not in gone for inode in thing.what.inodes}
    if not dry_run:
        _remove(cache.root, loose | {i for thing in choice.going for i in thing.what.inodes if i not in needed})
    left = choice.left + making
    kept = [
        Kept(digest=t.what.digest, layout=t.what.layout, size=sum(t.pieces.values()), reason=reason)
        for t, reason in choice.kept
    ]
    return Evicted(
        removed=len(gone), freed=sum(found.costs.values()) - left, size=left, folders=len(found.laid) - len(gone),
        limit=max_bytes, over=choice.over, kept=tuple(kept),
    )  # fmt: skip


def _thing(
    folder: _Laid, costs: Mapping[int, int], in_use: Collection[str], pinned: Collection[str],
    wanted: Collection[str] | None,
) -> Thing[_Laid]:  # fmt: skip
    use = Use(
        used_at=None if folder.digest in in_use else folder.used_at, pinned=folder.digest in pinned,
        wanted=wanted is None or folder.digest in wanted,
    )  # fmt: skip
    pieces = {inode: costs.get(inode, 0) for inode in folder.inodes}
    return Thing(what=folder, name=f"{folder.digest}.{folder.layout}", use=use, pieces=pieces)


def _refused(cache: Cache, choice: Choice[_Laid], before: float) -> set[str]:
    """Take the folders away; those that were used meanwhile. What is gone already is so."""
    return {t.name for t in choice.going if not cache.evict(t.what.digest, t.what.layout, before)}


def _look(cache: Cache) -> _Found:
    links: Counter[int] = Counter()
    found: dict[int, os.stat_result] = {}
    for path in _files(cache.root, "files", "laid"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            links[status.st_ino] += 1
            found[status.st_ino] = status
    return _Found(
        costs={inode: status.st_size if links[inode] >= status.st_nlink else 0 for inode, status in found.items()},
        sizes={inode: status.st_size for inode, status in found.items()},
        changed={inode: status.st_ctime for inode, status in found.items()},
        laid=sorted(_laid(cache), key=lambda folder: folder.used_at),
    )


def _files(root: Path, *parts: str) -> Iterator[Path]:
    for part in parts:
        for folder, _, names in os.walk(root / part):
            yield from (Path(folder, name) for name in names)


def _laid(cache: Cache) -> Iterator[_Laid]:
    for path in (cache.root / "laid").glob("*.*"):
        name, _, layout = path.name.partition(".")
        if layout not in list(Layout) or not name:
            continue
        with contextlib.suppress(FileNotFoundError):
            inodes = frozenset(
                Path(folder, file).lstat().st_ino for folder, _, files in os.walk(path) for file in files
            )
            yield _Laid(digest=f"sha256:{name}", layout=Layout(layout), used_at=path.stat().st_mtime, inodes=inodes)


def _remove(root: Path, inodes: Collection[int]) -> None:
    """Only by the cache's own names: a folder that was laid out meanwhile keeps its own."""
    for path in _files(root, "files"):
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_ino in inodes:
                path.unlink()
