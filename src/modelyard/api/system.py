"""Operations, events, version, health, and the control process's own metrics."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from modelyard import __version__
from modelyard.api import schemas
from modelyard.api.answers import event_out, operation_out
from modelyard.api.bulk import page_out, whole_out
from modelyard.api.context import (
    CallerDep,
    Known,
    PageSize,
    PageToken,
    Services,
    ToOperateSomewhere,
    ToReadSomewhere,
    answer,
    caller_of,
    services_of,
    somebody,
    while_allowed,
)
from modelyard.control.ports import EventQuery, OperationQuery
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.operations import OperationKind
from modelyard.domain.states import State

_HEARTBEAT = 15.0
_MAX_WAIT = 300.0

operations = APIRouter(prefix="/operations", tags=["operations"])
events = APIRouter(tags=["events"])
health = APIRouter(tags=["health"])
internal = APIRouter(include_in_schema=False)


@operations.get("", response_model=schemas.Page[schemas.Operation], summary="Operations, newest first")
async def list_operations(
    services: ToReadSomewhere,
    request: Request,
    namespace: Annotated[str | None, Query()] = None,
    model: Annotated[str | None, Query()] = None,
    done: Annotated[bool | None, Query(description="Only ended or only running ones.")] = None,
    page_size: PageSize = 50, page_token: PageToken = "",
) -> schemas.Page[schemas.Operation]:  # fmt: skip
    page = await services.store.list_operations(
        OperationQuery(
            namespace=namespace, model=model, done=done, page_size=page_size, page_token=page_token,
            sight=caller_of(request).sight,
        )
    )  # fmt: skip
    return schemas.Page(
        items=await page_out(services, page.items, caller_of(request)), next_page_token=page.next_page_token
    )


@operations.get("/{operation}", response_model=schemas.Operation, summary="One operation")
async def get_operation(operation: str, services: ToReadSomewhere, request: Request) -> Response:
    viewer = caller_of(request)
    return answer(await whole_out(services, await services.models.operation(operation, viewer), viewer))


@operations.get("/{operation}/wait", response_model=schemas.Operation, summary="Wait until an operation is done")
async def wait_operation(
    operation: str, services: ToReadSomewhere, request: Request,
    timeout: Annotated[schemas.Duration, Query(description="At most 5m; then the operation as it stands.")] = 30.0,
) -> Response:  # fmt: skip
    if timeout > _MAX_WAIT:
        raise InvalidRequest([Problem("query.timeout", "out_of_range", "Wait at most 5m a call, and call again.")])
    viewer = caller_of(request)
    return answer(await whole_out(services, await services.models.wait_operation(operation, timeout, viewer), viewer))


@operations.post("/{operation}/cancel", response_model=schemas.Operation, summary="Cancel a running operation")
async def cancel_operation(
    operation: str, caller: CallerDep, services: ToOperateSomewhere,
    running: Annotated[bool, Query(description="Of one on many models: cancel what runs of it too.")] = False,
) -> Response:  # fmt: skip
    """A deploy or start becomes a forced stop; a restart or update goes back to the last good revision. Of one on many
    models no more is begun."""
    found = await services.models.operation(operation, caller.principal)
    if found.kind is not OperationKind.BULK:
        return answer(operation_out(await services.models.cancel(operation, caller)))
    return answer(
        await whole_out(services, await services.bulk.cancel(operation, caller, running=running), caller.principal)
    )


@events.get("/events", response_model=schemas.Page[schemas.Event], summary="Events of all models, newest first")
async def list_events(
    services: ToReadSomewhere,
    request: Request,
    namespace: Annotated[str | None, Query()] = None,
    model: Annotated[str | None, Query()] = None,
    follow: Annotated[bool, Query(description="Stream new events as server-sent events named `change`.")] = False,
    last_event_id: Annotated[int | None, Header(ge=0, description="With follow: go on after this event.")] = None,
    page_size: PageSize = 50, page_token: PageToken = "",
) -> object:  # fmt: skip
    sight = caller_of(request).sight
    query = EventQuery(namespace=namespace, model=model, page_size=page_size, page_token=page_token, sight=sight)
    if follow:
        stream = _stream(services, replace(query, after=last_event_id))
        return EventSourceResponse(while_allowed(request, stream))
    page = await services.store.list_events(query)
    return schemas.Page(items=[event_out(e) for e in page.items], next_page_token=page.next_page_token)


async def _stream(services: Services, query: EventQuery) -> AsyncGenerator[bytes]:
    # From here on nothing is missed; the first comment lets the client know that.
    after = query.after if query.after is not None else await services.store.last_event_id()
    yield format_sse_event(comment="connected")
    async for event in services.feed.follow(replace(query, after=after), heartbeat=_HEARTBEAT):
        if event is None:
            yield format_sse_event(comment="still here")
        else:
            yield format_sse_event(event="change", id=str(event.id), data_str=event_out(event).model_dump_json())


@events.get("/version", response_model=schemas.Version, summary="This Modelyard's version")
async def version(_: Known) -> schemas.Version:
    return schemas.Version(version=__version__)


@health.get("/health", response_model=schemas.Health, response_model_exclude_none=True, summary="Is all well?")
async def get_health(request: Request) -> schemas.Health:
    """`degraded` when a model that should run is in error. Details only for callers with a token, of the models that
    they see."""
    store, caller = services_of(request).store, await somebody(request)
    counts = dict(await store.count_models())
    degraded = counts.get(State.ERROR, 0) > 0
    body = schemas.Health(status="degraded" if degraded else "healthy")
    if caller is not None:
        if caller.sight is not None:
            counts = dict(await store.count_models(caller.sight))
            degraded = counts.get(State.ERROR, 0) > 0
        loading = counts.get(State.STARTING, 0) + counts.get(State.QUEUED, 0)
        body.ml_models = schemas.LoadedModels(
            enabled=True,
            status="degraded" if degraded else "healthy",
            phase="models_loading" if loading else "fully_ready",
            loaded_models=counts.get(State.RUNNING, 0) + counts.get(State.UPDATING, 0),
            models=counts,
        )
    return body


@internal.get("/internal/metrics")
async def metrics(request: Request) -> Response:
    """The control process's part of the metrics; only the gateway reaches this path."""
    return Response(await services_of(request).metrics.render(), media_type="text/plain; version=0.0.4")
