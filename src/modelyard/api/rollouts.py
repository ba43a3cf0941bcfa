"""How instances are replaced by hand: redeploy, rollback, steering a rollout, terminating one instance.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from modelyard.api import schemas
from modelyard.api.answers import status_out
from modelyard.api.context import CallerDep, Force, ModelName, Reason, Services, Timeout, ToOperate, accepted, answer
from modelyard.api.ledgers import around
from modelyard.control.caller import Caller
from modelyard.domain.model import Model, StopMode

InstanceId = Annotated[str, Path(description="The instance's id.")]


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """``namespace`` finds out which namespace a request means."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.post(
        "/{name}/redeploy", status_code=202, response_model=schemas.Operation,
        summary="New instances of the same spec, by a rollout",
    )  # fmt: skip
    async def redeploy(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        return accepted(await services.models.redeploy(ns, name, _with_reason(caller, body)))

    @router.post(
        "/{name}/rollback", status_code=202, response_model=schemas.Operation,
        summary="Go back to an earlier revision",
    )  # fmt: skip
    async def rollback(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.RollBack | None = None,
    ) -> Response:  # fmt: skip
        """Its spec becomes a new revision, so that nothing of the history is lost."""
        generation = body.generation if body else None
        return accepted(await services.models.rollback(ns, name, generation, _with_reason(caller, body)))

    @router.delete(
        "/{name}/instances/{instance}", status_code=202, response_model=schemas.Operation,
        summary="Terminate one instance",
    )  # fmt: skip
    async def terminate(
        name: ModelName, instance: InstanceId, ns: Namespace, caller: CallerDep, services: ToOperate,
        force: Force = False, timeout: Timeout = 30.0, reason: Reason = "",
    ) -> Response:  # fmt: skip
        """Another one takes its place."""
        mode = StopMode.FORCE if force else StopMode.DRAIN
        caller = replace(caller, reason=reason)
        return accepted(await services.models.terminate(ns, name, instance, mode, timeout, caller))

    _add_steering(router, namespace)
    _add_canaries(router, namespace)


def _add_steering(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.post("/{name}/rollout/pause", response_model=schemas.Status, summary="Pause a rollout")
    async def rollout_pause(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        """Nothing is launched or ended for it until it is resumed, cancelled or forced."""
        return await _status(
            await services.models.pause_rollout(ns, name, _with_reason(caller, body)), services, caller
        )

    @router.post("/{name}/rollout/resume", response_model=schemas.Status, summary="Resume a paused rollout")
    async def rollout_resume(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        """It goes on where it stood, and its deadline counts anew."""
        return await _status(
            await services.models.resume_rollout(ns, name, _with_reason(caller, body)), services, caller
        )

    @router.post("/{name}/rollout/cancel", response_model=schemas.Status, summary="Cancel a rollout")
    async def rollout_cancel(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        """It goes back to the last good revision."""
        return await _status(
            await services.models.cancel_rollout(ns, name, _with_reason(caller, body)), services, caller
        )

    @router.post("/{name}/rollout/force", response_model=schemas.Status, summary="Roll forward by force")
    async def rollout_force(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        """It goes forward whatever happens, and does not go back by itself."""
        return await _status(
            await services.models.force_rollout(ns, name, _with_reason(caller, body)), services, caller
        )


def _add_canaries(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.post("/{name}/rollout/promote", response_model=schemas.Status, summary="Promote a canary")
    async def rollout_promote(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        """Its steps that are left are skipped: the rest is replaced."""
        return await _status(
            await services.models.promote_rollout(ns, name, _with_reason(caller, body)), services, caller
        )

    @router.post("/{name}/rollout/abort", response_model=schemas.Status, summary="Abort a canary")
    async def rollout_abort(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        """All requests go to the old revision again."""
        model = await services.models.abort_canary(ns, name, _with_reason(caller, body))
        return await _status(model, services, caller)

    @router.post("/{name}/rollout/percent", response_model=schemas.Status, summary="Set a canary's share")
    async def rollout_percent(
        name: ModelName, ns: Namespace, caller: CallerDep, services: ToOperate, body: schemas.SetPercent
    ) -> Response:
        """The ramp goes on from there, with the first larger step."""
        caller = replace(caller, reason=body.reason)
        return await _status(await services.models.set_canary_percent(ns, name, body.percent, caller), services, caller)


def _with_reason(caller: Caller, body: schemas.Reasoned | None) -> Caller:
    return replace(caller, reason=body.reason if body else "")


async def _status(model: Model, services: Services, caller: Caller) -> Response:
    beside = await around(services, [model], caller.principal)
    return answer(status_out(model, beside), headers={"ETag": f'"{model.version}"'})
