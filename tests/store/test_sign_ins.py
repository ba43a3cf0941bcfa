"""The codes of links that sign in: taken once, in time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from modelyard.store import SqlStore

NOW = datetime(2026, 5, 1, tzinfo=UTC)
CODES = ["a" * 64, "b" * 64]


async def test_of_many_who_take_a_code_at_once_one_gets_it(store: SqlStore, other: SqlStore) -> None:
    for code in CODES:
        await store.sign_ins.put_code(code, f"sealed {code}", NOW + timedelta(minutes=10))
    takers = [s.sign_ins.take_code(CODES[0], NOW) for s in (store, other) * 8]
    found = await asyncio.gather(*takers)
    assert sorted(found, key=str) == [None] * 15 + [f"sealed {CODES[0]}"]
    assert await other.sign_ins.take_code(CODES[1], NOW) == f"sealed {CODES[1]}"
    assert await store.sign_ins.take_code("c" * 64, NOW) is None


async def test_a_code_that_is_over_is_nobodys_and_is_forgotten(store: SqlStore) -> None:
    now = datetime.now(UTC)
    await store.sign_ins.put_code(CODES[0], "late", now)
    assert await store.sign_ins.take_code(CODES[0], now) is None
    await store.sign_ins.put_code(CODES[0], "late", now)
    await store.sign_ins.put_code(CODES[1], "in time", now + timedelta(minutes=10))
    assert await store.tidy() == 1
    assert await store.sign_ins.take_code(CODES[1], now) == "in time"
