"""The shape of a spec, as it is sent and as it is given."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from modelyard.api.schemas.base import Duration, Flag, In, Size, Whole
from modelyard.domain.secrets import Secret
from modelyard.domain.spec import BackendName, Engine, Follow, Metric, ModelType, Preempt, StickyBy, Strategy

# A secret's value as it is sent; what is given is never the value.
Masked = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Secret) else value)]


class Resources(In):
    """What each instance holds: it is reserved, and a start that finds too little of it free waits."""

    cpu: float | None = Field(None, description="Cores; when left out, one thread and nothing reserved.")
    memory: Size | None = Field(
        None, description="Limit on private memory; when left out, no limit and nothing reserved."
    )
    gpus: Whole = Field(0, description="Whole devices, each for one instance alone.")


class Replicas(In):
    min: Whole = Field(1, description="Instances that always run.")
    max: Whole = Field(1, description="Instances that may run.")
    desired: Whole | None = Field(None, description="Instances that run as long as nothing scales them; else `min`.")


class Autoscaling(In):
    """How the number of instances follows the requests."""

    metric: Metric = Field(Metric.CONCURRENCY, description="Requests in flight, or requests a second, per instance.")
    target: float | None = Field(None, description="As many instances as keep the metric at it; null does not scale.")
    window: Duration = Field(10.0, description="The metric is averaged over this.")
    cooldown: Duration = Field(15.0, description="Between two changes.")
    warm_up: Duration = Field(10.0, description="New instances get this long to take their share.")
    scale_down_delay: Duration = Field(300.0, description="Fewer only when they would have sufficed for so long.")
    idle_after: Duration | None = Field(None, description="Without a request for so long, hold nothing until the next.")
    wake_timeout: Duration = Field(60.0, description="A request waits for a model to start for so long at most.")
    max_waiting: Whole = Field(100, description="Requests that may wait for that at once.")


class Features(In):
    """What callers may use of a model."""

    streaming: Flag = False
    tool_calls: Flag = False
    image_input: Flag = False
    summarization: Flag = False


class Probe(In):
    """A request that a new instance must answer before it gets any other."""

    body: dict[str, Any] = Field(default_factory=dict, description="A V2 inference request, or what `path` is sent.")
    path: str | None = Field(None, description="Where a `command` engine's server is sent it.")
    timeout: Duration = 30.0


class Canary(In):
    """The new revision gets a growing share of the requests, and goes back by itself where it does worse than the old
    one."""

    steps: list[Whole] = Field(
        default_factory=lambda: [5, 25, 50], description="Per cent of the requests, one step after the other."
    )
    interval: Duration = Field(60.0, description="Each step takes so long at least.")
    min_requests: Whole = Field(50, description="A step is judged by so many requests to the new revision at least.")
    max_wait: Duration = Field(3600.0, description="A step waits for them for so long at most.")
    max_error_rate: float = Field(0.02, description="Share of server errors above the old revision's that goes back.")
    max_latency_ratio: float = Field(1.5, description="95th percentile over the old revision's that goes back.")


class Rollout(In):
    """How instances are replaced."""

    strategy: Strategy = Field(
        Strategy.AUTO, description="`surge`: new before old; `replace`: old released before new; `auto`: by what fits."
    )
    progress_deadline: Duration = Field(600.0, description="Without progress for so long it goes back.")
    probe: Probe | None = None
    canary: Canary | None = Field(None, description="Needs room for new instances beside the old ones.")


class SplitArm(In):
    model: str = Field(description="A model of the same namespace.")
    weight: float = Field(description="Per cent of the requests.")


class Shadow(In):
    model: str = Field(description="A model of the same namespace; what it answers is counted and dropped.")
    percent: float = Field(100.0, description="Per cent of the requests that it gets a copy of.")


class Sticky(In):
    """The same caller stays with the same arm."""

    by: StickyBy = Field(StickyBy.NONE, description="What tells callers apart.")
    name: str = Field("", description="The header's or the cookie's name.")
    set_cookie: Flag = Field(False, description="Give a cookie to callers who bring none.")


class Traffic(In):
    """Where requests go besides to the model itself. An arm that does not serve leaves its share to the model."""

    split: list[SplitArm] = Field(default_factory=list, description="What is left of 100 per cent stays here.")
    sticky: Sticky = Field(default_factory=Sticky)
    shadow: list[Shadow] = Field(default_factory=list)


class HealthCheck(In):
    command: list[str] = Field(default_factory=list, description="Run beside the engine's own check; 0 is healthy.")
    path: str | None = Field(None, description="What a `command` engine's server is asked over HTTP.")
    interval: Duration = 5.0
    start_period: Duration = Field(300.0, description="An instance not ready after this has failed.")
    timeout: Duration = 5.0
    retries: Whole = Field(3, description="Failures in a row that replace the instance.")


class Container(In):
    environment: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, Masked] = Field(
        default_factory=dict,
        repr=False,
        description="Variables whose values are kept sealed and never shown: they are given as ********, which sent "
        "back leaves a value as it is.",
    )
    working_dir: str | None = None
    shared_memory: Size | None = Field(None, description="Size of /dev/shm.")
    health_check: HealthCheck = Field(default_factory=HealthCheck)


class Rate(In):
    """How often something may be asked."""

    per_second: float = Field(description="Requests a second over time.")
    burst: Whole | None = Field(None, description="How many may come at once; else as many as in a second.")


class Limits(In):
    request_timeout: Duration = 60.0
    max_body: Size = 64 * 2**20
    max_queue: Whole = Field(1024, description="Requests that may run or wait at once.")
    rate: Rate | None = Field(None, description="How often the model may be called; null: at will.")


class Spec(In):
    """What is wanted of a model."""

    engine: Engine | None = Field(None, description="May be left out when the source's suffix names it.")
    source: str | None = Field(
        None,
        description="Where the weights are: a file or folder of this machine, or a registered model (pat@1.4.2, "
        "pat@stable, pat@^1.4), which means the version that it names when the source is set.",
        examples=["file:///models/digits.onnx", "pat@stable"],
    )
    follow: Follow = Field(
        Follow.OFFER, description="Once the source's alias or range means another version: say so, or roll to it."
    )
    backend: BackendName = BackendName.LOCAL
    options: dict[str, Any] = Field(default_factory=dict, description="The engine's own options.")
    resources: Resources = Field(default_factory=Resources)
    replicas: Replicas = Field(default_factory=Replicas)
    container: Container = Field(default_factory=Container)
    limits: Limits = Field(default_factory=Limits)
    type: ModelType | None = Field(None, description="What the model makes.")
    features: Features = Field(default_factory=Features)
    autoscaling: Autoscaling = Field(default_factory=Autoscaling)
    rollout: Rollout = Field(default_factory=Rollout)
    traffic: Traffic = Field(default_factory=Traffic)
    priority: Whole = Field(0, description="Who comes first in the queue: the highest.")
    preempt: Preempt = Field(Preempt.NEVER, description="Whom it may take the place of where it does not fit.")
    pin: Flag = Field(False, description="It never gives up its place to others.")
    groups: list[str] = Field(default_factory=list, description="Those who may see and call it.")
    public: Flag = Field(False, description="Inference needs no token.")
    trusted: Flag = Field(False, description="An administrator's word that this source may run code when loaded.")
    description: str = Field("", max_length=4096)
    labels: dict[str, str] = Field(default_factory=dict)
