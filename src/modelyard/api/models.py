"""Models and what can be done to them, under both path forms.

Annotations are evaluated here (no ``from __future__ import annotations``): FastAPI reads the local
``Namespace`` of :func:`build_router`, which a postponed annotation could not find.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from modelyard.api import schemas
from modelyard.api.context import Authorized, CallerDep, PageSize, PageToken, Services, answer
from modelyard.api.salvage import read_spec
from modelyard.api.translate import (
    event_out,
    instance_out,
    model_out,
    operation_out,
    patched,
    revision_out,
    spec_in,
    status_out,
)
from modelyard.control.ports import EventQuery, ModelQuery
from modelyard.domain.errors import InvalidRequest, NotFound, Problem
from modelyard.domain.model import Model, StopMode
from modelyard.domain.names import DEFAULT_NAMESPACE
from modelyard.domain.operations import Operation
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import State

ModelName = Annotated[str, Path(description="The model's name.", examples=["digits"])]
Timeout = Annotated[schemas.Duration, Query(description="After this a graceful end kills.")]


async def _short_form() -> str:
    return DEFAULT_NAMESPACE


async def _long_form(namespace: Annotated[str, Path(description="The namespace's name.")]) -> str:
    return namespace


def _accepted(operation: Operation) -> Response:
    """202 with the operation to watch; 200 when there is nothing left to wait for."""
    headers = {"Location": f"/api/v1/operations/{operation.id}"}
    return answer(operation_out(operation), 200 if operation.done else 202, headers)


async def _query(
    state: Annotated[list[State] | None, Query(description="Only models in one of these states.")] = None,
    engine: Annotated[Engine | None, Query(description="Only models of this engine.")] = None,
    label: Annotated[list[str] | None, Query(description="Only models with all of these labels, as key=value.")] = None,
    search: Annotated[str, Query(description="Only models whose name contains this.")] = "",
    sort: Annotated[
        str, Query(description="name, created_at, updated_at or state; with - before it descending.")
    ] = "name",
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> ModelQuery:
    labels = {}
    for item in label or []:
        key, equals, value = item.partition("=")
        if not equals:
            raise InvalidRequest([Problem("query.label", "invalid_value", f"{item!r}: write a label as key=value.")])
        labels[key] = value
    return ModelQuery(
        states=tuple(state or ()), engine=engine, labels=labels, search=search, sort=sort, page_size=page_size,
        page_token=page_token,
    )  # fmt: skip


def build_router(prefix: str, namespace: Callable[..., Awaitable[str]], tag: str) -> APIRouter:
    """The same routes for one path form; ``namespace`` finds out which namespace a request means."""
    router = APIRouter(prefix=prefix, tags=[tag])
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.post("", status_code=202, response_model=schemas.Operation, summary="Deploy a model")
    async def create(body: schemas.CreateModel, ns: Namespace, caller: CallerDep, services: Authorized) -> Response:
        caller = replace(caller, reason=body.reason)
        spec, found = spec_in(body.spec)
        operation = await services.models.create(ns, body.name, spec, body.desired, caller, found)
        return _accepted(operation)

    @router.get("/{name}", response_model=schemas.Model, summary="One model")
    async def get(name: ModelName, ns: Namespace, services: Authorized) -> Response:
        model = await services.models.get(ns, name)
        return answer(model_out(model), headers={"ETag": f'"{model.version}"'})

    @router.put("/{name}", status_code=202, response_model=schemas.Operation, summary="Replace the spec")
    async def put(
        name: ModelName,
        body: schemas.ReplaceModel,
        ns: Namespace,
        caller: CallerDep,
        services: Authorized,
    ) -> Response:
        document = body.spec.model_dump(exclude_unset=True)

        async def revise(_: Model) -> Spec:
            return await read_spec(document, services.models)

        operation = await services.models.update(ns, name, revise, replace(caller, reason=body.reason))
        return _accepted(operation)

    @router.patch("/{name}", status_code=202, response_model=schemas.Operation, summary="Change parts of the spec")
    async def patch(
        name: ModelName,
        body: schemas.PatchModel,
        ns: Namespace,
        caller: CallerDep,
        services: Authorized,
    ) -> Response:
        caller = replace(caller, reason=body.reason)

        async def revise(model: Model) -> Spec:
            return await read_spec(patched(model.spec, body.spec), services.models)

        operation = await services.models.update(ns, name, revise, caller)
        return _accepted(operation)

    @router.delete("/{name}", status_code=202, response_model=schemas.Operation, summary="Stop and forget a model")
    async def delete(
        name: ModelName, ns: Namespace, caller: CallerDep, services: Authorized,
        force: Annotated[bool, Query(description="Kill at once instead of draining.")] = False,
        timeout: Timeout = 30.0,
        reason: Annotated[str, Query(max_length=1024)] = "",
    ) -> Response:  # fmt: skip
        mode = StopMode.FORCE if force else StopMode.DRAIN
        operation = await services.models.delete(ns, name, mode, timeout, replace(caller, reason=reason))
        return _accepted(operation)

    @router.post("/{name}/start", status_code=202, response_model=schemas.Operation, summary="Start a stopped model")
    async def start(
        name: ModelName, ns: Namespace, caller: CallerDep, services: Authorized,
        body: schemas.StartModel | None = None,
    ) -> Response:  # fmt: skip
        body = body or schemas.StartModel()
        if not body.restore_autoscaling:
            message = "A model starts with the replicas of its spec; change spec.replicas to start with others."
            raise InvalidRequest([Problem("restore_autoscaling", "unsupported", message)])
        operation = await services.models.start(ns, name, replace(caller, reason=body.reason))
        return _accepted(operation)

    @router.post("/{name}/stop", status_code=202, response_model=schemas.Operation, summary="Stop a model")
    async def stop(
        name: ModelName, ns: Namespace, caller: CallerDep, services: Authorized,
        body: schemas.StopModel | None = None,
    ) -> Response:  # fmt: skip
        """Always taken, in every state but `deleting`. Done when it is verified that nothing is left."""
        body = body or schemas.StopModel()
        mode = StopMode.DRAIN if body.graceful else StopMode.FORCE
        operation = await services.models.stop(ns, name, mode, body.timeout, replace(caller, reason=body.reason))
        return _accepted(operation)

    @router.post(
        "/{name}/restart", status_code=202, response_model=schemas.Operation, summary="New instances of the same spec"
    )
    async def restart(
        name: ModelName, ns: Namespace, caller: CallerDep, services: Authorized,
        body: schemas.RestartModel | None = None,
    ) -> Response:  # fmt: skip
        reason = body.reason if body else ""
        operation = await services.models.restart(ns, name, replace(caller, reason=reason))
        return _accepted(operation)

    _add_views(router, namespace)
    return router


def _add_views(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """What can be looked at of one model."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get("/{name}/status", response_model=schemas.Status, summary="State, conditions, instances")
    async def status(name: ModelName, ns: Namespace, services: Authorized) -> Response:
        model = await services.models.get(ns, name)
        return answer(status_out(model), headers={"ETag": f'"{model.version}"'})

    @router.get("/{name}/instances", response_model=schemas.Items[schemas.Instance], summary="Instances")
    async def instances(name: ModelName, ns: Namespace, services: Authorized) -> schemas.Items[schemas.Instance]:
        model = await services.models.get(ns, name)
        return schemas.Items(items=[instance_out(i) for i in model.status.instances])

    @router.get("/{name}/revisions", response_model=schemas.Items[schemas.Revision], summary="Revisions, newest first")
    async def revisions(name: ModelName, ns: Namespace, services: Authorized) -> schemas.Items[schemas.Revision]:
        model = await services.models.get(ns, name)
        return schemas.Items(items=[revision_out(r) for r in await services.store.list_revisions(model.uid)])

    @router.get("/{name}/revisions/{generation}", response_model=schemas.Revision, summary="One revision")
    async def revision(
        name: ModelName, generation: Annotated[int, Path(ge=1)], ns: Namespace, services: Authorized
    ) -> schemas.Revision:
        model = await services.models.get(ns, name)
        for found in await services.store.list_revisions(model.uid):
            if found.generation == generation:
                return revision_out(found)
        raise NotFound(f"Model {name!r} has no revision {generation}; its newest is {model.generation}.")

    @router.get("/{name}/events", response_model=schemas.Page[schemas.Event], summary="Events, newest first")
    async def events(
        name: ModelName,
        ns: Namespace,
        services: Authorized,
        page_size: PageSize = 50,
        page_token: PageToken = "",
    ) -> schemas.Page[schemas.Event]:
        model = await services.models.get(ns, name)
        page = await services.store.list_events(
            EventQuery(model_uid=model.uid, page_size=page_size, page_token=page_token)
        )
        return schemas.Page(items=[event_out(e) for e in page.items], next_page_token=page.next_page_token)

    @router.get("/{name}/logs", response_model=schemas.Items[schemas.LogLine], summary="Log lines of the instances")
    async def logs(
        name: ModelName, ns: Namespace, services: Authorized,
        instance: Annotated[str | None, Query(description="Only this instance's.")] = None,
        follow: Annotated[bool, Query(description="Stream new lines as server-sent events named `line`.")] = False,
        tail: Annotated[int, Query(ge=0, le=10_000, description="How many of the last lines.")] = 100,
    ) -> object:  # fmt: skip
        model = await services.models.get(ns, name)
        source = services.backends[model.spec.backend].logs(model.ref, instance, follow=follow, tail=tail)
        lines = (schemas.LogLine(instance=line.instance, text=line.text) async for line in source)
        if not follow:
            return schemas.Items(items=[line async for line in lines])
        return EventSourceResponse(format_sse_event(event="line", data_str=x.model_dump_json()) async for x in lines)


