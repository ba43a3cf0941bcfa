"""What a site has, who holds it and who waits for it; what a start would find; what the doctor finds."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from modelyard.api.schemas.base import Size
from modelyard.api.schemas.records import Amount, FieldChange, Operation
from modelyard.api.schemas.status import ModelRef
from modelyard.domain.spec import Strategy


class Shortage(BaseModel):
    """Why it would wait."""

    reason: str
    message: str
    kinds: list[str] = Field(description="What is short: gpus, memory, cpu.")
    holders: list[ModelRef] = Field(description="Models that hold of it.")


class Forecast(BaseModel):
    """What would come of a request, had it been made. Nothing has changed."""

    fits: bool
    each: Amount = Field(description="What one instance needs.")
    count: int = Field(description="Instances that are wanted.")
    free: Amount = Field(description="What nobody holds now.")
    waiting: Shortage | None
    place: int | None = Field(description="Its place in the queue; 1 is next.")
    must_stop: list[ModelRef] = Field(description="Models that would have to stop for it to fit.")
    would_preempt: list[ModelRef] = Field(description="Models that would give up their place to it.")
    strategy: Strategy | None = Field(description="The order in which an update would replace instances.")
    changes: list[FieldChange]
    needs_acknowledgement: bool = Field(description="The request needs `acknowledge_restart`.")


class Device(BaseModel):
    id: str
    kind: str
    name: str
    memory: Size | None
    holder: ModelRef | None


class Inventory(BaseModel):
    """What there is."""

    cpu: float
    memory: Size
    devices: list[Device]


class Holding(BaseModel):
    """What one instance holds."""

    namespace: str
    model: str
    instance: str
    cpu: float
    memory: Size
    devices: list[str]


class Queued(BaseModel):
    """A model that waits; `each` is what one instance needs, `count` how many are missing."""

    place: int
    namespace: str
    model: str
    priority: int
    each: Amount
    count: int
    since: datetime
    reason: str
    message: str
    holders: list[ModelRef]


class SiteCapacity(BaseModel):
    """One site: a home on a machine."""

    site: str
    inventory: Inventory
    held: Amount
    free: Amount
    holdings: list[Holding]
    queue: list[Queued]


class ItemError(BaseModel):
    """Why nothing came of one of many: the code and detail of its problem, and what is allowed now."""

    code: str
    detail: str
    allowed: list[str]


class Stopped(BaseModel):
    """What became of one model of many: an operation, or why there is none."""

    namespace: str
    name: str
    operation: Operation | None
    error: ItemError | None


class Finding(BaseModel):
    """Something that belongs to nothing any more."""

    kind: str = Field(examples=["process", "folder", "socket", "log", "route", "row", "site"])
    id: str
    message: str


class Cleared(Finding):
    cleared: bool
    error: str | None = Field(description="Why it is still there, and what to do.")
