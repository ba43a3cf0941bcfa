"""When the clock on a zone's wall shows a time: the one place that knows of changes of the clock.

The rule: a time of a day comes at the first instant at which the wall shows it *or a later one*. A time that a change
leaves out (a gap) so comes at the first instant after it, one that comes twice (a fold) the first time; and whatever
the changes, what is later on the wall never comes earlier. Almost all days have no change near: of these a zone keeps
only when they begin, so that what many schedules ask is computed once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

from modelyard.domain.schedules import ClockChange

_DAY: Final = 86_400
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL: Final = _EPOCH.toordinal()
_SECOND: Final = timedelta(seconds=1)
# No zone has had two changes that cancel each other within so many seconds. A day meets every change that is within so
# many of it, and further off, within a day, those that put the clock by more (over the date line).
_STEP: Final = 12 * 3600
_NEAR: Final = range(-_STEP, _DAY + _STEP + 1, _STEP)
_FAR: Final = (-_DAY - _STEP, 2 * _DAY + _STEP)
# Of each zone, days and times near changes that are kept: years of them.
_MAX_KEPT: Final = 4096


def seconds_of(at: datetime) -> int:
    """Whole seconds since 1970 in UTC, what is over cut off downwards."""
    return (at - _EPOCH) // _SECOND


def instant(seconds: int) -> datetime:
    return _EPOCH + timedelta(0, seconds)


class Zone:
    """Days are ordinals (:meth:`datetime.date.toordinal`), times of a day minutes since its 00:00, up to 1440; instants
    are seconds since 1970 in UTC."""

    __slots__ = ("_begins", "_moved", "_seen", "_zone")

    def __init__(self, name: str) -> None:
        self._zone = ZoneInfo(name)
        self._begins: dict[int, int | None] = {}
        self._moved: dict[tuple[int, int], tuple[int, ClockChange | None]] = {}
        self._seen = (0, self._ordinal_at(0))

    def ordinal_at(self, at: int) -> int:
        """The day on the wall at an instant."""
        seen = self._seen
        if seen[0] != at:
            # Many schedules are asked about the same instant.
            self._seen = seen = (at, self._ordinal_at(at))
        return seen[1]

    def regular(self, ordinal: int) -> int | None:
        """The instant at which a day begins whose minutes all follow each other; None: a change is near."""
        try:
            return self._begins[ordinal]
        except KeyError:
            begins = self._find_regular(ordinal)
            if len(self._begins) >= _MAX_KEPT:
                self._begins.clear()
            self._begins[ordinal] = begins
            return begins

    def comes(self, ordinal: int, minute: int) -> tuple[int, ClockChange | None]:
        """When a time of a day comes, and what change moved it."""
        begins = self.regular(ordinal)
        if begins is not None:
            return begins + 60 * minute, None
        key = (ordinal, minute)
        moved = self._moved.get(key)
        if moved is None:
            moved = self._resolve((ordinal - _EPOCH_ORDINAL) * _DAY + 60 * minute)
            if len(self._moved) >= _MAX_KEPT:
                self._moved.clear()
            self._moved[key] = moved
        return moved

    def wall(self, at: int) -> datetime:
        """What the wall shows at an instant, without a zone."""
        return (_EPOCH + timedelta(0, at + self._offset(at))).replace(tzinfo=None)

    def _ordinal_at(self, at: int) -> int:
        return (at + self._offset(at)) // _DAY + _EPOCH_ORDINAL

    def _offset(self, at: int) -> int:
        return _offset_of(instant(at).astimezone(self._zone))

    def _find_regular(self, ordinal: int) -> int | None:
        shown = (ordinal - _EPOCH_ORDINAL) * _DAY
        offset = self._offset(shown)
        begins = shown - offset
        if any(self._offset(begins + near) != offset for near in _NEAR):
            return None
        return None if any(abs(self._offset(begins + far) - offset) > _STEP for far in _FAR) else begins

    def _resolve(self, shown: int) -> tuple[int, ClockChange | None]:
        """``shown``: the time on the wall, in seconds as if it were UTC. Of a time in a gap, Python's fold 0 is by the
        offset from before and fold 1 by the one from after it, each off to the wrong side (PEP 495)."""
        naive = (_EPOCH + timedelta(0, shown)).replace(tzinfo=self._zone)
        by_first, by_second = (shown - _offset_of(naive.replace(fold=fold)) for fold in (0, 1))
        if by_first == by_second:
            return by_first, None
        if by_first < by_second:
            return by_first, ClockChange.FOLD
        before, after = by_second - 1, by_first
        while after - before > 1:
            middle = (before + after) // 2
            if middle + self._offset(middle) >= shown:
                after = middle
            else:
                before = middle
        return after, ClockChange.GAP


def _offset_of(at: datetime) -> int:
    offset = at.utcoffset()
    assert offset is not None
    return offset // _SECOND


@cache
def zone(name: str) -> Zone:
    """The one of that name, with all that it has kept.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: if there is none; :func:`~modelyard.domain.schedules.schedule_problems` says so.
    """
    return Zone(name)
