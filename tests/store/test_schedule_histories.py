"""What a preview says is what happens: whatever ends, wherever it ends, and however often."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.control.ports import Fence, Idempotency, Place
from modelyard.domain.commands import Change
from modelyard.domain.schedules import DayException, Schedule, ScheduleKind, Weekday, Window
from modelyard.store import SqlStore
from tests.store.scheduled import Yard
from tests.store.templates import prepare

# Around the days on which clocks in Europe and America are set.
_BEGINNINGS = [datetime(2030, month, day, 11, tzinfo=UTC) for month, day in ((3, 8), (3, 29), (10, 25))]
_ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"]


class Died(Exception):
    """The process ends here."""


class Mortal(SqlStore):
    """Ends the process before or after one of the next commits of a schedule."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__(store._database)
        self.dies_in: int | None = None
        self.after = False

    async def commit(
        self, change: Change, idempotency: Idempotency | Place | None = None, fence: Fence | None = None
    ) -> Change:
        here = False
        if change.schedule is not None and self.dies_in is not None:
            here = self.dies_in == 0
            self.dies_in -= 1
        if here and not self.after:
            raise Died
        written = await super().commit(change, idempotency, fence)
        if here:
            raise Died
        return written


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(st.integers(0, 21 * 60))
    stop = draw(st.integers(start + 120, 24 * 60))
    return Window(time(*divmod(start, 60)), time(*divmod(stop % (24 * 60), 60)))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    zone = draw(st.sampled_from(_ZONES))
    day = draw(st.sampled_from(_BEGINNINGS)).date() + timedelta(days=1)
    exceptions = draw(st.sampled_from([(), (DayException(first=day, last=day, note="Off"),)]))
    if draw(st.booleans()):
        kind, recurring, daily = ScheduleKind.RECURRING, draw(windows()), {}
    else:
        kind, recurring = ScheduleKind.DAILY, None
        daily = draw(st.dictionaries(st.sampled_from(Weekday), windows(), min_size=1))
    return Schedule(kind=kind, timezone=zone, recurring=recurring, daily=daily, exceptions=exceptions)


@st.composite
def deaths(draw: st.DrawFn) -> list[tuple[int, bool] | None]:
    """For each occurrence in turn: whether the process ends with it, at which commit, and on which side of it."""
    return draw(st.lists(st.none() | st.tuples(st.integers(0, 1), st.booleans()), min_size=16, max_size=16))


async def _live(folder: Path, schedule: Schedule, began: datetime, deaths: list[tuple[int, bool] | None]) -> None:
    url = f"sqlite:///{folder / 'state.db'}"
    prepare(url)
    store = await SqlStore.open(url)
    try:
        mortal = Mortal(store)
        yard = Yard(mortal, began)
        await yard.model()
        await yard.save(schedule)
        said = list((await yard.service.coming(await yard.kept(), 6)).actions)
        for number, occurrence in enumerate(said):
            yard.now = occurrence.at - timedelta(seconds=1)
            await yard.scheduler.settle()
            yard.now = occurrence.at
            death = deaths[number % len(deaths)]
            if death is not None:
                mortal.dies_in, mortal.after = death
            await yard.scheduler.settle()
            mortal.dies_in = None
            if death is not None:
                yard.now += timedelta(seconds=7)
                yard.restart()
                await yard.scheduler.settle()
            await yard.come_to_rest()
            await yard.scheduler.settle()
        done = await yard.done_by_schedule()
        wanted = [(str(one.action), f"{one.at:%m-%d %H:%M}") for one in said]
        # A stop of what is stopped, as the first may be, is a command as well.
        assert done == wanted
        assert await yard.events("ScheduleCaughtUp") == []
    finally:
        await store.close()


@settings(max_examples=8, deadline=None)
@given(schedules(), st.sampled_from(_BEGINNINGS), deaths())
def test_what_was_foretold_happens_once_whenever_processes_end(
    schedule: Schedule, began: datetime, deaths: list[tuple[int, bool] | None]
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    try:
        asyncio.run(_live(folder, schedule, began, deaths))
    finally:
        shutil.rmtree(folder)
