"""When a model runs: windows of wall-clock time in a zone, and what of them happens when.

A schedule acts at *occurrences*, the instants at which its windows begin and end; between them it leaves the model
alone, so that a manual start or stop holds until the next one. Everything here is computed from the schedule and the
time that is asked about, never stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Final

# A window is at least so long: a model that starts and stops more often costs more than it saves.
MIN_WINDOW: Final = timedelta(hours=2)


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
    """From ``start`` to ``stop`` on the same day, by the clock on the wall: minutes, no zone."""

    start: time
    stop: time


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
    ``exceptions`` go before ``holidays`` (days on which nothing happens), the first that holds a day counts.
    One that is not ``enabled`` does nothing, and is kept."""

    kind: ScheduleKind
    timezone: str
    recurring: Window | None = None
    daily: Mapping[Weekday, Window] = field(default_factory=dict)
    exceptions: tuple[DayException, ...] = ()
    holidays: HolidayCalendar | None = None
    enabled: bool = True


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
