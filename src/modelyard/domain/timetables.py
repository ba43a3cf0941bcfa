"""What schedules and shutdown windows take up of a stretch of time, for whoever draws it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from modelyard.domain import windows
from modelyard.domain.occurrences import LOOK_AHEAD, HolidayName, Period, next_occurrence, no_holidays, occurrences
from modelyard.domain.schedules import Extension, Occurrence, Schedule, ScheduledAction

# Nearly every schedule has done something within a week; only of others is more looked at.
_SOON: Final = timedelta(days=8)


def running(
    schedule: Schedule,
    since: datetime,
    until: datetime,
    is_holiday: HolidayName = no_holidays,
    extension: Extension | None = None,
) -> Iterator[Period]:
    """When the schedule has its model run: all that is between ``since`` and ``until`` at least in part, whole. What
    has no beginning or end within LOOK_AHEAD is cut to the stretch."""
    last = _last_before(schedule, since, is_holiday, extension)
    begun = last.at if last is not None and last.action is ScheduledAction.START else None
    note = last.note if begun is not None and last is not None else ""
    known = last is not None
    for occurrence in occurrences(schedule, since, until, is_holiday, extension):
        if occurrence.action is ScheduledAction.START:
            if begun is None:
                begun, note = occurrence.at, occurrence.note
        elif begun is not None or not known:
            yield Period(begun or since, occurrence.at, note or occurrence.note)
            begun = None
        known = True
    if begun is not None:
        following = next_occurrence(schedule, until, is_holiday, extension)
        yield Period(begun, until if following is None else following.at, note)


def _last_before(
    schedule: Schedule, at: datetime, is_holiday: HolidayName, extension: Extension | None
) -> Occurrence | None:  # fmt: skip
    for back in (_SOON, LOOK_AHEAD):
        if found := deque(occurrences(schedule, at - back, at, is_holiday, extension), maxlen=1):
            return found[0]
    return None


def shut(shutdown: windows.Shutdown, since: datetime, until: datetime) -> Iterator[windows.Period]:
    """The periods of a shutdown that are between ``since`` and ``until`` at least in part, whole."""
    at = since
    while (found := windows.period(shutdown, at)) is not None and found.begins < until:
        yield found
        at = found.ends
