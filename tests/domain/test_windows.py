"""Weekly windows as instants: over midnight, over weekends, and over changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.schedules import Weekday
from modelyard.domain.windows import (
    WEEKDAYS,
    Period,
    Shutdown,
    ShutdownWindow,
    in_words,
    moment_in_words,
    period,
    shutdown_problems,
)

FRIDAY, SATURDAY, SUNDAY, MONDAY = Weekday.FRIDAY, Weekday.SATURDAY, Weekday.SUNDAY, Weekday.MONDAY
WEEKEND = ShutdownWindow(days=(FRIDAY,), start=time(20), until=MONDAY, stop=time(6))
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu")


def _at(text: str, zone: str = "Europe/Berlin") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _berlin(*windows: ShutdownWindow) -> Shutdown:
    return Shutdown(timezone="Europe/Berlin", windows=windows)


def test_a_weekend_from_friday_evening_is_one_period() -> None:
    expected = Period(_at("2030-01-04T20:00"), _at("2030-01-07T06:00"))
    for now in ("2030-01-01T00:00", "2030-01-04T19:59", "2030-01-04T20:00", "2030-01-06T12:00", "2030-01-07T05:59"):
        assert period(_berlin(WEEKEND), _at(now)) == expected
    assert period(_berlin(WEEKEND), _at("2030-01-07T06:00")) == Period(_at("2030-01-11T20:00"), _at("2030-01-14T06:00"))


def test_whole_days_that_follow_each_other_are_one_period() -> None:
    days = _berlin(ShutdownWindow(days=(SATURDAY, SUNDAY)))
    assert period(days, _at("2030-01-05T12:00")) == Period(_at("2030-01-05T00:00"), _at("2030-01-07T00:00"))
    overlapping = _berlin(WEEKEND, ShutdownWindow(days=(MONDAY,), start=time(5), stop=time(9)))
    assert period(overlapping, _at("2030-01-05T12:00")) == Period(_at("2030-01-04T20:00"), _at("2030-01-07T09:00"))


@pytest.mark.parametrize(
    ("window", "now", "hours"),
    [
        (ShutdownWindow(days=(SUNDAY,)), "2030-03-31T12:00", 23),  # the clock goes forward
        (ShutdownWindow(days=(SUNDAY,)), "2030-10-27T12:00", 25),  # and back
        (WEEKEND, "2030-03-30T12:00", 57),
        # It begins at a time that does not come, at the first instant after the gap.
        (ShutdownWindow(days=(SUNDAY,), start=time(2, 30), stop=time(5)), "2030-03-31T04:00", 2),
        # Of a time that comes twice the first one counts.
        (ShutdownWindow(days=(SUNDAY,), start=time(2, 30), stop=time(5)), "2030-10-27T04:00", 3.5),
    ],
)
def test_a_window_is_by_the_clock_on_the_wall(window: ShutdownWindow, now: str, hours: float) -> None:
    found = period(_berlin(window), _at(now))
    assert found is not None
    assert found.ends - found.begins == timedelta(hours=hours)


def _wall_says(shutdown: Shutdown, now: datetime) -> bool:
    """Slow and simple: whether the wall's clock is within a window."""
    wall = now.astimezone(ZoneInfo(shutdown.timezone))
    minute = wall.weekday() * 1440 + wall.hour * 60 + wall.minute
    for window in shutdown.windows:
        for day in window.days:
            begins = WEEKDAYS.index(day) * 1440 + window.start.hour * 60 + window.start.minute
            last = WEEKDAYS.index(window.until or day) * 1440
            ends = last + (1440 if window.stop is None else window.stop.hour * 60 + window.stop.minute)
            if window.until is not None and ends <= begins:
                ends += 7 * 1440
            if begins <= minute < ends or begins <= minute + 7 * 1440 < ends:
                return True
    return False


@st.composite
def _windows(draw: st.DrawFn) -> ShutdownWindow:
    days = tuple(draw(st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=2, unique=True)))
    start = draw(st.integers(0, 1438))
    until = draw(st.none() | st.sampled_from(WEEKDAYS))
    stop = draw(st.integers(start + 1 if until is None else 0, 1439))
    return ShutdownWindow(days=days, start=time(start // 60, start % 60), stop=time(stop // 60, stop % 60), until=until)


@given(
    windows=st.lists(_windows(), min_size=1, max_size=3), zone=st.sampled_from(ZONES),
    now=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_period_holds_what_the_wall_says(windows: list[ShutdownWindow], zone: str, now: datetime) -> None:
    shutdown, now = Shutdown(timezone=zone, windows=tuple(windows)), now.replace(tzinfo=UTC)
    if any(p.code == "no_time_left" for p in shutdown_problems(shutdown, "")):
        return
    found = period(shutdown, now)
    assert found is not None
    assert now < found.ends
    near = {(now + timedelta(days=d)).astimezone(ZoneInfo(zone)).utcoffset() for d in range(-9, 10)}
    if len(near) > 1:
        return  # what a change of the clock makes of it is told above
    assert found.holds(now) == _wall_says(shutdown, now)
    assert not _wall_says(shutdown, found.ends)
    assert not _wall_says(shutdown, found.begins - timedelta(minutes=1)) or not found.holds(now)


def test_everything_wrong_with_windows_is_told_at_once() -> None:
    shutdown = Shutdown(
        timezone="Mars/Olympus", windows=(ShutdownWindow(days=()), ShutdownWindow(days=(MONDAY,), start=time(20),
                                                                                  stop=time(6)))
    )  # fmt: skip
    found = {(p.path, p.code) for p in shutdown_problems(shutdown, "s")}
    assert found == {
        ("s.timezone", "invalid_timezone"), ("s.windows[0].days", "required"), ("s.windows[1].stop", "out_of_order")
    }  # fmt: skip


@pytest.mark.parametrize(
    "windows",
    [
        (ShutdownWindow(days=WEEKDAYS),),
        (ShutdownWindow(days=(MONDAY,), start=time(6), until=MONDAY, stop=time(6)),),
        (WEEKEND, ShutdownWindow(days=(MONDAY,), start=time(6), until=FRIDAY, stop=time(20))),
    ],
)
def test_windows_that_leave_no_time_are_refused(windows: tuple[ShutdownWindow, ...]) -> None:
    assert [p.code for p in shutdown_problems(_berlin(*windows), "")] == ["no_time_left"]


def test_windows_and_moments_are_told_as_people_write_them() -> None:
    assert in_words(WEEKEND) == "friday 20:00 to monday 06:00"
    assert in_words(ShutdownWindow(days=(SATURDAY, SUNDAY))) == "saturday, sunday"
    assert in_words(ShutdownWindow(days=(MONDAY,), start=time(20), stop=time(23))) == "monday 20:00-23:00"
    assert moment_in_words(_at("2030-01-07T06:00"), "Europe/Berlin") == "Monday 2030-01-07 06:00 Europe/Berlin"
