"""What the control process does with the bytes of versions: look at them, and clean up. Pushing and laying out are done
where the files are, with the same store.

Everything that blocks runs in threads here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.registry import Content
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.evicting import Evicted, evict
from modelyard.registry.content.garbage import Collected, collect
from modelyard.registry.content.manifest import Damaged, File, Manifest
from modelyard.registry.content.storage import Missing, Storage
from modelyard.registry.content.stored import index_key, manifest_key, read_index, read_manifest
from modelyard.registry.ports import CatalogStore

# Less would take away what a push has written and not published yet.
LEAST_GRACE = timedelta(minutes=10)


class Contents:
    """The bytes of all versions. ``url`` is where the store is, for those who push to it and pull from it;
    ``cache_size`` in bytes is what the cache is kept to (None: it grows)."""

    def __init__(
        self, storage: Storage, cache: Cache, url: str, catalog: CatalogStore, clock: Callable[[], datetime],
        cache_size: int | None = None,
    ) -> None:  # fmt: skip
        self._storage, self._cache, self._catalog, self._clock = storage, cache, catalog, clock
        self._cache_size = cache_size
        self.url = url

    async def content(self, manifest: str) -> Content:
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
        return Content(manifest=manifest, size=found.size, files=len(found.files))

    async def files(self, manifest: str) -> Sequence[File]:
        """Raises Missing, Damaged."""
        return (await asyncio.to_thread(read_manifest, self._storage, manifest)).files

    async def collect(self, grace: timedelta, *, dry_run: bool) -> Collected:
        """Remove what no version names and nobody has touched for ``grace``.

        Raises:
            InvalidRequest: ``grace`` is too short
            Missing, Damaged: a version is not whole; nothing was removed
        """
        if grace < LEAST_GRACE:
            message = "grace is 10m at least: a push may be under way, and what it has written is named by nothing yet."
            raise InvalidRequest([Problem("query.grace", "out_of_range", message)])
        # What is published from now on has been touched a moment ago.
        in_use = await self._catalog.manifests_in_use()
        now = self._clock().timestamp()
        return await asyncio.to_thread(
            collect, self._storage, in_use, now, grace=grace.total_seconds(), dry_run=dry_run
        )

    async def clean_up(self, max_bytes: int | None = None, *, dry_run: bool = False) -> Evicted:
        """Make the cache no larger than ``max_bytes`` (None: than it is to be at most anyway), as far as what is not
        served allows; what no version and no revision names goes in any case."""
        limit = self._cache_size if max_bytes is None else max_bytes
        served, wanted = await self._catalog.manifests_served(), await self._catalog.manifests_in_use()
        now = self._clock().timestamp()
        return await asyncio.to_thread(
            evict, self._cache, in_use=served, wanted=wanted, max_bytes=limit, now=now, dry_run=dry_run
        )

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
        for key, size in needed.items():
            there = next((e.size for e in self._storage.find(key) if e.key == key), 0)
            if there < size or not self._storage.touch(key):
                raise Missing(f"The store has no {key}, or only its beginning.")
        if not all(self._storage.touch(key) for key in (manifest_key(digest), index_key(digest))):
            raise Missing(f"The store no longer has the manifest {digest}.")
        return manifest
