"""What a user wants of a model. Start and stop are not part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from modelyard.domain.names import FileSource, InvalidReference, Registered, parse_reference
from modelyard.domain.rates import Rate
from modelyard.domain.secrets import Secret


class Engine(StrEnum):
    """What runs the weights inside a local instance."""

    ONNX = "onnx"
    SKLEARN = "sklearn"
    PYTHON = "python"  # a folder with model.py
    COMMAND = "command"  # any server its user brings
    MOCK = "mock"  # set answers, for development without models


# Engines that only compute: what a request does can be done again. Code that users bring may do anything.
REPEATABLE_ENGINES = (Engine.ONNX, Engine.SKLEARN, Engine.MOCK)


class BackendName(StrEnum):
    """Where instances live."""

    LOCAL = "local"


# A suffix names its engine so that `deploy digits digits.onnx` needs no --engine. Pickles are named
# here too: the sklearn engine is what refuses them, with the reason.
ENGINE_OF_SUFFIX = {
    ".onnx": Engine.ONNX,
    ".skops": Engine.SKLEARN,
    ".pkl": Engine.SKLEARN,
    ".pickle": Engine.SKLEARN,
    ".joblib": Engine.SKLEARN,
}
PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib")


class ModelType(StrEnum):
    """What a model makes, for those who choose one; None where nobody has said."""

    TEXT = "textgen"
    EMBEDDING = "embedding"
    IMAGE = "imagegen"
    VIDEO = "videogen"


class Preempt(StrEnum):
    """Whether a start that does not fit may make room by taking it from others (never from pinned ones)."""

    NEVER = "never"
    IDLE = "idle"  # from models of no higher priority that nobody has called for a while
    LOWER_PRIORITY = "lower-priority"  # from these, and from models of lower priority even while they serve


class Strategy(StrEnum):
    """The order of a rollout."""

    AUTO = "auto"  # surge where a new instance fits beside the old ones, else replace
    SURGE = "surge"  # new before old
    REPLACE = "replace"  # old released before new


class Follow(StrEnum):
    """What happens when the alias or range that is a model's source comes to mean another version."""

    OFFER = "offer"  # the status says so
    AUTO = "auto"  # it is rolled to it


class Metric(StrEnum):
    """What the number of instances follows, both per instance."""

    CONCURRENCY = "concurrency"  # requests in flight
    RPS = "rps"  # requests a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What each instance holds: ``cpu`` in cores (None: one thread, nothing reserved), ``memory`` in bytes
    (None: no limit, nothing reserved), ``gpus`` in whole devices."""

    cpu: float | None = None
    memory: int | None = None
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """``desired`` (None: ``min``) is how many run as long as nothing scales them."""

    min: int = 1
    max: int = 1
    desired: int | None = None

    def clamp(self, count: int) -> int:
        return max(self.min, min(count, self.max))


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    """How the number of instances follows the requests. Durations in seconds.

    With a ``target`` there are as many instances as keep ``metric``, averaged over ``window``, at or
    below it in each. After a change the next waits ``cooldown``; new instances are given ``warm_up`` to
    take their share before more are added; fewer are run only when that would have sufficed throughout
    ``scale_down_delay``. With ``idle_after`` a model that nobody has called for so long goes idle: it
    holds nothing and starts again with the next request, which waits ``wake_timeout`` at most, beside
    at most ``max_waiting`` others.
    """

    metric: Metric = Metric.CONCURRENCY
    target: float | None = None
    window: float = 10.0
    cooldown: float = 15.0
    warm_up: float = 10.0
    scale_down_delay: float = 300.0
    idle_after: float | None = None
    wake_timeout: float = 60.0
    max_waiting: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What callers may use of a model."""

    streaming: bool = False
    tool_calls: bool = False
    image_input: bool = False
    summarization: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A request that a new instance must answer before it gets any other: ``body`` is V2 inference JSON,
    or what the ``command`` engine's server is sent at ``path``. ``timeout`` in seconds."""

    body: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    timeout: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A rollout that gives the new revision a growing share of the requests and goes back by itself.

    It gets each of ``steps`` (per cent) for ``interval`` seconds at least and until it has had ``min_requests`` in it,
    which is waited for ``max_wait`` seconds at most: a step that nobody calls in is passed without a judgement. The
    rollout goes back when the share of server errors is more than ``max_error_rate`` above the old revision's, or the
    95th percentile of the latency more than ``max_latency_ratio`` times the old one's.
    """

    steps: tuple[int, ...] = (5, 25, 50)
    interval: float = 60.0
    min_requests: int = 50
    max_wait: float = 3600.0
    max_error_rate: float = 0.02
    max_latency_ratio: float = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How instances are replaced. A rollout that makes no progress for ``progress_deadline`` seconds goes
    back to the last good revision."""

    strategy: Strategy = Strategy.AUTO
    progress_deadline: float = 600.0
    probe: Probe | None = None
    canary: Canary | None = None


