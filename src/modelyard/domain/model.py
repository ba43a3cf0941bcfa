"""A model as the control plane holds it: the wish (spec, desired run state) and the status.

Everything here is immutable; a change is a new value. All times are aware datetimes in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from modelyard.domain.spec import Spec
from modelyard.domain.states import RunState, State


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Which instances are wanted: those of revision ``generation``, launched in restart ``epoch``.

    An update raises the generation, a restart the epoch; instances of any other target are replaced.
    """

    generation: int
    epoch: int = 0

    def __str__(self) -> str:
        return f"{self.generation}.{self.epoch}"


class ConditionType(StrEnum):
    READY = "Ready"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    CAPACITY_AVAILABLE = "CapacityAvailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One aspect of the state. ``since`` is when ``status`` last changed."""

    type: ConditionType
    status: bool
    reason: str
    message: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The last change of state: from what to what, when, by whom or what, and why."""

    before: State | None
    after: State
    at: datetime
    actor: str
    reason: str
    message: str


# Nobody waits longer for a drain, and every deadline stays a date that exists (seconds).
MAX_DRAIN = 86_400.0


class StopMode(StrEnum):
    DRAIN = "drain"  # finish what is in flight until the timeout, then terminate, then kill
    FORCE = "force"  # kill now


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequest:
    """How an instance-releasing command wants it done. ``timeout`` in seconds."""

    mode: StopMode
    timeout: float
    at: datetime
    actor: str
    reason: str

    @property
    def deadline(self) -> datetime:
        seconds = min(self.timeout, MAX_DRAIN) if self.mode is StopMode.DRAIN else 0.0
        return self.at + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an instance ended that should not have. ``permanent``: trying again would end the same way."""

    code: str
    message: str
    permanent: bool = False
    instance: str | None = None
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """A target that failed to come up and was given up for the last good one, and why."""

    target: Target
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainReport:
    """What became of the requests while a model drained."""

    finished: int = 0
    refused: int = 0
    cut: int = 0

    def at_least(self, other: DrainReport) -> DrainReport:
        """The larger of each count: a gateway or control process that died has forgotten some."""
        return DrainReport(
            finished=max(self.finished, other.finished),
            refused=max(self.refused, other.refused),
            cut=max(self.cut, other.cut),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What a verified stop gave back. ``memory`` in bytes resident just before."""

    at: datetime
    took_seconds: float
    instances: int
    processes: int
    memory: int
    requests: DrainReport = DrainReport()


class InstancePhase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    TERMINATING = "terminating"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One replica of one revision, as last observed.

    ``address`` is where the gateway reaches it: ``unix:/path`` for a worker that speaks frames,
    ``http://127.0.0.1:port`` for a server that its user brought. ``memory`` in bytes resident,
    ``reserved`` in bytes held for it in the backend's capacity.
    """

    id: str
    target: Target
    phase: InstancePhase
    address: str
    since: datetime
    pid: int | None = None
    memory: int = 0
    reserved: int = 0
    processes: int = 1
    message: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All that is observed or decided, as opposed to wished.

    ``target`` is what the backend is steered to, ``good`` the last target that was fully ready: a
    failed update goes back to it. ``failures`` counts failed launches in a row; ``counted`` holds
    the ids of ended instances already counted, so that a crash of the control process counts none twice.
    ``rolled_back`` stands until the next start, restart or update.
    """

    state: State
    target: Target
    transition: Transition
    good: Target | None = None
    conditions: tuple[Condition, ...] = ()
    instances: tuple[Instance, ...] = ()
    failures: int = 0
    failure: Failure | None = None
    retry_at: datetime | None = None
    rolled_back: RolledBack | None = None
    counted: tuple[str, ...] = ()
    replacing_since: datetime | None = None
    stop: StopRequest | None = None
    peak: Released | None = None
    released: Released | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def condition(self, kind: ConditionType) -> Condition | None:
        return next((c for c in self.conditions if c.type is kind), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is served, started and stopped: a name in a namespace, a spec and a status.

    ``spec`` is the newest revision's (``generation``); ``target_spec`` that of ``status.target``,
    which differs after a failed update went back. ``version`` grows with every write (the ETag).
    """

    uid: str
    namespace: str
    name: str
    spec: Spec
    target_spec: Spec
    generation: int
    desired: RunState
    status: Status
    created_at: datetime
    updated_at: datetime
    version: int = 0

    @property
    def ref(self) -> ModelRef:
        return ModelRef(self.uid, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model, for those who need no more of it."""

    uid: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A project or tenant."""

    name: str
    created_at: datetime
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The frozen spec of one generation."""

    model_uid: str
    generation: int
    spec: Spec
    created_at: datetime
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened to a model. ``id`` is 0 until the store has given it its place in the order."""

    at: datetime
    namespace: str
    model: str
    model_uid: str
    type: str
    reason: str
    message: str
    actor: str
    data: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0
