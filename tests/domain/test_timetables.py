"""What schedules and shutdown windows take up of a stretch of time."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from modelyard.domain.occurrences import Period
from modelyard.domain.schedules import DayException, Schedule, ScheduleKind, Weekday, Window
from modelyard.domain.timetables import running, shut
from modelyard.domain.windows import Shutdown, ShutdownWindow

DAY = timedelta(days=1)


def at(day: int, hour: int = 0) -> datetime:
    """In January 2030, of which the 7th is a Monday."""
    return datetime(2030, 1, day, hour, tzinfo=UTC)


ALWAYS = Schedule(
    kind=ScheduleKind.RECURRING, timezone="UTC", recurring=Window(time(0), time(0)),
    exceptions=(DayException(first=date(2029, 10, 1), last=date(2029, 10, 2)),),
)  # fmt: skip


def test_a_run_that_began_long_ago_is_whole_and_one_without_an_end_is_cut() -> None:
    begun = datetime(2029, 10, 3, tzinfo=UTC)
    assert list(running(ALWAYS, at(7), at(8))) == [Period(begun, at(8))]


def test_between_two_windows_nothing_runs() -> None:
    office = Schedule(kind=ScheduleKind.DAILY, timezone="UTC", daily={Weekday.MONDAY: Window(time(8), time(20))})
    assert list(running(office, at(8), at(14))) == []
    assert list(running(office, at(7, 20), at(14, 8))) == [Period(at(14, 8), at(14, 20))]
    assert list(running(office, at(7, 12), at(7, 13))) == [Period(at(7, 8), at(7, 20))]


def test_periods_of_a_shutdown_that_touch_the_stretch_are_whole() -> None:
    weekend = Shutdown(timezone="UTC", windows=(ShutdownWindow(days=(Weekday.SATURDAY, Weekday.SUNDAY)),))
    found = list(shut(weekend, at(6, 12), at(12, 1)))
    assert [(period.begins, period.ends) for period in found] == [(at(5), at(7)), (at(12), at(14))]
    assert list(shut(weekend, at(7), at(7) + DAY)) == []
