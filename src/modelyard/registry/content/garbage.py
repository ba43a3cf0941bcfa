"""What no version names any more leaves the store.

A push writes or touches all that its version needs before the version is published, so what is young may belong to one
that is under way and stays. What is older than that and named by no version that the catalog knows goes, object by
object, each only if nobody has touched it up to that moment. When anything that a version names cannot be read, nothing
goes at all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from modelyard.registry.content.manifest import Damaged
from modelyard.registry.content.storage import Storage
from modelyard.registry.content.stored import chunks_at, read_index, read_manifest, records

# How long a push may take from its first byte to the publication of its version, in seconds.
GRACE: Final = 24 * 3600.0

_FOLDERS: Final = ("objects/", "packs/", "manifests/", "indexes/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """``removed`` objects of ``freed`` bytes in all (on a dry run: that would be); ``kept`` are in use, ``young`` are
    named by nothing and not old enough."""

    removed: int
    freed: int
    kept: int
    young: int


def collect(
    storage: Storage, in_use: Collection[str], now: float, *, grace: float = GRACE, dry_run: bool = False
) -> Collected:
    """Remove what is not reachable from the manifests ``in_use``. ``now`` in seconds since the epoch.

    Raises:
        Missing, Damaged: a version in use is not whole; nothing was removed
        Unavailable: the store fails
    """
    before = now - grace
    removed = kept = young = 0
    # First, for it may put back what a version in use needs.
    freed = 0 if dry_run else storage.tidy(before)
    reachable = set[str]()
    for digest in in_use:
        reachable |= _reachable(storage, digest)
    for folder in _FOLDERS:
        for entry in list(storage.find(folder)):
            if entry.key in reachable:
                kept += 1
            elif entry.modified >= before or not (dry_run or storage.remove(entry.key, before)):
                young += 1
            else:
                removed, freed = removed + 1, freed + entry.size
    return Collected(removed=removed, freed=freed, kept=kept, young=young)


def _reachable(storage: Storage, digest: str) -> set[str]:
    manifest, index = read_manifest(storage, digest), read_index(storage, digest)
    for part in manifest.parts():
        if None in chunks_at(manifest.chunks[part.root], index.get(part.root, ())):
            raise Damaged(f"The index of {digest} does not say where all of it is. Push the version anew to mend it.")
    keys = {extent.key for extents in index.values() for extent in extents}
    return keys | set(records(storage, digest))
