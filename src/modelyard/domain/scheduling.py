"""What stands of a model's schedule beside itself: how far it has been carried out, what came of it, what is next.

The loop that carries it out is :mod:`modelyard.control.scheduler`; here is what it decides by, without a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Final

from modelyard.domain.etags import first_version
from modelyard.domain.schedules import Extension, Occurrence, Schedule, ScheduledAction, Weekday, Window

# The actor of what a schedule does.
ACTOR: Final = "schedule"
# Minutes until a failed action is tried again; the last of them goes on.
RETRIES: Final = (1, 5, 15)
# An occurrence that is carried out later than this was missed, seconds: the loop itself takes far less.
LATE: Final = 60.0
_WEEKDAYS: Final = tuple(Weekday)


class Outcome(StrEnum):
    PENDING = "pending"  # the command is taken, its operation is under way
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the command was refused, or its operation failed
    OVERRIDDEN = "overridden"  # somebody has started or stopped the model since: that is newer, so it stands
    SKIPPED = "skipped"  # the window of a policy keeps the model shut down; it is done at its end, if nothing is newer


class Health(StrEnum):
    """The status that users see."""

    NONE = "none"  # the model has no schedule
    ACTIVE = "active"
    DISABLED = "disabled"
    FAILED = "failed"  # its last action did; it is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAction:
    """What came of ``occurrence``, last looked at ``at``. ``operation`` is the command's, if one was needed.
    ``missed``: so many occurrences, this one included, were due while nobody carried them out; 0: it was in time.
    ``until``: of what is skipped, the end of the window."""

    occurrence: Occurrence
    at: datetime
    outcome: Outcome
    message: str = ""
    operation: str | None = None
    missed: int = 0
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFailure:
    """Why the last action failed, ``retries`` times after the first (0: it was not tried again yet)."""

    at: datetime
    code: str
    message: str
    retries: int
    retry_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSchedule:
    """The schedule of the model ``model_uid``. Occurrences up to ``handled_until`` have been dealt with. ``edits``
    grows with what users change of it (the ETag), ``version`` with every write."""

    model_uid: str
    schedule: Schedule
    updated_at: datetime
    updated_by: str
    handled_until: datetime
    extension: Extension | None = None
    last: LastAction | None = None
    failure: ScheduleFailure | None = None
    edits: int = 1
    version: int = 0

    @property
    def health(self) -> Health:
        if not self.schedule.enabled:
            return Health.DISABLED
        return Health.ACTIVE if self.failure is None else Health.FAILED

    @property
    def pending(self) -> str | None:
        """The operation that it waits for."""
        waits = self.last is not None and self.last.outcome is Outcome.PENDING
        return self.last.operation if waits and self.last is not None else None

    @property
    def again_at(self) -> datetime | None:
        """When its last action is tried again."""
        if self.failure is not None:
            return self.failure.retry_at
        return None if self.last is None else self.last.until


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleChange:
    """What one transaction makes of a schedule. ``before`` None: the model had none; ``after`` None: it has none."""

    before: ModelSchedule | None
    after: ModelSchedule | None

    @property
    def by_user(self) -> bool:
        """Whether what is to be done is another now, and not only what was done."""
        return self.before is None or self.after is None or self.before.edits != self.after.edits


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is to be done now. ``missed`` as in :class:`LastAction`; ``retries``: so often it has failed before."""

    occurrence: Occurrence
    missed: int = 0
    retries: int = 0


# ------------------------------------------------------------------------------------------- what users change


def saved(before: ModelSchedule | None, model_uid: str, schedule: Schedule, by: str, now: datetime) -> ModelSchedule:
    """Saving does nothing to the model: what lies behind counts as dealt with."""
    if before is None:
        return ModelSchedule(
            model_uid=model_uid, schedule=schedule, updated_at=now, updated_by=by, handled_until=now,
            edits=first_version(now),
        )  # fmt: skip
    return replace(_edited(before, by, now), schedule=schedule)


def enabled(before: ModelSchedule, by: str, now: datetime, *, enable: bool) -> ModelSchedule:
    return replace(_edited(before, by, now), schedule=replace(before.schedule, enabled=enable))


def extended(before: ModelSchedule, extension: Extension | None, by: str, now: datetime) -> ModelSchedule:
    """None takes the extension back: a stop that it has put off does not happen after all, as nothing is stopped by
    a change of its schedule."""
    handled = before.handled_until if extension is not None else max(now, before.handled_until)
    return replace(
        before, extension=extension, handled_until=handled, updated_at=now, updated_by=by, edits=before.edits + 1
    )  # fmt: skip


def _edited(before: ModelSchedule, by: str, now: datetime) -> ModelSchedule:
    return replace(
        before, updated_at=now, updated_by=by, handled_until=max(now, before.handled_until), failure=None,
        last=_left_alone(before.last), edits=before.edits + 1,
    )  # fmt: skip


def _left_alone(last: LastAction | None) -> LastAction | None:
    """Nobody waits any more for what an earlier schedule has begun, or was kept from."""
    if last is None or last.outcome is not Outcome.PENDING:
        return None if last is None else replace(last, until=None)
    return replace(last, outcome=Outcome.OVERRIDDEN, message="The schedule was changed before it was over.")


# ------------------------------------------------------------------------------------------- what comes of it


