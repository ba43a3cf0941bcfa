"""The shapes that the API takes and gives. Durations and sizes are text going out, text or numbers coming in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator

from modelyard.domain.names import DEFAULT_NAMESPACE, NAME_RULE
from modelyard.domain.operations import OperationKind, OperationState
from modelyard.domain.quantities import format_bytes, format_duration, parse_bytes, parse_duration
from modelyard.domain.spec import BackendName, Engine
from modelyard.domain.states import Command, RunState, State

T = TypeVar("T")

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}], "examples": ["30s", "500ms", 60]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}], "examples": ["512Mi", 1048576]}),
]


class _In(BaseModel):
    """A request's part: an unknown field is an error, so that a typing mistake is never silently dropped."""

    model_config = ConfigDict(extra="forbid")


class NotInteroperable(ValueError):
    """Values that other JSON readers could not take back (I-JSON, RFC 7493): lone surrogates, integers over
    64 bits, NaN. ``found`` pairs each one's path in the body with what is wrong."""

    def __init__(self, found: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(message for _, message in found))
        self.found = found


class _Request(_In):
    """A whole request body."""

    @model_validator(mode="before")
    @classmethod
    def _interoperable(cls, body: Any) -> Any:
        if found := list(_not_interoperable(body, ())):
            raise NotInteroperable(found)
        return body


def _not_interoperable(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if not _is_unicode(key):
                yield path, "A field's name here is not Unicode text."
            yield from _not_interoperable(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_interoperable(item, (*path, index))
    elif isinstance(value, str):
        if not _is_unicode(value):
            yield path, "This is not Unicode text (a lone surrogate)."
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            yield path, "This whole number has more than 64 bits."
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, "This is not a finite number."


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Resources(_In):
    cpu: float = Field(1.0, description="Cores.")
    memory: Size | None = Field(None, description="Limit on private memory; none when left out.")
    gpus: int = Field(0, description="Whole devices.")


class Replicas(_In):
    min: int = Field(1, description="Instances that always run.")
    max: int = Field(1, description="Instances that may run.")


class HealthCheck(_In):
    command: list[str] = Field(default_factory=list, description="Run beside the engine's own check; 0 is healthy.")
    path: str | None = Field(None, description="What a `command` engine's server is asked over HTTP.")
    interval: Duration = 5.0
    start_period: Duration = Field(300.0, description="An instance not ready after this has failed.")
    timeout: Duration = 5.0
    retries: int = Field(3, description="Failures in a row that replace the instance.")


class Container(_In):
    environment: dict[str, str] = Field(default_factory=dict)
    working_dir: str | None = None
    shared_memory: Size | None = Field(None, description="Size of /dev/shm.")
    health_check: HealthCheck = Field(default_factory=HealthCheck)


class Limits(_In):
    request_timeout: Duration = 60.0
    max_body: Size = 64 * 2**20
    max_queue: int = Field(1024, description="Requests that may run or wait at once.")


class Spec(_In):
    """What is wanted of a model."""

    engine: Engine | None = Field(None, description="May be left out when the source's suffix names it.")
    source: str | None = Field(None, description="Where the weights are.", examples=["file:///models/digits.onnx"])
    backend: BackendName = BackendName.LOCAL
    options: dict[str, Any] = Field(default_factory=dict, description="The engine's own options.")
    resources: Resources = Field(default_factory=Resources)
    replicas: Replicas = Field(default_factory=Replicas)
    container: Container = Field(default_factory=Container)
    limits: Limits = Field(default_factory=Limits)
    public: bool = Field(False, description="Inference needs no token.")
    trusted: bool = Field(False, description="An administrator's word that this source may run code when loaded.")
    description: str = Field("", max_length=4096)
    labels: dict[str, str] = Field(default_factory=dict)


class CreateModel(_Request):
    name: str = Field(description=NAME_RULE, examples=["digits"])
    spec: Spec
    desired: RunState = RunState.RUNNING
    reason: str = Field("", max_length=1024)


class ReplaceModel(_Request):
    spec: Spec
    reason: str = Field("", max_length=1024)


class PatchModel(_Request):
    """A JSON merge patch (RFC 7396) of the spec: what is left out stays, null removes."""

    spec: dict[str, Any]
    reason: str = Field("", max_length=1024)


class StartModel(_Request):
    restore_autoscaling: bool = Field(
        True,
        description="Start with the replicas of the spec. False is refused: there is no other setting to start with.",
    )
    reason: str = Field("", max_length=1024)


class StopModel(_Request):
    graceful: bool = Field(True, description="Finish what is in flight first; false kills at once.")
    timeout: Duration = Field(30.0, description="After this a graceful stop kills.")
    reason: str = Field("", max_length=1024)


class RestartModel(_Request):
    reason: str = Field("", max_length=1024)


class CreateNamespace(_Request):
    name: str = Field(description=NAME_RULE, examples=["vision"])
    description: str = Field("", max_length=4096)


class Namespace(BaseModel):
    name: str = Field(examples=[DEFAULT_NAMESPACE])
    description: str
    created_at: datetime


class Transition(BaseModel):
    """The last change of state: who or what caused it, and why."""

    before: State | None
    after: State
    at: datetime
    actor: str
    reason: str
    message: str


class Condition(BaseModel):
    type: str
    status: bool
    reason: str
    message: str
    since: datetime


class Instance(BaseModel):
    id: str
    generation: int
    phase: str
    since: datetime
    pid: int | None
    memory: Size
    processes: int
    message: str


class Requests(BaseModel):
    finished: int
    refused: int
    cut: int


class Released(BaseModel):
    """What a verified stop gave back."""

    at: datetime
    took_seconds: float
    instances: int
    processes: int
    memory: Size
    requests: Requests


class Failure(BaseModel):
    code: str
    message: str
    instance: str | None
    log: list[str]


class ResourceAllocation(BaseModel):
    """What the model holds now, over all its instances. ``memory_resident`` is as last sampled."""

    instances: int
    cpu: float
    memory_limit: Size | None
    memory_resident: Size
    gpus: int


class Endpoints(BaseModel):
    """Paths below the front door's address."""

    infer: str | None
    ready: str | None
    metadata: str | None
    proxy: str | None


class Status(BaseModel):
    namespace: str
    name: str
    state: State
    message: str
    desired: RunState
    generation: int
    target_generation: int
    last_transition: Transition
    conditions: list[Condition]
    instances: list[Instance]
    instances_ready: int
    instances_desired: int
    resource_allocation: ResourceAllocation
    endpoints: Endpoints
    released: Released | None
    failure: Failure | None
    rolled_back_from: int | None = Field(description="The generation that failed and was given up.")
    retry_at: datetime | None
    allowed_commands: list[Command]


class Model(BaseModel):
    namespace: str
    name: str
    uid: str
    generation: int
    version: int
    desired: RunState
    created_at: datetime
    updated_at: datetime
    spec: Spec
    status: Status


class Revision(BaseModel):
    generation: int
    spec: Spec
    created_at: datetime
    actor: str
    reason: str


class Step(BaseModel):
    name: str
    at: datetime
    message: str


class OperationError(BaseModel):
    code: str
    message: str
    log: list[str]


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


class Page(BaseModel, Generic[T]):
    """One page; ``next_page_token`` is empty on the last."""

    items: list[T]
    next_page_token: str = ""


class Items(BaseModel, Generic[T]):
    """A whole list."""

    items: list[T]


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
