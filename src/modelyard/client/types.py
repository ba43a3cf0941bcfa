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


class Instance(Resource):
    """One replica: its ``phase`` is ``starting``, ``ready`` or ``terminating``."""

    id: str
    phase: str
    generation: int = 0
    since: datetime | None = None
    pid: int | None = None
    memory: str = "0"
    processes: int = 0
    message: str = ""


class Failure(msgspec.Struct, kw_only=True):
    code: str
    message: str
    instance: str | None = None
    log: list[str] = []


class Status(Resource):
    """All that is observed of a model; ``released`` says what a verified stop gave back,
    ``rolled_back_from`` which generation failed, so that an earlier one serves."""

    namespace: str
    name: str
    state: str
    message: str = ""
    desired: str = ""
    generation: int = 0
    target_generation: int = 0
    rolled_back_from: int | None = None
    last_transition: Transition | None = None
    conditions: list[Condition] = []
    instances: list[Instance] = []
    instances_ready: int = 0
    instances_desired: int = 0
    resource_allocation: dict[str, Any] = {}
    endpoints: dict[str, str | None] = {}
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
    """The frozen spec of one generation."""

    generation: int
    spec: dict[str, Any]
    created_at: datetime
    actor: str = ""
    reason: str = ""


class Step(msgspec.Struct, kw_only=True):
    name: str
    at: datetime
    message: str = ""


class OperationError(msgspec.Struct, kw_only=True):
    code: str
    message: str
    log: list[str] = []


class Operation(Resource):
    """The record of one request: its ``state`` is ``running``, ``succeeded``, ``failed`` or ``cancelled``."""

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


class Namespace(Resource):
    name: str
    description: str = ""
    created_at: datetime | None = None


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