def list_router() -> APIRouter:
    """Listing differs between the forms: only the short one can look over all namespaces."""
    router = APIRouter()

    @router.get(
        "/models",
        response_model=schemas.Page[schemas.Model],
        tags=["models"],
        summary="Models of the default namespace, or of all",
    )
    async def list_default(
        query: Annotated[ModelQuery, Depends(_query)], services: Authorized,
        all_namespaces: Annotated[bool, Query(description="Models of every namespace.")] = False,
    ) -> Response:  # fmt: skip
        return await _list(services, replace(query, namespace=None if all_namespaces else DEFAULT_NAMESPACE))

    @router.get(
        "/namespaces/{namespace}/models", response_model=schemas.Page[schemas.Model], tags=["models by namespace"],
        summary="Models of a namespace",
    )  # fmt: skip
    async def list_in_namespace(
        namespace: str, query: Annotated[ModelQuery, Depends(_query)], services: Authorized
    ) -> Response:
        if await services.store.get_namespace(namespace) is None:
            raise NotFound(f"There is no namespace {namespace!r}.")
        return await _list(services, replace(query, namespace=namespace))

    return router


async def _list(services: Services, query: ModelQuery) -> Response:
    page = await services.store.list_models(query)
    models = schemas.Page[schemas.Model](items=[model_out(m) for m in page.items], next_page_token=page.next_page_token)
    return answer(models)


def routers() -> list[APIRouter]:
    return [
        list_router(),
        build_router("/models", _short_form, "models"),
        build_router("/namespaces/{namespace}/models", _long_form, "models by namespace"),
    ]
