"""A reader that goes on from the last event it saw misses none, whoever writes at the same time."""

from __future__ import annotations

import asyncio

from modelyard.control.ports import EventQuery
from modelyard.domain.commands import Change
from modelyard.domain.model import Model
from modelyard.store import SqlStore
from tests.store.changes import created, event

WRITERS, EACH = 8, 25


async def test_events_become_visible_in_the_order_of_their_ids(store: SqlStore, other: SqlStore) -> None:
    models = [await created(store, f"m{i}") for i in range(WRITERS)]
    start = await store.last_event_id()

    async def write(mine: SqlStore, model: Model) -> None:
        for _ in range(EACH):
            await mine.commit(Change(before=model, after=model, events=(event(model), event(model))))

    async def follow(writers: asyncio.Future[list[None]]) -> list[int]:
        seen: list[int] = []
        while True:
            finished = writers.done()
            page = await other.list_events(EventQuery(after=seen[-1] if seen else start, page_size=1000))
            seen += [e.id for e in page.items]
            if finished:
                return seen

    writers = asyncio.gather(*(write((store, other)[i % 2], model) for i, model in enumerate(models)))
    seen = await follow(writers)
    await writers
    everything = (await store.list_events(EventQuery(after=start, page_size=1000))).items
    assert seen == [e.id for e in everything]
    assert len(seen) == WRITERS * EACH * 2
