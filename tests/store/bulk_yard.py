"""A control process that works on many models over a real database, and the tests' hands in place of its reconciler."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from datetime import time as clock

import pytest

from modelyard.backends.port import Backend
from modelyard.control.bulk import BulkService
from modelyard.control.bulk_carrying import BulkCarrier
from modelyard.control.caller import Caller
from modelyard.control.capacity import CapacityViews
from modelyard.control.changes import ChangeFeed
from modelyard.control.checks import SpecChecks
from modelyard.control.forecasts import Forecasts
from modelyard.control.ports import EventQuery, Fence, Idempotency, Place
from modelyard.control.schedule_service import ScheduleService
from modelyard.control.service import ModelService
from modelyard.control.stop_many import StopMany
from modelyard.domain import commands
from modelyard.domain.bulk import BulkAction, Item, ItemState, Order, Selection
from modelyard.domain.capacity import Inventory
from modelyard.domain.commands import Asked, Change
from modelyard.domain.errors import Unavailable
from modelyard.domain.model import Failure, Transition
from modelyard.domain.operations import Operation, settle
from modelyard.domain.schedules import Schedule, ScheduleKind, Window
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import RunState, State
from modelyard.store import SqlStore
from modelyard.tasks import spawn, stop
from tests.store.changes import EPOCH

ADMIN = Caller(actor="admin", reason="test")
EVERY = Selection(all=True)
OFFICE_HOURS = Schedule(kind=ScheduleKind.RECURRING, timezone="Europe/Berlin", recurring=Window(clock(8), clock(20)))


async def _inventories() -> Mapping[str, Inventory]:
    return {}


class Sloppy(SqlStore):
    """May be away for some commits, and may die: then nothing that it is asked to commit ever comes back."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__(store._database)
        self.away = 0
        self.dies_after: int | None = None
        self.dead = asyncio.Event()

    async def commit(
        self, change: Change, idempotency: Idempotency | Place | None = None, fence: Fence | None = None
    ) -> Change:
        if self.away:
            self.away -= 1
            raise Unavailable("The database is away.")
        if self.dies_after is not None:
            if not self.dies_after:
                self.dead.set()
                await asyncio.Event().wait()
            self.dies_after -= 1
        return await super().commit(change, idempotency, fence)


class Yard:
    """A control process, and the tests' hands in place of its reconciler."""

    def __init__(self, store: SqlStore, site: str = "here") -> None:
        self.store = Sloppy(store)
        self.site = site
        self.feed = ChangeFeed(self.store)
        backends: dict[str, Backend] = {}
        checks = SpecChecks(self.store, backends)  # type: ignore[arg-type]
        self.models = ModelService(self.store, self.feed, checks, self.now)
        self.stop_many = StopMany(self.store, self.feed, self.models, self.store.bulks, self.now)
        views = CapacityViews(self.store, _inventories)
        forecasts = Forecasts(self.store, self.models, views, self.now, site=site)
        self.bulk = BulkService(self.store, self.store.bulks, self.models, forecasts, self.now, site=site)
        self.schedules = ScheduleService(self.store.schedules, self.models, self.feed, self.now)
        self.driving = True

    _seconds = 0

    def now(self) -> datetime:
        Yard._seconds += 1
        return EPOCH + timedelta(seconds=Yard._seconds)

    @asynccontextmanager
    async def carrying(self) -> AsyncIterator[None]:
        carrier = BulkCarrier(
            self.store, self.store.bulks, self.feed, self.models, self.now, site=self.site,
            driving=lambda: self.driving, sites=self.store, timetables=self.schedules,
        )  # fmt: skip
        self.bulk.on_change = carrier.tell
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("modelyard.control.bulk_carrying._LULL", 0.05)
            task = spawn(carrier.run(), "carrier")
            try:
                yield
            finally:
                await stop(task)

    async def create(self, count: int, *, namespace: str = "default", running: bool = False, team: str = "m") -> None:
        changes = []
        for number in range(count):
            name = f"{team}{number:03}"
            asked = Asked(actor="a", reason="", at=self.now(), operation_id=f"op-{namespace}-{name}")
            desired = RunState.RUNNING if running else RunState.STOPPED
            spec = Spec(engine=Engine.MOCK, labels={"team": team})
            changes.append(commands.create(f"{namespace}-{name}", namespace, name, spec, desired, asked, self.site))
        await asyncio.gather(*(self.store.commit(change) for change in changes))

    async def becomes(self, name: str, state: State, failure: Failure | None = None) -> None:
        """As the reconciler would write it."""
        model = await self.store.get_model("default", name)
        assert model is not None
        at = self.now()
        transition = Transition(
            before=model.status.state, after=state, at=at, actor="controller", reason="test", message="Test."
        )
        status = replace(model.status, state=state, transition=transition, failure=failure)
        after = replace(model, status=status)
        running = await self.store.running_operations(model.uid)
        ended = tuple(new for old in running if (new := settle(old, after, at)) != old)
        await self.feed.commit(Change(before=model, after=after, operations=ended), wake=False)
        self.feed.stir_followers()  # the event that the reconciler would have written with it

    async def take(self, action: BulkAction, selection: Selection, **more: object) -> str:
        order = Order(action=action, selection=selection, **more)  # type: ignore[arg-type]
        return (await self.bulk.take(order, None, ADMIN)).id

    async def ended(self, operation_id: str) -> Operation:
        found = await self.feed.wait_operation(operation_id, 10)
        assert found.done, (found, await self.store.bulks.items(operation_id))
        return found

    async def items(self, operation_id: str) -> dict[str, Item]:
        return {item.model.name: item for item in await self.store.bulks.items(operation_id)}

    async def until(self, operation_id: str, holds: Callable[[Counter[ItemState]], bool]) -> Counter[ItemState]:
        """The counts once they are so."""
        async with asyncio.timeout(10):
            while True:
                counts = Counter(item.state for item in await self.store.bulks.items(operation_id))
                if holds(counts):
                    return counts
                await asyncio.sleep(0.01)

    async def requested(self, kind: str = "StartRequested") -> list[str]:
        page = await self.store.list_events(EventQuery(page_size=1000))
        return sorted(event.model for event in page.items if event.type == kind)
