"""The timetables of many models: when their schedules have them run, and when policies keep them shut down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.control.holidays import know, names_of
from modelyard.control.policies import PolicyDesk
from modelyard.control.ports import ModelQuery, Page, Store
from modelyard.control.schedule_service import ScheduleService
from modelyard.domain.model import Model
from modelyard.domain.occurrences import Period, next_occurrence
from modelyard.domain.policies import Policy, Rule
from modelyard.domain.schedules import Occurrence
from modelyard.domain.scheduling import ModelSchedule
from modelyard.domain.timetables import running, shut
from modelyard.domain.verdicts import Verdict
from modelyard.domain.windows import Period as Shut


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """``runs`` and ``shut`` are what is of the stretch that was asked about."""

    model: Model
    kept: ModelSchedule
    coming: Occurrence | None
    runs: Sequence[Period]
    shut: Sequence[tuple[Policy, Shut]]


class Timetables:
    def __init__(
        self, store: Store, schedules: ScheduleService, policies: PolicyDesk, clock: Callable[[], datetime]
    ) -> None:  # fmt: skip
        self._store, self._schedules, self._policies, self._clock = store, schedules, policies, clock

    async def page(self, query: ModelQuery, since: datetime, until: datetime) -> Page[Timetable]:
        """Of the models of ``query`` that have a schedule. Of an empty stretch there is nothing to tell."""
        page = await self._store.list_models(replace(query, scheduled=True))
        kept = await self._schedules.of(page.items)
        # One that was removed between the two looks is no longer to be told of.
        models = [model for model in page.items if model.uid in kept]
        verdicts = await self._policies.verdicts(models)
        # Beside the event loop: it is a week's work for each of a thousand.
        items = await asyncio.to_thread(_worked_out, models, kept, verdicts, self._clock(), since, until)
        return Page(items=tuple(items), next_page_token=page.next_page_token)


def _worked_out(
    models: Sequence[Model], kept: Mapping[str, ModelSchedule], verdicts: Mapping[str, Verdict],
    now: datetime, since: datetime, until: datetime,
) -> list[Timetable]:  # fmt: skip
    know({one.schedule.holidays for one in kept.values()}, now.date())
    return [_timetable(model, kept[model.uid], verdicts[model.uid], now, since, until) for model in models]


def _timetable(
    model: Model, kept: ModelSchedule, verdict: Verdict, now: datetime, since: datetime, until: datetime
) -> Timetable:  # fmt: skip
    schedule, holiday = kept.schedule, names_of(kept.schedule.holidays)
    is_asked = since < until
    return Timetable(
        model=model,
        kept=kept,
        coming=next_occurrence(schedule, max(now, kept.handled_until), holiday, kept.extension),
        runs=list(running(schedule, since, until, holiday, kept.extension)) if is_asked else [],
        shut=[
            (policy, period)
            for policy in verdict.holding(Rule.SHUTDOWN)
            if is_asked and policy.rules.shutdown is not None
            for period in shut(policy.rules.shutdown, since, until)
        ],
    )
