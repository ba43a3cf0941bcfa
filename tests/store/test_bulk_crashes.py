"""Processes that carry out what was asked of many models die, meet, and find the database away."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from modelyard.control.ports import OperationQuery, Place
from modelyard.domain.bulk import Bulk, BulkAction, ItemState, ScheduleEdit
from modelyard.domain.errors import Unavailable
from modelyard.domain.operations import OperationState
from modelyard.store import SqlStore
from tests.store.bulk_yard import EVERY, OFFICE_HOURS, Yard


@pytest.fixture
def light(sqlite: SqlStore) -> Yard:
    """For what is decided the same over either database."""
    return Yard(sqlite)


@pytest.mark.parametrize("commits", [0, 5, 12])
async def test_a_process_that_dies_leaves_nothing_undone_and_nothing_done_twice(store: SqlStore, commits: int) -> None:
    """``commits`` items are begun before it dies: none, some, and all, but for the end of the whole."""
    first = Yard(store)
    await first.create(12)
    first.store.dies_after = commits
    async with first.carrying():
        taken = await first.take(BulkAction.STOP, EVERY)
        await asyncio.wait_for(first.store.dead.wait(), 10)
    second = Yard(store)
    async with second.carrying():
        assert (await second.ended(taken)).state is OperationState.SUCCEEDED
    page = await store.list_operations(OperationQuery(page_size=1000))
    stops = Counter(operation.model for operation in page.items if operation.kind == "stop")
    assert stops == {f"m{number:03}": 1 for number in range(12)}


async def test_a_schedule_that_was_being_set_when_the_process_died_is_set_after_all(store: SqlStore) -> None:
    yard = Yard(store)
    await yard.create(2)
    taken = await yard.take(BulkAction.SCHEDULE, EVERY, schedule_edit=ScheduleEdit.SET, schedule=OFFICE_HOURS)
    assert await store.bulks.begin(Place(bulk=taken, position=0, uid="default-m000"))
    async with yard.carrying():
        assert (await yard.ended(taken)).state is OperationState.SUCCEEDED
    for name in ("m000", "m001"):
        kept = await yard.store.schedules.get(f"default-{name}")
        assert kept is not None
        assert kept.schedule == OFFICE_HOURS


async def test_a_schedule_whose_end_could_not_be_written_is_set_again(
    light: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.control.bulk_carrying._POLL", 0.05)
    await light.create(2)
    settles, away = light.store.bulks.settle, 1

    async def settle(place: Place, state: ItemState, code: str, message: str) -> None:
        nonlocal away
        if away:
            away -= 1
            raise Unavailable("The database is away.")
        await settles(place, state, code, message)

    monkeypatch.setattr(light.store.bulks, "settle", settle)
    async with light.carrying():
        taken = await light.take(BulkAction.SCHEDULE, EVERY, schedule_edit=ScheduleEdit.SET, schedule=OFFICE_HOURS)
        assert (await light.ended(taken)).state is OperationState.SUCCEEDED
    assert not away


async def test_a_carrier_that_meets_the_unexpected_goes_on(light: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.control.bulk_carrying._AGAIN", 0.01)
    await light.create(1)
    active, broken = light.store.bulks.active, 1

    async def unexpected() -> Sequence[Bulk]:
        nonlocal broken
        if broken:
            broken -= 1
            raise KeyError("unexpected")
        return await active()

    monkeypatch.setattr(light.store.bulks, "active", unexpected)
    taken = await light.take(BulkAction.STOP, EVERY)
    async with light.carrying():
        assert (await light.ended(taken)).state is OperationState.SUCCEEDED
    assert not broken


async def test_two_processes_that_carry_one_out_at_once_begin_each_item_once(store: SqlStore, other: SqlStore) -> None:
    first, second = Yard(store), Yard(other)
    await first.create(30)
    async with first.carrying(), second.carrying():
        taken = await first.take(BulkAction.STOP, EVERY)
        second.bulk._tell()
        assert (await first.ended(taken)).state is OperationState.SUCCEEDED
    page = await store.list_operations(OperationQuery(page_size=1000))
    assert Counter(o.model for o in page.items if o.kind == "stop") == {f"m{n:03}": 1 for n in range(30)}


async def test_another_site_goes_on_with_what_nobody_carries_out(store: SqlStore) -> None:
    gone, here = Yard(store, "gone"), Yard(store)
    await here.create(2)
    taken = await gone.take(BulkAction.STOP, EVERY)
    async with here.carrying():
        assert (await here.ended(taken)).state is OperationState.SUCCEEDED


async def test_one_that_does_not_drive_leaves_it_to_those_who_do(store: SqlStore) -> None:
    yard = Yard(store)
    await yard.create(1)
    yard.driving = False
    async with yard.carrying():
        taken = await yard.take(BulkAction.STOP, EVERY)
        await asyncio.sleep(0.05)
        assert (await yard.items(taken))["m000"].state is ItemState.WAITING


async def test_what_passes_by_itself_is_tried_again(light: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.control.bulk_carrying._AGAIN", 0.01)
    await light.create(3)
    taken = await light.take(BulkAction.STOP, EVERY)
    light.store.away = 7
    async with light.carrying():
        assert (await light.ended(taken)).state is OperationState.SUCCEEDED
    failing = await light.take(BulkAction.STOP, EVERY)
    light.store.away = 15
    async with light.carrying():
        ended = await light.ended(failing)
    assert ended.error is not None
    assert ended.error["code"] == "bulk_failed"
    assert {item.code for item in (await light.items(failing)).values()} == {"unavailable"}


# ------------------------------------------------------------------------------------------- many


async def test_hundreds_are_accepted_within_a_second(light: Yard) -> None:
    await light.create(400)
    began = time.perf_counter()
    taken = await light.take(BulkAction.STOP, EVERY)
    took = time.perf_counter() - began
    async with light.carrying():
        ended = await light.ended(taken)
    assert ended.result is not None
    assert ended.result["counts"]["succeeded"] == 400
    assert took < 1, took
