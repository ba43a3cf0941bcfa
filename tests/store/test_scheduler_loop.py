"""The scheduler's loop beside very many schedules, and beside other processes on the same PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import time as wall
from datetime import timedelta

import pytest
import pytest_asyncio

from modelyard.control import scheduler
from modelyard.domain.errors import Unavailable
from modelyard.domain.schedules import Window
from modelyard.domain.scheduling import ModelSchedule, Outcome
from modelyard.store import SqlStore
from modelyard.tasks import spawn, stop
from tests.store.scheduled import ALICE, MONDAY, OFFICE, Yard
from tests.store.templates import prepare

# Longer than anything here takes, and shorter than the loop waits for by itself.
SOON = scheduler.LOOK_EVERY / 2
EVENING = replace(OFFICE, recurring=Window(wall(18), wall(20)))


@pytest_asyncio.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[SqlStore]:
    prepare(sqlite_url)
    opened = await SqlStore.open(sqlite_url)
    yield opened
    await opened.close()


async def until_done(yard: Yard, count: int) -> list[tuple[str, str]]:
    """What schedules have done once it is so much."""
    async with asyncio.timeout(SOON):
        while len(found := await yard.done_by_schedule()) < count:
            with yard.feed.listening() as news:
                await asyncio.wait([spawn(news.wait(), "news")], timeout=0.02)
    return found


async def test_what_is_due_does_not_wait_until_all_schedules_are_taken_up(
    sqlite: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard = Yard(sqlite)
    for name in ("m1", "m2", "m3"):
        await yard.model(name)
        await yard.save(name=name)
    yard.now = MONDAY.replace(hour=8)
    chunk, further, chunks = sqlite.schedules.chunk, asyncio.Event(), list[int]()

    async def slow(site: str, after: str, size: int) -> Sequence[ModelSchedule]:
        if chunks:
            await further.wait()
        chunks.append(size)
        return await chunk(site, after, size)

    monkeypatch.setattr(sqlite.schedules, "chunk", slow)
    monkeypatch.setattr(scheduler, "_CHUNK", 1)
    running = spawn(yard.scheduler.run(), "schedules")
    try:
        assert await until_done(yard, 1) == [("start", "01-07 08:00")]
        assert chunks == [1], "the others are not read yet"
        further.set()
        assert await until_done(yard, 3) == [("start", "01-07 08:00")] * 3
    finally:
        await stop(running)


async def test_however_many_are_due_at_once_few_are_carried_out_side_by_side_and_all_are(
    sqlite: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_ABREAST", 2)
    yard = Yard(sqlite)
    for number in range(7):
        await yard.model(f"m{number}")
        await yard.save(name=f"m{number}")
    yard.now = MONDAY.replace(hour=8)
    carry_out, at_work, most = yard.scheduler._carrying.carry_out, 0, 0

    async def counted(uid: str, site: str) -> ModelSchedule | None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        try:
            return await carry_out(uid, site)
        finally:
            at_work -= 1

    monkeypatch.setattr(yard.scheduler._carrying, "carry_out", counted)
    running = spawn(yard.scheduler.run(), "schedules")
    try:
        assert await until_done(yard, 7) == [("start", "01-07 08:00")] * 7
    finally:
        await stop(running)
    assert most == 2


async def test_an_operation_that_ended_while_nobody_listened_is_settled_at_the_next_start(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model()
    await yard.save()
    await yard.at(8)
    assert (await yard.kept()).pending is not None
    yard.restart()
    await yard.come_to_rest()
    await yard.scheduler.settle()
    last = (await yard.kept()).last
    assert last is not None
    assert last.outcome is Outcome.SUCCEEDED


async def test_a_comparison_that_the_database_fails_is_made_up_for_at_once(
    sqlite: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard = Yard(sqlite, shared=True)
    await yard.model()
    await yard.at(7)
    await Yard(sqlite).save()
    yard.scheduler.tell(None, True)

    async def failing(site: str) -> Mapping[str, int]:
        raise Unavailable("The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite.schedules, "edits", failing)
        with pytest.raises(Unavailable):
            await yard.at(7)
    await yard.at(8)
    assert await yard.done_by_schedule() == [("start", "01-07 08:00")]


async def test_what_changed_unheard_is_found_by_comparing(store: SqlStore, other: SqlStore) -> None:
    yard, elsewhere = Yard(store, shared=True), Yard(other)
    for name in ("removed", "changed", "new"):
        await yard.model(name)
    for name in ("removed", "changed"):
        await yard.save(name=name)
    await yard.at(7)
    await elsewhere.service.remove("default", "removed", ALICE)
    await elsewhere.save(EVENING, "changed")
    await elsewhere.save(name="new")
    yard.scheduler.tell(None, True)  # the connection by which news come was lost
    await yard.at(8)
    assert await yard.done_by_schedule() == [("start", "01-07 08:00")]
    assert (await yard.kept("new")).last is not None
    await yard.at(18)
    assert await yard.done_by_schedule() == [("start", "01-07 08:00"), ("start", "01-07 18:00")]


async def test_a_schedule_saved_where_a_process_stands_by_is_carried_out_where_one_drives(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own connections, and hears of the other by PostgreSQL's NOTIFY alone."""
    prepare(postgres_url)
    async with AsyncExitStack() as stack:
        stores = [await SqlStore.open(postgres_url) for _ in range(2)]
        for store in stores:
            stack.push_async_callback(store.close)
        driving, standing = (Yard(store, shared=True) for store in stores)
        standing.driving = False
        await driving.model()
        edits, compared = stores[0].schedules.edits, asyncio.Event()

        async def noted(site: str) -> Mapping[str, int]:
            found = await edits(site)
            compared.set()
            return found

        monkeypatch.setattr(stores[0].schedules, "edits", noted)
        for yard in (driving, standing):
            for work, name in ((yard.feed.hear(yard.store.news()), "news"), (yard.scheduler.run(), "schedules")):
                stack.push_async_callback(stop, spawn(work, name))
        async with asyncio.timeout(SOON):
            # Once the one who drives listens. The next time that it would look by itself is after this test's end.
            await compared.wait()
        driving.now = MONDAY.replace(hour=8) + timedelta(seconds=5)
        await standing.save()
        assert await until_done(driving, 1) == [("start", "01-07 08:00")]
        assert await standing.done_by_schedule() == await driving.done_by_schedule()
        last = (await standing.kept()).last
        assert last is not None
        assert last.missed == 0, "and in time"
