"""A model as the control plane holds it: the wish (spec, desired run state) and the status.

Everything here is immutable; a change is a new value. All times are aware datetimes in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from modelyard.domain.spec import Spec
from modelyard.domain.states import RunState, State


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model, for those who need no more of it. ``private``: it is of groups, so not all who read in its namespace
    may know of it."""

    uid: str
    namespace: str
    name: str
    private: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def may_be_named_to(self, other: ModelRef) -> bool:
        """In what is told of ``other``: whoever sees that one sees this one too."""
        return self.namespace == other.namespace and not self.private


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Which instances are wanted: those of revision ``generation``, launched in restart ``epoch``.

    An update raises the generation, a restart the epoch; instances of any other target are replaced.
    """

    generation: int
    epoch: int = 0

    def __str__(self) -> str:
        return f"{self.generation}.{self.epoch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """So much of what a site has: cores, bytes of memory, whole devices."""

    cpu: float = 0.0
    memory: int = 0
    devices: int = 0

    def __bool__(self) -> bool:
        return bool(self.cpu or self.memory or self.devices)

    def __add__(self, other: Amount) -> Amount:
        return Amount(cpu=self.cpu + other.cpu, memory=self.memory + other.memory, devices=self.devices + other.devices)

    def __sub__(self, other: Amount) -> Amount:
        return self + other.times(-1)

    def of(self, kind: str) -> float:
        """By the name of its field."""
        value: float = getattr(self, kind)
        return value

    def times(self, count: int) -> Amount:
        return Amount(cpu=self.cpu * count, memory=self.memory * count, devices=self.devices * count)

    def times_in(self, free: Amount) -> int:
        """How many of this fit into ``free``; a large number for nothing at all."""
        # Cores are fractions: without the tolerance ten tenths would not make one.
        fits = [int(free.of(k) / self.of(k) + 1e-9) for k in ("cpu", "memory", "devices") if self.of(k) > 0]
        return max(min(fits, default=1_000_000), 0)

    def short_of(self, free: Amount) -> tuple[str, ...]:
        """The kinds of which ``free`` has less than this."""
        return tuple(k for k in ("devices", "memory", "cpu") if self.of(k) > free.of(k) + 1e-9)

    def without(self, kinds: tuple[str, ...]) -> Amount:
        """The same with none of ``kinds``."""
        return replace(self, **dict.fromkeys(kinds, 0))

    def at_least_nothing(self) -> Amount:
        return Amount(cpu=max(self.cpu, 0.0), memory=max(self.memory, 0), devices=max(self.devices, 0))


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

    def not_after(self, now: datetime) -> StopRequest:
        """The same, made now at the latest: a clock that was set back must not make anybody wait longer."""
        return self if self.at <= now else replace(self, at=now)

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
    """What a verified stop gave back. ``memory`` in bytes resident just before; ``devices`` by id."""

    at: datetime
    took_seconds: float
    instances: int
    processes: int
    memory: int
    devices: tuple[str, ...] = ()
    requests: DrainReport = DrainReport()


class InstancePhase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    TERMINATING = "terminating"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One replica of one revision, as last observed.

    ``address`` is where the gateway reaches it: ``unix:/path`` for a worker that speaks frames,
    ``http://127.0.0.1:port`` for a server that its user brought. ``memory`` in bytes resident;
    ``held`` is its part of the ledger, ``devices`` the ids of the devices that it alone may use.
    """

    id: str
    target: Target
    phase: InstancePhase
    address: str
    since: datetime
    pid: int | None = None
    memory: int = 0
    held: Amount = Amount()
    devices: tuple[str, ...] = ()
    processes: int = 1
    message: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryProgress:
    """How far a canary has come: ``wanted`` per cent of the requests are to go to the new revision, ``percent`` do (0
    until enough of its instances are ready), since ``since``. ``mark`` grows each time that ``percent`` changes: what
    was counted belongs to one mark. Once ``promoted`` the rollout goes on as one without a canary."""

    wanted: int
    since: datetime
    percent: int = 0
    mark: int = 0
    promoted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The replacement of instances of ``before`` (the last good target) by those of ``after``. There were
    ``count`` of the former, which held ``each`` and, if ``exclusive``, cannot live side by side.

    ``strategy`` is the one in effect. ``progressed_at`` is when one more instance of ``after`` became ready,
    or the rollout began: the progress deadline counts from there. While ``paused_at`` stands nothing is
    launched or ended for it; ``forced``: it goes forward whatever happens. ``canary`` is None where there is none.
    """

    before: Target
    after: Target
    began_at: datetime
    progressed_at: datetime
    each: Amount = Amount()
    exclusive: bool = False
    count: int = 1
    ready: int = 0
    strategy: str = ""
    paused_at: datetime | None = None
    forced: bool = False
    canary: CanaryProgress | None = None

    @property
    def ramp(self) -> CanaryProgress | None:
        """The canary, while it decides what happens."""
        canary = self.canary
        return None if canary is None or canary.promoted or self.forced else canary


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Why and since when a model waits for capacity; ``holders`` hold what it needs."""

    since: datetime
    reason: str
    message: str
    kinds: tuple[str, ...] = ()
    holders: tuple[ModelRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preempted:
    """The model gave up its place to another and comes back when there is room. ``called``: what sentences call the
    other one."""

    by: ModelRef
    at: datetime
    called: str = "another model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many instances are wanted now, since when and why. ``suspended``: nothing but the spec changes
    it, until the next start that restores autoscaling."""

    desired: int
    changed_at: datetime
    reason: str = ""
    suspended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """An instance that is to be replaced at somebody's request, and how."""

    id: str
    request: StopRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """An instance that gets no new request, and since when: it ends once it is drained or its time is up."""

    id: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All that is observed or decided, as opposed to wished.

    ``target`` is what the backend is steered to, ``good`` the last target that was fully ready (of a model that never
    was, the last one that serves beside ``target``): a failed update goes back to it. ``failures`` counts failed
    launches in a row; ``counted`` holds the ids of ended instances already counted, so that a crash of the control
    process counts none twice. ``rolled_back`` stands until the next start, restart or update. ``awake_since`` is when
    a model that may go idle last had a reason not to, ``run_since`` when it was last started. ``admitted`` is the
    number of instances that it has been granted: to replace one of these it goes before all that still wait for their
    first.
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
    leaving: tuple[Leaving, ...] = ()
    rollout: Rollout | None = None
    waiting: Waiting | None = None
    preempted: Preempted | None = None
    scale: Scale | None = None
    awake_since: datetime | None = None
    run_since: datetime | None = None
    doomed: tuple[Doomed, ...] = ()
    admitted: int = 0
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
    which differs after a failed update went back. ``version`` grows with every write (the ETag). ``site``
    names the place (a home on a machine) whose control process drives it; empty: whichever there is.
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
    site: str = ""

    @property
    def ref(self) -> ModelRef:
        return ModelRef(self.uid, self.namespace, self.name, private=bool(self.spec.groups))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a namespace's instances may hold at a time: cores, bytes, devices. None: as much as there is."""

    cpu: float | None = None
    memory: int | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A project or tenant. ``require_signature``: models are served from signed versions
    only; ``features``: what it may use, where that is not as it is by default (:mod:`modelyard.domain.features`)."""

    name: str
    created_at: datetime
    description: str = ""
    quota: Quota = Quota()
    require_signature: bool = False
    features: Mapping[str, bool | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The frozen spec of one generation."""

    model_uid: str
    generation: int
    spec: Spec
    created_at: datetime
    actor: str
    reason: str = ""
    # Why its rollout was given up, if it was.
    failure: Failure | None = None


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
