"""Making a cache smaller: what is served stays, the longest unused goes first, and what is shared costs nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from modelyard.domain.keeping import Stays
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.evicting import GRACE, Evicted, evict, usage
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.storage import Folder
from tests.registry.content.making import checkpoint, contents, pushed, tensors, unfinished

MIB = 2**20


@pytest.fixture
def cache(home: Path, storage: Folder) -> Cache:
    return Cache(home / "cache", storage)


def version(home: Path, cache: Cache, storage: Folder, seed: int, *layouts: Layout, used_at: float = 0.0) -> str:
    """A version of 1 MiB, laid out and last used at a time."""
    folder = home / f"v{seed}"
    folder.mkdir()
    checkpoint(folder / "model.safetensors", tensors(count=4, size=MIB // 16, seed=seed))
    digest = pushed(folder, storage).manifest
    for layout in layouts:
        os.utime(cache.lay_out(digest, layout).path, (used_at, used_at))
    return digest


def later(cache: Cache, **how: object) -> Evicted:
    """An eviction at a time at which nothing in the cache is new."""
    now = max(path.lstat().st_ctime for path in cache.root.rglob("*")) + GRACE + 1
    return evict(cache, **{"in_use": (), "wanted": None, "max_bytes": None, "now": now, **how})  # type: ignore[arg-type]


def test_the_longest_unused_goes_first_and_no_more_than_must(home: Path, cache: Cache, storage: Folder) -> None:
    old, middle, young = (version(home, cache, storage, n, Layout.EXACT, used_at=n * 100.0) for n in (1, 2, 3))
    done = later(cache, max_bytes=5 * MIB // 2)
    assert (done.removed, done.folders) == (1, 2)
    assert done.freed == pytest.approx(MIB, rel=0.01)
    assert done.size == pytest.approx(2 * MIB, rel=0.01)
    assert [cache.folder(d, Layout.EXACT).exists() for d in (old, middle, young)] == [False, True, True]
    assert sum(p.stat().st_size for p in (cache.root / "files").rglob("*") if p.is_file()) == done.size


def test_what_is_served_stays_whatever_the_size(home: Path, cache: Cache, storage: Folder) -> None:
    served, other = (version(home, cache, storage, n, Layout.EXACT) for n in (1, 2))
    done = later(cache, in_use={served}, max_bytes=0)
    assert (done.removed, done.folders) == (1, 1)
    assert cache.folder(served, Layout.EXACT).exists()
    assert not cache.folder(other, Layout.EXACT).exists()


def test_what_was_used_a_moment_ago_stays(home: Path, cache: Cache, storage: Folder) -> None:
    digest = version(home, cache, storage, 1)
    folder = cache.lay_out(digest, Layout.EXACT).path
    now = folder.stat().st_mtime + GRACE / 2
    assert evict(cache, in_use=(), wanted=(), max_bytes=0, now=now).removed == 0
    assert folder.exists()


def test_what_nobody_wants_any_more_goes_without_any_limit(home: Path, cache: Cache, storage: Folder) -> None:
    kept, gone = (version(home, cache, storage, n, *Layout) for n in (1, 2))
    done = later(cache, wanted={kept})
    assert (done.removed, done.folders) == (2, 2)
    assert all(cache.folder(kept, layout).exists() for layout in Layout)
    assert not any(cache.folder(gone, layout).exists() for layout in Layout)


def test_files_that_the_store_or_another_version_has_too_cost_and_free_nothing(
    home: Path, cache: Cache, storage: Folder
) -> None:
    digest = version(home, cache, storage, 1, Layout.TENSORS)
    done = later(cache, max_bytes=0)
    assert done.removed == 1
    assert done.freed < 10_000, "its tensors are the store's own files"
    assert contents(cache.lay_out(digest, Layout.EXACT).path) == contents(home / "v1")


def test_a_dry_run_says_the_same_and_removes_nothing(home: Path, cache: Cache, storage: Folder) -> None:
    for n in (1, 2):
        version(home, cache, storage, n, Layout.EXACT, used_at=float(n))
    before = contents(cache.root)
    would = later(cache, max_bytes=MIB + 1000, dry_run=True)
    assert contents(cache.root) == before
    assert later(cache, max_bytes=MIB + 1000) == would


@pytest.mark.parametrize(("times", "works"), [(1, True), (4, True), (5, False)])
def test_what_is_evicted_just_before_it_is_linked_is_made_once_more(
    home: Path, cache: Cache, storage: Folder, monkeypatch: pytest.MonkeyPatch, times: int, works: bool
) -> None:
    digest = version(home, cache, storage, 1)
    fill, fills = Cache._fill, 0

    def filled_and_evicted(self: Cache, *how: Any) -> int:
        nonlocal fills
        count = fill(self, *how)
        fills += 1
        if fills <= times:
            next((cache.root / "files").glob("*/*")).unlink()
        return count

    monkeypatch.setattr(Cache, "_fill", filled_and_evicted)
    if works:
        assert len(contents(cache.lay_out(digest, Layout.TENSORS).path)) == 5
    else:
        with pytest.raises(OSError, match="could not be put in its place"):
            cache.lay_out(digest, Layout.TENSORS)
    assert fills == min(times + 1, 5)
    assert unfinished(cache.root) == []


def test_an_empty_cache_has_nothing_to_give(cache: Cache) -> None:
    nothing = Evicted(removed=0, freed=0, size=0, folders=0, limit=0)
    assert evict(cache, in_use=(), wanted=(), max_bytes=0, now=1e10) == nothing


def test_what_is_pinned_stays_whatever_the_size_and_though_nobody_wants_it(
    home: Path, cache: Cache, storage: Folder
) -> None:
    pinned, other = (version(home, cache, storage, n, Layout.EXACT) for n in (1, 2))
    done = later(cache, pinned={pinned}, wanted=(), max_bytes=0)
    assert (done.removed, done.folders) == (1, 1)
    assert cache.folder(pinned, Layout.EXACT).exists()
    assert not cache.folder(other, Layout.EXACT).exists()


def test_where_the_limit_cannot_be_met_it_says_what_is_in_the_way(home: Path, cache: Cache, storage: Folder) -> None:
    served, pinned = (version(home, cache, storage, n, Layout.EXACT, used_at=n) for n in (1, 2))
    version(home, cache, storage, 3, Layout.EXACT)
    done = later(cache, in_use={served}, pinned={pinned}, max_bytes=MIB)
    assert (done.removed, done.limit, done.over) == (1, MIB, done.size - MIB)
    assert {(kept.digest, kept.reason) for kept in done.kept} == {(served, Stays.IN_USE), (pinned, Stays.PINNED)}
    assert sum(kept.size for kept in done.kept) == done.size
    assert later(cache, in_use={served}, max_bytes=3 * MIB // 2).kept == (), "it is met without the other"


def test_what_is_used_while_it_goes_stays_and_another_goes_for_it(
    home: Path, cache: Cache, storage: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest, old = (version(home, cache, storage, n, Layout.EXACT, used_at=n) for n in (1, 2))
    evict_one = Cache.evict

    def used_meanwhile(self: Cache, digest: str, layout: Layout, before: float) -> bool:
        if digest == oldest:
            os.utime(self.folder(digest, layout), (before, before + 1))
        return evict_one(self, digest, layout, before)

    monkeypatch.setattr(Cache, "evict", used_meanwhile)
    done = later(cache, max_bytes=3 * MIB // 2)
    assert (done.removed, done.over) == (1, 0)
    assert [cache.folder(d, Layout.EXACT).exists() for d in (oldest, old)] == [True, False]


def test_the_usage_says_what_each_version_holds_and_what_of_it_is_its_own(
    home: Path, cache: Cache, storage: Folder
) -> None:
    exact = version(home, cache, storage, 1, Layout.EXACT, used_at=100.0)
    both = version(home, cache, storage, 2, *Layout, used_at=200.0)
    found = usage(cache)
    by_name = {(one.digest, one.layout): one for one in found.folders}
    assert by_name.keys() == {(exact, Layout.EXACT), (both, Layout.EXACT), (both, Layout.TENSORS)}
    assert [one.used_at for one in found.folders] == [100.0, 200.0, 200.0], "the longest unused first"
    assert found.size == pytest.approx(2 * MIB, rel=0.01)
    assert found.shared == pytest.approx(MIB, rel=0.01), "the tensors of one layout are the store's own files"
    tensors_ = by_name[both, Layout.TENSORS]
    assert (tensors_.size, tensors_.own < 10_000) == (pytest.approx(MIB, rel=0.01), True)
    assert by_name[exact, Layout.EXACT].own == by_name[exact, Layout.EXACT].size
    assert sum(one.own for one in found.folders) == found.size
    assert usage(Cache(home / "nowhere", storage)).folders == ()
