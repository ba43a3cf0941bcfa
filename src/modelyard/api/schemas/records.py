"""What is kept of models: revisions, operations, events, logs; and namespaces, health, problems."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelyard.api.schemas.base import Size
from modelyard.api.schemas.spec import Spec
from modelyard.api.schemas.status import Failure
from modelyard.domain.bulk import ItemState
from modelyard.domain.effects import Effect
from modelyard.domain.names import DEFAULT_NAMESPACE
from modelyard.domain.operations import OperationKind, OperationState


class Quota(BaseModel):
    """What a namespace's instances may hold at a time; null, as much as there is."""

    cpu: float | None
    memory: Size | None
    gpus: int | None


class Amount(BaseModel):
    """Cores, bytes of memory, whole devices."""

    cpu: float
    memory: Size
    gpus: int


class Namespace(BaseModel):
    name: str = Field(examples=[DEFAULT_NAMESPACE])
    description: str
    created_at: datetime
    quota: Quota
    require_signature: bool = Field(description="Models are served from signed versions only.")
    features: dict[str, bool | str] = Field(description="What it may use.")
    usage: Amount = Field(description="What its instances hold now, on all sites.")


class Revision(BaseModel):
    generation: int
    spec: Spec
    created_at: datetime
    actor: str
    reason: str
    current: bool = Field(description="The one in effect.")
    good: bool = Field(description="The last one that was fully ready: a failed update goes back to it.")
    artifact: str | None = Field(description="The registered version that it is made of.")
    failure: Failure | None = Field(description="Why its rollout was given up, if it was.")


class FieldChange(BaseModel):
    """One field that differs, by its path in the spec; a value that is not there is null."""

    path: str
    before: Any
    after: Any
    effect: Effect


class Diff(BaseModel):
    """What going from one revision to another changes."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    before: int = Field(alias="from")
    after: int = Field(alias="to")
    changes: list[FieldChange]


class Step(BaseModel):
    name: str
    at: datetime
    message: str


class OperationError(BaseModel):
    code: str
    message: str
    log: list[str]


class ItemError(BaseModel):
    """Why nothing came of one of many: the code and detail of its problem, and what is allowed now."""

    code: str
    detail: str
    allowed: list[str]


class BulkItem(BaseModel):
    """What becomes of one model of many."""

    namespace: str
    model: str
    state: ItemState
    operation: str | None = Field(description="The command's operation, once it has begun.")
    error: ItemError | None
    message: str = Field(description="Why there was nothing to do.")


class Operation(BaseModel):
    """The record of one long-running request."""

    id: str
    kind: OperationKind
    namespace: str
    model: str
    actor: str
    reason: str
    state: OperationState
    done: bool
    created_at: datetime
    updated_at: datetime
    steps: list[Step]
    result: dict[str, Any] | None
    error: OperationError | None
    warnings: list[str] = Field(default_factory=list, description="What was let pass that policies warn of.")
    counts: dict[str, int] | None = Field(None, description="Of one on many models: how many are in each state.")
    items: list[BulkItem] | None = Field(None, description="Of one on many models, asked for by its id: all of them.")


class Event(BaseModel):
    id: int
    at: datetime
    namespace: str
    model: str
    type: str
    reason: str
    message: str
    actor: str
    data: dict[str, Any]


class LogLine(BaseModel):
    instance: str
    text: str


class Version(BaseModel):
    version: str
    api: Literal["v1"] = "v1"


class LoadedModels(BaseModel):
    enabled: bool
    status: str
    phase: str
    loaded_models: int
    models: dict[str, int] = Field(description="How many models are in each state.")


class Health(BaseModel):
    status: Literal["healthy", "degraded"]
    ml_models: LoadedModels | None = Field(None, description="Only for callers with a token.")


class FieldError(BaseModel):
    path: str
    code: str
    message: str


class ProblemBody(BaseModel):
    """RFC 9457, with a stable ``code``; ``errors`` names each wrong field by its path."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    request_id: str
    errors: list[FieldError] | None = None
    allowed: list[str] | None = None


class Sample(BaseModel):
    """A small real model to try things on."""

    name: str = Field(description="Also the model's, once it is deployed.")
    description: str
