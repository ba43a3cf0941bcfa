"""Public holidays as schedules ask for them, of the real library."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta

import pytest

from modelyard.control.holidays import calendar_problems, names_of
from modelyard.domain.occurrences import occurrences
from modelyard.domain.schedules import HolidayCalendar, Schedule, ScheduleKind, Window


def test_a_country_and_its_part_have_their_holidays() -> None:
    germany, bavaria = names_of(HolidayCalendar("DE")), names_of(HolidayCalendar("DE", "BY"))
    assert germany(date(2026, 12, 25)) == "Christmas Day"
    assert germany(date(2026, 12, 24)) == ""
    assert (germany(date(2027, 1, 6)), bavaria(date(2027, 1, 6))) == ("", "Epiphany")
    assert names_of(None)(date(2026, 12, 25)) == ""


def test_a_schedule_rests_on_a_holiday() -> None:
    schedule = Schedule(
        kind=ScheduleKind.RECURRING, timezone="America/New_York", recurring=Window(time(8), time(20)),
        holidays=HolidayCalendar("US"),
    )  # fmt: skip
    now = datetime(2026, 11, 25, tzinfo=UTC)
    found = occurrences(schedule, now, now + timedelta(days=4), names_of(schedule.holidays))
    assert sorted({o.wall.day for o in found}) == [24, 25, 27, 28], "the 26th is Thanksgiving"


@pytest.mark.parametrize(
    ("calendar", "path", "says"),
    [
        (HolidayCalendar("XX"), "holidays.country", "DE"),
        (HolidayCalendar("DE", "ZZ"), "holidays.subdivision", "BY"),
        (HolidayCalendar("US", "CAA"), "holidays.subdivision", "CA"),
        (HolidayCalendar("JP", "13"), "holidays.subdivision", "leave subdivision out"),
    ],
)
def test_a_country_or_part_that_is_not_known_is_a_problem_that_names_others(
    calendar: HolidayCalendar, path: str, says: str
) -> None:
    (problem,) = calendar_problems(calendar)
    assert problem.path == path
    assert says in problem.message


def test_known_ones_are_none() -> None:
    assert calendar_problems(HolidayCalendar("DE")) == calendar_problems(HolidayCalendar("DE", "BY")) == []


def test_a_year_that_nothing_is_known_of_and_a_calendar_that_is_gone_have_no_holidays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert names_of(HolidayCalendar("IN"))(date(2300, 7, 7)) == ""
    assert names_of(HolidayCalendar("XX"))(date(2026, 12, 25)) == ""
    assert "without these holidays" in caplog.text


def test_who_never_asks_does_not_load_the_library() -> None:
    code = "import sys, modelyard.control.holidays as h; h.names_of(None); assert 'holidays' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
