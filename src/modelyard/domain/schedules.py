"""When a model runs: windows of wall-clock time in a zone, and which schedules are none.

A schedule acts at *occurrences*, the instants at which its windows begin and end; between them it leaves the model
alone, so that a manual start or stop holds until the next one. When they are is computed in occurrences.py.

A day has one window, and a window is within one day. The end of a day is written 24:00 (00:00 is understood as well)
and held as ``time(0)``, which as a stop can mean nothing else. A window until 24:00 and one from 00:00 of the next day
touch, and the model runs on from one to the other: so a window over midnight is two days' entries.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Final
from zoneinfo import available_timezones

from modelyard.domain.errors import InvalidRequest, Problem

# A window is at least so long: a model that starts and stops more often costs more than it saves.
MIN_WINDOW: Final = timedelta(hours=2)
# A year of single days.
MAX_EXCEPTIONS: Final = 366
MAX_NOTE: Final = 256
_MINUTES_A_DAY: Final = 24 * 60
_MIN_MINUTES: Final = int(MIN_WINDOW.total_seconds()) // 60
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")
_COUNTRY = re.compile(r"[A-Z]{2}\Z")
_first_day = attrgetter("first")


class ScheduleKind(StrEnum):
    RECURRING = "recurring"  # one window for every day
    DAILY = "daily"  # a window a weekday; days without one leave the model alone


class ScheduledAction(StrEnum):
    START = "start"
    STOP = "stop"


class Weekday(StrEnum):
    """In the order of :meth:`datetime.date.weekday`."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to ``stop`` on the same day, by the clock on the wall: minutes, no zone. ``stop`` 00:00 is the
    day's end."""

    start: time
    stop: time

    @property
    def minutes(self) -> tuple[int, int]:
        """Both in minutes since the day began; the end of the day is 1440."""
        start, stop = self.start, self.stop
        return start.hour * 60 + start.minute, stop.hour * 60 + stop.minute or _MINUTES_A_DAY

    def __str__(self) -> str:
        return f"{format_start(self.start)} to {format_stop(self.stop)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DayException:
    """The days from ``first`` to ``last``, both included, have ``window`` instead of their own; None: nothing happens
    on them. ``note`` says why."""

    first: date
    last: date
    window: Window | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class HolidayCalendar:
    """Public holidays of ``country`` (ISO 3166-1, two letters), and of its ``subdivision`` (the part of an ISO 3166-2
    code after the hyphen) if one is named."""

    country: str
    subdivision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """``timezone``: a name of the IANA database. ``recurring`` is set for that kind, ``daily`` for the other.
    ``exceptions``, by date and without overlaps, go before ``holidays`` (days on which nothing happens).
    One that is not ``enabled`` does nothing, and is kept."""

    kind: ScheduleKind
    timezone: str
    recurring: Window | None = None
    daily: Mapping[Weekday, Window] = field(default_factory=dict)
    exceptions: tuple[DayException, ...] = ()
    holidays: HolidayCalendar | None = None
    enabled: bool = True

    def exception_on(self, day: date) -> DayException | None:
        """Looked up, as every day that is computed asks for it."""
        before = bisect_right(self.exceptions, day, key=_first_day)
        if before and day <= self.exceptions[before - 1].last:
            return self.exceptions[before - 1]
        return None


class ClockChange(StrEnum):
    """How a change of the zone's offset moved an occurrence."""

    GAP = "gap"  # the time does not exist that day: it happens at the first instant after the gap
    FOLD = "fold"  # the time comes twice that day: it happens once, the first time


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """``at``: when it happens, in UTC; ``wall``: the time as the schedule says it, without a zone (in a gap there is no
    such time); ``note``: of the exception that it comes from, or what moved it."""

    action: ScheduledAction
    at: datetime
    wall: datetime
    change: ClockChange | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """Once, what runs at ``made_at`` runs until ``until`` at least: no stop in between happens, and one happens at
    ``until`` unless a window holds it."""

    made_at: datetime
    until: datetime
    note: str = ""


# ------------------------------------------------------------------------------------------------- as text


def parse_start(text: str) -> time:
    """The time from ``"08:00"``.

    Raises:
        ValueError: if it is none, from 00:00 to 23:59.
    """
    match = _CLOCK.match(text)
    if match is None:
        raise ValueError(f"{text[:16]!r} is not a time: write HH:MM, from 00:00 to 23:59")
    return time(int(match[1]), int(match[2]))


