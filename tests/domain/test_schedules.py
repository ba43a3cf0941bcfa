"""When schedules act: against the wall clock watched second by second, and over any stretch of time.

``make schedules`` looks at every change of every zone from 2020 to 2040; here it is every zone once, and every kind of
change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelyard.domain.occurrences import missed, next_occurrence, occurrences
from modelyard.domain.schedules import (
    DayException,
    Extension,
    HolidayCalendar,
    Occurrence,
    Schedule,
    ScheduledAction,
    ScheduleKind,
    Weekday,
    Window,
    schedule_problems,
)
from modelyard.domain.zones import instant, seconds_of, zone
from tests.domain.clockwalk import Change, Walk, changes

EVERY_CHANGE = "MODELYARD_EVERY_CHANGE" in os.environ
ZONES = sorted(available_timezones() - {"localtime", "Factory"})
START, STOP = ScheduledAction.START, ScheduledAction.STOP


def office(timezone: str) -> Schedule:
    return Schedule(kind=ScheduleKind.RECURRING, timezone=timezone, recurring=Window(time(8), time(20)))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def minutes_window(start: int, stop: int) -> Window:
    return Window(time(start // 60, start % 60), time(stop // 60 % 24, stop % 60))


# ------------------------------------------------------------------------------- against the watched clock


def around(change: Change, walk: Walk) -> Iterator[Schedule]:
    """Schedules that begin, end, touch or are swallowed at a change, and some that are far from it."""
    left = (change.at + change.before) // 60 % 1440
    right = (change.at + change.after) // 60 % 1440
    low, high = min(left, right), max(left, right)
    marks = {0, 120, 600, 1320, 1440}
    for edge in (low, high) if high - low <= 720 else (0, low, high):
        marks |= {edge + n for n in (-120, -60, -1, 0, 1, 30, 60, 120)}
    starts = sorted(m for m in marks if 0 <= m <= 1320)
    for start in starts:
        yield Schedule(kind=ScheduleKind.RECURRING, timezone="", recurring=minutes_window(start, start + 120))
        yield Schedule(kind=ScheduleKind.RECURRING, timezone="", recurring=minutes_window(start, 1440))
        if start >= 120:
            # Ends at the mark; and on each second day a window that touches the one before.
            yield Schedule(kind=ScheduleKind.RECURRING, timezone="", recurring=minutes_window(start - 120, start))
            halves = (minutes_window(start, 1440), minutes_window(0, start))
            days = {day: halves[n % 2] for n, day in enumerate(Weekday)}
            yield Schedule(kind=ScheduleKind.DAILY, timezone="", daily=days)


def agree(name: str, change: Change) -> int:
    """How many times of days and occurrences are the same as on the watched clock."""
    assert change.at % 60 == 0
    walk, of, count = Walk(name, change.at), zone(name), 0
    for day in walk.days:
        for minute in range(1441):
            expected = walk.fires(day, minute)
            assert of.comes(day.toordinal(), minute)[0] == expected, (name, day, minute)
            count += 1
    for pattern in around(change, walk):
        schedule = replace(pattern, timezone=name)
        first, last, edges = walk.edges(schedule)
        found = [(seconds_of(o.at), o.action) for o in occurrences(schedule, instant(first), instant(last))]
        assert found == edges, (name, change, schedule)
        count += len(found)
    return count


def test_at_every_kind_of_change_of_any_zones_clock_a_schedule_acts_as_the_watched_clock_says() -> None:
    kinds: dict[tuple[int, int], tuple[str, Change]] = {}
    for of, name in {changes(name, days=20): name for name in ZONES}.items():
        for change in of:
            kinds.setdefault(change.kind, (name, change))
    assert len(kinds) > 15
    for name, change in kinds.values():
        agree(name, change)


@pytest.mark.skipif(not EVERY_CHANGE, reason="takes many minutes: make schedules")
def test_at_every_change_of_every_zone_from_2020_to_2040_a_schedule_acts_as_the_watched_clock_says() -> None:
    alike: dict[tuple[Change, ...], list[str]] = {}
    for name in ZONES:
        alike.setdefault(changes(name, days=1), []).append(name)
    compared = sum(agree(names[0], change) for of, names in alike.items() for change in of)
    every = sum(len(of) * len(names) for of, names in alike.items())
    alone = sum(map(len, alike))
    print(f"{len(ZONES)} zones, {every} changes ({alone} that differ); {compared} times and occurrences are the same")
    assert every > 8000


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"])
def test_a_schedule_acts_at_its_times_by_its_zones_clock(name: str) -> None:
    found = list(occurrences(office(name), utc("2026-06-01"), utc("2026-06-08")))
    assert len(found) == 14
    for occurrence in found:
        assert occurrence.at.astimezone(ZoneInfo(name)).replace(tzinfo=None) == occurrence.wall
        assert occurrence.wall.hour == (8 if occurrence.action is START else 20)


def test_every_zone_of_the_database_has_schedules() -> None:
    now = utc("2026-06-01")
    for name in ZONES:
        schedule = office(name)
        assert not schedule_problems(schedule)
        found = next_occurrence(schedule, now)
        assert found is not None
        assert found.at.astimezone(ZoneInfo(name)).replace(tzinfo=None) == found.wall


# ------------------------------------------------------------------------------- over any stretch of time

BUSY = (
    "Europe/Berlin", "America/Havana", "Asia/Beirut", "Australia/Lord_Howe", "Africa/Casablanca", "Antarctica/Troll",
    "Pacific/Chatham", "America/Nuuk", "Asia/Kolkata", "UTC",
)  # fmt: skip
FEASTS = HolidayCalendar("XX")


def feast(day: date) -> str:
    """Every ninth day, so that holidays meet every weekday and every change."""
    return "Feast" if day.toordinal() % 9 == 0 else ""


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(st.sampled_from([0, 60, 120, 150, 1320]) | st.integers(0, 1320))
    return minutes_window(start, draw(st.sampled_from([1440, start + 120]) | st.integers(start + 120, 1440)))


@st.composite
def moments(draw: st.DrawFn, name: str) -> datetime:
    """Whole minutes; mostly within days of a change of the zone's clock."""
    near = changes(name, days=20)
    if near and draw(st.integers(0, 3)):
        return instant(near[draw(st.integers(0, len(near) - 1))].at + 60 * draw(st.integers(-3000, 3000)))
    return utc("2020-01-10") + timedelta(minutes=draw(st.integers(0, 20 * 365 * 1440)))


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Schedule, datetime]:
    """With an instant near which it has exceptions."""
    name = draw(st.sampled_from(BUSY))
    now = draw(moments(name))
    exceptions, day = [], now.date() - timedelta(days=4)
    for _ in range(draw(st.integers(0, 3))):
        first = day + timedelta(days=draw(st.integers(1, 4)))
        day = first + timedelta(days=draw(st.integers(0, 2)))
        exceptions.append(DayException(first=first, last=day, window=draw(st.none() | windows())))
    base = Schedule(
        kind=ScheduleKind.DAILY, timezone=name, exceptions=tuple(exceptions),
        holidays=draw(st.sampled_from([None, FEASTS])),
    )  # fmt: skip
    if draw(st.booleans()):
        return replace(base, kind=ScheduleKind.RECURRING, recurring=draw(windows())), now
    return replace(base, daily=draw(st.dictionaries(st.sampled_from(Weekday), windows(), min_size=1))), now


