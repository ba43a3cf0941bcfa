"""Policies of the installation and of namespaces, what they come to for a model, and exceptions from them.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from modelyard.api import schemas
from modelyard.api.context import (
    CallerDep,
    ModelName,
    Reason,
    Services,
    ToAdminister,
    ToOversee,
    ToRead,
    answer,
    caller_of,
)
from modelyard.api.policy_shapes import explanation_out, override_out, policy_in, policy_out
from modelyard.control.caller import Caller
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.policies import INSTALLATION, MAX_OVERRIDE, Policy

PolicyName = Annotated[str, Path(description="The policy's name.", examples=["weekend"])]
_NEW: dict[int | str, dict[str, Any]] = {201: {"model": schemas.Policy, "description": "It is new."}}


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """The routes below one model."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get("/{name}/policies", response_model=schemas.ModelPolicies, summary="What policies come to for a model")
    async def policies(name: ModelName, ns: Namespace, services: ToRead, request: Request) -> Response:
        """Every rule of every policy that is for it: whether it holds, what it yields to, and what comes."""
        model = await services.models.get(ns, name, caller_of(request))
        return answer(explanation_out(await services.policies.explain(model)))

    @router.put(
        "/{name}/overrides/{policy}", response_model=schemas.PolicyOverride, summary="Make an exception from a policy"
    )
    async def override(
        name: ModelName, policy: PolicyName, body: schemas.SetOverride, ns: Namespace, caller: CallerDep,
        services: ToAdminister,
    ) -> Response:  # fmt: skip
        """For this model, until it expires; a policy of the whole installation is overridden by its administrators."""
        model = await services.models.get(ns, name, caller.principal)
        expires = _expires(body.expires, services.clock())
        made = await services.policies.override(model, policy, expires, replace(caller, reason=body.reason))
        return answer(override_out(made))

    @router.delete("/{name}/overrides/{policy}", status_code=204, summary="End an exception from a policy")
    async def end_override(
        name: ModelName, policy: PolicyName, ns: Namespace, caller: CallerDep, services: ToAdminister,
        reason: Reason = "",
    ) -> Response:  # fmt: skip
        model = await services.models.get(ns, name, caller.principal)
        await services.policies.end_override(model, policy, replace(caller, reason=reason))
        return Response(status_code=204)


def _expires(sent: datetime | float, now: datetime) -> datetime:
    if isinstance(sent, datetime):
        if sent.tzinfo is None:
            raise InvalidRequest([Problem("expires", "invalid_value", "Say in what zone: 2030-01-01T08:00:00+01:00.")])
        return sent.astimezone(UTC)
    return now + timedelta(seconds=min(sent, 2 * MAX_OVERRIDE.total_seconds()))


# ------------------------------------------------------------------------------------------- policies


def _whole() -> APIRouter:
    router = APIRouter(prefix="/policies", tags=["policies"])

    @router.get("", response_model=schemas.Items[schemas.Policy], summary="Policies of the whole installation")
    async def list_all(services: ToOversee) -> Response:
        return await _list(services, INSTALLATION)

    @router.get("/{policy}", response_model=schemas.Policy, summary="One of them")
    async def get(policy: PolicyName, services: ToOversee) -> Response:
        return _answer(await services.policies.get(INSTALLATION, policy))

    @router.put("/{policy}", response_model=schemas.Policy, responses=_NEW, summary="Set a policy")
    async def put(policy: PolicyName, body: schemas.SetPolicy, caller: CallerDep, services: ToOversee) -> Response:
        """It holds at once: what runs in a window of it is stopped."""
        return await _put(services, policy, INSTALLATION, body, caller)

    @router.delete("/{policy}", status_code=204, summary="Delete a policy")
    async def delete(policy: PolicyName, caller: CallerDep, services: ToOversee, reason: Reason = "") -> Response:
        """With its overrides. What it has stopped stays so."""
        await services.policies.delete(INSTALLATION, policy, replace(caller, reason=reason))
        return Response(status_code=204)

    @router.post("/preview", response_model=schemas.Items[schemas.ModelPolicies], summary="What a policy would come to")
    async def preview(body: schemas.PreviewPolicy, services: ToOversee) -> Response:
        """For each model that it selects, with all other policies as they are. Changes nothing."""
        return await _preview(services, INSTALLATION, body)

    return router


def _of_namespace() -> APIRouter:
    router = APIRouter(prefix="/namespaces/{namespace}/policies", tags=["policies by namespace"])
    Namespace = Annotated[str, Path(description="The namespace's name.")]  # noqa: N806 - it is a type

    @router.get("", response_model=schemas.Items[schemas.Policy], summary="Policies of a namespace")
    async def list_all(namespace: Namespace, services: ToRead) -> Response:
        return await _list(services, namespace)

    @router.get("/{policy}", response_model=schemas.Policy, summary="One of them")
    async def get(namespace: Namespace, policy: PolicyName, services: ToRead) -> Response:
        return _answer(await services.policies.get(namespace, policy))

    @router.put("/{policy}", response_model=schemas.Policy, responses=_NEW, summary="Set a policy")
    async def put(
        namespace: Namespace, policy: PolicyName, body: schemas.SetPolicy, caller: CallerDep, services: ToAdminister
    ) -> Response:
        """It can only be stricter than those of the installation, and holds at once."""
        return await _put(services, policy, namespace, body, caller)

    @router.delete("/{policy}", status_code=204, summary="Delete a policy")
    async def delete(
        namespace: Namespace, policy: PolicyName, caller: CallerDep, services: ToAdminister, reason: Reason = ""
    ) -> Response:
        """With its overrides. What it has stopped stays so."""
        await services.policies.delete(namespace, policy, replace(caller, reason=reason))
        return Response(status_code=204)

    @router.post("/preview", response_model=schemas.Items[schemas.ModelPolicies], summary="What a policy would come to")
    async def preview(namespace: Namespace, body: schemas.PreviewPolicy, services: ToAdminister) -> Response:
        """For each model that it selects, with all other policies as they are. Changes nothing."""
        return await _preview(services, namespace, body)

    return router


async def _list(services: Services, scope: str) -> Response:
    found = await services.policies.kept(scope)
    return answer(schemas.Items[schemas.Policy](items=[policy_out(policy) for policy in found]))


async def _put(services: Services, name: str, scope: str, body: schemas.SetPolicy, caller: Caller) -> Response:
    policy, problems = policy_in(name, scope, body)
    if problems:
        raise InvalidRequest(problems)
    written, new = await services.policies.put(policy, replace(caller, reason=body.reason))
    return _answer(written, 201 if new else 200)


async def _preview(services: Services, scope: str, body: schemas.PreviewPolicy) -> Response:
    policy, problems = policy_in(body.name, scope, body)
    if problems:
        raise InvalidRequest(problems)
    items = [explanation_out(found, own) async for found, own in services.policies.preview(policy)]
    return answer(schemas.Items[schemas.ModelPolicies](items=items))


def _answer(policy: Policy, status: int = 200) -> Response:
    return answer(policy_out(policy), status, {"ETag": f'"{policy.version}"'})


def routers() -> list[APIRouter]:
    return [_whole(), _of_namespace()]
