"""Whether schedules are carried out on time, beside very many others, and what it costs while nothing is due."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from modelyard.backends.port import Backend
from modelyard.control.carrying import Carrying
from modelyard.control.changes import ChangeFeed
from modelyard.control.checks import SpecChecks
from modelyard.control.ports import OperationQuery
from modelyard.control.scheduler import Scheduler
from modelyard.control.service import ModelService
from modelyard.domain import commands, scheduling
from modelyard.domain.capacity import Inventory
from modelyard.domain.commands import Asked, Change
from modelyard.domain.schedules import DayException, Schedule, ScheduleKind, Window
from modelyard.domain.scheduling import ScheduleChange
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import RunState
from modelyard.store import SqlStore
from modelyard.store.schedules import row_of
from modelyard.store.tables import models, schedules
from modelyard.tasks import spawn, stop

DUE: Final = 300
IDLE_SECONDS = 30
# Seconds before the minute at which the loop is waiting.
_LEAD: Final = 5.0
_NOON: Final = datetime(2030, 1, 7, 12, 0, tzinfo=UTC)
_ROWS: Final = 10_000

Report = Callable[[str, str, str, bool], None]


async def _inventories() -> Mapping[str, Inventory]:
    return {}


def firing(report: Report, others: list[Schedule]) -> None:
    """``others`` are not due while this lasts."""
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    try:
        asyncio.run(_fire(report, others, folder))
    finally:
        shutil.rmtree(folder)


def quiet(schedule: Schedule) -> Schedule:
    """The same with nothing on the day of the measurement."""
    return replace(schedule, exceptions=(DayException(first=date(2030, 1, 5), last=date(2030, 1, 9)),))


async def _fire(report: Report, others: list[Schedule], folder: Path) -> None:
    store = await SqlStore.open(f"sqlite:///{folder / 'state.db'}")

    offset = time.monotonic() + _LEAD + 60

    def now() -> datetime:
        return _NOON + timedelta(seconds=time.monotonic() - offset)

    feed = ChangeFeed(store)
    backends: dict[Any, Backend] = {}
    service = ModelService(store, feed, SpecChecks(store, backends), now, site="here")
    due = Schedule(kind=ScheduleKind.RECURRING, timezone="UTC", recurring=Window(clock(12), clock(20)))
    await _fill(store, [due] * DUE + [quiet(schedule) for schedule in others], now())
    carrying = Carrying(store, store.schedules, service, feed, now)
    scheduler = Scheduler(store.schedules, carrying, "here", lambda: True, now, shared=store.shared)
    feed.watchers.append(scheduler.tell)
    began = time.monotonic()
    await scheduler.settle()
    report(f"{DUE + len(others):,} schedules taken up", f"{time.monotonic() - began:.1f} s", "-", True)
    offset = time.monotonic() + IDLE_SECONDS + _LEAD
    running = spawn(scheduler.run(), "schedules")
    worked = time.process_time()
    await asyncio.sleep(IDLE_SECONDS)
    share = (time.process_time() - worked) / IDLE_SECONDS
    report(f"{DUE + len(others):,} schedules, none due", f"{share:.2%} of a core", "<= 1 %", share <= 0.01)
    late = await _fired(store, DUE)
    report(f"{DUE} of them due at once", f"the last {late:.2f} s after its minute", "<= 1 s", late <= 1)
    await stop(running)
    await store.close()


async def _fired(store: SqlStore, count: int) -> float:
    """How late the last of them was, in seconds."""
    while True:
        await asyncio.sleep(1.0)
        page = await store.list_operations(OperationQuery(page_size=1000))
        made = [o.created_at for o in page.items if o.actor == scheduling.ACTOR]
        if len(made) >= count:
            return (max(made) - _NOON).total_seconds()


async def _fill(store: SqlStore, wanted: list[Schedule], now: datetime) -> None:
    """One model is made as models are, the others are copies of its rows."""
    asked = Asked(actor="bench", reason="", at=now - timedelta(days=1), operation_id="op-first")
    spec = Spec(engine=Engine.MOCK)
    made = commands.create("u0000000", "default", "m0000000", spec, RunState.STOPPED, asked, "here")
    model = (await store.commit(made)).after
    assert model is not None
    kept = scheduling.saved(None, model.uid, wanted[0], "bench", now)
    change = ScheduleChange(before=None, after=kept)
    await store.commit(Change(before=model, after=model, schedule=change))

    def copy(connection: sa.Connection, start: int) -> None:
        row = dict(connection.execute(sa.select(models)).first()._mapping)  # type: ignore[union-attr]
        numbers = range(start, min(start + _ROWS, len(wanted)))
        connection.execute(sa.insert(models), [{**row, "uid": f"u{n:07}", "name": f"m{n:07}"} for n in numbers])
        connection.execute(
            sa.insert(schedules), [row_of(replace(kept, model_uid=f"u{n:07}", schedule=wanted[n])) for n in numbers]
        )

    for start in range(1, len(wanted), _ROWS):
        await store._database.write(lambda c, start=start: copy(c, start))  # type: ignore[misc]