@st.composite
def extended(draw: st.DrawFn) -> tuple[Schedule, datetime, Extension | None]:
    schedule, now = draw(schedules())
    begun = now + timedelta(minutes=draw(st.integers(-2000, 4000)))
    later = st.integers(1, 7000).map(lambda n: Extension(made_at=begun, until=begun + timedelta(minutes=n)))
    return schedule, now, draw(st.none() | later)


@given(schedules())
@hypothesis_settings(max_examples=35)
def test_any_schedule_acts_as_the_watched_clock_says(drawn: tuple[Schedule, datetime]) -> None:
    schedule, now = drawn
    first, last, edges = Walk(schedule.timezone, seconds_of(now)).edges(schedule, feast)
    found = occurrences(schedule, instant(first), instant(last), feast)
    assert [(seconds_of(o.at), o.action) for o in found] == edges


@given(extended(), st.lists(st.integers(0, 20 * 86_400_000_000), max_size=8))
@hypothesis_settings(max_examples=80)
def test_wherever_a_stretch_of_time_is_cut_no_occurrence_is_lost_or_doubled(
    drawn: tuple[Schedule, datetime, Extension | None], cuts: list[int]
) -> None:
    schedule, now, extension = drawn
    begin, end = now - timedelta(days=5), now + timedelta(days=15)
    whole = list(occurrences(schedule, begin, end, feast, extension))
    at_occurrences = [o.at for o in whole[::2]]
    points = sorted({begin, end, *at_occurrences, *(begin + timedelta(microseconds=cut) for cut in cuts)})
    pieces = [list(occurrences(schedule, after, until, feast, extension)) for after, until in pairwise(points)]
    assert [o for piece in pieces for o in piece] == whole


