"""What users ask of schedules: save, extend, switch, remove. None of it starts or stops a model by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from modelyard.control.caller import Busy, Caller
from modelyard.control.changes import ChangeFeed
from modelyard.control.holidays import calendar_problems, know, names_of
from modelyard.control.ports import Idempotency
from modelyard.control.schedule_ports import ScheduleStore
from modelyard.control.service import ModelService
from modelyard.domain import scheduling
from modelyard.domain.access import Principal
from modelyard.domain.commands import Asked, Change, event_of
from modelyard.domain.errors import EtagMismatch, InvalidRequest, NotFound, Problem, VersionConflict
from modelyard.domain.icalendar import calendar
from modelyard.domain.model import Model
from modelyard.domain.occurrences import extend, next_occurrence, occurrences, periods
from modelyard.domain.schedules import Occurrence, Schedule, schedule_problems
from modelyard.domain.scheduling import ModelSchedule, ScheduleChange, day_off

_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True)
class Edit:
    """What a request makes of a schedule (None: nothing is left), and how its event tells of it."""

    after: ModelSchedule | None
    event: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """``days_off``: those on which nothing happens though it would on others, and why. ``clock_changes``: the days on
    which the zone's clock is set, with its offsets before and after."""

    actions: Sequence[Occurrence]
    days_off: Sequence[tuple[date, str]]
    clock_changes: Sequence[tuple[date, str, str]]


class ScheduleService:
    """The schedules of models, as callers have them."""

    def __init__(
        self, schedules: ScheduleStore, models: ModelService, feed: ChangeFeed, clock: Callable[[], datetime]
    ) -> None:
        self._schedules, self._models, self._feed, self._clock = schedules, models, feed, clock

    async def find(self, namespace: str, name: str, viewer: Principal | None) -> tuple[Model, ModelSchedule | None]:
        """Raises NotFound: there is no such model."""
        model = await self._models.get(namespace, name, viewer)
        return model, await self._schedules.get(model.uid)

    async def get(self, namespace: str, name: str, viewer: Principal | None) -> tuple[Model, ModelSchedule]:
        """Raises NotFound: there is no such model, or it has no schedule."""
        model, kept = await self.find(namespace, name, viewer)
        return model, _existing(model, kept)

    async def of(self, models: Collection[Model]) -> Mapping[str, ModelSchedule]:
        """By uid, those that ``models`` have."""
        return await self._schedules.of([model.uid for model in models])

    async def save(
        self, namespace: str, name: str, schedule: Schedule, caller: Caller, found: Sequence[Problem] = ()
    ) -> ModelSchedule:
        """``found`` is what its reader has found wrong with the request; the answer names all of it."""
        problems = await _problems(schedule, found)

        def decide(model: Model, kept: ModelSchedule | None, now: datetime) -> Edit:
            if problems:
                raise InvalidRequest(problems)
            after = scheduling.saved(kept, model.uid, schedule, caller.actor, now)
            return Edit(after, "ScheduleSaved", f"Schedule of {schedule.timezone}: {_in_words(schedule)}.")

        return _left(await self._change(namespace, name, caller, decide))

    async def remove(self, namespace: str, name: str, caller: Caller) -> None:
        """The model stays as it is."""
        await self._change(namespace, name, caller, lambda model, kept, now: _removal(model, kept))

    async def switch(self, namespace: str, name: str, caller: Caller, *, on: bool) -> ModelSchedule:
        def decide(model: Model, kept: ModelSchedule | None, now: datetime) -> Edit:
            after = scheduling.enabled(_existing(model, kept), caller.actor, now, enable=on)
            if on:
                return Edit(after, "ScheduleEnabled", "The schedule acts from its next time on.")
            return Edit(after, "ScheduleDisabled", "The schedule is kept and does nothing.")

        return _left(await self._change(namespace, name, caller, decide))

    async def extend(
        self, namespace: str, name: str, until: Callable[[Schedule, datetime], datetime], note: str, caller: Caller
    ) -> ModelSchedule:
        """``until`` says when, from the schedule and the time it is now. Raises InvalidRequest."""

        def decide(model: Model, kept: ModelSchedule | None, now: datetime) -> Edit:
            of = _existing(model, kept)
            schedule = of.schedule
            extension = extend(schedule, until(schedule, now), now, names_of(schedule.holidays), of.extension, note)
            after = scheduling.extended(of, extension, caller.actor, now)
            message = f"The schedule leaves the model running until {extension.until:%Y-%m-%d %H:%M} UTC."
            return Edit(after, "ScheduleExtended", message)

        return _left(await self._change(namespace, name, caller, decide))

    async def end_extension(self, namespace: str, name: str, caller: Caller) -> ModelSchedule:
        """A stop that it has put off does not happen after all: the next one does."""

        def decide(model: Model, kept: ModelSchedule | None, now: datetime) -> Edit:
            of = _existing(model, kept)
            if of.extension is None or of.extension.until <= now:
                raise NotFound(f"The schedule of model {name!r} is not extended.")
            after = scheduling.extended(of, None, caller.actor, now)
            return Edit(after, "ScheduleExtensionEnded", "The schedule is no longer extended.")

        return _left(await self._change(namespace, name, caller, decide))

    # ------------------------------------------------------------------ what comes

    async def next_action(self, kept: ModelSchedule) -> Occurrence | None:
        schedule, after = kept.schedule, max(self._clock(), kept.handled_until)
        await self._know(schedule)
        return next_occurrence(schedule, after, names_of(schedule.holidays), kept.extension)

    async def coming(self, kept: ModelSchedule, days: int) -> Coming:
        """All of the next ``days`` times 24 hours; a year of it takes long enough to be worked out beside the event
        loop."""
        return await asyncio.to_thread(_coming, kept, self._clock(), days)

    async def foresee(self, schedule: Schedule, days: int, found: Sequence[Problem] = ()) -> Coming:
        """What would come of one that is not saved; ``found`` as in :meth:`save`. Raises InvalidRequest."""
        if problems := await _problems(schedule, found):
            raise InvalidRequest(problems)
        now = self._clock()
        return await self.coming(scheduling.saved(None, "", schedule, "", now), days)

    async def calendar(self, model: Model, kept: ModelSchedule, days: int) -> str:
        """The windows of the next ``days`` times 24 hours as iCalendar, worked out beside the event loop as well."""
        return await asyncio.to_thread(_calendar, model, kept, self._clock(), days)

    async def _know(self, schedule: Schedule) -> None:
        if schedule.holidays is not None:
            await asyncio.to_thread(know, {schedule.holidays}, self._clock().date())

    # ------------------------------------------------------------------ writing

    async def _change(
        self, namespace: str, name: str, caller: Caller,
        decide: Callable[[Model, ModelSchedule | None, datetime], Edit],
    ) -> ModelSchedule | None:  # fmt: skip
        """Decide and commit; after a lost race all over again. The schedule after it."""
        for _ in range(_ATTEMPTS):
            model, kept = await self.find(namespace, name, caller.principal)
            if isinstance(caller.idempotency, Idempotency) and await self._schedules.recall(caller.idempotency):
                return kept
            _check_edits(kept, caller)
            if kept is not None:
                await self._know(kept.schedule)
            now = self._clock()
            edit = decide(model, kept, now)
            asked = Asked(actor=caller.actor, reason=caller.reason, at=now, operation_id="")
            data: dict[str, Any] = {"enabled": edit.after is not None and edit.after.schedule.enabled}
            change = Change(
                before=model, after=model, events=(event_of(model, edit.event, asked, edit.message, data),),
                schedule=ScheduleChange(before=kept, after=edit.after),
            )  # fmt: skip
            try:
                await self._feed.commit(change, caller.idempotency, wake=False)
            except VersionConflict:
                continue
            return edit.after
        raise Busy


