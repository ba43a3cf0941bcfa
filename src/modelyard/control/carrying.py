"""Carries one schedule out: what is due of it now, as commands to the model service.

What is written of a schedule is written with what is done for it, in one transaction: a command and the note that its
occurrence is dealt with, or what was found instead. Who was slower finds the schedule changed, and looks again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from modelyard.control.caller import Busy, Caller
from modelyard.control.changes import ChangeFeed
from modelyard.control.holidays import know, names_of
from modelyard.control.ports import Store
from modelyard.control.schedule_ports import ScheduleStore
from modelyard.control.service import ModelService
from modelyard.domain import scheduling
from modelyard.domain.commands import Asked, Change, event_of
from modelyard.domain.enforcing import Forbidden as PolicyForbids
from modelyard.domain.errors import InvalidRequest, ModelyardError, NotFound, Unavailable, VersionConflict
from modelyard.domain.model import Event, Model, StopMode
from modelyard.domain.occurrences import missed, occurrences
from modelyard.domain.operations import Operation, OperationState
from modelyard.domain.schedules import ScheduledAction
from modelyard.domain.scheduling import ACTOR, LATE, Due, ModelSchedule, Outcome, ScheduleChange, ScheduleFailure

log = logging.getLogger(__name__)

FAILED: Final = "ScheduleFailed"
RECOVERED: Final = "ScheduleRecovered"
CAUGHT_UP: Final = "ScheduleCaughtUp"

# A stop by a schedule drains as long as a manual one that says nothing of it, seconds.
_DRAIN: Final = 30.0
# What comes of a start of what runs, or of a stop of what is going: it is as the schedule wants it.
_NEEDLESS: Final = {
    "already_running": "The model ran already.",
    "already_starting": "The model was starting already.",
    "already_queued": "The model waited for capacity already.",
    "deleting": "The model is being deleted.",
}
_OVERRIDDEN: Final = "Somebody has started or stopped the model since: that stands until the next occurrence."
# Occurrences that far ahead of the clock cannot have been dealt with: the clock was set back.
SET_BACK: Final = timedelta(minutes=15)
# For so long after an occurrence what is away for a moment is no failure yet.
_PASSING: Final = timedelta(seconds=20)
_ATTEMPTS: Final = 20
# A failure that lasts is told of again after this: what counts failures of a day is to see it still.
_TOLD_EVERY: Final = timedelta(hours=12)


class _Overridden(Exception):
    """A newer command stands."""


class _Changed(Exception):
    """The schedule is another one, or was carried out, meanwhile."""


class Carrying:
    """What a schedule asks of its model."""

    def __init__(
        self, store: Store, schedules: ScheduleStore, models: ModelService, feed: ChangeFeed,
        clock: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self._store, self._schedules, self._models = store, schedules, models
        self._feed, self._clock = feed, clock

    async def carry_out(self, uid: str, site: str) -> ModelSchedule | None:
        """Do what is due of the model's schedule, and return it as it is then; None: there is none to carry out on
        this site. Raises what the store raises."""
        for _ in range(_ATTEMPTS):
            kept, model = await self._schedules.get(uid), await self._store.get_model_by_uid(uid)
            if kept is None or model is None or model.site != site or not kept.schedule.enabled:
                return None
            if kept.schedule.holidays is not None:
                await asyncio.to_thread(know, {kept.schedule.holidays}, self._clock().date())
            if not await self._step(model, kept):
                return kept
        raise Busy

    async def _step(self, model: Model, kept: ModelSchedule) -> bool:
        """Whether there was something to do, so that the next is to be asked for."""
        now = self._clock()
        if kept.handled_until > now + SET_BACK:
            log.warning("The clock was set back: the schedule of %s goes on from %s", model.ref, now)
            await self._note(model, kept, scheduling.set_back(kept, now))
            return True
        if (due := _due(kept, now)) is not None:
            await self._act(model, kept, due)
            return True
        if kept.pending is not None:
            operation = await self._store.get_operation(kept.pending)
            if operation is None or operation.done:
                await self._settle(model, kept, operation)
                return True
        elif kept.failure is not None and kept.last is not None:
            occurrence = kept.last.occurrence
            if await self._schedules.commanded_since(model.ref, occurrence.at):
                due = Due(occurrence=occurrence, retries=kept.failure.retries + 1)
                await self._note(model, kept, scheduling.overridden(kept, due, _OVERRIDDEN, now), due)
                return True
        return False

    # ------------------------------------------------------------------ commands

    async def _act(self, model: Model, kept: ModelSchedule, due: Due) -> None:
        first = True

        async def amend(change: Change) -> Change:
            nonlocal first
            if not first and await self._schedules.get(model.uid) != kept:
                raise _Changed
            first = False
            if change.before is None or change.before.uid != model.uid:
                raise _Changed  # another model has the name now
            if await self._schedules.commanded_since(model.ref, due.occurrence.at):
                raise _Overridden
            operation, now = change.operations[-1], self._clock()
            after = scheduling.taken(kept, due, operation.id, now, done=operation.done)
            events = (*change.events, *_events(model, kept, after, due, now))
            return replace(change, events=events, schedule=ScheduleChange(before=kept, after=after))

        caller = Caller(actor=ACTOR, reason=scheduling.reason(kept.schedule, due), amend=amend)
        try:
            if due.occurrence.action is ScheduledAction.START:
                await self._models.start(model.namespace, model.name, caller)
            else:
                await self._models.stop(model.namespace, model.name, StopMode.DRAIN, _DRAIN, caller)
        except _Changed:
            return
        except _Overridden:
            after = scheduling.overridden(kept, due, _OVERRIDDEN, self._clock())
            await self._note(model, kept, after, due)
        except NotFound:
            return
        except ModelyardError as error:
            await self._refused(model, kept, due, error)

    async def _refused(self, model: Model, kept: ModelSchedule, due: Due, error: ModelyardError) -> None:
        now = self._clock()
        if error.code in _NEEDLESS:
            after = scheduling.needless(kept, due, _NEEDLESS[error.code], now)
        elif isinstance(error, PolicyForbids) and error.until is not None:
            ends = f"{error.until:%Y-%m-%d %H:%M} UTC"
            message = f"{', '.join(f'policy:{name}' for name in error.policies)} until {ends}"
            after = scheduling.skipped(kept, due, message, error.until, now)
        elif isinstance(error, Unavailable) and now < due.occurrence.at + _PASSING:
            raise error
        else:
            found = [problem.message for problem in error.problems] if isinstance(error, InvalidRequest) else []
            after = scheduling.refused(kept, due, error.code, " ".join(found) or error.message, now)
        await self._note(model, kept, after, due)

    async def _settle(self, model: Model, kept: ModelSchedule, operation: Operation | None) -> None:
        last, now = kept.last, self._clock()
        assert last is not None
        error = (operation.error if operation is not None else None) or {}
        code, message = str(error.get("code", "")), str(error.get("message", ""))
        outcome = Outcome.SUCCEEDED
        if operation is not None and operation.state is not OperationState.SUCCEEDED:
            outcome = Outcome.FAILED
            commanded = await self._schedules.commanded_since(model.ref, last.occurrence.at)
            if commanded or operation.state is OperationState.CANCELLED:
                outcome, message = Outcome.OVERRIDDEN, message or _OVERRIDDEN
        await self._note(model, kept, scheduling.settled(kept, outcome, code, message, now))

    # ------------------------------------------------------------------ writing

    async def _note(self, model: Model, kept: ModelSchedule, after: ModelSchedule, due: Due | None = None) -> None:
        """Write what became of it, if the schedule still is as it was read."""
        now = self._clock()
        for _ in range(_ATTEMPTS):
            change = Change(
                before=model, after=model, events=_events(model, kept, after, due, now),
                schedule=ScheduleChange(before=kept, after=after),
            )  # fmt: skip
            try:
                await self._feed.commit(change, wake=False)
                return
            except VersionConflict:
                found = await self._store.get_model_by_uid(model.uid)
                if found is None or await self._schedules.get(model.uid) != kept:
                    return
                model = found
        raise Busy


def _due(kept: ModelSchedule, now: datetime) -> Due | None:
    schedule = kept.schedule
    found = missed(occurrences(schedule, kept.handled_until, now, names_of(schedule.holidays), kept.extension))
    if found is not None:
        late = found.count > 1 or (now - found.latest.at).total_seconds() > LATE
        return Due(occurrence=found.latest, missed=found.count if late else 0)
    failure, last, again_at = kept.failure, kept.last, kept.again_at
    if again_at is None or last is None or kept.pending is not None or now < again_at:
        return None
    return Due(occurrence=last.occurrence, retries=0 if failure is None else failure.retries + 1)


def _events(
    model: Model, before: ModelSchedule, after: ModelSchedule, due: Due | None, now: datetime
) -> tuple[Event, ...]:  # fmt: skip
    """What of it is news besides the command itself."""
    asked = Asked(actor=ACTOR, reason="", at=now, operation_id="")
    told: list[tuple[str, str, dict[str, Any]]] = []
    if due is not None and due.missed:
        told.append((CAUGHT_UP, scheduling.caught_up(due), {"missed": due.missed}))
    was, failure = before.failure, after.failure
    first = was is None or (due is not None and not due.retries)
    first = first or (was is not None and failure is not None and _lasts(was, failure, after))
    if failure is not None and failure != was and (first or was is None or was.code != failure.code):
        message = f"{failure.message} It is tried again at {failure.retry_at:%H:%M} UTC."
        told.append((FAILED, message, {"code": failure.code, "retry_at": failure.retry_at.isoformat()}))
    elif was is not None and failure is None:
        done = after.last is not None and after.last.outcome is Outcome.SUCCEEDED
        over = "Its failure is over: a newer command stands, or its next time has come."
        told.append((RECOVERED, "What its schedule could not do is done." if done else over, {}))
    data: dict[str, Any] = {}
    if after.last is not None:
        data = {"action": str(after.last.occurrence.action), "at": after.last.occurrence.at.isoformat()}
    return tuple(event_of(model, type_, asked, message, {**data, **more}) for type_, message, more in told)


def _lasts(was: ScheduleFailure, failure: ScheduleFailure, after: ModelSchedule) -> bool:
    """Whether, counted from the occurrence, a period after which it is told of again has ended between the two."""
    if after.last is None:
        return False
    since = after.last.occurrence.at
    return (failure.at - since) // _TOLD_EVERY > (was.at - since) // _TOLD_EVERY
