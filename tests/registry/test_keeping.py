"""Pins that follow what they name, and versions that are laid out before anybody needs them, on both databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard.domain.errors import InvalidRequest, NotFound, Unavailable
from modelyard.domain.names import parse_pick
from modelyard.registry import keeping
from modelyard.registry.keeping import GivenUp, Pins, Preload, Preloader, PreloadState
from modelyard.threads import apart
from tests.registry.shelves import ME, Shelves

PAT = ("default", "pat")


def pins_of(shelves: Shelves, site: str = "here") -> Pins:
    return Pins(shelves.store.pins, shelves.catalog, site, shelves.clock)


async def means(pins: Pins) -> dict[str, str | None]:
    return {str(meaning.pin.reference): meaning.version for meaning in await pins.meanings()}


async def test_a_pin_of_an_alias_or_a_range_follows_it_and_one_of_a_version_does_not(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0")
    await shelves.move("stable", "1.0.0")
    pins = pins_of(shelves)
    for pick in ("stable", "^1", "1.0.0", "latest"):
        await pins.add(*PAT, pick, ME, preload=False)
    await shelves.publish("1.2.0")
    await shelves.move("stable", "1.1.0")
    assert await means(pins) == {
        "pat@stable": "1.1.0", "pat@^1": "1.2.0", "pat@1.0.0": "1.0.0", "pat@latest": "1.2.0",
    }  # fmt: skip
    published = {m.manifest for m in await pins.meanings()}
    assert await pins.manifests() == published
    assert len(published) == 3
    assert await pins_of(shelves, "there").meanings() == []


async def test_what_means_nothing_now_cannot_be_pinned_and_what_comes_to_keeps_nothing(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0")
    pins = pins_of(shelves)
    for pick in ("2.0.0", "^2", "stable"):
        with pytest.raises(NotFound):
            await pins.add(*PAT, pick, ME, preload=False)
    with pytest.raises(NotFound):
        await pins.add("default", "other", "latest", ME, preload=True)
    with pytest.raises(InvalidRequest, match="semantic version"):
        await pins.add(*PAT, "No Pick", ME, preload=False)
    assert await pins.meanings() == []
    await shelves.move("stable", "1.0.0")
    for pick in ("1.0.0", "^1", "stable"):
        await pins.add(*PAT, pick, ME, preload=False)
    await shelves.catalog.remove_alias(*PAT, "stable", ME)
    await shelves.catalog.delete_version(*PAT, "1.0.0", ME, timedelta(0))
    assert await means(pins) == {"pat@1.0.0": None, "pat@^1": None, "pat@stable": None}
    assert await pins.manifests() == frozenset()
    shelves.now += timedelta(days=1)
    assert len(await shelves.catalog.purge()) == 1, "a pin is in nobody's way"
    await pins.remove(*PAT, "1.0.0", preload=False)
    with pytest.raises(NotFound, match="is not pinned here"):
        await pins.remove(*PAT, "1.0.0", preload=False)


async def test_the_same_once_more_is_the_same_and_by_the_one_who_asked_first(shelves: Shelves) -> None:
    await shelves.register()
    await shelves.publish("1.0.0")
    pins, told = pins_of(shelves), []
    pins.listeners.append(lambda: told.append(True))
    first, new = await pins.add(*PAT, "1.0.0", ME, preload=False)
    again, anew = await pins.add(*PAT, "=1.0.0", ME, preload=False)
    assert (new, anew, again) == (True, False, first)
    assert len(told) == 1


# ------------------------------------------------------------------------------------------- laid out ahead


@dataclass
class Cacher:
    """Lays out nothing, and tells who asked for what; holds on where it is told to."""

    root: Path
    asked: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    fails: set[str] = field(default_factory=set)
    hold: set[str] = field(default_factory=set)
    at_once: int = 0
    most: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    def lay_out_ahead(self, manifest: str, progress: Callable[[int, int], None]) -> Path:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.asked.append(manifest)
        try:
            progress(10, 100)
            if manifest in self.fails:
                raise Unavailable("The store is away.")
            while manifest in self.hold and not self.released.wait(0.001):
                progress(50, 100)
            path = self.root / manifest[7:]
            path.mkdir(exist_ok=True)
            return path
        except GivenUp:
            self.given_up.append(manifest)
            raise
        finally:
            self.at_once -= 1


@dataclass
class House:
    shelves: Shelves
    pins: Pins
    cacher: Cacher
    preloader: Preloader

    def state(self, pick: str) -> Preload | None:
        found = [p for key, p in self.preloader._preloads.items() if key == ("default", f"pat@{pick}")]
        return found[0] if found else None

    async def preload(self, *picks: str) -> list[str]:
        return [(await self.pins.add(*PAT, pick, ME, preload=True))[0].manifest or "" for pick in picks]

    async def until(self, holds: Callable[[], Any], what: str) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.002)


@pytest.fixture
async def house(shelves: Shelves, tmp_path: Path) -> House:
    await shelves.register()
    await shelves.publish("1.0.0", "1.1.0", "2.0.0")
    await shelves.move("stable", "1.0.0")
    pins, cacher = pins_of(shelves), Cacher(tmp_path)
    preloader = Preloader(pins, cacher, lambda: True, shelves.clock)
    pins.listeners.append(preloader.tell)
    return House(shelves, pins, cacher, preloader)


@asynccontextmanager
async def running(house: House):  # type: ignore[no-untyped-def]
    task = asyncio.create_task(house.preloader.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_all_are_laid_out_one_at_a_time_and_again_only_if_they_are_gone(house: House) -> None:
    wanted = await house.preload("stable", "1.1.0", "^1")
    async with running(house):
        await house.until(lambda: len(house.cacher.asked) >= 3, "all are laid out")
        await house.until(lambda: (s := house.state("^1")) and s.state is PreloadState.DONE, "the last is done")
        assert (house.cacher.asked, house.cacher.most) == (wanted, 1)
        house.preloader.tell()
        await house.pins.add(*PAT, "2.0.0", ME, preload=False)
        (house.cacher.root / wanted[0][7:]).rmdir()
        house.preloader.tell()
        await house.until(lambda: len(house.cacher.asked) == 4, "what is gone is laid out again")
    assert house.cacher.asked[3] == wanted[0], "what is only pinned is not"


async def test_an_alias_that_moves_has_its_new_version_laid_out(house: House) -> None:
    (old,) = await house.preload("stable")
    async with running(house):
        await house.until(lambda: house.cacher.asked == [old], "the first")
        await house.shelves.move("stable", "1.1.0")
        house.preloader.tell()
        await house.until(lambda: len(house.cacher.asked) == 2, "the second")
        await house.until(lambda: (s := house.state("stable")) and s.state is PreloadState.DONE, "it is done")
    done = house.state("stable")
    assert done is not None
    assert done.manifest == house.cacher.asked[1] != old


async def test_what_is_no_longer_wanted_is_given_up_in_the_middle(house: House) -> None:
    (old,) = await house.preload("stable")
    house.cacher.hold.add(old)
    async with running(house):
        await house.until(lambda: (s := house.state("stable")) and s.done == 50, "it is under way, and says how far")
        await house.pins.add(*PAT, "2.0.0", ME, preload=False)
        await house.shelves.move("stable", "1.1.0")
        house.preloader.tell()
        await house.until(lambda: len(house.cacher.asked) == 2, "the new one is laid out")
    assert house.cacher.given_up == [old]


async def test_a_shutdown_gives_up_what_is_under_way(house: House) -> None:
    (old,) = await house.preload("stable")
    house.cacher.hold.add(old)
    async with running(house):
        await house.until(lambda: house.cacher.at_once == 1, "it is under way")
    await house.until(lambda: house.cacher.at_once == 0, "the thread has ended")
    assert house.cacher.given_up == [old]


async def test_what_fails_is_tried_again_later_and_later_and_holds_up_no_other(house: House) -> None:
    bad, good = await house.preload("stable", "1.1.0")
    house.cacher.fails.add(bad)
    waits = []
    for _ in range(9):
        await house.preloader.look()
        failed = house.state("stable")
        assert failed is not None
        assert (failed.state, failed.error) == (PreloadState.FAILED, "The store is away.")
        assert failed.retry_at is not None
        pause = await house.preloader.look()
        assert 0 <= pause <= keeping.LOOK_EVERY
        waits.append((failed.retry_at - house.shelves.now).total_seconds())
        house.shelves.now = failed.retry_at
    assert [round(wait / 5) for wait in waits[:3]] == [1, 2, 4]
    assert waits[-1] <= 600
    assert house.cacher.asked.count(good) == 1
    house.cacher.fails.clear()
    await house.preloader.look()
    mended = house.state("stable")
    assert mended is not None
    assert (mended.state, mended.failures, mended.error) == (PreloadState.DONE, 0, "")


async def test_who_follows_waits_for_what_is_being_laid_out_and_for_nothing_else(house: House) -> None:
    stable = parse_pick("pat", "stable")
    coming = house.preloader.is_coming
    assert not await coming("default", stable), "nobody has asked for it"
    (manifest,) = await house.preload("stable")
    assert await coming("default", stable), "though it has not been looked at yet"
    assert not await coming("default", parse_pick("pat", "1.0.0")), "it is another reference"
    house.cacher.fails.add(manifest)
    await house.preloader.look()
    assert not await coming("default", stable), "one that cannot be had stops nobody"
    house.cacher.fails.clear()
    house.shelves.now += timedelta(hours=1)
    told: list[bool] = []
    house.preloader.listeners.append(lambda: told.append(True))
    await house.preloader.look()
    assert (await coming("default", stable), told) == (False, [True])
    await house.shelves.move("stable", "1.1.0")
    assert await coming("default", stable)
    await house.shelves.catalog.remove_alias(*PAT, "stable", ME)
    assert not await coming("default", stable)


async def test_only_the_process_that_drives_the_site_lays_out(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LOOK_EVERY", 0.001)
    await house.preload("stable")
    driving = False
    looks = 0

    def drives() -> bool:
        nonlocal looks
        looks += 1
        return driving

    house.preloader = Preloader(house.pins, house.cacher, drives, house.shelves.clock)
    async with running(house):
        await house.until(lambda: looks > 5, "it looks now and then")
        assert house.cacher.asked == []
        driving = True
        await house.until(lambda: house.cacher.asked, "now it does")


@pytest.mark.parametrize("error", [MemoryError(), OverflowError("too large"), RuntimeError("can't start new thread")])
async def test_what_fails_unexpectedly_is_no_longer_coming_and_holds_up_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    first, other = await house.preload("1.0.0", "2.0.0")
    lay_out = house.cacher.lay_out_ahead

    def failing(manifest: str, progress: Callable[[int, int], None]) -> Path:
        if manifest == first:
            raise error
        return lay_out(manifest, progress)

    if isinstance(error, RuntimeError):

        def starting(work: Callable[[], Path], name: str) -> Any:
            if "1.0.0" in name:
                raise error
            return apart(work, name)

        monkeypatch.setattr(keeping, "apart", starting)
    else:
        monkeypatch.setattr(house.cacher, "lay_out_ahead", failing)
    reference = (await house.pins.meanings())[0].pin.reference
    async with running(house):
        await house.until(lambda: house.cacher.asked == [other], "the other one")
        await house.until(lambda: (p := house.state("2.0.0")) and p.state is PreloadState.DONE, "its end")
        failed = house.state("1.0.0")
        assert failed is not None
        assert (failed.state, failed.error) == (PreloadState.FAILED, str(error) or "MemoryError")
        assert str(reference) == "pat@1.0.0"
        assert not await house.preloader.is_coming("default", reference)


async def test_a_look_that_fails_unexpectedly_is_followed_by_another(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.preload("1.0.0")
    fails, meanings = [RuntimeError("can't start new thread")], house.pins.meanings

    async def failing() -> Any:
        if fails:
            raise fails.pop()
        return await meanings()

    monkeypatch.setattr(house.pins, "meanings", failing)
    monkeypatch.setattr(keeping, "RETRY_AFTER", 0.01)
    async with running(house):
        await house.until(lambda: (p := house.state("1.0.0")) and p.state is PreloadState.DONE, "laid out")
