"""Models and what can be done to them, under both path forms.

Annotations are evaluated here (no ``from __future__ import annotations``): FastAPI reads the local
``Namespace`` of :func:`build_router`, which a postponed annotation could not find.
"""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from modelyard.api import history, in_flight, policies, rollouts, schedules, schemas, traffic, views
from modelyard.api.answers import model_out
from modelyard.api.context import (
    CallerDep,
    DryRun,
    Force,
    ModelName,
    PageSize,
    PageToken,
    Reason,
    Services,
    Timeout,
    ToEdit,
    ToEditSome,
    ToOperate,
    ToOperateSome,
    ToOperateSomewhere,
    ToRead,
    ToReadSome,
    ToReadSomewhere,
    accepted,
    answer,
    caller_of,
    demand_some,
)
from modelyard.api.ledgers import around, forecast_out, stopped_out
from modelyard.api.salvage import read_spec
from modelyard.api.sealing import sealing
from modelyard.api.sources import with_source
from modelyard.api.translate import labels_in, patched, spec_in
from modelyard.api.urgency import Precedence
from modelyard.control.caller import Caller
from modelyard.control.ports import ModelQuery
from modelyard.domain.access import EVERYWHERE, Permission, Principal
from modelyard.domain.errors import InvalidRequest, NotFound, Problem
from modelyard.domain.model import Model, StopMode
from modelyard.domain.names import DEFAULT_NAMESPACE
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import State

Override = Annotated[
    bool, Query(description="Though a policy protects it: for those who may override that, with a reason.")
]
_DONE: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.Operation, "description": "There is nothing to wait for."}
}
_DONE_OR_DRY: dict[int | str, dict[str, Any]] = {
    200: {
        "model": schemas.Operation | schemas.Forecast,
        "description": "There is nothing to wait for; or, with `dry_run`, a forecast.",
    }
}


async def _short_form() -> str:
    return DEFAULT_NAMESPACE


async def _long_form(namespace: Annotated[str, Path(description="The namespace's name.")]) -> str:
    return namespace


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
    return ModelQuery(
        states=tuple(state or ()), engine=engine, labels=labels_in(label), search=search, sort=sort,
        page_size=page_size, page_token=page_token,
    )  # fmt: skip


