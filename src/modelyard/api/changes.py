"""Models as they change: what a page that shows many of them follows, instead of asking again and again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event

from modelyard.api import schemas
from modelyard.api.answers import event_out, model_out
from modelyard.api.context import Services, ToReadSomewhere, caller_of, while_allowed
from modelyard.api.ledgers import around
from modelyard.control.ports import EventQuery, ModelQuery
from modelyard.domain.access import Principal
from modelyard.domain.model import Event, Model
from modelyard.domain.states import TRANSITIONS, Command, Refusal, State

_HEARTBEAT: Final = 15.0
# So many models are read at a time.
_AT_ONCE: Final = 500
# A model that changes many times within so many seconds is sent once.
_TOGETHER: Final = 0.2

changes = APIRouter(tags=["changes"])


@changes.get(
    "/changes",
    summary="Models as they change, and their events, as server-sent events",
    responses={200: {"content": {"text/event-stream": {}}, "description": "A stream that does not end by itself."}},
    response_class=StreamingResponse,
)
async def follow_changes(
    services: ToReadSomewhere,
    request: Request,
    namespace: Annotated[str | None, Query(description="Only models of this namespace.")] = None,
    last_event_id: Annotated[int | None, Header(ge=0, description="Go on after this event.")] = None,
) -> EventSourceResponse:
    """For each event a `change` (an event), then for each model that they are about one `model` (the model as it is
    now), or `gone` (its `namespace`, `name` and `uid`). A `model` comes without an event where something else of its
    status has changed. Several changes of a model within 200 ms come as one."""
    after = last_event_id if last_event_id is not None else await services.store.last_event_id()
    viewer = caller_of(request)
    query = EventQuery(namespace=namespace, after=after, sight=viewer.sight)
    return EventSourceResponse(while_allowed(request, _stream(services, query, viewer)))


async def _stream(services: Services, query: EventQuery, viewer: Principal) -> AsyncGenerator[bytes]:
    with services.feed.touches() as touched:
        # From here on nothing is missed; the first comment lets the client know that.
        yield format_sse_event(comment="connected")
        batches = services.feed.batches(query, heartbeat=_HEARTBEAT, together=_TOGETHER, touched=touched)
        async for batch in batches:
            written = frozenset(touched)
            touched.clear()
            if not batch and not written:
                yield format_sse_event(comment="still here")
                continue
            for event in batch:
                yield format_sse_event(event="change", data_str=event_out(event).model_dump_json())
            # The id comes last: whoever is cut off before has these models sent again.
            for data in await _models(services, batch, written, query.namespace, viewer):
                yield data
            if batch:
                yield format_sse_event(event="mark", id=str(batch[-1].id), data_str="")


async def _models(
    services: Services, batch: Sequence[Event], written: Collection[str], namespace: str | None, viewer: Principal
) -> list[bytes]:
    """Those that events are about, and those ``written`` without one (an instance more that is ready)."""
    about = {event.model_uid: event for event in batch if event.model_uid}
    uids = sorted({*about, *written})
    models: list[Model] = []
    for first in range(0, len(uids), _AT_ONCE):
        some = tuple(uids[first : first + _AT_ONCE])
        query = ModelQuery(uids=some, namespace=namespace, sight=viewer.sight, page_size=len(some))
        models += (await services.store.list_models(query)).items
    beside = await around(services, models, viewer)
    found = [format_sse_event(event="model", data_str=model_out(model, beside).model_dump_json()) for model in models]
    gone = about.keys() - {model.uid for model in models}
    for uid in sorted(gone):
        ref = schemas.ModelGone(uid=uid, namespace=about[uid].namespace, name=about[uid].model)
        found.append(format_sse_event(event="gone", data_str=ref.model_dump_json()))
    return found


@changes.get("/lifecycle", response_model=schemas.Lifecycle, summary="Which commands are taken in which state")
async def get_lifecycle(_: ToReadSomewhere) -> schemas.Lifecycle:
    """For each state what comes of each command: the state that it leads to, or why it is refused."""
    return schemas.Lifecycle(
        states={state: {command: _outcome(state, command) for command in Command} for state in State}
    )


def _outcome(state: State, command: Command) -> schemas.CommandOutcome:
    outcome = TRANSITIONS[state, command]
    if isinstance(outcome, Refusal):
        return schemas.CommandOutcome(code=outcome.code, message=outcome.message)
    return schemas.CommandOutcome(to=outcome.to)
