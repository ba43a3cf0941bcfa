"""What the control process does with the bytes of versions: look at them, and clean up. Pushing and laying out are done
where the files are, with the same store.

Everything that blocks runs in threads here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.registering import MAX_GRACE
from modelyard.domain.registry import Content
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.comparing import Comparison, compare
from modelyard.registry.content.evicting import GRACE, Evicted, evict
from modelyard.registry.content.garbage import Collected, collect
from modelyard.registry.content.manifest import Damaged, File, Manifest
from modelyard.registry.content.parallel import each
from modelyard.registry.content.shortcuts import read_shortcuts
from modelyard.registry.content.storage import Missing, Store
from modelyard.registry.content.stored import read_index, read_manifest, records
from modelyard.registry.formats.kinds import Kind, kind_of
from modelyard.registry.ports import CatalogStore

# Whoever serves from a shared cache touches what it serves each hour.
_SHARED_GRACE = 3 * 3600.0
# Less would take away what a push has written and not published yet.
LEAST_GRACE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the store has under a manifest: ``kinds`` are the paths of the files by what they are."""

    content: Content
    kinds: Mapping[Kind, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the bytes are: the ``url`` of the store, its identity (the same one, by whatever path, has the same), and
    the ``cache``, a folder of the machine that the control process runs on."""

    url: str
    id: str
    cache: Path


class Contents:
    """The bytes of all versions. ``url`` is where the store is; ``cache_size`` in bytes is what the cache is kept to
    (None: it grows); where it ``is_shared``, others serve from it too, of whom nothing is known here but when they used
    what. ``pinned`` tells the manifests that are to stay in it."""

    def __init__(
        self, storage: Store, cache: Cache, url: str, catalog: CatalogStore, clock: Callable[[], datetime],
        cache_size: int | None = None, *, is_shared: bool = False,
        pinned: Callable[[], Awaitable[Collection[str]]] | None = None,
    ) -> None:  # fmt: skip
        self._storage, self._cache, self._catalog, self._clock = storage, cache, catalog, clock
        self._cache_size, self._is_shared = cache_size, is_shared
        self._url, self._pinned = url, pinned

    async def place(self) -> Place:
        """For those who push and pull. Raises Unavailable."""
        return Place(url=self._url, id=await asyncio.to_thread(self._storage.identity), cache=self._cache.root)

    async def content(self, manifest: str) -> Held:
        """What is to be published under this manifest.

        Raises:
            InvalidRequest: it is not in the store, or not whole
        """
        try:
            found = await asyncio.to_thread(self._whole, manifest)
        except Missing as error:
            message = f"The store has no {manifest}, or not all of it: push the files first (modelyard push)."
            raise InvalidRequest([Problem("manifest", "missing_content", message)]) from error
        except Damaged as error:
            raise InvalidRequest([Problem("manifest", error.code, error.message)]) from error
        kinds: defaultdict[Kind, list[str]] = defaultdict(list)
        for file in found.files:
            kinds[kind_of(file.path, file.kind)].append(file.path)
        return Held(content=Content(manifest=manifest, size=found.size, files=len(found.files)), kinds=kinds)

    async def files(self, manifest: str) -> Sequence[File]:
        """Raises Missing, Damaged."""
        return (await asyncio.to_thread(read_manifest, self._storage, manifest)).files

    async def compare(self, before: str, after: str, limit: int) -> Comparison | None:
        """See :func:`modelyard.registry.content.comparing.compare`; None where the store has not both manifests."""

        def read_and_compare() -> Comparison:
            old, new = (read_manifest(self._storage, digest) for digest in (before, after))
            return compare(old, new, limit, read_shortcuts(self._storage, after, new))

        try:
            return await asyncio.to_thread(read_and_compare)
        except (Missing, Damaged):
            return None

    async def collect(self, grace: timedelta, *, dry_run: bool) -> Collected:
        """Remove what no version names and nobody has touched for ``grace``.

        Raises:
            InvalidRequest: ``grace`` is too short, or longer than can be meant
            Missing, Damaged: a version is not whole; nothing was removed
        """
        if not LEAST_GRACE <= grace <= MAX_GRACE:
            message = (
                f"grace is from 10m to {MAX_GRACE.days}d: a push may be under way, and what it has written is named by "
                "nothing yet."
            )
            raise InvalidRequest([Problem("query.grace", "out_of_range", message)])
        # What is published from now on has been touched a moment ago.
        in_use = await self._catalog.manifests_in_use()
        now = self._clock().timestamp()
        return await asyncio.to_thread(
            collect, self._storage, in_use, now, grace=grace.total_seconds(), dry_run=dry_run
        )

    async def clean_up(self, max_bytes: int | None = None, *, dry_run: bool = False) -> Evicted:
        """Make the cache no larger than ``max_bytes`` (None: than it is to be at most anyway), as far as what is
        served and pinned allows; what no version and no revision names goes in any case, unless the cache is
        shared."""
        limit = self._cache_size if max_bytes is None else max_bytes
        served, wanted = await self._catalog.manifests_served(), await self._catalog.manifests_in_use()
        pinned = frozenset(await self._pinned()) if self._pinned else frozenset[str]()
        # So that those with whom the folder is shared see it, too.
        await asyncio.to_thread(self._cache.touch, served | pinned if self._is_shared else served)
        return await asyncio.to_thread(
            evict, self._cache, in_use=served, pinned=pinned, wanted=None if self._is_shared else wanted,
            max_bytes=limit, now=self._clock().timestamp(), grace=_SHARED_GRACE if self._is_shared else GRACE,
            dry_run=dry_run,
        )  # fmt: skip

    def _whole(self, digest: str) -> Manifest:
        """Reads no content: only that each object is there, as long as it must be. All of it is young again after that,
        so that no collection of garbage that began before the publication takes any of it."""
        manifest, index = read_manifest(self._storage, digest), read_index(self._storage, digest)
        needed: dict[str, int] = {}
        for part in manifest.parts():
            extents = index.get(part.root, ())
            if sum(extent.size for extent in extents) != part.size:
                raise Damaged(f"The index of {digest} does not say where all of it is. Push the files again.")
            for extent in extents:
                needed[extent.key] = max(needed.get(extent.key, 0), extent.offset + extent.size)

        def keep(key: str) -> None:
            if (self._storage.size(key) or 0) < needed[key] or not self._storage.touch(key):
                raise Missing(f"The store has no {key}, or only its beginning.")

        each(self._storage, keep, needed)
        if not all(self._storage.touch(key) for key in records(self._storage, digest)):
            raise Missing(f"The store no longer has the manifest {digest}.")
        return manifest
