"""A zone's wall clock watched second by second: what the resolver of schedules is tested against.

Nothing of it comes from the resolver. A stretch of time around a change is walked in UTC, each second's wall clock is
written down, and a time of the day fires at the first second that shows it, or, if none does, at the second at which
the clock has jumped over it. A schedule has the model run in every second that one of its windows covers; its
occurrences are the seconds at which that changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from modelyard.domain.schedules import Schedule, ScheduledAction, ScheduleKind, Weekday

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400
FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2041, 1, 1, tzinfo=UTC)
Edges = list[tuple[int, ScheduledAction]]


@dataclass(frozen=True)
class Change:
    """``at``: the first second (since 1970, UTC) with the offset ``after``, in seconds; before it ``before``."""

    at: int
    before: int
    after: int

    @property
    def kind(self) -> tuple[int, int]:
        """By how much the clock is put, and at which time of its day."""
        return self.after - self.before, (self.at + self.before) % DAY


def offset(zone: ZoneInfo, at: int) -> int:
    shift = (EPOCH + timedelta(seconds=at)).astimezone(zone).utcoffset()
    assert shift is not None
    return shift // timedelta(seconds=1)


@cache
def changes(name: str, days: int = 3) -> tuple[Change, ...]:
    """All from 2020 to 2040, found by looking every so many days: no zone's clock is put and put back within three."""
    zone = ZoneInfo(name)
    found = []
    low, step = int(FIRST.timestamp()), days * DAY
    before = offset(zone, low)
    for high in range(low + step, int(LAST.timestamp()) + step, step):
        after = offset(zone, high)
        if after != before:
            left, right = high - step, high
            while right - left > 1:
                middle = (left + right) // 2
                left, right = (middle, right) if offset(zone, middle) == before else (left, middle)
            found.append(Change(right, before, after))
            before = after
    return tuple(found)


class Walk:
    """From ``days`` before ``middle`` to ``days`` after it, in seconds."""

    def __init__(self, name: str, middle: int, days: int = 3) -> None:
        self.first = middle - days * DAY
        self.seconds = np.arange(self.first, middle + days * DAY, dtype=np.int64)
        self.wall = self.seconds + self._offsets(ZoneInfo(name))
        self._fires = self._watch()

    def _offsets(self, zone: ZoneInfo) -> npt.NDArray[np.int64]:
        """Asked once a minute: all changes since 2020 are at whole minutes (which is checked where they are found)."""
        by_minute = [offset(zone, at) for at in range(self.first, int(self.seconds[-1]) + 1, 60)]
        return np.repeat(np.array(by_minute, dtype=np.int64), 60)[: len(self.seconds)]

    def _watch(self) -> dict[int, int]:
        """The second at which each minute of the wall fires, by its number since 1970 as if it were UTC."""
        whole = np.flatnonzero(self.wall % 60 == 0)
        shown, first = np.unique(self.wall[whole] // 60, return_index=True)
        fires = dict(zip(shown.tolist(), self.seconds[whole[first]].tolist(), strict=True))
        for jump in (np.flatnonzero(np.diff(self.wall) > 1) + 1).tolist():
            left, right = int(self.wall[jump - 1]), int(self.wall[jump])
            for minute in range(left // 60 + 1, right // 60 + 1):
                fires.setdefault(minute, int(self.seconds[jump]))
        return fires

    def fires(self, day: date, minute: int) -> int:
        return self._fires[(day.toordinal() - EPOCH.toordinal()) * 1440 + minute]

    @property
    def days(self) -> list[date]:
        """Those that are whole within it."""
        shown = [EPOCH.date() + timedelta(seconds=int(at)) for at in (self.wall[0], self.wall[-1])]
        return [shown[0] + timedelta(days=n) for n in range(1, (shown[1] - shown[0]).days)]

    def edges(self, schedule: Schedule, is_holiday: Callable[[date], str] = lambda day: "") -> tuple[int, int, Edges]:
        """What a schedule does after the first of the instants that are given with it and up to the second."""
        runs = np.zeros(len(self.seconds), dtype=np.int8)
        for day in self.days:
            window = own_window(schedule, day, is_holiday)
            if window is not None:
                begin, end = (self.fires(day, minute) - self.first for minute in window)
                runs[begin:end] = 1
        turns = np.diff(runs)
        first = self.fires(self.days[0], 1440)
        last = self.fires(self.days[-1], 0) - 1
        edges = [
            (self.first + at + 1, ScheduledAction.START if turns[at] > 0 else ScheduledAction.STOP)
            for at in np.flatnonzero(turns).tolist()
        ]
        return first, last, [edge for edge in edges if first < edge[0] <= last]


def own_window(schedule: Schedule, day: date, is_holiday: Callable[[date], str]) -> tuple[int, int] | None:
    """A day's, in minutes."""
    inside = [e for e in schedule.exceptions if e.first <= day <= e.last]
    if inside:
        window = inside[0].window
    elif schedule.holidays is not None and is_holiday(day):
        window = None
    elif schedule.kind is ScheduleKind.RECURRING:
        window = schedule.recurring
    else:
        window = schedule.daily.get(Weekday(day.strftime("%A").lower()))
    if window is None:
        return None
    stop = window.stop.hour * 60 + window.stop.minute
    return window.start.hour * 60 + window.start.minute, stop if stop else 1440
