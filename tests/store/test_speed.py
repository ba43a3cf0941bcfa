"""What the store's calls cost, printed for whoever asks (``pytest -s``), never judged: machines differ."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from modelyard.control.ports import Idempotency, ModelQuery
from modelyard.domain import commands
from modelyard.store import SqlStore
from tests.store.changes import SPEC, after, asked, created


async def timed(what: str, count: int, call: Callable[[int], Awaitable[object]]) -> None:
    took = []
    for number in range(count):
        begin = time.perf_counter()
        await call(number)
        took.append((time.perf_counter() - begin) * 1e6)
    took.sort()
    print(f"\n{what}: p50 {took[count // 2]:.0f} µs, p99 {took[count * 99 // 100]:.0f} µs", end="")


async def test_what_calls_cost(store: SqlStore) -> None:
    model = await created(store, spec=replace(SPEC, labels={"a": "b"}))

    async def commit(number: int) -> None:
        nonlocal model
        key = Idempotency(scope="s", key=str(number), fingerprint="f")
        model = after(await store.commit(commands.restart(model, asked()), key))

    await timed("get_model", 200, lambda _: store.get_model("default", "m"))
    await timed("commit (model, operation, event, key)", 200, commit)
    for number in range(200):
        await created(store, f"m{number}")
    await timed("list_models (50 of 201)", 20, lambda _: store.list_models(ModelQuery(page_size=50)))
    await timed("list_models (201)", 20, lambda _: store.list_models(ModelQuery(page_size=1000)))
    assert len((await store.list_models(ModelQuery(page_size=1000))).items) == 201


async def test_what_reading_a_whole_site_costs(store: SqlStore) -> None:
    """The event loop is held for a few milliseconds at a time, however many models there are."""
    count = 1000
    for start in range(0, count, 200):
        await asyncio.gather(*(created(store, f"m{number}") for number in range(start, start + 200)))
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before)

    await timed(f"model_versions ({count})", 5, lambda _: store.model_versions(""))
    ticking = asyncio.create_task(tick())
    await timed(f"models_of ({count})", 5, lambda _: store.models_of(""))
    ticking.cancel()
    print(f"; loop held {longest * 1e3:.0f} ms at most", end="")
    assert len(await store.models_of("")) == count
