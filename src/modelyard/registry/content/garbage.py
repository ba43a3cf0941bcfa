"""What no version names any more leaves the store.

A push writes or touches all that its version needs before the version is published, so what is young may belong to one
that is under way and stays. What is older than that and named by no version that the catalog knows goes, object by
object, each only if nobody has touched it up to that moment. When anything that a version names cannot be read, nothing
goes at all. A store that cannot do that at once condemns them, and they go with a later collection.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from modelyard.registry.content.manifest import Damaged
from modelyard.registry.content.parallel import each
from modelyard.registry.content.shortcuts import read_shortcuts, shortcuts_name
from modelyard.registry.content.storage import Entry, Storage
from modelyard.registry.content.stored import chunks_at, read_index, read_manifest, records

# How long a push may take from its first byte to the publication of its version, in seconds.
GRACE: Final = 24 * 3600.0

_FOLDERS: Final = ("objects/", "packs/", "manifests/", "indexes/", "waiting/", "shortcuts/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """``removed`` objects of ``freed`` bytes in all (on a dry run: that would be); ``kept`` are in use, ``young`` are
    named by nothing and not old enough. ``condemned`` ones go with the first collection after ``goes_at``, in seconds
    since the epoch."""

    removed: int
    freed: int
    kept: int
    young: int
    condemned: int = 0
    goes_at: float | None = None


def collect(
    storage: Storage, in_use: Collection[str], now: float, *, grace: float = GRACE, dry_run: bool = False
) -> Collected:
    """Remove what is not reachable from the manifests ``in_use``. ``now`` in seconds since the epoch.

    Raises:
        Missing, Damaged: a version in use is not whole; nothing was removed
        Unavailable: the store fails
    """
    before = now - grace
    # First, for it may put back what a version in use needs.
    tidied = 0 if dry_run else storage.tidy(before)
    reachable = set[str]().union(*each(storage, lambda digest: _reachable(storage, digest), in_use))
    found = [entry for folder in _FOLDERS for entry in list(storage.find(folder))]
    unused = [entry for entry in found if entry.key not in reachable]
    old = [entry for entry in unused if entry.modified < before]

    def goes(entry: Entry) -> bool:
        if dry_run:
            return not storage.waits or (entry.condemned is not None and entry.condemned < before)
        return storage.remove(entry.key, before)

    gone = each(storage, goes, old)
    freed = sum(entry.size for entry, is_gone in zip(old, gone, strict=True) if is_gone)
    waiting = [
        entry.condemned or now for entry, is_gone in zip(old, gone, strict=True) if storage.waits and not is_gone
    ]
    removed = sum(gone)
    return Collected(
        removed=removed, freed=tidied + freed, kept=len(found) - len(unused),
        young=len(unused) - removed - len(waiting), condemned=len(waiting),
        goes_at=max(waiting) + grace if waiting else None,
    )  # fmt: skip


def _reachable(storage: Storage, digest: str) -> set[str]:
    manifest, index = read_manifest(storage, digest), read_index(storage, digest)
    for part in manifest.parts():
        if None in chunks_at(manifest.chunks[part.root], index.get(part.root, ())):
            raise Damaged(f"The index of {digest} does not say where all of it is. Push the version anew to mend it.")
    keys = {extent.key for extents in index.values() for extent in extents}
    shortcuts = read_shortcuts(storage, digest, manifest)
    keys |= {way.key for ways in shortcuts.values() for way in ways}
    return keys | {key for key in (*records(storage, digest), storage.latest(shortcuts_name(digest))) if key}
