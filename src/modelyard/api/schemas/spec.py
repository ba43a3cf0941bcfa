"""The shape of a spec, as it is sent and as it is given."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from modelyard.api.schemas.base import Duration, Flag, In, Size, Whole
from modelyard.domain.spec import BackendName, Engine, Follow, Metric, ModelType, Preempt, Strategy


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


class Rollout(In):
    """How instances are replaced."""

    strategy: Strategy = Field(
        Strategy.AUTO, description="`surge`: new before old; `replace`: old released before new; `auto`: by what fits."
    )
    progress_deadline: Duration = Field(600.0, description="Without progress for so long it goes back.")
    probe: Probe | None = None


class HealthCheck(In):
    command: list[str] = Field(default_factory=list, description="Run beside the engine's own check; 0 is healthy.")
    path: str | None = Field(None, description="What a `command` engine's server is asked over HTTP.")
    interval: Duration = 5.0
    start_period: Duration = Field(300.0, description="An instance not ready after this has failed.")
    timeout: Duration = 5.0
    retries: Whole = Field(3, description="Failures in a row that replace the instance.")


class Container(In):
    environment: dict[str, str] = Field(default_factory=dict)
    working_dir: str | None = None
    shared_memory: Size | None = Field(None, description="Size of /dev/shm.")
    health_check: HealthCheck = Field(default_factory=HealthCheck)


class Limits(In):
    request_timeout: Duration = 60.0
    max_body: Size = 64 * 2**20
    max_queue: Whole = Field(1024, description="Requests that may run or wait at once.")


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
    priority: Whole = Field(0, description="Who comes first in the queue: the highest.")
    preempt: Preempt = Field(Preempt.NEVER, description="Whom it may take the place of where it does not fit.")
    pin: Flag = Field(False, description="It never gives up its place to others.")
    groups: list[str] = Field(default_factory=list, description="Those who may see and call it.")
    public: Flag = Field(False, description="Inference needs no token.")
    trusted: Flag = Field(False, description="An administrator's word that this source may run code when loaded.")
    description: str = Field("", max_length=4096)
    labels: dict[str, str] = Field(default_factory=dict)
