"""The real reconciler and a simulated machine: those who wait are let in by what happens, not by its look at all."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bench.simulated import SilentGateway, SimulatedBackend

from modelyard.control import reconciler as module
from modelyard.control.changes import ChangeFeed
from modelyard.control.reconciler import Reconciler
from modelyard.domain import commands
from modelyard.domain.capacity import Device, Inventory
from modelyard.domain.commands import Asked
from modelyard.domain.model import Model, StopMode
from modelyard.domain.spec import BackendName, Engine, Resources, Spec
from modelyard.domain.states import RunState, State
from modelyard.store import SqlStore

PATIENCE = 10.0


def inventory(devices: int) -> Inventory:
    return Inventory(cpu=8, memory=2**33, devices=tuple(Device(id=str(n)) for n in range(devices)))


class Site:
    """Models that want a device each, on a machine with a few."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.feed = ChangeFeed(store)
        self.backend = SimulatedBackend(inventory(2), start_takes=0.01, stop_takes=0.01)
        self.reconciler = Reconciler(
            store, self.feed, {BackendName.LOCAL: self.backend}, SilentGateway(), lambda: datetime.now(UTC), site="here"
        )

    async def deploy(self, name: str) -> None:
        spec = Spec(engine=Engine.MOCK, resources=Resources(gpus=1))
        await self.feed.commit(commands.create(name, "default", name, spec, RunState.RUNNING, asked(name), "here"))

    async def stop(self, name: str) -> None:
        model = await self.store.get_model_by_uid(name)
        assert model is not None
        await self.feed.commit(commands.stop(model, StopMode.FORCE, 0.0, asked(f"stop {name}")))

    async def until(self, **states: int) -> list[Model]:
        """Until exactly so many models are in these states; those that run."""
        async with asyncio.timeout(PATIENCE):
            while await self.store.count_models() != states:
                await asyncio.sleep(0.01)
        return [m for m in await self.store.models_of("here") if m.status.state is State.RUNNING]


def asked(operation: str) -> Asked:
    return Asked(actor="tester", reason="", at=datetime.now(UTC), operation_id=operation)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    store = await SqlStore.open(f"sqlite:///{folder / 'state.db'}")
    found = Site(store)
    await found.reconciler.start()
    yield found
    await found.reconciler.close()
    await store.close()
    shutil.rmtree(folder)


async def test_a_stop_lets_in_the_next_of_many(site: Site) -> None:
    for number in range(40):
        await site.deploy(f"m{number:02}")
    (first, _) = await site.until(running=2, queued=38)
    await site.stop(first.name)
    now = await site.until(running=2, queued=37, stopped=1)
    assert [m.name for m in now] == ["m01", "m02"]


async def test_a_new_device_lets_in_the_next(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INVENTORY_EVERY", 0.05)
    for number in range(4):
        await site.deploy(f"m{number}")
    await site.until(running=2, queued=2)
    site.backend._inventory = inventory(3)
    await site.until(running=3, queued=1)
