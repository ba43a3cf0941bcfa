"""When a schedule acts: its occurrences over any stretch of time, computed from nothing but the schedule.

A stretch is from ``after``, which is not in it, up to ``until``, which is: stretches that follow each other have every
occurrence once. Instants are aware datetimes. Windows that touch are one, so no stop is followed by a start at the same
instant. A gap of the clock may have the whole of a window come at one instant (Antarctica/Troll leaves out two hours):
such a window does not happen, as a model that is started to be stopped at once serves nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.schedules import (
    ClockChange,
    Extension,
    Occurrence,
    Schedule,
    ScheduledAction,
    ScheduleKind,
    Weekday,
    Window,
)
from modelyard.domain.zones import Zone, instant, seconds_of, zone

# What comes next is looked for so far ahead: some holiday or week comes round within two years.
LOOK_AHEAD: Final = timedelta(days=800)
_LOOK_AHEAD: Final = int(LOOK_AHEAD.total_seconds())
MAX_EXTENSION: Final = timedelta(days=7)
_WEEKDAYS: Final = tuple(Weekday)
_MINUTES_A_DAY: Final = 24 * 60
_MINUTES: Final = [timedelta(minutes=minute) for minute in range(_MINUTES_A_DAY + 1)]
_START: Final = ScheduledAction.START
_STOP: Final = ScheduledAction.STOP
_LAST_INSTANT: Final = seconds_of(datetime.fromisoformat("9990-01-01T00:00:00+00:00"))

# The name of the holiday that a day is, empty: it is none. Of the schedule's own calendar.
HolidayName = Callable[[date], str]
# When, what, of which day, at which of its minutes, and the note of the day's exception.
_Edge = tuple[int, ScheduledAction, int, int, str]


@dataclass(frozen=True, slots=True)
class Missed:
    """``latest`` is what to catch up with: it overrules the ``count`` - 1 before it."""

    latest: Occurrence
    count: int


@dataclass(frozen=True, slots=True)
class Period:
    """From ``start`` to ``stop`` the schedule has the model run. ``note``: that of its start or its stop."""

    start: datetime
    stop: datetime
    note: str = ""


def no_holidays(day: date) -> str:
    return ""


def occurrences(
    schedule: Schedule,
    after: datetime,
    until: datetime,
    is_holiday: HolidayName = no_holidays,
    extension: Extension | None = None,
) -> Iterator[Occurrence]:
    """In order of time, lazily. None of a schedule that is not enabled.

    An extension takes away the stops between its beginning and its end; at its end the model is stopped if the last of
    what the schedule has done by then was to stop it.
    """
    plain = _plain(schedule, seconds_of(after), seconds_of(until), is_holiday)
    if extension is None or extension.until <= after:
        yield from plain
        return
    ends, closing = extension.until, _closing(schedule, extension, is_holiday)
    for occurrence in plain:
        if closing is not None and occurrence.at > ends:
            yield closing
            closing = None
        if occurrence.action is _START or not extension.made_at < occurrence.at < ends:
            yield occurrence
    if closing is not None and ends <= until:
        yield closing


def next_occurrence(
    schedule: Schedule, after: datetime, is_holiday: HolidayName = no_holidays, extension: Extension | None = None
) -> Occurrence | None:
    """The first one after ``after``. None: there is none within LOOK_AHEAD, ask again by then."""
    if extension is None or extension.until <= after:
        return _first(schedule, seconds_of(after), is_holiday)
    return next(occurrences(schedule, after, after + LOOK_AHEAD, is_holiday, extension), None)


def missed(due: Iterable[Occurrence]) -> Missed | None:
    """Of what has come meanwhile only the latest is to be done. None: nothing has."""
    all_of_them = list(due)
    return Missed(all_of_them[-1], len(all_of_them)) if all_of_them else None


def periods(
    schedule: Schedule,
    now: datetime,
    days: int,
    is_holiday: HolidayName = no_holidays,
    extension: Extension | None = None,
) -> Iterator[Period]:
    """The windows that begin within the next ``days`` times 24 hours, and before them the one that is open now. One
    that has no beginning or end within LOOK_AHEAD is cut there."""
    last = now + timedelta(days=days)
    begun, note = now - LOOK_AHEAD, ""
    running: bool | None = None
    for occurrence in occurrences(schedule, begun, last + LOOK_AHEAD, is_holiday, extension):
        if occurrence.action is _START:
            if occurrence.at > last and not running:
                return
            if not running:
                begun, note, running = occurrence.at, occurrence.note, True
        elif running is not False:
            running = False
            if occurrence.at > now:
                yield Period(begun, occurrence.at, note or occurrence.note)
    if running:
        yield Period(begun, last + LOOK_AHEAD, note)


def extend(
    schedule: Schedule,
    until: datetime,
    now: datetime,
    is_holiday: HolidayName = no_holidays,
    current: Extension | None = None,
    note: str = "",
) -> Extension:
    """Have the schedule leave the model running until ``until``, instead of what ``current`` says. What a schedule does
    not have running now is not extended: a manual start holds until the next occurrence anyway.

    Raises:
        InvalidRequest: if the schedule is not enabled or has the model stopped now, or if ``until`` is not after now
            and the stop that it is to put off, or further away than MAX_EXTENSION.
    """
    # One that is in force has put a stop off already, which the new one must still hold off.
    made_at = current.made_at if current is not None and current.made_at <= now < current.until else now
    if not schedule.enabled:
        raise _not_extended("not_applicable", "The schedule is not enabled: it would not stop the model.")
    if until > now + MAX_EXTENSION:
        days = MAX_EXTENSION.days
        raise _not_extended("out_of_range", f"until is at most {days} days from now: for longer, change the schedule.")
    stop = next_occurrence(schedule, made_at, is_holiday)
    if stop is None or stop.action is _START:
        comes = f"next is its start at {stop.wall:%Y-%m-%d %H:%M}" if stop else "no stop is coming"
        message = f"The schedule does not have the model running now, and {comes}: start it by hand to have it run."
        raise _not_extended("not_applicable", message)
    if until <= max(stop.at, now):
        message = f"until is after now and after {stop.wall:%Y-%m-%d %H:%M}, until which the model runs anyway."
        raise _not_extended("out_of_range", message)
    return Extension(made_at=made_at, until=until, note=note)


def _not_extended(code: str, message: str) -> InvalidRequest:
    return InvalidRequest([Problem("until", code, message)])


def _closing(schedule: Schedule, extension: Extension, is_holiday: HolidayName) -> Occurrence | None:
    """The stop with which an extension ends. None: a window holds its end, or ends there, or there was no stop that it
    put off (the schedule has been changed since)."""
    put_off = list(_plain(schedule, seconds_of(extension.made_at), seconds_of(extension.until), is_holiday))
    if not put_off or put_off[-1].action is _START or put_off[-1].at == extension.until:
        return None
    wall = zone(schedule.timezone).wall(seconds_of(extension.until))
    return Occurrence(action=_STOP, at=extension.until, wall=wall, note=extension.note or "The extension ends.")


def _plain(schedule: Schedule, since: int, last: int, is_holiday: HolidayName) -> Iterator[Occurrence]:
    """Without an extension; after ``since`` and up to ``last`` in seconds."""
    if not schedule.enabled:
        return
    of, last = zone(schedule.timezone), min(last, _LAST_INSTANT)
    # What the day before still has to do comes when this day begins on the wall, and so not after ``since``.
    for at, action, ordinal, minute, note in _edges(schedule, of, of.ordinal_at(since), last, is_holiday):
        if at > last:
            return
        if at > since:
            yield _occurrence(of, at, action, ordinal, minute, note)


def _first(schedule: Schedule, since: int, is_holiday: HolidayName) -> Occurrence | None:
    """Of :func:`_plain`: what is asked most, without what only several take."""
    if schedule.enabled:
        of = zone(schedule.timezone)
        for at, action, ordinal, minute, note in _edges(
            schedule, of, of.ordinal_at(since), since + _LOOK_AHEAD, is_holiday
        ):
            if at > since:
                return _occurrence(of, at, action, ordinal, minute, note)
    return None


def _occurrence(of: Zone, at: int, action: ScheduledAction, ordinal: int, minute: int, note: str) -> Occurrence:
    change = None
    if of.regular(ordinal) is None and (change := of.comes(ordinal, minute)[1]) is not None:
        note = "; ".join(filter(None, (note, _moved(change, minute))))
    wall = datetime.fromordinal(ordinal) + _MINUTES[minute]
    return Occurrence(action=action, at=instant(at), wall=wall, change=change, note=note)


def _moved(change: ClockChange, minute: int) -> str:
    shown = f"{minute // 60:02}:{minute % 60:02}"
    if change is ClockChange.GAP:
        return f"The clock leaves {shown} out on this day: at the first instant after."
    return f"The clock shows {shown} twice on this day: at the first time."


def _edges(schedule: Schedule, of: Zone, ordinal: int, last: int, is_holiday: HolidayName) -> Iterator[_Edge]:
    """Where windows begin and end that are not one with another, from a day on, until the first day after ``last``."""
    ending: _Edge | None = None
    begins = 0
    while begins <= last:
        window, note = _window(schedule, ordinal, is_holiday)
        base = of.regular(ordinal)
        begins = base if base is not None else of.comes(ordinal, 0)[0]
        if ending is not None and ending[0] < begins:
            yield ending
            ending = None
        if window is not None:
            first, final = window.minutes
            start = begins + 60 * first if base is not None else of.comes(ordinal, first)[0]
            stop = begins + 60 * final if base is not None else of.comes(ordinal, final)[0]
            if start < stop:
                if ending is None:
                    yield start, _START, ordinal, first, note
                elif ending[0] < start:
                    yield ending
                    yield start, _START, ordinal, first, note
                ending = (stop, _STOP, ordinal, final, note)
                if base is not None and final < _MINUTES_A_DAY:
                    # Within the day: no other window can touch it.
                    yield ending
                    ending = None
        ordinal += 1


def _window(schedule: Schedule, ordinal: int, is_holiday: HolidayName) -> tuple[Window | None, str]:
    """That of a day, with the note of the exception that it is of."""
    if schedule.exceptions or schedule.holidays is not None:
        day = date.fromordinal(ordinal)
        if (exception := schedule.exception_on(day)) is not None:
            return exception.window, exception.note
        if schedule.holidays is not None and is_holiday(day):
            return None, ""
    if schedule.kind is ScheduleKind.RECURRING:
        return schedule.recurring, ""
    return schedule.daily.get(_WEEKDAYS[(ordinal - 1) % 7]), ""
