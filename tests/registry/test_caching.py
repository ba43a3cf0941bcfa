"""What is counted of the cache, and that its metrics wait for nobody."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from modelyard.registry import caching
from modelyard.registry.caching import CacheViews, Traffic
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.evicting import Usage
from modelyard.registry.content.storage import Folder
from tests.store.changes import EPOCH


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def test_hits_misses_and_bytes_are_counted_and_what_is_laid_out_ahead_only_as_fetched(folder: Path) -> None:
    (folder / "a").write_bytes(b"x" * 100)
    traffic = Traffic(EPOCH)
    traffic.count(folder, there=False, fetched=30, from_peers=20, ahead=True)
    first = traffic.counted()
    assert (first.since, first.hits, first.misses, first.spared) == (EPOCH, 0, 0, 0)
    assert first.fetched == {"store": 30, "peers": 20}
    traffic.count(folder, there=False, fetched=10, from_peers=5, ahead=False)
    traffic.count(folder, there=True, fetched=0, from_peers=0, ahead=False)
    then = traffic.counted()
    assert (then.hits, then.misses, then.spared) == (1, 1, 85 + 100)
    assert then.fetched == {"store": 40, "peers": 25}
    assert first.fetched == {"store": 30, "peers": 20}, "what was told stays as it was told"


async def test_metrics_do_not_wait_for_a_cache_that_takes_long_to_look_through(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "_PATIENCE", 0.05)
    answer, looks, now = threading.Event(), 0, EPOCH

    def slowly(cache: Cache) -> Usage:
        nonlocal looks
        looks += 1
        assert answer.wait(20)
        return Usage(size=looks, shared=0, folders=())

    monkeypatch.setattr(caching, "usage", slowly)
    cache = Cache(folder / "cache", Folder(folder / "store"))
    nobody = cast(Any, None)
    views = CacheViews(cache, 1000, nobody, nobody, nobody, Traffic(EPOCH), lambda: now)
    assert await views.numbers() == {}
    assert await views.numbers() == {}
    assert looks == 1, "one look at a time"
    answer.set()
    async with asyncio.timeout(20):
        while not (numbers := await views.numbers()):
            await asyncio.sleep(0)
    assert numbers == {"size": 1, "shared": 0, "versions": 0, "limit": 1000}
    await views.numbers()
    assert looks == 1, "that is fresh enough"
    answer.clear()
    now += timedelta(minutes=2)
    assert (await views.numbers())["size"] == 1, "what is known, while somebody looks"
    answer.set()
    async with asyncio.timeout(20):
        while (await views.numbers())["size"] != 2:
            await asyncio.sleep(0)