def taken(before: ModelSchedule, due: Due, operation: str, now: datetime, *, done: bool) -> ModelSchedule:
    """The command is accepted; ``done``: there is nothing to wait for."""
    outcome = Outcome.SUCCEEDED if done else Outcome.PENDING
    return _acted(before, due, now, outcome, operation=operation, forgives=done)


def needless(before: ModelSchedule, due: Due, message: str, now: datetime) -> ModelSchedule:
    """The model is already as the schedule wants it."""
    return _acted(before, due, now, Outcome.SUCCEEDED, message=message)


def overridden(before: ModelSchedule, due: Due, message: str, now: datetime) -> ModelSchedule:
    return _acted(before, due, now, Outcome.OVERRIDDEN, message=message)


def skipped(before: ModelSchedule, due: Due, message: str, until: datetime, now: datetime) -> ModelSchedule:
    """A policy keeps the model shut down: that is no failure."""
    acted = _acted(before, due, now, Outcome.SKIPPED, message=message)
    assert acted.last is not None
    return replace(acted, last=replace(acted.last, until=until))


def refused(before: ModelSchedule, due: Due, code: str, message: str, now: datetime) -> ModelSchedule:
    acted = _acted(before, due, now, Outcome.FAILED, message=message, forgives=False)
    return replace(acted, failure=_failure(code, message, due.retries, now))


def settled(before: ModelSchedule, outcome: Outcome, code: str, message: str, now: datetime) -> ModelSchedule:
    """The operation that it waited for has ended."""
    assert before.last is not None
    last = replace(before.last, outcome=outcome, at=now, message=message)
    retries = 0 if before.failure is None else before.failure.retries + 1
    failure = _failure(code, message, retries, now) if outcome is Outcome.FAILED else None
    return replace(before, last=last, failure=failure)


def _acted(
    before: ModelSchedule, due: Due, now: datetime, outcome: Outcome, *, message: str = "",
    operation: str | None = None, forgives: bool = True,
) -> ModelSchedule:  # fmt: skip
    last = LastAction(
        occurrence=due.occurrence, at=now, outcome=outcome, message=message, operation=operation,
        missed=due.missed if due.retries == 0 or before.last is None else before.last.missed,
    )  # fmt: skip
    # An earlier occurrence's failure is over with this one; its own stands until an action of it succeeds.
    stands = None if forgives or due.retries == 0 else before.failure
    return replace(
        before, handled_until=max(before.handled_until, due.occurrence.at), last=last, failure=stands
    )  # fmt: skip


def _failure(code: str, message: str, retries: int, now: datetime) -> ScheduleFailure:
    pause = timedelta(minutes=RETRIES[min(retries, len(RETRIES) - 1)])
    return ScheduleFailure(at=now, code=code, message=message, retries=retries, retry_at=now + pause)


def set_back(before: ModelSchedule, now: datetime) -> ModelSchedule:
    """The clock was wrong, and what lies ahead counts as done: it no longer does."""
    return replace(before, handled_until=now)


# ------------------------------------------------------------------------------------------- in words


def reason(schedule: Schedule, due: Due) -> str:
    """Why the model is started or stopped, as its operation and its events say it."""
    occurrence, day = due.occurrence, _day(due.occurrence)
    window = _window(schedule, occurrence)
    what = "start" if occurrence.action is ScheduledAction.START else "stop"
    words = f"Schedule: {what} at {occurrence.wall:%H:%M} {schedule.timezone} on {day:%A} {day:%Y-%m-%d}"
    words += f", window {window}" if window is not None else ""
    words += f" ({occurrence.note.removesuffix('.')})" if occurrence.note else ""
    return words + (f"; retry {due.retries}" if due.retries else "")


def caught_up(due: Due) -> str:
    """What an event says of an occurrence that comes late."""
    others = due.missed - 1
    at, what = due.occurrence.wall, due.occurrence.action
    before = f", and {others} before it are left out" if others else ""
    return f"The {what} of {at:%Y-%m-%d %H:%M} was missed: it is caught up now{before}."


def day_off(schedule: Schedule, day: date, holiday: Callable[[date], str]) -> str | None:
    """Why nothing happens on a day on which something would; None where that is not so."""
    own = schedule.recurring or schedule.daily.get(_WEEKDAYS[day.weekday()])
    if (exception := schedule.exception_on(day)) is not None:
        return (exception.note or "Exception") if exception.window is None and own is not None else None
    return holiday(day) or None if own is not None and schedule.holidays is not None else None


def _day(occurrence: Occurrence) -> date:
    """The one whose window it is of: a window that ends with the day ends at the next day's 00:00."""
    ends_at_midnight = occurrence.action is ScheduledAction.STOP and occurrence.wall.time() == time(0)
    return (occurrence.wall - timedelta(days=1 if ends_at_midnight else 0)).date()


def _window(schedule: Schedule, occurrence: Occurrence) -> Window | None:
    """None where it is at the edge of none, as the end of an extension is."""
    day = _day(occurrence)
    window = schedule.recurring if schedule.recurring is not None else schedule.daily.get(_WEEKDAYS[day.weekday()])
    if (exception := schedule.exception_on(day)) is not None:
        window = exception.window
    edge = None
    if window is not None:
        edge = window.start if occurrence.action is ScheduledAction.START else window.stop
    return window if edge == occurrence.wall.time() else None
