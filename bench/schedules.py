"""How fast the next actions of many schedules are computed, and whether those that are due are fired on time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from statistics import median
from typing import Final

from bench.firing import firing
from modelyard.control.holidays import names_of
from modelyard.domain.occurrences import next_occurrence
from modelyard.domain.schedules import (
    DayException,
    HolidayCalendar,
    Schedule,
    ScheduleKind,
    Weekday,
    Window,
    schedule_problems,
    zone_names,
)
from modelyard.domain.zones import zone

MANY: Final = 100_000
ROUNDS: Final = 5
# A day like others, and the hour before most of Europe puts its clocks back.
MOMENTS: Final = {
    "a plain day": datetime(2026, 11, 20, 9, 30, tzinfo=UTC),
    "clocks change": datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
}
_COUNTRIES: Final = ("AT", "BR", "CA", "DE", "ES", "FR", "GB", "IT", "JP", "US")

Report = Callable[[str, str, str, bool], None]


def schedules(report: Report) -> None:
    next_actions(report)
    firing(report, varied(MANY, MOMENTS["a plain day"].date()))


def next_actions(report: Report) -> None:
    """Each round knows nothing of zones, as after a start, and keeps the instants, as the scheduler does."""
    for name, now in MOMENTS.items():
        many = varied(MANY, now.date())
        took, worked = [], []
        for _ in range(ROUNDS):
            zone.cache_clear()
            began, worked_before = time.perf_counter(), time.process_time()
            found = [_next_at(schedule, now) for schedule in many]
            took.append(time.perf_counter() - began)
            worked.append(time.process_time() - worked_before)
            assert all(found)
        report(f"next actions of {MANY:,} schedules, {name} ({ROUNDS} rounds)",
               f"{median(took):.2f} s ({median(worked):.2f} s of a core)", "<= 1 s", median(took) <= 1)  # fmt: skip


def _next_at(schedule: Schedule, now: datetime) -> datetime | None:
    coming = next_occurrence(schedule, now, names_of(schedule.holidays))
    return coming.at if coming is not None else None


def varied(count: int, around: date) -> list[Schedule]:
    """In all zones, of both kinds; a third has exceptions around a day, a fifth has public holidays. The same ones
    every time."""
    rng = random.Random(6)
    zones = sorted(zone_names())
    made = [_one(rng, rng.choice(zones), around) for _ in range(count)]
    assert not any(schedule_problems(schedule) for schedule in made[:1000])
    return made


def _one(rng: random.Random, timezone: str, around: date) -> Schedule:
    exceptions, day = [], around - timedelta(days=10)
    if rng.random() < 1 / 3:
        for _ in range(rng.randint(1, 5)):
            first = day + timedelta(days=rng.randint(1, 20))
            day = first + timedelta(days=rng.randint(0, 4))
            window = _window(rng) if rng.random() < 0.5 else None
            exceptions.append(DayException(first=first, last=day, window=window))
    holidays = HolidayCalendar(rng.choice(_COUNTRIES)) if rng.random() < 1 / 5 else None
    if rng.random() < 0.5:
        return Schedule(
            kind=ScheduleKind.RECURRING, timezone=timezone, recurring=_window(rng), exceptions=tuple(exceptions),
            holidays=holidays,
        )  # fmt: skip
    days = rng.sample(list(Weekday), rng.randint(1, 7))
    return Schedule(
        kind=ScheduleKind.DAILY, timezone=timezone, daily={day: _window(rng) for day in days},
        exceptions=tuple(exceptions), holidays=holidays,
    )  # fmt: skip


def _window(rng: random.Random) -> Window:
    start = rng.randint(0, 21 * 60 + 59)
    stop = rng.randint(start + 120, 24 * 60)
    return Window(clock(start // 60, start % 60), clock(stop // 60 % 24, stop % 60))
