"""How the requests of a model are shared among its arms, and what came of them.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request

from modelyard.api import schemas
from modelyard.api.context import ModelName, Services, ToRead, caller_of
from modelyard.control.ports import ArmLoad
from modelyard.control.traffic import counts, serves
from modelyard.domain.canary import Wait, decide
from modelyard.domain.model import InstancePhase, Model
from modelyard.domain.significance import Comparison, Counts, compare

Kind = Literal["model", "revision", "shadow"]


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """``namespace`` finds out which namespace a request means."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get("/{name}/traffic", response_model=schemas.TrafficReport, summary="The arms of its traffic, compared")
    async def traffic(name: ModelName, ns: Namespace, services: ToRead, request: Request) -> schemas.TrafficReport:
        """Empty where all requests go the same way."""
        model = await services.models.get(ns, name, caller_of(request))
        loads = services.traffic.arms(model.uid)
        arms = await _arms(services, model)
        return schemas.TrafficReport(
            namespace=ns, name=name, counted=bool(loads), judgement=_judgement(services, model),
            arms=_told(arms, loads),
        )  # fmt: skip


def _judgement(services: Services, model: Model) -> str | None:
    rollout, canary = model.status.rollout, model.spec.rollout.canary
    if rollout is None or (progress := rollout.ramp) is None or canary is None:
        return None
    if rollout.paused_at is not None:
        return "paused"
    if progress.percent != progress.wanted:
        return "waits for its instances"
    evidence = services.traffic.evidence(model.uid, rollout)
    found = decide(canary, progress, evidence, services.clock())
    return f"waits: {found.why}" if isinstance(found, Wait) else found.why


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arm:
    kind: Kind
    name: str
    share: float
    serving: bool
    front: bool = False


async def _arms(services: Services, model: Model) -> list[_Arm]:
    """Those that there are to be, by the spec and the rollout."""
    found = []
    ready = [i.target for i in model.status.instances if i.phase is InstancePhase.READY]
    rollout, traffic = model.status.rollout, model.spec.traffic
    if rollout is not None and (canary := rollout.ramp) is not None:
        for target, share, front in (
            (rollout.before, 100 - canary.percent, True), (rollout.after, canary.percent, False)
        ):  # fmt: skip
            name = str(target.generation)
            found.append(_Arm(kind="revision", name=name, share=share, serving=target in ready, front=front))
    if traffic.split or traffic.shadow:
        left = 100 - sum(arm.weight for arm in traffic.split)
        found.append(_Arm(kind="model", name=model.name, share=left, serving=bool(ready), front=True))
    for arm in traffic.split:
        serving = await serves(services.store, model.namespace, arm.model)
        found.append(_Arm(kind="model", name=arm.model, share=arm.weight, serving=serving))
    for shadow in traffic.shadow:
        serving = await serves(services.store, model.namespace, shadow.model)
        found.append(_Arm(kind="shadow", name=shadow.model, share=shadow.percent, serving=serving))
    return found


def _told(arms: Sequence[_Arm], loads: Sequence[ArmLoad]) -> list[schemas.ArmReport]:
    by_key = {(load.kind, load.name): load for load in loads}
    known = {(arm.kind, arm.name): by_key.get((arm.kind, arm.name)) for arm in arms}
    counted = {key: Counts() if load is None else counts(load) for key, load in known.items()}
    # A shadow is compared with the model whose requests it copies.
    fronts = {arm.kind: counted[arm.kind, arm.name] for arm in arms if arm.front}
    fronts["shadow"] = fronts.get("model", Counts())
    totals = {kind: sum(counted[arm.kind, arm.name].requests for arm in arms if arm.kind == kind) for kind in fronts}
    totals["shadow"] = totals.get("model", 0)
    told = []
    for arm in arms:
        mine, load = counted[arm.kind, arm.name], known[arm.kind, arm.name]
        total = totals[arm.kind]
        told.append(
            schemas.ArmReport(
                kind=arm.kind, name=arm.name, front=arm.front, serving=arm.serving, share_wanted=arm.share,
                share_actual=100 * mine.requests / total if total else None, requests=mine.requests,
                errors=mine.failed, error_rate=mine.error_rate, mean=mine.mean, p50=mine.quantile(0.5),
                p95=mine.quantile(0.95), p99=mine.quantile(0.99), missed=dict(load.missed) if load else {},
                comparison=None if arm.front else _comparison(compare(mine, fronts[arm.kind])),
            )
        )  # fmt: skip
    return told


def _comparison(found: Comparison) -> schemas.ArmComparison:
    return schemas.ArmComparison.model_validate(found, from_attributes=True)
