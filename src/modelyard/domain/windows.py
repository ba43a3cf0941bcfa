"""Weekly windows by the clock on the wall: when models are to be shut down, as instants.

A window begins on each of its days and ends on the same day, or on a later weekday (``until``): over midnight, over a
weekend. Windows of one shutdown that overlap or touch are one period.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from modelyard.domain.errors import Problem
from modelyard.domain.schedules import Weekday
from modelyard.domain.zones import Zone, instant, seconds_of, zone

WEEKDAYS: Final = tuple(Weekday)
# Minutes.
_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
# Days before and after a moment in which all that could hold it, or come next, begins: a window lasts a week at most.
_DAYS_AROUND: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownWindow:
    """Begins at ``start`` on each of ``days`` and ends at ``stop`` on the first ``until`` that follows (None: on the
    same day). ``stop`` None: at the end of that day."""

    days: tuple[Weekday, ...]
    start: time = time(0)
    stop: time | None = None
    until: Weekday | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """``timezone``: a name of the IANA database. With ``resume``, what a window has stopped is started at its end."""

    timezone: str
    windows: tuple[ShutdownWindow, ...]
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Period:
    """From ``begins`` to ``ends``, which is no more part of it; both in UTC."""

    begins: datetime
    ends: datetime

    def holds(self, at: datetime) -> bool:
        return self.begins <= at < self.ends


def has_zone(name: str) -> bool:
    """Whether there is such a zone in the IANA database."""
    try:
        zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def period(shutdown: Shutdown, now: datetime) -> Period | None:
    """The period that holds ``now``, else the next one; None where there is none at all."""
    if not has_zone(shutdown.timezone):
        return None
    at = seconds_of(now)
    found: tuple[int, int] | None = None
    for begins, ends in sorted(_around(shutdown, zone(shutdown.timezone), at)):
        if found is not None and begins <= found[1]:
            found = found[0], max(found[1], ends)
        elif found is not None and at < found[1]:
            break
        else:
            found = begins, ends
    return Period(instant(found[0]), instant(found[1])) if found is not None and at < found[1] else None


def _around(shutdown: Shutdown, where: Zone, at: int) -> Iterator[tuple[int, int]]:
    today = where.ordinal_at(at)
    for ordinal in range(today - _DAYS_AROUND, today + _DAYS_AROUND + 1):
        weekday = WEEKDAYS[(ordinal - 1) % 7]  # day 1 was a Monday
        for window in shutdown.windows:
            if weekday in window.days:
                start, minutes = _span(window, weekday)
                days, minute = divmod(start + minutes, _DAY)
                begins, ends = where.comes(ordinal, start)[0], where.comes(ordinal + days, minute)[0]
                if begins < ends:  # a change of the clock may leave nothing of it
                    yield begins, ends


def _span(window: ShutdownWindow, weekday: Weekday) -> tuple[int, int]:
    """The minute of the day at which it begins, and how many minutes of the wall's clock it lasts."""
    start = _minutes(window.start)
    days = 0
    if window.until is not None:
        days = (WEEKDAYS.index(window.until) - WEEKDAYS.index(weekday)) % 7
        if days == 0 and window.stop is not None and _minutes(window.stop) <= start:
            days = 7
    stop = _DAY if window.stop is None else _minutes(window.stop)
    return start, days * _DAY + stop - start


def _minutes(at: time) -> int:
    return at.hour * 60 + at.minute


# ------------------------------------------------------------------------------------------- what is wrong


def shutdown_problems(shutdown: Shutdown, path: str) -> Iterator[Problem]:
    """Everything wrong with it."""
    if not has_zone(shutdown.timezone):
        message = f"{shutdown.timezone!r} is no zone of the IANA database: write for example Europe/Berlin or UTC."
        yield Problem(f"{path}.timezone", "invalid_timezone", message)
    if not shutdown.windows:
        yield Problem(f"{path}.windows", "required", "Name one window at least, or leave the shutdown out.")
    broken = False
    for number, window in enumerate(shutdown.windows):
        for problem in _window_problems(window, f"{path}.windows[{number}]"):
            broken = True
            yield problem
    if shutdown.windows and not broken and _covers_the_week(shutdown.windows):
        message = "These windows leave no time of the week in which a model may run: leave some."
        yield Problem(f"{path}.windows", "no_time_left", message)


def _window_problems(window: ShutdownWindow, path: str) -> Iterator[Problem]:
    if not window.days:
        yield Problem(f"{path}.days", "required", "Name one day at least.")
    if len(set(window.days)) != len(window.days):
        yield Problem(f"{path}.days", "duplicate", "Each day is named once.")
    for name, at in (("start", window.start), ("stop", window.stop)):
        if at is not None and (at.second or at.microsecond):
            yield Problem(f"{path}.{name}", "invalid_value", "Times are HH:MM, whole minutes.")
    if window.until is None and window.stop is not None and window.stop <= window.start:
        message = (
            'A window of one day stops after it starts. One over midnight names both days: from "friday 20:00", to '
            '"saturday 06:00".'
        )
        yield Problem(f"{path}.stop", "out_of_order", message)


def _covers_the_week(windows: Sequence[ShutdownWindow]) -> bool:
    spans = []
    for window in windows:
        for weekday in window.days:
            start, minutes = _span(window, weekday)
            begins = WEEKDAYS.index(weekday) * _DAY + start
            spans += [(begins, begins + minutes), (begins - _WEEK, begins - _WEEK + minutes)]
    reached = 0
    for begins, ends in sorted(spans):
        if begins > reached:
            return False
        reached = max(reached, ends)
    return reached >= _WEEK


# ------------------------------------------------------------------------------------------- in words


def in_words(window: ShutdownWindow) -> str:
    """``saturday, sunday``; ``monday 20:00-23:00``; ``friday 20:00 to monday 06:00``."""
    days = ", ".join(window.days)
    if window.until is not None:
        stop = "24:00" if window.stop is None else f"{window.stop:%H:%M}"
        return f"{days} {window.start:%H:%M} to {window.until} {stop}"
    if window.start == time(0) and window.stop is None:
        return days
    stop = "24:00" if window.stop is None else f"{window.stop:%H:%M}"
    return f"{days} {window.start:%H:%M}-{stop}"


def moment_in_words(at: datetime, timezone: str) -> str:
    """``Monday 2030-01-07 06:00 Europe/Berlin``."""
    where = ZoneInfo(timezone) if has_zone(timezone) else UTC
    return f"{at.astimezone(where):%A %Y-%m-%d %H:%M} {timezone}"