class StickyBy(StrEnum):
    """What tells one caller from another."""

    NONE = "none"  # nothing: each request is given to an arm by itself
    HEADER = "header"
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sticky:
    """Callers with the same value of the header or cookie ``name`` stay with one arm; ``set_cookie``: one that brings
    no cookie is given one."""

    by: StickyBy = StickyBy.NONE
    name: str = ""
    set_cookie: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitArm:
    """``weight`` per cent of the requests go to ``model`` of the same namespace."""

    model: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """Copies of ``percent`` per cent of the requests go to ``model``, too; what it answers is only counted."""

    model: str
    percent: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Where the requests of a model go besides to itself. What is not split off stays with it."""

    split: tuple[SplitArm, ...] = ()
    sticky: Sticky = Sticky()
    shadow: tuple[Shadow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """Start-up and liveness checks of an instance, with a container's words. Durations in seconds.

    An instance that is not ready ``start_period`` after its launch has failed. Once ready it is
    checked every ``interval``; ``retries`` failures in a row, each within ``timeout``, replace it.
    ``command`` is run beside the engine's own check and must exit with 0; ``path`` is what the
    ``command`` engine's server is asked over HTTP (without it, a TCP connection suffices).
    """

    command: tuple[str, ...] = ()
    path: str | None = None
    interval: float = 5.0
    start_period: float = 300.0
    timeout: float = 5.0
    retries: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What surrounds the process: environment, working folder, size of /dev/shm in bytes, health check. ``secrets`` are
    variables of the environment whose values nobody is shown."""

    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    working_dir: str | None = None
    shared_memory: int | None = None
    health_check: HealthCheck = HealthCheck()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on requests: ``request_timeout`` in seconds, ``max_body`` in bytes, ``max_queue`` requests
    that may run or wait at once in the whole model; ``rate`` is how often it may be called (None: at will)."""

    request_timeout: float = 60.0
    max_body: int = 64 * 2**20
    max_queue: int = 1024
    rate: Rate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """The bytes that a registered source stood for when the revision was made: the ``version`` and its ``manifest``.
    ``entry`` is the file in it that the engine loads; empty for the whole folder."""

    version: str
    manifest: str
    entry: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The whole wish. One frozen copy of it a generation is a revision.

    ``artifact`` is what ``source`` was resolved to, where that is a registered model: an alias that moves later
    changes no revision.
    ``priority`` orders the queue, highest first; ``pin`` keeps the model from making room for others;
    ``groups`` are those who may see and call it.
    """

    engine: Engine
    source: str | None = None
    artifact: Artifact | None = None
    follow: Follow = Follow.OFFER
    backend: BackendName = BackendName.LOCAL
    options: Mapping[str, Any] = field(default_factory=dict)
    resources: Resources = Resources()
    replicas: Replicas = Replicas()
    container: Container = Container()
    limits: Limits = Limits()
    type: ModelType | None = None
    features: Features = Features()
    autoscaling: Autoscaling = Autoscaling()
    rollout: Rollout = Rollout()
    traffic: Traffic = Traffic()
    priority: int = 0
    preempt: Preempt = Preempt.NEVER
    pin: bool = False
    groups: tuple[str, ...] = ()
    public: bool = False
    trusted: bool = False
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    # Why this version of Modelyard cannot carry the stored spec out (an engine that is no more, say). Such a
    # model is stopped, updated and deleted like any other; it cannot start.
    unresolved: str = ""

    @property
    def source_path(self) -> str | None:
        """The local path of the source; None when the engine needs none, and for a registered model."""
        if self.source is None:
            return None
        reference = parse_reference(self.source)
        return reference.path if isinstance(reference, FileSource) else None

    @property
    def registered(self) -> Registered | None:
        """The registered model that is the source; None for any other source, and one that cannot be read."""
        try:
            reference = None if self.source is None else parse_reference(self.source)
        except InvalidReference:
            return None
        return None if isinstance(reference, FileSource) else reference

    @property
    def base(self) -> int:
        """How many instances run as long as nothing scales them."""
        return self.replicas.clamp(self.replicas.min if self.replicas.desired is None else self.replicas.desired)

    @property
    def is_exclusive(self) -> bool:
        """Whether two instances cannot live side by side: a server with a port of its own has it once."""
        return self.engine is Engine.COMMAND and self.options.get("port") is not None
