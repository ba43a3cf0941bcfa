"""Making a cache smaller: versions that have not been laid out or served for the longest go first.

A file of the cache costs nothing as long as the store has it too, or another version that stays; what a version's going
frees is what nothing else needs. Whoever has a file open keeps it until it is closed: nothing that runs is disturbed.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard.registry.content.cache import Cache
from modelyard.registry.content.layout import Layout

# Seconds for which whatever is new in the cache is left alone: it may be about to be laid out or served.
GRACE: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evicted:
    """``removed`` versions' folders are gone (on a dry run: would be), and with them ``freed`` bytes; ``size`` bytes
    in ``folders`` folders are left. Bytes that the store holds too are not counted."""

    removed: int
    freed: int
    size: int
    folders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Laid:
    digest: str
    layout: Layout
    path: Path
    used_at: float
    inodes: frozenset[int]


def evict(
    cache: Cache, *, in_use: Collection[str], wanted: Collection[str] | None, max_bytes: int | None, now: float,
    grace: float = GRACE, dry_run: bool = False,
) -> Evicted:  # fmt: skip
    """Remove the folders of versions that are not ``wanted`` by anybody any more (None: all are), then the longest
    unused ones until the cache is no larger than ``max_bytes`` (None: without limit), then the files that no folder
    needs. Those of the manifests ``in_use`` stay, whatever the size, and what was used in the last ``grace`` seconds.
    ``now`` in seconds since the epoch.

    Raises:
        OSError: the cache cannot be read
    """
    before = now - grace
    if not dry_run:
        cache.tidy(before)
    costs, changed = _costs(cache.root)
    laid = sorted(_laid(cache), key=lambda folder: folder.used_at)
    needed = Counter(inode for folder in laid for inode in folder.inodes)
    size = sum(costs.values())
    # Files that no folder needs: of one that is being laid out just now they are young.
    loose = {inode for inode in costs if not needed[inode] and changed[inode] < before}
    left = size - sum(costs[inode] for inode in loose)
    removed = 0
    for folder in laid:
        unwanted = wanted is not None and folder.digest not in wanted
        too_much = max_bytes is not None and left > max_bytes
        if folder.digest in in_use or folder.used_at >= before or not (unwanted or too_much):
            continue
        if not dry_run and not cache.evict(folder.digest, folder.layout, before):
            continue
        removed += 1
        for inode in folder.inodes:
            needed[inode] -= 1
            if not needed[inode]:
                loose.add(inode)
                left -= costs.get(inode, 0)
    if not dry_run:
        _remove(cache.root, loose)
    return Evicted(removed=removed, freed=size - left, size=left, folders=len(laid) - removed)


def _costs(root: Path) -> tuple[dict[int, int], dict[int, float]]:
    """What each file of the cache costs, by inode (0: somebody outside has it too), and when it was made or linked."""
    links: Counter[int] = Counter()
    found: dict[int, os.stat_result] = {}
    for path in _files(root, "files", "laid"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            links[status.st_ino] += 1
            found[status.st_ino] = status
    costs = {inode: status.st_size if links[inode] >= status.st_nlink else 0 for inode, status in found.items()}
    return costs, {inode: status.st_ctime for inode, status in found.items()}


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
            yield _Laid(
                digest=f"sha256:{name}", layout=Layout(layout), path=path, used_at=path.stat().st_mtime, inodes=inodes
            )


def _remove(root: Path, inodes: Collection[int]) -> None:
    """Only by the cache's own names: a folder that was laid out meanwhile keeps its own."""
    for path in _files(root, "files"):
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_ino in inodes:
                path.unlink()
