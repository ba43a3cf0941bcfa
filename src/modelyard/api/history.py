"""Metrics over time: of one model, and of all that the caller sees together.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime

from modelyard.api import schemas
from modelyard.api.context import ModelName, Services, ToRead, ToReadSomewhere, caller_of, demand_some
from modelyard.control.history_ports import Whose
from modelyard.domain.access import Permission
from modelyard.domain.errors import InvalidRequest, NotFound, Problem
from modelyard.domain.history import MAX_POINTS, Sample, Stretch, mark_of

_USUAL = timedelta(hours=1)
# Of them those are told that are marks.
_MOST_EVENTS = 200

history = APIRouter(tags=["metrics"])

From = Annotated[
    AwareDatetime | None, Query(alias="from", description="The first moment; left out: an hour before the last.")
]
To = Annotated[AwareDatetime | None, Query(description="The last moment; left out: now.")]
Step = Annotated[
    schemas.Duration | None,
    Query(
        description="From one point to the next: 5s at the least within the last hour, 1m within a day, 1h before "
        "that; what is finer than what is kept becomes that. Left out: what makes some hundred points."
    ),
]


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """``namespace`` finds out which namespace a request means."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get("/{name}/metrics", response_model=schemas.ModelHistory, summary="Its metrics over time")
    async def metrics(
        name: ModelName, ns: Namespace, services: ToRead, request: Request,
        since: From = None, to: To = None, step: Step = None,
    ) -> schemas.ModelHistory:  # fmt: skip
        """Requests, errors, latency and requests in flight as the gateway counts them, instances and their memory, and
        what happened to the model meanwhile. Stopping, starting or updating it loses nothing of it."""
        model = await services.models.get(ns, name, caller_of(request))
        over = _stretch(services, since, to, step, model.created_at)
        points, holdings = await services.history.of_model(model.uid, over)
        events = await services.history.marks(model.uid, over, _MOST_EVENTS)
        return schemas.ModelHistory(
            namespace=ns,
            name=name,
            **_columns(over, points),
            instances=[instances for instances, _ in holdings],
            memory=[memory for _, memory in holdings],
            marks=[
                schemas.HistoryMark(at=event.at, kind=kind, message=event.message, actor=event.actor)
                for event in reversed(events)
                if (kind := mark_of(event)) is not None
            ],
        )


@history.get("/metrics", response_model=schemas.TrafficHistory, summary="The metrics of all models together over time")
async def all_metrics(
    services: ToReadSomewhere, request: Request,
    namespace: Annotated[str | None, Query(description="Of this one only.")] = None,
    since: From = None, to: To = None, step: Step = None,
) -> schemas.TrafficHistory:  # fmt: skip
    """Of those that are there and that the caller sees, by a minute at the least."""
    caller = caller_of(request)
    if namespace is not None:
        demand_some(caller, Permission.READ, namespace)
        if await services.store.get_namespace(namespace) is None:
            raise NotFound(f"There is no namespace {namespace!r}.")
    over = _stretch(services, since, to, step)
    points = await services.history.of_all(Whose(namespace=namespace, sight=caller.sight), over)
    return schemas.TrafficHistory(**_columns(over, points))


def _stretch(
    services: Services, since: datetime | None, to: datetime | None, step: float | None, born: datetime | None = None
) -> Stretch:
    now = services.clock()
    end = to or now
    start = since or end - _USUAL
    if start >= end:
        raise InvalidRequest([Problem("query.from", "out_of_range", "from is before to, and before now.")])
    if step is not None and step < 1:
        raise InvalidRequest([Problem("query.step", "out_of_range", "step is a second at the least.")])
    over = services.history.stretch(start, end, None if step is None else int(step), born=born)
    if len(over.times) > MAX_POINTS:
        message = f"That is {len(over.times)} points; {MAX_POINTS} are told at most: ask for a longer step."
        raise InvalidRequest([Problem("query.step", "out_of_range", message)])
    return over


def _columns(over: Stretch, points: Sequence[Sample]) -> dict[str, Any]:
    return {
        "step": over.step,
        "times": list(over.times),
        "seconds": over.lengths,
        "requests": [p.requests for p in points],
        "errors": [p.errors for p in points],
        "rejected": [p.rejected for p in points],
        "in_flight": [p.busy / seconds for p, seconds in zip(points, over.lengths, strict=True)],
        **{name: [p.took(share) for p in points] for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
    }
