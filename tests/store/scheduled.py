"""A scheduler over a real database, in a time that the test sets: models are simulated, commands and notes are not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as wall

from modelyard.backends.port import Backend
from modelyard.control.caller import Caller
from modelyard.control.carrying import Carrying
from modelyard.control.changes import ChangeFeed
from modelyard.control.checks import SpecChecks
from modelyard.control.policies import PolicyDesk
from modelyard.control.ports import EventQuery, OperationQuery
from modelyard.control.schedule_service import ScheduleService
from modelyard.control.scheduler import Scheduler
from modelyard.control.service import ModelService
from modelyard.domain import operations
from modelyard.domain.capacity import Inventory
from modelyard.domain.commands import Change
from modelyard.domain.errors import Refused
from modelyard.domain.model import Event, Model, Released, StopMode
from modelyard.domain.operations import Operation
from modelyard.domain.schedules import Schedule, ScheduleKind, Window
from modelyard.domain.scheduling import ModelSchedule
from modelyard.domain.states import RunState, State
from modelyard.store import SqlStore
from tests.store.changes import created

MONDAY = datetime(2030, 1, 7, 6, 0, tzinfo=UTC)
OFFICE = Schedule(kind=ScheduleKind.RECURRING, timezone="UTC", recurring=Window(wall(8), wall(20)))
ALICE = Caller(actor="alice", reason="By hand")


async def _inventories() -> Mapping[str, Inventory]:
    return {}


class Refusing(ModelService):
    """Says no to what a schedule asks for while ``refusal`` is set."""

    refusal: Refused | None = None

    async def start(self, namespace: str, name: str, caller: Caller, *, restore_autoscaling: bool = True) -> Operation:
        if self.refusal is not None:
            raise self.refusal
        return await super().start(namespace, name, caller, restore_autoscaling=restore_autoscaling)


class Yard:
    """One control process of the site ``here``: :meth:`restart` makes the next one of the same database."""

    def __init__(self, store: SqlStore, now: datetime = MONDAY, *, shared: bool = False) -> None:
        self.store, self.now, self.shared, self.driving = store, now, shared, True
        self.ticks_since: float | None = None
        self.restart()

    def restart(self) -> None:
        self.feed = ChangeFeed(self.store)
        backends: dict[str, Backend] = {}
        checks = SpecChecks(self.store, backends)  # type: ignore[arg-type]
        self.policies = PolicyDesk(self.store.policies, self.store, self.clock, shared=self.shared)
        self.models = Refusing(self.store, self.feed, checks, self.clock, site="here", gate=self.policies)
        self.service = ScheduleService(self.store.schedules, self.models, self.feed, self.clock)
        carrying = Carrying(self.store, self.store.schedules, self.models, self.feed, self.clock)
        self.scheduler = Scheduler(
            self.store.schedules, carrying, "here", lambda: self.driving, self.clock, shared=self.shared
        )
        self.feed.watchers.append(self.scheduler.tell)

    def clock(self) -> datetime:
        """It stands still, or goes since ``ticks_since`` (by the monotonic clock)."""
        gone = 0.0 if self.ticks_since is None else time.monotonic() - self.ticks_since
        return self.now + timedelta(seconds=gone)

    async def at(self, hour: int, minute: int = 0, *, days: int = 0) -> None:
        """It is so late on Monday, or so many days after it, and what is due is done."""
        self.now = MONDAY.replace(hour=hour, minute=minute) + timedelta(days=days)
        await self.scheduler.settle()

    # ------------------------------------------------------------------ the models

    async def model(self, name: str = "m", desired: RunState = RunState.STOPPED) -> Model:
        made = await created(self.store, name, desired=str(desired))
        placed = replace(made, site="here")
        written = await self.store.commit(Change(before=made, after=placed))
        assert written.after is not None
        await self.come_to_rest(name)
        return written.after

    async def come_to_rest(self, name: str = "m", *, fail: bool = False) -> None:
        """The reconciler has done what is wanted of the model, or has failed to."""
        model = await self.store.get_model("default", name)
        assert model is not None
        states = {State.STARTING: State.RUNNING, State.STOPPING: State.STOPPED}
        state = State.ERROR if fail else states.get(model.status.state, model.status.state)
        done: list[Operation] = []
        for operation in await self.store.running_operations(model.uid):
            if fail:
                done.append(operations.fail(operation, self.now, "load_failed", "It does not load."))
            else:
                done.append(operations.succeed(operation, self.now, {"state": str(state)}))
        released = Released(at=self.now, took_seconds=0.0, instances=0, processes=0, memory=0)
        after = replace(
            model, status=replace(model.status, state=state, released=released, stop=None), updated_at=self.now
        )
        await self.feed.commit(Change(before=model, after=after, operations=tuple(done)))

    async def state(self, name: str = "m") -> State:
        model = await self.store.get_model("default", name)
        assert model is not None
        return model.status.state

    async def start(self, name: str = "m") -> None:
        await self.models.start("default", name, ALICE)
        await self.come_to_rest(name)

    async def stop(self, name: str = "m") -> None:
        await self.models.stop("default", name, StopMode.DRAIN, 30.0, ALICE)
        await self.come_to_rest(name)

    # ------------------------------------------------------------------ what is seen

    async def save(self, schedule: Schedule = OFFICE, name: str = "m") -> ModelSchedule:
        return await self.service.save("default", name, schedule, ALICE)

    async def kept(self, name: str = "m") -> ModelSchedule:
        return (await self.service.get("default", name, None))[1]

    async def done_by_schedule(self) -> list[tuple[str, str]]:
        """Each command of a schedule, the oldest first: what, and the minute at which it was made."""
        page = await self.store.list_operations(OperationQuery(page_size=1000))
        found = [o for o in reversed(page.items) if o.actor == "schedule"]
        return [(str(o.kind), f"{o.created_at:%m-%d %H:%M}") for o in found]

    async def events(self, type_: str) -> list[Event]:
        page = await self.store.list_events(EventQuery(page_size=1000))
        return [event for event in reversed(page.items) if event.type == type_]
