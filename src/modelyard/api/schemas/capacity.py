"""What a site has, who holds it and who waits for it; what a start would find; what the doctor finds."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from modelyard.api.schemas.base import Size
from modelyard.api.schemas.records import Amount, FieldChange, ItemError, Operation
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
    others: int = Field(description="Models left out of these lists, which the caller may not know of.")
    strategy: Strategy | None = Field(description="The order in which an update would replace instances.")
    changes: list[FieldChange]
    needs_acknowledgement: bool = Field(description="The request needs `acknowledge_restart`.")
    warnings: list[str] = Field(description="What policies would let pass, with these words.")


class Device(BaseModel):
    id: str
    kind: str
    name: str
    memory: Size | None
    held: bool
    holder: ModelRef | None = Field(description="Null if it is free, or if the caller may not know of the model.")


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
    other_holdings: int = Field(description="Instances of models that the caller may not know of.")
    queue: list[Queued]
    others_queued: int = Field(description="Models in the queue that the caller may not know of.")


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