def parse_stop(text: str) -> time:
    """As :func:`parse_start`; ``"24:00"`` is the end of the day.

    Raises:
        ValueError: if it is none, from 00:00 to 24:00.
    """
    if text == "24:00":
        return time(0)
    if _CLOCK.match(text) is None:
        raise ValueError(f"{text[:16]!r} is not a time: write HH:MM, up to 24:00 for the end of the day")
    return parse_start(text)


def format_start(start: time) -> str:
    return f"{start:%H:%M}"


def format_stop(stop: time) -> str:
    """As it is shown: the end of the day is ``"24:00"``."""
    return f"{stop:%H:%M}" if stop != time(0) else "24:00"


# ------------------------------------------------------------------------------------------------- problems


def schedule_problems(schedule: Schedule) -> list[Problem]:
    """All that is wrong with it, each with the path in the request's body. Whether the holidays' country is known is
    asked of who knows the holidays."""
    return [
        *_zone_problems(schedule.timezone),
        *_kind_problems(schedule),
        *_exception_problems(schedule.exceptions),
        *(_holiday_problems(schedule.holidays) if schedule.holidays is not None else ()),
    ]


@cache
def zone_names() -> frozenset[str]:
    """The names of the IANA database, without localtime (the machine's own zone) and Factory (none)."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _zone_problems(name: str) -> Iterator[Problem]:
    if name in zone_names():
        return
    by_lower = {known.lower(): known for known in zone_names()}
    close = get_close_matches(name[:64].lower(), by_lower, n=1, cutoff=0.75)
    hint = f"did you mean {by_lower[close[0]]}?" if close else "write for example Europe/Berlin or UTC."
    yield Problem("timezone", "unknown_timezone", f"{name[:64]!r} is not a zone of the IANA database: {hint}")


def _kind_problems(schedule: Schedule) -> Iterator[Problem]:
    if schedule.kind is ScheduleKind.RECURRING:
        if schedule.daily:
            message = "A recurring schedule has one window for every day: leave daily out, or set type to daily."
            yield Problem("daily", "not_applicable", message)
        if schedule.recurring is None:
            message = "A recurring schedule needs its window: {'start': '08:00', 'stop': '20:00'}."
            yield Problem("recurring", "required", message)
        else:
            yield from _window_problems("recurring", schedule.recurring, _recurring_hint())
        windows = [schedule.recurring]
    else:
        if schedule.recurring is not None:
            message = "A daily schedule has a window a weekday: leave recurring out, or set type to recurring."
            yield Problem("recurring", "not_applicable", message)
        if not schedule.daily:
            message = "A daily schedule needs at least one day: {'monday': {'start': '08:00', 'stop': '20:00'}}."
            yield Problem("daily", "required", message)
        for day in Weekday:
            if (window := schedule.daily.get(day)) is not None:
                yield from _window_problems(f"daily.{day}", window, _split_hint(day, window, schedule.daily))
        windows = [schedule.daily.get(day) for day in Weekday]
    always = all(window is not None and window.minutes == (0, _MINUTES_A_DAY) for window in windows)
    if always and not schedule.exceptions and schedule.holidays is None:
        message = "This schedule would never start or stop the model: to have it run always, start it without one."
        yield Problem(str(schedule.kind), "never_acts", message)


def _window_problems(path: str, window: Window, over_midnight: str) -> Iterator[Problem]:
    for name, at in (("start", window.start), ("stop", window.stop)):
        if at.second or at.microsecond or at.tzinfo is not None:
            message = f"{name} is a time of the day in whole minutes, HH:MM; the zone is timezone's."
            yield Problem(f"{path}.{name}", "invalid_value", message)
    start, stop = window.minutes
    if stop <= start:
        yield Problem(f"{path}.stop", "over_midnight", f"{_not_after(window)}. {over_midnight}")
    elif stop - start < _MIN_MINUTES:
        message = f"stop is at least two hours after start: {window} is {stop - start} minutes."
        yield Problem(f"{path}.stop", "too_short", message)


def _not_after(window: Window) -> str:
    return f"{format_stop(window.stop)} is not after {format_start(window.start)} on the same day"


def _recurring_hint() -> str:
    return (
        "A window over midnight is two days' entries, one until 24:00 and one from 00:00 of the next day, in a schedule"
        " of type daily; a day has one window, so not every night can have one."
    )


def _split_hint(day: Weekday, window: Window, others: Mapping[Weekday, Window]) -> str:
    (_, evening), (following, morning) = _halves(day, window)
    hint = f"A window over midnight is two days' entries: {day} {evening} and {following} {morning}"
    if any(True for _ in _half_problems(day, window)):
        hint += "; each of them is at least two hours long"
    if following in others:
        hint += f"; {following} has a window already, and a day has one"
    return f"{hint}."


def split_over_midnight(weekday: Weekday | None, start: time, stop: time) -> dict[Weekday, Window]:
    """The two days' entries of a daily schedule that a window from ``start`` until ``stop`` of the next day is: until
    24:00, and from 00:00. The model runs through midnight, as windows that touch are one. ``weekday`` None: of every
    day, which one window a day cannot say.

    Raises:
        InvalidRequest: if the window is not over midnight, for every day, or one of its parts is under two hours.
    """
    window = Window(start, stop)
    if weekday is None:
        raise InvalidRequest([Problem("recurring.stop", "over_midnight", _recurring_hint())])
    if window.minutes[0] < window.minutes[1]:
        message = f"{window} is within one day: there is nothing to split."
        raise InvalidRequest([Problem(f"daily.{weekday}.stop", "not_applicable", message)])
    if problems := list(_half_problems(weekday, window)):
        raise InvalidRequest(problems)
    return dict(_halves(weekday, window))


def _halves(day: Weekday, window: Window) -> tuple[tuple[Weekday, Window], tuple[Weekday, Window]]:
    days = list(Weekday)
    following = days[(days.index(day) + 1) % len(days)]
    return (day, Window(window.start, time(0))), (following, Window(time(0), window.stop))


def _half_problems(day: Weekday, window: Window) -> Iterator[Problem]:
    start, stop = window.minutes
    if _MINUTES_A_DAY - start < _MIN_MINUTES:
        message = f"{day}'s part, until 24:00, is at least two hours long: start at 22:00 or before."
        yield Problem(f"daily.{day}.start", "too_short", message)
    if stop < _MIN_MINUTES:
        message = "The next day's part, from 00:00, is at least two hours long: stop at 02:00 or later, or at 24:00."
        yield Problem(f"daily.{day}.stop", "too_short", message)


def _exception_problems(exceptions: tuple[DayException, ...]) -> Iterator[Problem]:
    if len(exceptions) > MAX_EXCEPTIONS:
        yield Problem("exceptions", "too_many", f"There are at most {MAX_EXCEPTIONS} exceptions: join days to ranges.")
    latest: date | None = None
    for index, exception in enumerate(exceptions):
        path = f"exceptions[{index}]"
        if exception.last < exception.first:
            message = f"to ({exception.last}) is before from ({exception.first})."
            yield Problem(f"{path}.to", "out_of_range", message)
        if latest is not None and exception.first <= latest:
            message = f"from ({exception.first}) is not after {latest}, with which the one before ends: order them by "
            yield Problem(f"{path}.from", "conflict", message + "date, without overlaps.")
        latest = max(filter(None, (latest, exception.first, exception.last)))
        if exception.window is not None:
            hint = "A window over midnight is the exceptions of two days, until 24:00 and from 00:00."
            yield from _window_problems(f"{path}.window", exception.window, hint)
        if len(exception.note) > MAX_NOTE or not exception.note.isprintable():
            yield Problem(f"{path}.note", "invalid_value", f"note is a line of at most {MAX_NOTE} characters.")


def _holiday_problems(calendar: HolidayCalendar) -> Iterator[Problem]:
    if _COUNTRY.match(calendar.country) is None:
        message = f"{calendar.country[:16]!r} is not a country: write ISO 3166-1's two letters, for example DE or US."
        yield Problem("holidays.country", "invalid_value", message)
    if len(calendar.subdivision) > 32 or not calendar.subdivision.isprintable():
        message = "subdivision is what follows the hyphen in ISO 3166-2, for example BY of DE-BY."
        yield Problem("holidays.subdivision", "invalid_value", message)
