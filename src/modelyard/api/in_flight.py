"""What is asked of a model now: how many requests are in it and in each of its instances, and how many wait.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse, format_sse_event

from modelyard.api import schemas
from modelyard.api.context import ModelName, ToRead, caller_of, while_allowed
from modelyard.control.ports import Load
from modelyard.domain.errors import ModelyardError

_HEARTBEAT: Final = 10.0


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """``namespace`` finds out which namespace a request means."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get("/{name}/in-flight", response_model=schemas.InFlight, summary="Requests in a model now")
    async def in_flight(
        name: ModelName, ns: Namespace, services: ToRead, request: Request,
        follow: Annotated[bool, Query(description="Stream it as server-sent events named `in_flight`.")] = False,
    ) -> object:  # fmt: skip
        """As the front door counts them; with `follow` anew whenever that changes, twice a second at most."""
        model = await services.models.get(ns, name, caller_of(request))
        book = services.traffic.in_flight
        if not follow:
            return _out(book.of(model.uid))

        async def stream() -> AsyncGenerator[bytes]:
            async for load in book.follow(model.uid, heartbeat=_HEARTBEAT):
                yield format_sse_event(event="in_flight", data_str=_out(load).model_dump_json())

        async def still() -> bool:
            """Whether it is there for the reader with the groups that it has now."""
            try:
                return (await services.models.get(ns, name, caller_of(request))).uid == model.uid
            except ModelyardError:
                return False

        return EventSourceResponse(while_allowed(request, stream(), still))


def _out(load: Load | None) -> schemas.InFlight:
    if load is None:
        return schemas.InFlight(counted=False, requests=0, waiting=0, instances={})
    return schemas.InFlight(
        counted=True, requests=load.in_flight, waiting=load.waiting, instances=dict(load.instances)
    )  # fmt: skip
