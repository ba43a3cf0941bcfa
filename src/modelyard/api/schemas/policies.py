"""Policies over models, the exceptions from them, and what they come to."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from modelyard.api.schemas.base import Duration, Flag, In, Request, Size, Whole
from modelyard.api.schemas.requests import Reasoned
from modelyard.domain.policies import Mode, Rule
from modelyard.domain.schedules import Weekday
from modelyard.domain.spec import BackendName
from modelyard.domain.verdicts import Standing

_PATTERNS = "Patterns as in shells, one of which matches; none: all."


class PolicySelector(In):
    """Whom a policy is for: all of it must match."""

    namespaces: list[str] = Field(default_factory=list, description=f"{_PATTERNS} Only of installation policies.")
    labels: dict[str, str] = Field(default_factory=dict, description="All of them.")
    models: list[str] = Field(default_factory=list, description=_PATTERNS)


class WeeklyWindow(In):
    """`days`, whole or from `start` to `stop`; or `from` one moment of the week `to` another, over midnight too."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)

    days: list[Weekday] = Field(default_factory=list)
    start: str | None = Field(None, description="HH:MM.", examples=["20:00"])
    stop: str | None = Field(None, description="HH:MM; 24:00 is the end of the day.", examples=["24:00"])
    begins: str | None = Field(None, alias="from", description="Weekday and HH:MM.", examples=["friday 20:00"])
    ends: str | None = Field(None, alias="to", description="Weekday and HH:MM.", examples=["monday 06:00"])


class ShutdownRule(In):
    """Models are stopped when a window begins, and not started in one."""

    timezone: str = Field(description="A name of the IANA database.", examples=["Europe/Berlin"])
    windows: list[WeeklyWindow]
    resume: Flag = Field(False, description="At its end, start again what a window has stopped.")


class PolicyCaps(In):
    """What all instances of one model may hold together; null, any."""

    gpus: Whole | None = Field(None, ge=0)
    memory: Size | None = None
    cpu: float | None = Field(None, ge=0)


class PolicyRules(In):
    shutdown: ShutdownRule | None = None
    idle_after: Duration | None = Field(None, description="Stop a model that nobody has called for so long.")
    max_run_time: Duration | None = Field(None, description="Stop a model so long after its start.")
    caps: PolicyCaps = Field(default_factory=PolicyCaps)
    require_signature: Flag = Field(False, description="Launch signed versions of registered models only.")
    allowed_backends: list[BackendName] = Field(default_factory=list, description="None named: any.")
    protected: Flag = Field(
        False, description="Only who may override the policy stops or deletes a model, and nobody takes its place."
    )


class SetPolicy(Reasoned):
    description: str = Field("", max_length=4096)
    selector: PolicySelector = Field(default_factory=PolicySelector)
    mode: Mode = Field(Mode.ENFORCE, description="warn: everything passes, and is told.")
    rules: PolicyRules


class PreviewPolicy(SetPolicy):
    name: str = Field("preview", description="Of a policy that there is: what the change would do.")


class Policy(BaseModel):
    name: str
    namespace: str = Field(description="Empty: of the whole installation.")
    description: str
    selector: PolicySelector
    mode: Mode
    rules: PolicyRules
    version: int = Field(description="The ETag.")
    created_at: datetime | None
    changed_at: datetime | None
    changed_by: str


class SetOverride(Request):
    """Until `expires`, or for so long, the policy does not hold for the model."""

    reason: str = Field(min_length=1, max_length=1024)
    expires: datetime | Duration = Field(description="A moment with its zone, or a duration from now.", examples=["4h"])


class PolicyOverride(BaseModel):
    policy: str
    namespace: str = Field(description="The policy's; empty: of the whole installation.")
    reason: str
    by: str
    created_at: datetime
    expires_at: datetime


class PolicyRuling(BaseModel):
    rule: Rule
    policy: str
    namespace: str = Field(description="The policy's; empty: of the whole installation.")
    mode: Mode
    value: str
    standing: Standing = Field(
        description="in_force; warns; yields (another asks for as much or more); shielded (the model is protected, so "
        "it stops nothing); overridden."
    )
    why: str
    override: PolicyOverride | None


class PolicyFinding(BaseModel):
    """What speaks against what the model is now."""

    policy: str
    rule: Rule
    refused: bool = Field(description="Its next start or update would be; false: warned of.")
    path: str
    message: str


class ModelPolicies(BaseModel):
    """What the policies come to for one model."""

    namespace: str
    name: str
    rulings: list[PolicyRuling]
    findings: list[PolicyFinding]
    closed_until: datetime | None = Field(description="The end of the window that it is shut down in.")
    stops_at: datetime | None = Field(
        description="When the clock stops it next, if it runs; idle time is not foreseen."
    )
    stops_because: str | None