@given(extended())
@hypothesis_settings(max_examples=80)
def test_one_after_the_other_they_are_those_of_the_whole_and_start_and_stop_take_turns(
    drawn: tuple[Schedule, datetime, Extension | None],
) -> None:
    schedule, now, extension = drawn
    whole = list(occurrences(schedule, now, now + timedelta(20), feast, extension))
    one_by_one, at = [], now
    while (coming := next_occurrence(schedule, at, feast, extension)) is not None and coming.at <= now + timedelta(20):
        one_by_one.append(coming)
        at = coming.at
    assert one_by_one == whole
    assert all(a.at < b.at for a, b in pairwise(whole))
    if extension is None:
        assert all(a.action is not b.action for a, b in pairwise(whole))


@given(extended(), st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 3000)), min_size=1, max_size=12))
@hypothesis_settings(max_examples=80)
def test_what_a_preview_says_is_what_happens_with_restarts_in_between(
    drawn: tuple[Schedule, datetime, Extension | None], turns: list[tuple[int, int]]
) -> None:
    """A clock that walks by minutes: up for some, down for some, again and again."""
    schedule, now, extension = drawn
    promised = list(occurrences(schedule, now, now + timedelta(60), feast, extension))
    clock = handled = now
    happened: list[Occurrence] = []
    for up, down in turns:
        # At each start, what was missed: one is done for all of them.
        behind = missed(occurrences(schedule, handled, clock, feast, extension))
        if behind is not None:
            due = [o for o in promised if handled < o.at <= clock]
            assert (behind.latest, behind.count) == (due[-1], len(due))
            happened += due
        handled = clock
        clock += timedelta(minutes=up)
        while (coming := next_occurrence(schedule, handled, feast, extension)) is not None and coming.at <= clock:
            happened.append(coming)
            handled = coming.at
        clock += timedelta(minutes=down)
    was_up = clock - timedelta(minutes=turns[-1][1])
    assert happened == [o for o in promised if o.at <= was_up]


@given(extended())
@hypothesis_settings(max_examples=60)
def test_an_extension_runs_until_its_end_and_changes_nothing_outside(
    drawn: tuple[Schedule, datetime, Extension | None],
) -> None:
    schedule, now, extension = drawn
    if extension is None:
        return
    begin, end = now - timedelta(days=5), now + timedelta(days=15)
    plain = list(occurrences(schedule, begin, end, feast))
    found = list(occurrences(schedule, begin, end, feast, extension))
    inside = [o for o in plain if extension.made_at < o.at <= extension.until]
    assert [o for o in found if not extension.made_at < o.at <= extension.until] == [
        o for o in plain if o not in inside
    ]
    assert not [o for o in found if o.action is STOP and extension.made_at < o.at < extension.until]
    if inside:
        upto = [o for o in found if o.at <= extension.until]
        assert upto[-1].action is inside[-1].action, "at its end the model is as the schedule has it then"
