"""What Modelyard answers with, as values.

Fields that a newer server adds are ignored here and kept in ``raw``, the answer as it came. Times are
aware datetimes; sizes and durations are text, as the API writes them (``"512Mi"``, ``"30s"``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")
R = TypeVar("R", bound="Resource")


class Resource(msgspec.Struct, kw_only=True):
    """An answer of its own; ``raw`` is its JSON."""

    # Named as no server names a field, so that no answer can fill it.
    raw: dict[str, Any] = msgspec.field(default_factory=dict, name=" raw")


class Transition(msgspec.Struct, kw_only=True):
    """The last change of state: who or what caused it, and why."""

    after: str
    at: datetime
    before: str | None = None
    actor: str = ""
    reason: str = ""
    message: str = ""


class Condition(msgspec.Struct, kw_only=True):
    type: str
    status: bool
    reason: str = ""
    message: str = ""
    since: datetime | None = None


class ModelRef(msgspec.Struct, kw_only=True, frozen=True):
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Instance(Resource):
    """One replica: its ``phase`` is ``starting``, ``ready`` or ``terminating``."""

    id: str
    phase: str
    generation: int = 0
    since: datetime | None = None
    pid: int | None = None
    memory: str = "0"
    devices: list[str] = []
    processes: int = 0
    message: str = ""


class Failure(msgspec.Struct, kw_only=True):
    code: str
    message: str
    instance: str | None = None
    log: list[str] = []


class Waiting(msgspec.Struct, kw_only=True):
    """Why a model waits for capacity. ``place`` 1 is next; ``kinds`` are what is short, ``holders`` who holds of it,
    besides ``others`` that the caller may not know of."""

    message: str
    reason: str = ""
    since: datetime | None = None
    place: int | None = None
    kinds: list[str] = []
    holders: list[ModelRef] = []
    others: int = 0


class Canary(msgspec.Struct, kw_only=True):
    """How far a canary has come: ``percent`` of the requests go to the new revision (``wanted`` once the instances for
    it are ready), ``next_percent`` not before ``next_at``."""

    percent: int
    wanted: int
    since: datetime | None = None
    next_percent: int | None = None
    next_at: datetime | None = None


class Rollout(msgspec.Struct, kw_only=True, rename={"before": "from", "after": "to"}):
    """The replacement of the instances of one revision by those of another; ``ready`` are the new ones that are."""

    before: int
    after: int
    strategy: str = ""
    began_at: datetime | None = None
    ready: int = 0
    paused: bool = False
    forced: bool = False
    canary: Canary | None = None


class Scale(msgspec.Struct, kw_only=True):
    """How many instances are wanted now, and why. ``suspended``: nothing scales them."""

    desired: int
    min: int
    max: int
    since: datetime | None = None
    reason: str = ""
    suspended: bool = False


class Preempted(msgspec.Struct, kw_only=True):
    """The model gave up its place to another and comes back when there is room. ``by`` is None where the caller may
    not know of that one."""

    by: ModelRef | None = None
    at: datetime


class Artifact(msgspec.Struct, kw_only=True):
    """The registered version that a model is made of; ``newer``: the one that its source means by now."""

    version: str
    manifest: str = ""
    newer: str | None = None


class Status(Resource):
    """All that is observed of a model; ``released`` says what a verified stop gave back,
    ``rolled_back_from`` which generation failed, so that an earlier one serves (``serving_generation``)."""

    namespace: str
    name: str
    state: str
    message: str = ""
    desired: str = ""
    generation: int = 0
    target_generation: int = 0
    serving_generation: int = 0
    rolled_back_from: int | None = None
    last_transition: Transition | None = None
    conditions: list[Condition] = []
    instances: list[Instance] = []
    instances_ready: int = 0
    instances_desired: int = 0
    resource_allocation: dict[str, Any] = {}
    endpoints: dict[str, str | None] = {}
    waiting: Waiting | None = None
    rollout: Rollout | None = None
    scale: Scale | None = None
    preempted: Preempted | None = None
    artifact: Artifact | None = None
    released: dict[str, Any] | None = None
    failure: Failure | None = None
    retry_at: datetime | None = None
    allowed_commands: list[str] = []


class Model(Resource):
    """``version`` is what an update names to be sure that nobody changed the model in between."""

    namespace: str
    name: str
    uid: str
    generation: int
    version: int
    desired: str
    spec: dict[str, Any]
    status: Status
    created_at: datetime
    updated_at: datetime


class Revision(Resource):
    """The frozen spec of one generation. ``current`` is in effect, ``good`` was fully ready; ``failure`` says why its
    rollout was given up; ``artifact`` is the registered version that it is made of."""

    generation: int
    spec: dict[str, Any]
    created_at: datetime
    actor: str = ""
    reason: str = ""
    current: bool = False
    good: bool = False
    artifact: str | None = None
    failure: Failure | None = None


class FieldChange(msgspec.Struct, kw_only=True):
    """One field that differs, by its path in the spec. ``effect`` is what changing it does to a model that runs:
    ``metadata``, ``features``, ``autoscaling``, ``container`` or ``rollout``."""

    path: str
    before: Any = None
    after: Any = None
    effect: str = ""


class Diff(Resource, rename={"before": "from", "after": "to"}):
    """What going from one revision to another changes."""

    before: int
    after: int
    changes: list[FieldChange] = []


class Step(msgspec.Struct, kw_only=True):
    name: str
    at: datetime
    message: str = ""


class OperationError(msgspec.Struct, kw_only=True):
    code: str
    message: str
    log: list[str] = []


class ItemError(msgspec.Struct, kw_only=True):
    """Why nothing came of one of many."""

    code: str
    detail: str
    allowed: list[str] = []


class BulkItem(msgspec.Struct, kw_only=True):
    """What becomes of one model of many: its ``state`` is ``waiting``, ``running``, ``succeeded``, ``failed``,
    ``skipped`` or ``cancelled``; ``operation`` is its own."""

    namespace: str
    model: str
    state: str
    operation: str | None = None
    error: ItemError | None = None
    message: str = ""


class Operation(Resource):
    """The record of one request: its ``state`` is ``running``, ``succeeded``, ``failed`` or ``cancelled``. One on
    many models has ``counts`` by state and, asked for by its id, their ``items``."""

    id: str
    kind: str
    namespace: str
    model: str
    state: str
    done: bool
    created_at: datetime
    updated_at: datetime
    actor: str = ""
    reason: str = ""
    steps: list[Step] = []
    result: dict[str, Any] | None = None
    error: OperationError | None = None
    warnings: list[str] = []
    counts: dict[str, int] | None = None
    items: list[BulkItem] | None = None


class Event(Resource):
    """What happened to a model. ``id`` grows; :meth:`watch` resumes after one."""

    id: int
    at: datetime
    namespace: str
    model: str
    type: str
    reason: str = ""
    message: str = ""
    actor: str = ""
    data: dict[str, Any] = {}


class Quota(msgspec.Struct, kw_only=True):
    """What a namespace's instances may hold at a time; None, as much as there is."""

    cpu: float | None = None
    memory: str | None = None
    gpus: int | None = None