async def _problems(schedule: Schedule, found: Sequence[Problem]) -> list[Problem]:
    # Of what could not be read, nothing else is to be said.
    unread = {_item(problem.path) for problem in found}
    problems = [*found, *(p for p in schedule_problems(schedule) if _item(p.path) not in unread)]
    if schedule.holidays is not None and not any(p.path.startswith("holidays") for p in problems):
        # Beside the event loop: the first question has the calendars loaded.
        problems += await asyncio.to_thread(calendar_problems, schedule.holidays)
    return problems


def _item(path: str) -> str:
    """An exception as a whole; of anything else the field itself."""
    return path.split(".")[0] if path.startswith("exceptions[") else path


def _existing(model: Model, kept: ModelSchedule | None) -> ModelSchedule:
    if kept is None:
        raise NotFound(f"Model {model.name!r} has no schedule. Save one with PUT.")
    return kept


def _left(after: ModelSchedule | None) -> ModelSchedule:
    if after is None:
        raise NotFound("The schedule has been removed meanwhile.")
    return after


def _removal(model: Model, kept: ModelSchedule | None) -> Edit:
    _existing(model, kept)
    return Edit(None, "ScheduleRemoved", "The model has no schedule any more, and stays as it is.")


def _in_words(schedule: Schedule) -> str:
    if schedule.recurring is not None:
        return f"{schedule.recurring} every day"
    return ", ".join(f"{day} {window}" for day, window in schedule.daily.items())


def _coming(kept: ModelSchedule, now: datetime, days: int) -> Coming:
    schedule, until = kept.schedule, now + timedelta(days=days)
    name_of, zone = names_of(schedule.holidays), ZoneInfo(schedule.timezone)
    first, last = now.astimezone(zone).date(), until.astimezone(zone).date()
    dates = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return Coming(
        actions=list(occurrences(schedule, now, until, name_of, kept.extension)),
        days_off=[(day, why) for day in dates if (why := day_off(schedule, day, name_of)) is not None],
        clock_changes=[
            (day, before, after)
            for day in dates
            if (before := _offset(zone, day)) != (after := _offset(zone, day + timedelta(days=1)))
        ],
    )


def _calendar(model: Model, kept: ModelSchedule, now: datetime, days: int) -> str:
    found = periods(kept.schedule, now, days, names_of(kept.schedule.holidays), kept.extension)
    return calendar(str(model.ref), model.uid, found, now)


def _offset(zone: ZoneInfo, day: date) -> str:
    """That from UTC as the day begins: +01:00."""
    return datetime.combine(day, time(0), zone).isoformat()[19:]


def _check_edits(kept: ModelSchedule | None, caller: Caller) -> None:
    if caller.if_match is None or (kept is not None and caller.if_match == kept.edits):
        return
    now = "there is none" if kept is None else f"it is at version {kept.edits}"
    raise EtagMismatch(
        f"The schedule is another one than If-Match names ({caller.if_match}), {now}: get it again and repeat the "
        "change."
    )
