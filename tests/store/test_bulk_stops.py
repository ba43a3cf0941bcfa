"""Stops are newer than what was asked of many models before them, over real databases."""

from __future__ import annotations

import asyncio

import pytest

from modelyard.domain.bulk import BulkAction, ItemState, Selection
from modelyard.domain.model import StopMode
from modelyard.domain.operations import OperationState
from modelyard.domain.states import RunState, State
from modelyard.store import SqlStore
from tests.store.bulk_yard import ADMIN, EVERY, Yard


@pytest.fixture
def yard(store: SqlStore) -> Yard:
    return Yard(store)


async def test_a_stop_makes_the_starts_void_that_were_asked_for_before_it(yard: Yard) -> None:
    await yard.create(4)
    async with yard.carrying():
        taken = await yard.take(BulkAction.START, EVERY, concurrency=1)
        await yard.until(taken, lambda c: c[ItemState.RUNNING] == 1)
        for name in ("m000", "m002"):
            await yard.models.stop("default", name, StopMode.DRAIN, 30, ADMIN)
        await yard.becomes("m000", State.STOPPED)
        await yard.until(taken, lambda c: c[ItemState.CANCELLED] == 2 and c[ItemState.RUNNING] == 1)
        await yard.becomes("m001", State.RUNNING)
        await yard.until(taken, lambda c: c[ItemState.SUCCEEDED] == 1 and c[ItemState.RUNNING] == 1)
        await yard.becomes("m003", State.RUNNING)
        ended = await yard.ended(taken)
    items = await yard.items(taken)
    assert (items["m002"].state, items["m002"].code) == (ItemState.CANCELLED, "superseded")
    assert ended.state is OperationState.FAILED
    assert await yard.requested() == ["m000", "m001", "m003"]


async def test_a_start_that_was_asked_for_after_a_stop_stands(yard: Yard) -> None:
    await yard.create(1)
    await yard.models.start("default", "m000", ADMIN)
    await yard.models.stop("default", "m000", StopMode.FORCE, 0, ADMIN)
    taken = await yard.take(BulkAction.START, EVERY)
    # The end of the stop is written after the request, and is no stop after it.
    await yard.becomes("m000", State.STOPPED)
    async with yard.carrying():
        await yard.until(taken, lambda c: c[ItemState.RUNNING] == 1)


async def test_the_emergency_stop_goes_before_all_that_was_to_be_started(yard: Yard) -> None:
    await yard.create(80)
    taken = await yard.take(BulkAction.START, EVERY, concurrency=0)
    stops = await yard.take(BulkAction.STOP, Selection(search="m00"))
    async with yard.carrying():
        while not await yard.requested():
            await asyncio.sleep(0)
        found = await yard.stop_many.stop(None, [], {}, StopMode.FORCE, 0, ADMIN)
        assert [one.error for one in found] == [None] * 80
        begun = await yard.requested()
        await yard.until(taken, lambda c: not c[ItemState.WAITING])
        await yard.until(stops, lambda c: not c[ItemState.WAITING])
    assert await yard.requested() == begun, "nothing is started after it"
    page = await yard.store.models_of("here")
    assert all(model.desired is RunState.STOPPED for model in page)