class Amount(msgspec.Struct, kw_only=True):
    """Cores, memory, whole devices."""

    cpu: float = 0.0
    memory: str = "0"
    gpus: int = 0


class Namespace(Resource):
    """``usage`` is what its instances hold now."""

    name: str
    description: str = ""
    created_at: datetime | None = None
    quota: Quota = msgspec.field(default_factory=Quota)
    require_signature: bool = False
    features: dict[str, bool | str] = {}
    usage: Amount = msgspec.field(default_factory=Amount)


class Forecast(Resource):
    """What would come of a request, had it been made. ``each`` is what one instance needs, ``count`` how many are
    wanted; ``must_stop`` are the models that would have to stop for it to fit."""

    fits: bool
    each: Amount
    count: int
    free: Amount
    waiting: Waiting | None = None
    place: int | None = None
    must_stop: list[ModelRef] = []
    would_preempt: list[ModelRef] = []
    strategy: str | None = None
    changes: list[FieldChange] = []
    needs_acknowledgement: bool = False
    warnings: list[str] = []


class Stopped(Resource):
    """What became of one model of many: its ``operation``, or why there is none."""

    namespace: str
    name: str
    operation: Operation | None = None
    error: ItemError | None = None


class LogLine(msgspec.Struct, kw_only=True):
    instance: str
    text: str


class TensorMetadata(msgspec.Struct, kw_only=True):
    """``shape`` has -1 where any size goes."""

    name: str
    datatype: str
    shape: list[int] = []


class ModelMetadata(Resource):
    """A model's signature, as the Open Inference Protocol gives it."""

    name: str
    platform: str = ""
    versions: list[str] = []
    inputs: list[TensorMetadata] = []
    outputs: list[TensorMetadata] = []


class Page(msgspec.Struct, Generic[T], kw_only=True):
    items: list[T]
    next_page_token: str = ""


def parse(kind: type[R], data: Any) -> R:
    """``data`` (decoded JSON) as a ``kind``.

    Raises:
        msgspec.ValidationError: if it is none.
    """
    value = msgspec.convert(data, kind)
    value.raw = data
    return value


def parse_items(kind: type[R], data: Any) -> list[R]:
    """A list of them, bare or under ``items``."""
    items = data["items"] if isinstance(data, Mapping) else data
    return [parse(kind, item) for item in items]


def parse_page(kind: type[R], data: Any) -> Page[R]:
    return Page(items=parse_items(kind, data), next_page_token=data.get("next_page_token") or "")
