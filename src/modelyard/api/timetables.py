"""Schedules of many models at once, as a calendar shows them, and what comes of one that is not saved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from modelyard.api import schemas
from modelyard.api.context import PageSize, PageToken, ToReadSomewhere, answer, caller_of
from modelyard.api.schedule_shapes import coming_out, schedule_in, status_of
from modelyard.control.ports import ModelQuery
from modelyard.control.timetables import Timetable
from modelyard.domain.errors import InvalidRequest, Problem

timetables = APIRouter(prefix="/schedules", tags=["schedules"])


@timetables.get(
    "", response_model=schemas.Page[schemas.Timetable], summary="The models that run by themselves, and when"
)
async def list_schedules(
    services: ToReadSomewhere,
    request: Request,
    namespace: Annotated[str | None, Query(description="Only of this one.")] = None,
    since: Annotated[datetime | None, Query(alias="from", description="With its zone; now, if it is left out.")] = None,
    days: Annotated[int, Query(ge=0, le=31, description="How many times 24 hours `runs` and `shut` tell of.")] = 7,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Response:
    """By name."""
    now = services.clock()
    begins = now if since is None else _instant(since)
    query = ModelQuery(
        namespace=namespace, page_size=page_size, page_token=page_token, sight=caller_of(request).sight
    )  # fmt: skip
    page = await services.timetables.page(query, begins, begins + timedelta(days=days))
    items = [_timetable_out(one, now) for one in page.items]
    return answer(schemas.Page[schemas.Timetable](items=items, next_page_token=page.next_page_token))


@timetables.post(
    "/preview", response_model=schemas.ComingActions, summary="What would come of a schedule that is not saved"
)
async def preview(
    body: schemas.SaveSchedule,
    services: ToReadSomewhere,
    days: Annotated[int, Query(ge=1, le=366, description="How far to look ahead.")] = 14,
) -> Response:
    """Changes nothing, and finds wrong what saving it would."""
    schedule, found = schedule_in(body)
    return answer(coming_out(schedule, await services.schedules.foresee(schedule, days, found), days))


def _instant(sent: datetime) -> datetime:
    if sent.tzinfo is None or not 1971 <= sent.year < 9990:
        raise InvalidRequest([Problem("query.from", "invalid_value", "Write a moment with its zone, from 1971 on.")])
    return sent.astimezone(UTC)


def _timetable_out(one: Timetable, now: datetime) -> schemas.Timetable:
    status = status_of(one.model, one.kept, one.coming, now)
    return schemas.Timetable(
        **dict(status),
        state=one.model.status.state,
        runs=[schemas.Run(start=run.start, stop=run.stop, note=run.note) for run in one.runs],
        shut=[
            schemas.ShutDown(policy=policy.name, namespace=policy.namespace, start=period.begins, stop=period.ends)
            for policy, period in one.shut
        ],
    )
