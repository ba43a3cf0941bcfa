"""What can be looked at of one model: status, instances, revisions, events, logs.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from modelyard.api import schemas
from modelyard.api.answers import change_out, event_out, instance_out, revision_out, status_out
from modelyard.api.context import ModelName, PageSize, PageToken, ToRead, answer, caller_of, while_allowed
from modelyard.api.ledgers import around
from modelyard.control.ports import EventQuery
from modelyard.domain.effects import changes
from modelyard.domain.errors import InvalidRequest, ModelyardError, NotFound, Problem
from modelyard.domain.model import Model, Revision

Generation = Annotated[int, Path(ge=1, le=2**31 - 1, description="The revision's number.")]


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """``namespace`` finds out which namespace a request means."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get("/{name}/status", response_model=schemas.Status, summary="State, conditions, instances")
    async def status(name: ModelName, ns: Namespace, services: ToRead, request: Request) -> Response:
        model = await services.models.get(ns, name, caller_of(request))
        return answer(
            status_out(model, await around(services, [model], caller_of(request))),
            headers={"ETag": f'"{model.version}"'},
        )

    @router.get("/{name}/instances", response_model=schemas.Items[schemas.Instance], summary="Instances")
    async def instances(
        name: ModelName, ns: Namespace, services: ToRead, request: Request
    ) -> schemas.Items[schemas.Instance]:
        model = await services.models.get(ns, name, caller_of(request))
        return schemas.Items(items=[instance_out(i) for i in model.status.instances])

    _add_revisions(router, namespace)

    @router.get("/{name}/events", response_model=schemas.Page[schemas.Event], summary="Events, newest first")
    async def events(
        name: ModelName,
        ns: Namespace,
        services: ToRead,
        request: Request,
        page_size: PageSize = 50,
        page_token: PageToken = "",
    ) -> schemas.Page[schemas.Event]:
        model = await services.models.get(ns, name, caller_of(request))
        page = await services.store.list_events(
            EventQuery(model_uid=model.uid, page_size=page_size, page_token=page_token)
        )
        return schemas.Page(items=[event_out(e) for e in page.items], next_page_token=page.next_page_token)

    @router.get("/{name}/logs", response_model=schemas.Items[schemas.LogLine], summary="Log lines of the instances")
    async def logs(
        name: ModelName, ns: Namespace, services: ToRead, request: Request,
        instance: Annotated[str | None, Query(description="Only this instance's.")] = None,
        follow: Annotated[bool, Query(description="Stream new lines as server-sent events named `line`.")] = False,
        tail: Annotated[int, Query(ge=0, le=10_000, description="How many of the last lines.")] = 100,
    ) -> object:  # fmt: skip
        model = await services.models.get(ns, name, caller_of(request))
        source = services.backends[model.spec.backend].logs(model.ref, instance, follow=follow, tail=tail)
        lines = (schemas.LogLine(instance=line.instance, text=line.text) async for line in source)
        if not follow:
            return schemas.Items(items=[line async for line in lines])
        stream = (format_sse_event(event="line", data_str=line.model_dump_json()) async for line in lines)

        async def still() -> bool:
            """Whether it is there for the reader with the groups that it has now."""
            try:
                return (await services.models.get(ns, name, caller_of(request))).uid == model.uid
            except ModelyardError:
                return False

        return EventSourceResponse(while_allowed(request, stream, still))


def _add_revisions(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get("/{name}/revisions", response_model=schemas.Items[schemas.Revision], summary="Revisions, newest first")
    async def revisions(
        name: ModelName, ns: Namespace, services: ToRead, request: Request
    ) -> schemas.Items[schemas.Revision]:
        model = await services.models.get(ns, name, caller_of(request))
        return schemas.Items(items=[revision_out(r, model) for r in await services.store.list_revisions(model.uid)])

    @router.get("/{name}/revisions/{generation}", response_model=schemas.Revision, summary="One revision")
    async def revision(
        name: ModelName, generation: Generation, ns: Namespace, services: ToRead, request: Request
    ) -> schemas.Revision:
        model = await services.models.get(ns, name, caller_of(request))
        found = _find(model, await services.store.list_revisions(model.uid), generation)
        return revision_out(found, model)

    @router.get(
        "/{name}/revisions/{generation}/diff", response_model=schemas.Diff, summary="What a revision has changed"
    )
    async def diff(
        name: ModelName, generation: Generation, ns: Namespace, services: ToRead, request: Request,
        against: Annotated[
            int | None, Query(ge=1, le=2**31 - 1, description="Compare with this one; else the one before.")
        ] = None,
    ) -> Response:  # fmt: skip
        model = await services.models.get(ns, name, caller_of(request))
        revisions = await services.store.list_revisions(model.uid)
        after = _find(model, revisions, generation)
        if against is None and generation == 1:
            message = "Revision 1 is the first: say with which other one to compare it."
            raise InvalidRequest([Problem("query.against", "required", message)])
        before = _find(model, revisions, generation - 1 if against is None else against)
        found = [change_out(change) for change in changes(before.spec, after.spec)]
        return answer(schemas.Diff(before=before.generation, after=after.generation, changes=found))


def _find(model: Model, revisions: Sequence[Revision], generation: int) -> Revision:
    for revision in revisions:
        if revision.generation == generation:
            return revision
    raise NotFound(f"Model {model.name!r} has no revision {generation}; its newest is {model.generation}.")
