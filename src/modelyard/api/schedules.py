"""When a model runs by itself: its schedule, and what came and comes of it.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from modelyard.api import schemas
from modelyard.api.context import CallerDep, ModelName, Reason, Services, ToOperate, ToRead, answer, caller_of
from modelyard.api.schedule_shapes import preview_out, schedule_in, schedule_out, status_of, until_in
from modelyard.control.caller import Caller
from modelyard.domain.icalendar import CONTENT_TYPE
from modelyard.domain.model import Model
from modelyard.domain.scheduling import ModelSchedule

_CALENDAR_DAYS = 365
_CALENDAR: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/calendar": {"schema": {"type": "string"}}}, "description": "iCalendar (RFC 5545)."}
}
Days = Annotated[int, Query(ge=1, le=366, description="How far to look ahead.")]


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """``namespace`` finds out which namespace a request means."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get("/{name}/schedule", response_model=schemas.Schedule, summary="When a model runs by itself")
    async def get_schedule(name: ModelName, ns: Namespace, services: ToRead, request: Request) -> Response:
        """404 where it has no schedule; `…/schedule/status` then says `none`."""
        return _answer(services, *await services.schedules.get(ns, name, caller_of(request)))

    @router.put("/{name}/schedule", response_model=schemas.Schedule, summary="Save when a model runs by itself")
    async def put_schedule(
        name: ModelName, body: schemas.SaveSchedule, ns: Namespace, caller: CallerDep, services: ToOperate
    ) -> Response:
        """It acts from its next time on: to save it starts and stops nothing. Days without a window leave the model as
        it is."""
        schedule, found = schedule_in(body)
        await services.schedules.save(ns, name, schedule, replace(caller, reason=body.reason), found)
        return _answer(services, *await services.schedules.get(ns, name, caller.principal))

    @router.delete("/{name}/schedule", status_code=204, summary="Remove a schedule")
    async def delete_schedule(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate, reason: Reason = ""
    ) -> Response:
        """The model stays as it is."""
        await services.schedules.remove(ns, name, replace(caller, reason=reason))
        return Response(status_code=204)

    @router.post("/{name}/schedule/enable", response_model=schemas.Schedule, summary="Have a schedule act again")
    async def enable_schedule(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate, body: schemas.Reasoned | None = None
    ) -> Response:
        """From its next time on."""
        return await _switched(services, ns, name, caller, body, on=True)

    @router.post(
        "/{name}/schedule/disable", response_model=schemas.Schedule, summary="Keep a schedule and have it do nothing"
    )
    async def disable_schedule(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate, body: schemas.Reasoned | None = None
    ) -> Response:
        return await _switched(services, ns, name, caller, body, on=False)

    @router.post(
        "/{name}/schedule/extend", response_model=schemas.Schedule, summary="Leave a model running for longer, once"
    )
    async def extend_schedule(
        name: ModelName, body: schemas.ExtendSchedule, ns: Namespace, caller: CallerDep, services: ToOperate
    ) -> Response:
        """Puts off the stop that comes next. Another one replaces it."""
        caller = replace(caller, reason=body.reason)
        await services.schedules.extend(ns, name, until_in(body.until), body.reason, caller)
        return _answer(services, *await services.schedules.get(ns, name, caller.principal))

    @router.delete("/{name}/schedule/extend", response_model=schemas.Schedule, summary="Take an extension back")
    async def end_extension(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate, reason: Reason = ""
    ) -> Response:
        """A stop that it has put off already does not happen after all: the next one does."""
        caller = replace(caller, reason=reason)
        await services.schedules.end_extension(ns, name, caller)
        return _answer(services, *await services.schedules.get(ns, name, caller.principal))

    _add_views(router, namespace)


def _add_views(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get(
        "/{name}/schedule/status", response_model=schemas.ScheduleStatus, summary="What came of a schedule, and is next"
    )
    async def schedule_status(
        name: ModelName, ns: Namespace, services: ToRead, request: Request
    ) -> schemas.ScheduleStatus:  # fmt: skip
        """`next_action` is computed when asked."""
        model, kept = await services.schedules.find(ns, name, caller_of(request))
        coming = None if kept is None else await services.schedules.next_action(kept)
        return status_of(model, kept, coming, services.clock())

    @router.get(
        "/{name}/schedule/preview", response_model=schemas.SchedulePreview, summary="All that comes of a schedule"
    )
    async def preview_schedule(
        name: ModelName, ns: Namespace, services: ToRead, request: Request, days: Days = 14
    ) -> schemas.SchedulePreview:
        """Of one that is disabled nothing comes."""
        model, kept = await services.schedules.get(ns, name, caller_of(request))
        return preview_out(model, kept, await services.schedules.coming(kept, days), days)

    @router.get(
        "/{name}/schedule.ics", response_class=Response, responses=_CALENDAR, summary="A schedule as a calendar"
    )
    async def export_schedule(name: ModelName, ns: Namespace, services: ToRead, request: Request) -> Response:
        """A year of windows, for programs that subscribe to calendars."""
        model, kept = await services.schedules.get(ns, name, caller_of(request))
        return Response(await services.schedules.calendar(model, kept, _CALENDAR_DAYS), media_type=CONTENT_TYPE)


async def _switched(
    services: Services, namespace: str, name: str, caller: Caller, body: schemas.Reasoned | None, *, on: bool
) -> Response:
    await services.schedules.switch(namespace, name, replace(caller, reason=body.reason if body else ""), on=on)
    return _answer(services, *await services.schedules.get(namespace, name, caller.principal))


def _answer(services: Services, model: Model, kept: ModelSchedule) -> Response:
    return answer(schedule_out(model, kept, services.clock()), headers={"ETag": f'"{kept.edits}"'})
