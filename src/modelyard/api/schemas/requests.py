"""Whole request bodies."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from modelyard.api.schemas.base import Duration, Flag, In, Request, Size, Whole
from modelyard.api.schemas.spec import Spec
from modelyard.domain.features import FEATURES
from modelyard.domain.names import NAME_RULE
from modelyard.domain.states import RunState

_ACKNOWLEDGE = "The caller's word that the change may restart instances; changes of `container` need it."


class Reasoned(Request):
    """Nothing but why."""

    reason: str = Field("", max_length=1024)


class CreateModel(Reasoned):
    name: str = Field(description=NAME_RULE, examples=["digits"])
    spec: Spec
    desired: RunState = RunState.RUNNING


class ReplaceModel(Reasoned):
    spec: Spec
    acknowledge_restart: Flag = Field(False, description=_ACKNOWLEDGE)


class PatchModel(Reasoned):
    """A JSON merge patch (RFC 7396) of the spec: what is left out stays, null removes."""

    spec: dict[str, Any]
    acknowledge_restart: Flag = Field(False, description=_ACKNOWLEDGE)


class StartModel(Reasoned):
    restore_autoscaling: Flag = Field(
        True, description="False: it runs the replicas of its spec and nothing scales it until the next start."
    )


class StopModel(Reasoned):
    graceful: Flag = Field(True, description="Finish what is in flight first; false kills at once.")
    timeout: Duration = Field(30.0, description="After this a graceful stop kills.")
    override: Flag = Field(
        False, description="Stop it though a policy protects it: for those who may override that, with a reason."
    )


class StopModels(StopModel):
    """Which models: `names`, `labels` (all must match) or `all`, exactly one of them."""

    names: list[str] = Field(default_factory=list, max_length=10_000)
    labels: dict[str, str] = Field(default_factory=dict)
    all: Flag = False


class RollBack(Reasoned):
    generation: Whole | None = Field(
        None,
        ge=1,
        description="Which revision to go back to; else the newest one before the present that was not given up.",
    )


class QuotaIn(In):
    """What a namespace's instances may hold at a time; null, as much as there is."""

    cpu: float | None = Field(None, ge=0, description="Cores.")
    memory: Size | None = None
    gpus: Whole | None = Field(None, ge=0, description="Whole devices.")


class CreateNamespace(Request):
    name: str = Field(description=NAME_RULE, examples=["vision"])
    description: str = Field("", max_length=4096)
    quota: QuotaIn = Field(default_factory=QuotaIn)


class PatchNamespace(Request):
    """A JSON merge patch (RFC 7396): what is left out stays, null removes a limit, or takes a feature back to its
    default."""

    quota: QuotaIn = Field(default_factory=QuotaIn)
    description: str | None = Field(None, max_length=4096)
    features: dict[str, bool | str | None] = Field(
        default_factory=dict, description=f"What it may use: {', '.join(FEATURES)}.", examples=[{"python": False}]
    )


class FindingRef(In):
    """One thing that the doctor has found, by its kind and id."""

    kind: str
    id: str


class ClearFindings(Request):
    items: list[FindingRef] | None = Field(None, description="What to clear; all that is found when left out.")
