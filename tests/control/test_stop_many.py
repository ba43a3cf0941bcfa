"""Stops of many models: all accepted first, none forgotten after."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelyard.backends.port import Backend
from modelyard.control.caller import Caller
from modelyard.control.changes import ChangeFeed
from modelyard.control.checks import SpecChecks
from modelyard.control.ports import Fence, Idempotency, ModelQuery
from modelyard.control.service import ModelService
from modelyard.control.stop_many import StopMany
from modelyard.domain import commands
from modelyard.domain.capacity import Inventory
from modelyard.domain.commands import Asked, Change
from modelyard.domain.errors import VersionConflict
from modelyard.domain.model import StopMode
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import RunState, State
from modelyard.store import SqlStore

NOW = datetime(2030, 1, 1, tzinfo=UTC)
COUNT = 150


class Contested(SqlStore):
    """Another caller is faster once for every tenth model, and one write never comes to an end."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__(store._database)
        self.wins: set[str] = set()
        self.stuck_on = ""
        self.stuck = asyncio.Event()

    async def commit(
        self, change: Change, idempotency: Idempotency | None = None, fence: Fence | None = None
    ) -> Change:
        name = change.after.name if change.after else ""
        if name.endswith("0") and name not in self.wins:
            self.wins.add(name)
            raise VersionConflict("somebody else was faster")
        if name == self.stuck_on:
            self.stuck.set()
            await asyncio.Event().wait()
        return await super().commit(change, idempotency, fence)


async def _inventories() -> Mapping[str, Inventory]:
    return {}


async def _running(folder: Path) -> tuple[Contested, ModelService, list[str]]:
    store = Contested(await SqlStore.open(f"sqlite:///{folder / 'state.db'}"))
    for number in range(COUNT):
        asked = Asked(actor="a", reason="", at=NOW, operation_id=f"op-{number}")
        store.wins.add(f"m{number:03}")
        await store.commit(
            commands.create(
                f"u{number:03}", "default", f"m{number:03}", Spec(engine=Engine.MOCK), RunState.RUNNING, asked
            )
        )
    store.wins.clear()
    feed = ChangeFeed(store)
    backends: dict[str, Backend] = {}
    models = ModelService(store, feed, SpecChecks(store, backends), lambda: NOW)  # type: ignore[arg-type]
    service = StopMany(store, feed, models, store.bulks, lambda: NOW)
    woken: list[str] = []
    feed.on_commit = lambda change: woken.append(change.after.uid) if change.after else None
    return store, service, woken


async def _stopping(store: SqlStore) -> set[str]:
    page = await store.list_models(ModelQuery(states=(State.STOPPING,), page_size=1000))
    return {model.uid for model in page.items}


async def test_no_stop_is_carried_out_before_all_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To carry one out costs several times what accepting it does, and the caller waits for the latter."""
    store, service, woken = await _running(tmp_path)
    written_when_woken: list[int] = []
    original = service._feed.wake

    def wake(change: Change) -> None:
        written_when_woken.append(len(store.wins))
        original(change)

    monkeypatch.setattr(service._feed, "wake", wake)
    results = await service.stop(None, [], {}, StopMode.DRAIN, 30, Caller(actor="a"))
    assert [r.error for r in results] == [None] * COUNT
    assert len(woken) == COUNT, "each is woken once, those whose race was lost too"
    assert set(written_when_woken) == {COUNT // 10}, "none before the last was written"
    assert set(woken) == await _stopping(store)
    await store.close()


async def test_what_was_accepted_is_carried_out_though_the_caller_is_gone(tmp_path: Path) -> None:
    store, service, woken = await _running(tmp_path)
    store.stuck_on = "m140"
    call = asyncio.create_task(service.stop(None, [], {}, StopMode.DRAIN, 30, Caller(actor="a")))
    await store.stuck.wait()
    while len(await _stopping(store)) < COUNT - 1:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert set(woken) == await _stopping(store)
    assert len(woken) == COUNT - 1
    await store.close()