def build_router(prefix: str, namespace: Callable[..., Awaitable[str]], tag: str) -> APIRouter:
    """The same routes for one path form; ``namespace`` finds out which namespace a request means."""
    router = APIRouter(prefix=prefix, tags=[tag])
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.post(
        "", status_code=202, response_model=schemas.Operation, responses=_DONE_OR_DRY, summary="Deploy a model"
    )
    async def create(
        body: schemas.CreateModel, ns: Namespace, caller: CallerDep, services: ToEditSome, dry_run: DryRun = False
    ) -> Response:
        caller = replace(caller, reason=body.reason)
        wish, artifact, unresolved = await with_source(body.spec, ns, services.checks, caller.principal)
        spec, misspelt = spec_in(wish, sealing(services.secrets, ns))
        spec, found = replace(spec, artifact=artifact), unresolved + misspelt
        if dry_run:
            forecast = await services.forecasts.create(ns, body.name, spec, body.desired, caller.principal, found)
            return answer(await forecast_out(services, forecast, caller.principal))
        operation = await services.models.create(ns, body.name, spec, body.desired, caller, found)
        return accepted(operation)

    @router.get("/{name}", response_model=schemas.Model, summary="One model")
    async def get(name: ModelName, ns: Namespace, services: ToRead, request: Request) -> Response:
        viewer = caller_of(request)
        model = await services.models.get(ns, name, viewer)
        beside = await around(services, [model], viewer)
        return answer(model_out(model, beside), headers={"ETag": f'"{model.version}"'})

    @router.put(
        "/{name}", status_code=202, response_model=schemas.Operation, responses=_DONE_OR_DRY,
        summary="Replace the spec",
    )  # fmt: skip
    async def put(
        name: ModelName,
        body: schemas.ReplaceModel,
        ns: Namespace,
        caller: CallerDep,
        services: ToEdit,
        dry_run: DryRun = False,
    ) -> Response:
        document = body.spec.model_dump(exclude_unset=True)

        async def revise(model: Model) -> Spec:
            seal = sealing(services.secrets, ns, model.spec)
            return await read_spec(document, ns, services.checks, seal, caller.principal, model.spec.source)

        if dry_run:
            forecast = await services.forecasts.update(ns, name, revise, caller.principal)
            return answer(await forecast_out(services, forecast, caller.principal))
        caller = replace(caller, reason=body.reason)
        operation = await services.models.update(ns, name, revise, caller, acknowledge_restart=body.acknowledge_restart)
        return accepted(operation)

    @router.patch(
        "/{name}", status_code=202, response_model=schemas.Operation, responses=_DONE_OR_DRY,
        summary="Change parts of the spec",
    )  # fmt: skip
    async def patch(
        name: ModelName,
        body: schemas.PatchModel,
        ns: Namespace,
        caller: CallerDep,
        services: ToEdit,
        dry_run: DryRun = False,
    ) -> Response:

        async def revise(model: Model) -> Spec:
            # An alias may point elsewhere by now; only who names the source asks for that.
            before = None if "source" in body.spec else model.spec
            seal = sealing(services.secrets, ns, model.spec)
            document, had = patched(model.spec, body.spec), model.spec.source
            return await read_spec(document, ns, services.checks, seal, caller.principal, had, before)

        if dry_run:
            forecast = await services.forecasts.update(ns, name, revise, caller.principal)
            return answer(await forecast_out(services, forecast, caller.principal))
        caller = replace(caller, reason=body.reason)
        operation = await services.models.update(ns, name, revise, caller, acknowledge_restart=body.acknowledge_restart)
        return accepted(operation)

    @router.delete(
        "/{name}", status_code=202, response_model=schemas.Operation, responses=_DONE,
        summary="Stop and forget a model",
    )  # fmt: skip
    async def delete(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToEdit,
        force: Force = False, timeout: Timeout = 30.0, reason: Reason = "", override: Override = False,
    ) -> Response:  # fmt: skip
        mode = StopMode.FORCE if force else StopMode.DRAIN
        caller = replace(caller, reason=reason, override=override)
        operation = await services.models.delete(ns, name, mode, timeout, caller)
        return accepted(operation)

    @router.post(
        "/{name}/start", status_code=202, response_model=schemas.Operation, responses=_DONE_OR_DRY,
        summary="Start a stopped model",
    )  # fmt: skip
    async def start(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.StartModel | None = None, dry_run: DryRun = False,
    ) -> Response:  # fmt: skip
        """Where it does not fit it is `queued`, and its status says why."""
        if dry_run:
            forecast = await services.forecasts.start(ns, name, caller.principal)
            return answer(await forecast_out(services, forecast, caller.principal))
        body = body or schemas.StartModel()
        caller = replace(caller, reason=body.reason)
        operation = await services.models.start(ns, name, caller, restore_autoscaling=body.restore_autoscaling)
        return accepted(operation)

    @router.post(
        "/{name}/stop", status_code=202, response_model=schemas.Operation, responses=_DONE, summary="Stop a model"
    )
    async def stop(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.StopModel | None = None,
    ) -> Response:  # fmt: skip
        """Always taken, in every state but `deleting`. Done when it is verified that nothing is left."""
        body = body or schemas.StopModel()
        mode = StopMode.DRAIN if body.graceful else StopMode.FORCE
        caller = replace(caller, reason=body.reason, override=body.override)
        operation = await services.models.stop(ns, name, mode, body.timeout, caller)
        return accepted(operation)

    @router.post(
        "/{name}/restart", status_code=202, response_model=schemas.Operation, summary="New instances of the same spec"
    )
    async def restart(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        reason = body.reason if body else ""
        operation = await services.models.restart(ns, name, replace(caller, reason=reason))
        return accepted(operation)

    rollouts.add(router, namespace)
    views.add(router, namespace)
    traffic.add(router, namespace)
    history.add(router, namespace)
    in_flight.add(router, namespace)
    policies.add(router, namespace)
    schedules.add(router, namespace)
    return router


def plural_router() -> APIRouter:
    """What is about many models differs between the forms: only the short one can mean all namespaces."""
    router = APIRouter()

    @router.get(
        "/models",
        response_model=schemas.Page[schemas.Model],
        tags=["models"],
        summary="Models of the default namespace, or of all",
    )
    async def list_default(
        query: Annotated[ModelQuery, Depends(_query)], services: ToReadSomewhere, request: Request,
        all_namespaces: Annotated[bool, Query(description="Models of every namespace.")] = False,
    ) -> Response:  # fmt: skip
        if not all_namespaces:
            demand_some(caller_of(request), Permission.READ, DEFAULT_NAMESPACE)
        namespace = None if all_namespaces else DEFAULT_NAMESPACE
        return await _list(services, replace(query, namespace=namespace), caller_of(request))

    @router.get(
        "/namespaces/{namespace}/models", response_model=schemas.Page[schemas.Model], tags=["models by namespace"],
        summary="Models of a namespace",
    )  # fmt: skip
    async def list_in_namespace(
        namespace: str, query: Annotated[ModelQuery, Depends(_query)], services: ToReadSome, request: Request
    ) -> Response:
        if await services.store.get_namespace(namespace) is None:
            raise NotFound(f"There is no namespace {namespace!r}.")
        return await _list(services, replace(query, namespace=namespace), caller_of(request))

    @router.post(
        "/models/stop", status_code=202, response_model=schemas.Items[schemas.Stopped], tags=["models"],
        summary="Stop many models of the default namespace, or of all",
    )  # fmt: skip
    async def stop_many_default(
        request: Request, body: schemas.StopModels, caller: CallerDep, services: ToOperateSomewhere,
        all_namespaces: Annotated[bool, Query(description="Models of every namespace.")] = False,
    ) -> Response:  # fmt: skip
        if not all_namespaces and caller.principal is not None:
            demand_some(caller.principal, Permission.OPERATE, DEFAULT_NAMESPACE)
        return await _stop_many(request, services, None if all_namespaces else DEFAULT_NAMESPACE, body, caller)

    @router.post(
        "/namespaces/{namespace}/models/stop", status_code=202, response_model=schemas.Items[schemas.Stopped],
        tags=["models by namespace"], summary="Stop many models of a namespace",
    )  # fmt: skip
    async def stop_many_in_namespace(
        request: Request, namespace: str, body: schemas.StopModels, caller: CallerDep, services: ToOperateSome
    ) -> Response:
        if await services.store.get_namespace(namespace) is None:
            raise NotFound(f"There is no namespace {namespace!r}.")
        return await _stop_many(request, services, namespace, body, caller)

    return router


async def _list(services: Services, query: ModelQuery, viewer: Principal) -> Response:
    page = await services.store.list_models(replace(query, sight=viewer.sight))
    beside = await around(services, page.items, viewer)
    models = [model_out(m, beside) for m in page.items]
    return answer(schemas.Page[schemas.Model](items=models, next_page_token=page.next_page_token))


async def _stop_many(
    request: Request, services: Services, namespace: str | None, body: schemas.StopModels, caller: Caller
) -> Response:
    """Each model has an answer of its own: one that cannot be stopped keeps no other from it."""
    if bool(body.names) + bool(body.labels) + body.all != 1:
        message = "Say which models to stop: names, labels or all, and only one of these."
        raise InvalidRequest([Problem("", "required", message)])
    mode = StopMode.DRAIN if body.graceful else StopMode.FORCE
    # A key and an ETag are those of one operation; a stop asked for twice is one stop anyway.
    caller = Caller(
        actor=caller.actor, reason=body.reason, principal=caller.principal, override=body.override
    )  # fmt: skip
    precedence: Precedence = request.app.state.precedence
    # It holds up the requests of all namespaces, so it is for those who may stop the models of all.
    urgent = body.all and mode is StopMode.FORCE and caller_of(request).may(Permission.OPERATE, EVERYWHERE)
    with precedence.first() if urgent else nullcontext():
        stopped = await services.stop_many.stop(namespace, body.names, body.labels, mode, body.timeout, caller)
    return answer(schemas.Items[schemas.Stopped](items=[stopped_out(one) for one in stopped]), 202)


def routers() -> list[APIRouter]:
    return [
        plural_router(),
        build_router("/models", _short_form, "models"),
        build_router("/namespaces/{namespace}/models", _long_form, "models by namespace"),
    ]
