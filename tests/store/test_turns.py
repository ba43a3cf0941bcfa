"""Thousands may ask a PostgreSQL at once: they wait for each other, and fail only when it answers nobody."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from modelyard.domain.errors import Unavailable
from modelyard.store import SqlStore
from modelyard.store.turns import Turns
from tests.store.changes import created


async def test_who_waits_longer_than_patience_is_served_as_long_as_turns_end() -> None:
    turns = Turns(2, 0.2, "Nobody answers.")
    order: list[int] = []

    async def one(number: int) -> None:
        async with turns.turn():
            order.append(number)
            await asyncio.sleep(0.02)

    await asyncio.gather(*(one(number) for number in range(60)))
    assert order == list(range(60)), "first come, first served"


async def test_who_waits_while_no_turn_ends_is_told_and_leaves_the_line() -> None:
    turns = Turns(1, 0.1, "Nobody answers.")
    hanging = asyncio.Event()

    async def hang() -> None:
        async with turns.turn():
            await hanging.wait()

    stuck = asyncio.create_task(hang())
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(Unavailable, match="Nobody answers"):
            async with turns.turn():
                pass
    cancelled = asyncio.create_task(hang())
    await asyncio.sleep(0.01)
    cancelled.cancel()
    hanging.set()
    await stuck
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    async with asyncio.timeout(5), turns.turn():
        pass


async def test_many_slow_queries_at_once_all_answer(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.store.postgres.BUSY", 1)
    store = await SqlStore.open(postgres_url)
    await created(store)

    def slow(connection: sa.Connection) -> int:
        return int(connection.execute(sa.text("SELECT 1 FROM pg_sleep(0.1)")).scalar_one())

    # Together they take two and a half times as long as one waits for a connection.
    answers = await asyncio.gather(*(store._database.read(slow) for _ in range(200)))
    assert answers == [1] * 200
    await store.close()
