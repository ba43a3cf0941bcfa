"""Which schedules are none, and what those that are one do on days that are not like others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from modelyard.domain.errors import InvalidRequest
from modelyard.domain.occurrences import (
    LOOK_AHEAD,
    Period,
    extend,
    missed,
    next_occurrence,
    occurrences,
    periods,
)
from modelyard.domain.schedules import (
    ClockChange,
    DayException,
    Extension,
    HolidayCalendar,
    Occurrence,
    Schedule,
    ScheduleKind,
    Weekday,
    Window,
    format_stop,
    parse_start,
    parse_stop,
    schedule_problems,
    split_over_midnight,
)

MONDAY, TUESDAY, SUNDAY = Weekday.MONDAY, Weekday.TUESDAY, Weekday.SUNDAY


def window(text: str) -> Window:
    start, stop = text.split("-")
    return Window(parse_start(start), parse_stop(stop))


def recurring(text: str, timezone: str = "Europe/Berlin") -> Schedule:
    return Schedule(kind=ScheduleKind.RECURRING, timezone=timezone, recurring=window(text))


def daily(timezone: str = "UTC", **days: str) -> Schedule:
    windows = {Weekday(day): window(text) for day, text in days.items()}
    return Schedule(kind=ScheduleKind.DAILY, timezone=timezone, daily=windows)


def on(first: str, last: str = "", hours: str = "", note: str = "") -> DayException:
    days = date.fromisoformat(first), date.fromisoformat(last or first)
    return DayException(first=days[0], last=days[1], window=window(hours) if hours else None, note=note)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(found: Iterable[Occurrence]) -> list[str]:
    return [f"{o.action} {o.at:%m-%d %H:%M}" for o in found]


def of_days(schedule: Schedule, first: str, days: int = 1) -> list[Occurrence]:
    begin = utc(first) - timedelta(seconds=1)
    return list(occurrences(schedule, begin, begin + timedelta(days)))


def wrong(schedule: Schedule) -> list[tuple[str, str]]:
    return [(p.path, p.code) for p in schedule_problems(schedule)]


# ------------------------------------------------------------------------------------------- which are none


@pytest.mark.parametrize("text", ["08:00-10:00", "00:00-02:00", "22:00-24:00", "22:00-00:00", "00:00-23:59"])
def test_a_window_of_two_hours_within_a_day_is_one(text: str) -> None:
    assert wrong(recurring(text)) == []
    assert wrong(daily(sunday=text)) == []


@pytest.mark.parametrize("text", ["08:00-09:59", "22:01-24:00", "00:00-01:59"])
def test_a_window_under_two_hours_is_none(text: str) -> None:
    assert wrong(recurring(text)) == [("recurring.stop", "too_short")]
    assert wrong(daily(monday=text)) == [("daily.monday.stop", "too_short")]


def test_a_window_over_midnight_is_refused_with_the_two_entries_that_it_would_be() -> None:
    schedule = daily(sunday="22:00-06:00")
    assert wrong(schedule) == [("daily.sunday.stop", "over_midnight")]
    assert "sunday 22:00 to 24:00 and monday 00:00 to 06:00." in schedule_problems(schedule)[0].message
    assert split_over_midnight(SUNDAY, time(22), time(6)) == {
        SUNDAY: window("22:00-24:00"),
        MONDAY: window("00:00-06:00"),
    }
    short = schedule_problems(daily(monday="23:00-06:00", tuesday="08:00-12:00"))
    assert "at least two hours" in short[0].message
    assert "tuesday has a window already" in short[0].message
    assert wrong(recurring("22:00-06:00")) == [("recurring.stop", "over_midnight")]


@pytest.mark.parametrize(
    ("day", "start", "stop", "problems"),
    [
        (MONDAY, time(22, 1), time(6), [("daily.monday.start", "too_short")]),
        (MONDAY, time(22), time(1, 59), [("daily.monday.stop", "too_short")]),
        (MONDAY, time(8), time(20), [("daily.monday.stop", "not_applicable")]),
        (MONDAY, time(20), time(0), [("daily.monday.stop", "not_applicable")]),
        (None, time(22), time(6), [("recurring.stop", "over_midnight")]),
    ],
)
def test_what_cannot_be_split_says_why(
    day: Weekday | None, start: time, stop: time, problems: list[tuple[str, str]]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        split_over_midnight(day, start, stop)
    assert [(p.path, p.code) for p in refused.value.problems] == problems


def test_the_entries_of_a_window_over_midnight_are_one_run() -> None:
    split = Schedule(kind=ScheduleKind.DAILY, timezone="UTC", daily=split_over_midnight(MONDAY, time(22), time(6)))
    assert wrong(split) == []
    assert shown(of_days(split, "2026-06-01", 7)) == ["start 06-01 22:00", "stop 06-02 06:00"]


def test_kind_and_fields_agree() -> None:
    both = replace(recurring("08:00-20:00"), daily={MONDAY: window("08:00-20:00")})
    assert wrong(both) == [("daily", "not_applicable")]
    assert wrong(replace(both, kind=ScheduleKind.DAILY)) == [("recurring", "not_applicable")]
    assert wrong(replace(both, recurring=None)) == [("daily", "not_applicable"), ("recurring", "required")]
    assert wrong(daily()) == [("daily", "required")]


def test_what_would_never_act_is_none_until_it_has_days_off() -> None:
    always = recurring("00:00-24:00", "UTC")
    assert wrong(always) == [("recurring", "never_acts")]
    assert next_occurrence(always, utc("2026-06-01")) is None
    assert wrong(daily(**dict.fromkeys(Weekday, "00:00-24:00"))) == [("daily", "never_acts")]
    with_a_day_off = replace(always, exceptions=(on("2026-06-03"),))
    assert wrong(with_a_day_off) == []
    assert shown(of_days(with_a_day_off, "2026-06-01", 7)) == ["stop 06-03 00:00", "start 06-04 00:00"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Europe/Berlln", "Europe/Berlin?"), ("europe/berlin", "Europe/Berlin?"), ("localtime", "for example"),
     ("../etc/passwd", "for example"), ("right/UTC", "UTC"), ("", "for example"), ("Mars/Olympus", "for example")],
)  # fmt: skip
def test_a_zone_that_is_not_known_is_told_with_one_that_is(name: str, hint: str) -> None:
    problem = schedule_problems(recurring("08:00-20:00", name))[0]
    assert (problem.path, problem.code) == ("timezone", "unknown_timezone")
    assert hint in problem.message


def test_exceptions_are_in_order_and_apart() -> None:
    overlapping = (on("2026-06-05", "2026-06-10"), on("2026-06-10"), on("2026-06-07"))
    schedule = replace(recurring("08:00-20:00"), exceptions=overlapping)
    assert wrong(schedule) == [("exceptions[1].from", "conflict"), ("exceptions[2].from", "conflict")]
    backwards = replace(schedule, exceptions=(on("2026-06-05", "2026-06-01"),))
    assert wrong(backwards) == [("exceptions[0].to", "out_of_range")]


def test_all_that_is_wrong_is_told_at_once() -> None:
    schedule = Schedule(
        kind=ScheduleKind.DAILY,
        timezone="Nowhere",
        recurring=window("08:00-20:00"),
        daily={MONDAY: window("08:00-09:00"), TUESDAY: Window(time(8, 0, 30), time(20))},
        exceptions=(on("2026-06-02", "2026-06-01", "23:00-05:00", note="a\nb"),),
        holidays=HolidayCalendar("germany", "x" * 40),
    )
    assert wrong(schedule) == [
        ("timezone", "unknown_timezone"),
        ("recurring", "not_applicable"),
        ("daily.monday.stop", "too_short"),
        ("daily.tuesday.start", "invalid_value"),
        ("exceptions[0].to", "out_of_range"),
        ("exceptions[0].window.stop", "over_midnight"),
        ("exceptions[0].note", "invalid_value"),
        ("holidays.country", "invalid_value"),
        ("holidays.subdivision", "invalid_value"),
    ]


def test_the_end_of_the_day_is_read_and_written_as_24_00() -> None:
    assert parse_stop("24:00") == parse_stop("00:00") == time(0)
    assert format_stop(time(0)) == "24:00"
    assert str(window("22:00-00:00")) == "22:00 to 24:00"
    for text in ("24:01", "8:00", "08:00:00", "08:60", "", "08:00\n", "٠٨:٠٠"):
        with pytest.raises(ValueError, match="is not a time"):
            parse_stop(text)
    with pytest.raises(ValueError, match="is not a time"):
        parse_start("24:00")


# ------------------------------------------------------------------------------------------- days unlike others


def test_a_time_in_a_gap_comes_at_the_first_instant_after_it() -> None:
    start, stop = of_days(recurring("02:30-08:00"), "2027-03-28")
    assert (start.at, start.wall) == (utc("2027-03-28 01:00"), datetime(2027, 3, 28, 2, 30))
    assert start.change is ClockChange.GAP
    assert "02:30" in start.note
    assert stop.change is None


def test_a_time_that_comes_twice_counts_the_first_time() -> None:
    start, _ = of_days(recurring("02:30-08:00"), "2026-10-25")
    assert (start.at, start.change) == (utc("2026-10-25 00:30"), ClockChange.FOLD)


def test_a_window_that_a_gap_leaves_no_second_of_does_not_happen() -> None:
    troll = recurring("01:00-03:00", "Antarctica/Troll")
    assert shown(of_days(troll, "2027-03-27", 3)) == [
        "start 03-27 01:00", "stop 03-27 03:00", "start 03-28 23:00", "stop 03-29 01:00",
        "start 03-29 23:00",
    ]  # fmt: skip


def test_a_day_that_a_zone_leaves_out_has_no_window() -> None:
    """Samoa went over the date line: 2011-12-29 was followed by 2011-12-31."""
    samoa = recurring("08:00-20:00", "Pacific/Apia")
    walls = [o.wall.day for o in of_days(samoa, "2011-12-29 10:00", 3)]
    assert walls == [29, 29, 31, 31, 1, 1]
    assert of_days(recurring("00:00-24:00", "Pacific/Apia"), "2011-12-20", 20) == []


def test_an_exception_goes_before_a_holiday_and_a_holiday_before_the_weekday() -> None:
    schedule = replace(
        recurring("08:00-20:00", "UTC"),
        exceptions=(on("2026-12-25", "2026-12-26", "10:00-14:00", "on call"), on("2026-12-28", note="inventory")),
        holidays=HolidayCalendar("DE"),
    )
    feasts = {date(2026, 12, 25), date(2026, 12, 27)}
    found = occurrences(
        schedule, utc("2026-12-24 12:00"), utc("2026-12-29 12:00"), lambda day: "Feast" if day in feasts else ""
    )
    taken = list(found)
    assert shown(taken) == [
        "stop 12-24 20:00", "start 12-25 10:00", "stop 12-25 14:00", "start 12-26 10:00", "stop 12-26 14:00",
        "start 12-29 08:00",
    ]  # fmt: skip
    assert [o.note for o in taken] == ["", *["on call"] * 4, ""]


def test_days_without_a_window_leave_the_model_alone() -> None:
    assert shown(of_days(daily(monday="08:00-20:00"), "2026-06-01", 8)) == [
        "start 06-01 08:00", "stop 06-01 20:00", "start 06-08 08:00", "stop 06-08 20:00",
    ]  # fmt: skip


def test_what_is_not_enabled_does_nothing() -> None:
    off = replace(recurring("08:00-20:00"), enabled=False)
    assert next_occurrence(off, utc("2026-06-01")) is None
    assert of_days(off, "2026-06-01", 30) == []


def test_of_what_was_missed_the_latest_wins_and_all_are_counted() -> None:
    schedule = recurring("08:00-20:00", "UTC")
    behind = missed(occurrences(schedule, utc("2026-06-01 07:00"), utc("2026-06-03 08:00")))
    assert behind is not None
    assert (shown([behind.latest]), behind.count) == (["start 06-03 08:00"], 5)
    assert missed(occurrences(schedule, utc("2026-06-03 08:00"), utc("2026-06-03 19:59:59"))) is None


def test_a_schedule_that_rests_for_longer_than_is_looked_ahead_has_nothing_next() -> None:
    resting = replace(recurring("08:00-20:00", "UTC"), exceptions=(on("2026-01-01", "2032-12-31"),))
    assert next_occurrence(resting, utc("2026-06-01")) is None
    coming = next_occurrence(resting, utc("2033-01-01") - LOOK_AHEAD + timedelta(days=1))
    assert coming is not None
    assert shown([coming]) == ["start 01-01 08:00"]


# ------------------------------------------------------------------------------------------- extensions


OFFICE = recurring("08:00-20:00", "UTC")
NOON = utc("2026-06-01 12:00")


def extended(extension: Extension, days: int = 2) -> list[str]:
    return shown(occurrences(OFFICE, NOON, NOON + timedelta(days), extension=extension))


def test_an_extension_puts_the_stop_off_once() -> None:
    extension = extend(OFFICE, utc("2026-06-01 22:00"), NOON, note="a demo")
    found = list(occurrences(OFFICE, NOON, NOON + timedelta(2), extension=extension))
    assert shown(found) == ["stop 06-01 22:00", "start 06-02 08:00", "stop 06-02 20:00", "start 06-03 08:00"]
    assert (found[0].note, found[0].wall) == ("a demo", datetime(2026, 6, 1, 22))
    late = next_occurrence(OFFICE, utc("2026-06-01 21:00"), extension=extension)
    assert late == found[0], "the stop at 20:00 is not made up for"


def test_an_extension_into_the_next_window_runs_through() -> None:
    into = extend(OFFICE, utc("2026-06-02 09:00"), NOON)
    assert extended(into, 1) == ["start 06-02 08:00"]
    until_it = extend(OFFICE, utc("2026-06-02 08:00"), NOON)
    assert extended(until_it, 1) == ["start 06-02 08:00"]
    until_its_end = extend(OFFICE, utc("2026-06-02 20:00"), NOON)
    assert extended(until_its_end, 2) == ["start 06-02 08:00", "stop 06-02 20:00", "start 06-03 08:00"]


def test_an_extension_is_put_off_again_or_shortened() -> None:
    first = extend(OFFICE, utc("2026-06-01 22:00"), NOON)
    later = extend(OFFICE, utc("2026-06-01 23:30"), utc("2026-06-01 21:00"), current=first)
    assert extended(later)[0] == "stop 06-01 23:30"
    shorter = extend(OFFICE, utc("2026-06-01 21:30"), utc("2026-06-01 21:00"), current=first)
    assert extended(shorter)[0] == "stop 06-01 21:30"


@pytest.mark.parametrize(
    ("until", "now", "code", "says"),
    [
        ("2026-06-01 22:00", "2026-06-01 07:00", "not_applicable", "start at 2026-06-01 08:00"),
        ("2026-06-01 20:00", "2026-06-01 12:00", "out_of_range", "until which the model runs anyway"),
        ("2026-06-01 11:00", "2026-06-01 12:00", "out_of_range", "after now"),
        ("2026-06-09 12:01", "2026-06-01 12:00", "out_of_range", "at most 7 days"),
    ],
)
def test_what_is_not_extended_says_why(until: str, now: str, code: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        extend(OFFICE, utc(until), utc(now))
    assert [(p.path, p.code) for p in refused.value.problems] == [("until", code)]
    assert says in refused.value.message


def test_a_schedule_that_is_not_enabled_is_not_extended() -> None:
    with pytest.raises(InvalidRequest, match="not enabled"):
        extend(replace(OFFICE, enabled=False), utc("2026-06-01 22:00"), NOON)


def test_an_extension_of_a_stop_that_is_no_longer_there_does_nothing() -> None:
    extension = extend(OFFICE, utc("2026-06-01 22:00"), NOON)
    changed = recurring("08:00-23:00", "UTC")
    found = occurrences(changed, NOON, NOON + timedelta(1), extension=extension)
    assert shown(found) == ["stop 06-01 23:00", "start 06-02 08:00"]


# ------------------------------------------------------------------------------------------- periods


def test_periods_are_whole_windows_the_open_one_first() -> None:
    assert list(periods(OFFICE, NOON, 1)) == [
        Period(utc("2026-06-01 08:00"), utc("2026-06-01 20:00")),
        Period(utc("2026-06-02 08:00"), utc("2026-06-02 20:00")),
    ]
    extension = extend(OFFICE, utc("2026-06-02 09:00"), NOON)
    assert list(periods(OFFICE, NOON, 1, extension=extension)) == [
        Period(utc("2026-06-01 08:00"), utc("2026-06-02 20:00"))
    ]


def test_a_period_without_beginning_or_end_is_cut() -> None:
    always = replace(recurring("00:00-24:00", "UTC"), exceptions=(on("2026-06-03"),))
    first, second = periods(always, NOON, 7)
    assert (first.start, first.stop) == (NOON - LOOK_AHEAD, utc("2026-06-03"))
    assert (second.start, second.stop) == (utc("2026-06-04"), NOON + timedelta(days=7) + LOOK_AHEAD)
