"""A model and all that is observed of it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from modelyard.api.schemas.base import Size
from modelyard.api.schemas.spec import Spec
from modelyard.domain.states import Command, RunState, State


class ModelRef(BaseModel):
    namespace: str
    name: str


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
    devices: list[str] = Field(description="The ids of the devices that it alone may use.")
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
    devices: list[str]
    requests: Requests


class Failure(BaseModel):
    code: str
    message: str
    instance: str | None
    log: list[str]


class Waiting(BaseModel):
    """Why the model waits for capacity."""

    since: datetime
    reason: str
    message: str
    place: int | None = Field(description="1 is next; null when it is not in its site's queue just now.")
    kinds: list[str] = Field(description="What is short: gpus, memory, cpu.")
    holders: list[ModelRef] = Field(description="Models that hold of it.")
    others: int = Field(description="So many more hold of it, which the caller may not know of.")


class CanaryStatus(BaseModel):
    """How far the canary of a rollout has come. Its numbers are in the model's `traffic`."""

    percent: int = Field(description="Of the requests, that go to the new revision.")
    wanted: int = Field(description="Other than `percent` while the instances for it are not ready.")
    since: datetime
    next_percent: int | None = Field(description="The step after this one; null: the rest is replaced.")
    next_at: datetime | None = Field(description="Not before; null while it waits for instances, or is paused.")


class RolloutStatus(BaseModel):
    """The replacement of the instances of one revision by those of another (or the same, launched anew)."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    before: int = Field(alias="from")
    after: int = Field(alias="to")
    strategy: str
    began_at: datetime
    ready: int = Field(description="New instances that are ready.")
    paused: bool
    forced: bool
    canary: CanaryStatus | None = Field(description="Null without one, and once it is promoted.")


class Scale(BaseModel):
    """How many instances are wanted now, and why."""

    desired: int
    min: int
    max: int
    since: datetime
    reason: str
    suspended: bool = Field(description="Nothing scales it until a start that restores autoscaling.")


class Preempted(BaseModel):
    """The model gave up its place to another and comes back when there is room."""

    by: ModelRef | None = Field(description="Null: one that the caller may not know of.")
    at: datetime


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
    serving_generation: int = Field(
        description="The newest revision that instances carry out; lower where the last failed or was cancelled."
    )
    last_transition: Transition
    conditions: list[Condition]
    instances: list[Instance]
    instances_ready: int
    instances_desired: int
    resource_allocation: ResourceAllocation
    endpoints: Endpoints
    waiting: Waiting | None
    rollout: RolloutStatus | None
    scale: Scale | None
    preempted: Preempted | None
    artifact: Artifact | None = Field(description="The registered version that the newest revision is made of.")
    released: Released | None
    failure: Failure | None
    rolled_back_from: int | None = Field(description="The generation that failed and was given up.")
    retry_at: datetime | None
    allowed_commands: list[Command]


class Artifact(BaseModel):
    """What a registered source stands for."""

    version: str
    manifest: str = Field(description="The digest that names the version's bytes.")
    newer: str | None = Field(description="The version that the source means by now, if that is another one.")


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
