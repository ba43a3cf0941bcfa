"""What the cache of this machine holds, for whom, and what it saved."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Final

from modelyard.domain.keeping import Pin
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.evicting import LaidVersion, Usage, usage
from modelyard.registry.content.layout import Layout
from modelyard.registry.keeping import Meaning, Pins, Preload, Preloader
from modelyard.registry.ports import Known, PinStore
from modelyard.tasks import spawn

# Where bytes come from.
STORE: Final = "store"
PEERS: Final = "peers"
# To look through a large cache takes a while: metrics are content with how it was so long ago, and wait so many seconds
# for a new look.
_FRESH: Final = timedelta(seconds=60)
_PATIENCE: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Since when this process counts: ``hits`` are versions that were laid out when they were needed, ``misses`` those
    that were not. ``fetched`` are bytes by where they came from, ``spared`` those that were needed and there."""

    since: datetime
    hits: int
    misses: int
    fetched: Mapping[str, int]
    spared: int


class Traffic:
    """Counts what laying out came to; from any thread."""

    def __init__(self, since: datetime) -> None:
        self._since, self._lock = since, Lock()
        self._hits = self._misses = self._spared = 0
        self._fetched: Counter[str] = Counter({STORE: 0, PEERS: 0})
        self._sizes: dict[Path, int] = {}

    def count(self, folder: Path, *, there: bool, fetched: int, from_peers: int, ahead: bool) -> None:
        """A version was needed in ``folder``, and was ``there`` or had to be made of ``fetched`` bytes from the store
        and ``from_peers``; ``ahead``: nobody waited for it."""
        size = self._size(folder)
        with self._lock:
            self._fetched[STORE] += fetched
            self._fetched[PEERS] += from_peers
            if not ahead:
                self._hits += there
                self._misses += not there
                self._spared += max(size - fetched - from_peers, 0)

    def counted(self) -> Counted:
        with self._lock:
            return Counted(
                since=self._since, hits=self._hits, misses=self._misses, fetched=dict(self._fetched),
                spared=self._spared,
            )  # fmt: skip

    def _size(self, folder: Path) -> int:
        # What is laid out never changes.
        if folder not in self._sizes:
            size = 0
            for path, _, names in os.walk(folder):
                with contextlib.suppress(FileNotFoundError):
                    size += sum(Path(path, name).lstat().st_size for name in names)
            self._sizes[folder] = size
        return self._sizes[folder]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A version that is laid out: which published ones it is, who pins it, and the models (namespace and name) that
    are made of it."""

    laid: LaidVersion
    versions: Sequence[Known]
    pins: Sequence[Pin]
    models: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A pin, what it means, and how far that is laid out: ``laid_out`` in whatever way, ``preload`` if it is to be."""

    meaning: Meaning
    laid_out: bool
    preload: Preload | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The whole cache: ``limit`` in bytes, None where it grows."""

    path: Path
    limit: int | None
    size: int
    shared: int
    holdings: Sequence[Holding]
    pins: Sequence[Pinned]
    counted: Counted


class CacheViews:
    """What the cache looks like to those who ask."""

    def __init__(
        self, cache: Cache, limit: int | None, store: PinStore, pins: Pins, preloader: Preloader, traffic: Traffic,
        clock: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self._cache, self._limit, self._store, self._clock = cache, limit, store, clock
        self._pins, self._preloader, self._traffic = pins, preloader, traffic
        self._last: tuple[datetime, Usage] | None = None
        self._looking: asyncio.Task[Usage] | None = None

    async def overview(self) -> Overview:
        """The last used first. Raises OSError: the cache cannot be read."""
        # First, so that what is counted can be seen.
        counted = self._traffic.counted()
        found = await self._usage()
        meanings, served = await self._pins.meanings(), await self._store.served()
        known = await self._store.versions_of({one.digest for one in found.folders})
        holdings = [
            Holding(
                laid=one, versions=known.get(one.digest, ()), models=sorted(served.get(one.digest, ())),
                pins=[meaning.pin for meaning in meanings if meaning.manifest == one.digest],
            )
            for one in reversed(found.folders)
        ]  # fmt: skip
        there = {one.digest for one in found.folders}
        pins = [
            Pinned(
                meaning=m, laid_out=m.manifest in there, preload=self._preloader.of(m.pin) if m.pin.preload else None
            )
            for m in meanings
        ]
        return Overview(
            path=self._cache.root, limit=self._limit, size=found.size, shared=found.shared, holdings=holdings,
            pins=pins, counted=counted,
        )  # fmt: skip

    async def pinned(self, meaning: Meaning) -> Pinned:
        """One of them."""
        laid_out = meaning.manifest is not None and await asyncio.to_thread(self._has, meaning.manifest)
        preload = self._preloader.of(meaning.pin) if meaning.pin.preload else None
        return Pinned(meaning=meaning, laid_out=laid_out, preload=preload)

    async def versions_of(self, manifests: Collection[str]) -> Mapping[str, Sequence[Known]]:
        """The published versions that have these bytes, by manifest."""
        return await self._store.versions_of(manifests) if manifests else {}

    async def numbers(self) -> Mapping[str, float]:
        """For the metrics, by name; see :mod:`modelyard.observe.metrics`. None as long as nobody has looked."""
        if self._last is None or self._clock() - self._last[0] >= _FRESH:
            if self._looking is None or self._looking.done():
                self._looking = spawn(self._usage(), "look through the cache")
            await asyncio.wait({self._looking}, timeout=_PATIENCE)
        if self._last is None:
            return {}
        found = self._last[1]
        numbers = {"size": found.size, "shared": found.shared, "versions": len(found.folders)}
        return numbers if self._limit is None else {**numbers, "limit": self._limit}

    def counted(self) -> Counted:
        return self._traffic.counted()

    def _has(self, manifest: str) -> bool:
        return any(self._cache.folder(manifest, layout).is_dir() for layout in Layout)

    async def _usage(self) -> Usage:
        found = await asyncio.to_thread(usage, self._cache)
        self._last = self._clock(), found
        return found
