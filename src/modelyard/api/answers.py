"""From the domain's shapes to the API's: models, revisions, operations, events, namespaces."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Final

from pydantic import BaseModel, TypeAdapter

from modelyard.api import schemas
from modelyard.control.absences import Absence
from modelyard.domain import model as domain
from modelyard.domain import operations
from modelyard.domain import spec as wish
from modelyard.domain.capacity import add_up
from modelyard.domain.effects import FieldChange, needs_new_instances
from modelyard.domain.features import FEATURES, feature
from modelyard.domain.names import DEFAULT_NAMESPACE
from modelyard.domain.scheduling import ModelSchedule
from modelyard.domain.states import RunState, State, allowed_commands


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What is known of models beside themselves: the places in the queue of those that wait, and the version that
    their source means by now where that is another one, the arms of their traffic that do not serve, and their
    schedules, by their uid;
    which sites are not heard of, by their id; the uids of models that the caller may not know of."""

    places: Mapping[str, int] = field(default_factory=dict)
    newer: Mapping[str, str] = field(default_factory=dict)
    absences: Mapping[str, Absence] = field(default_factory=dict)
    idle_arms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    schedules: Mapping[str, ModelSchedule] = field(default_factory=dict)
    hidden: Collection[str] = ()


NOTHING_AROUND: Final = Around()


def spec_out(spec: wish.Spec) -> schemas.Spec:
    return schemas.Spec.model_validate(spec, from_attributes=True)


def model_out(model: domain.Model, around: Around = NOTHING_AROUND) -> schemas.Model:
    return schemas.Model(
        namespace=model.namespace,
        name=model.name,
        uid=model.uid,
        generation=model.generation,
        version=model.version,
        desired=model.desired,
        created_at=model.created_at,
        updated_at=model.updated_at,
        spec=spec_out(model.spec),
        status=status_out(model, around),
    )


def status_out(model: domain.Model, around: Around = NOTHING_AROUND) -> schemas.Status:
    status, absence = model.status, around.absences.get(model.site)
    failure = status.failure or (status.rolled_back.failure if status.rolled_back else None)
    return schemas.Status(
        namespace=model.namespace,
        name=model.name,
        state=status.state,
        message=_message(model, absence),
        desired=model.desired,
        generation=model.generation,
        target_generation=status.target.generation,
        serving_generation=_current(model),
        last_transition=schemas.Transition.model_validate(status.transition, from_attributes=True),
        conditions=_conditions(model, absence, around),
        instances=[instance_out(i) for i in status.instances],
        instances_ready=sum(1 for i in status.instances if i.phase is domain.InstancePhase.READY),
        instances_desired=_desired(model),
        resource_allocation=_allocation(model),
        endpoints=_endpoints(model),
        waiting=_waiting(status.waiting, around.places.get(model.uid), around.hidden) if status.waiting else None,
        rollout=_rollout(status.rollout, model.spec.rollout) if status.rollout else None,
        scale=_scale(status.scale, model.spec) if status.scale else None,
        preempted=_preempted(status.preempted, around.hidden) if status.preempted else None,
        artifact=_artifact(model.spec.artifact, around.newer.get(model.uid)) if model.spec.artifact else None,
        released=_released(status.released) if status.released else None,
        failure=_failure(failure) if failure else None,
        rolled_back_from=status.rolled_back.target.generation if status.rolled_back else None,
        retry_at=status.retry_at,
        allowed_commands=list(allowed_commands(status.state)),
    )


def _message(model: domain.Model, absence: Absence | None) -> str:
    """The sentence beside the state: the Ready condition's where it says more than the transition. What else there
    is to say of a model that does not rest may be long past where nothing is heard of its site."""
    if absence is not None and model.status.state is not State.STOPPED:
        return absence.message
    ready = model.status.condition(domain.ConditionType.READY)
    degraded = model.status.condition(domain.ConditionType.DEGRADED)
    if degraded is not None and degraded.status:
        return degraded.message
    return ready.message if ready is not None and ready.message else model.status.transition.message


def _conditions(model: domain.Model, absence: Absence | None, around: Around) -> list[schemas.Condition]:
    found = [schemas.Condition.model_validate(c, from_attributes=True) for c in model.status.conditions]
    schedule, idle_arms = around.schedules.get(model.uid), around.idle_arms.get(model.uid, ())
    if schedule is not None and schedule.schedule.enabled:
        found.append(_schedule_healthy(schedule))
    if idle_arms:
        message = f"{' and '.join(idle_arms)} of spec.traffic do not serve: their share stays with this model."
        since = model.updated_at
        found.append(
            schemas.Condition(type="ArmsServing", status=False, reason="ArmAbsent", message=message, since=since)
        )
    if absence is not None:
        lost = schemas.Condition(
            type="SiteReachable", status=False, reason=absence.reason, message=absence.message, since=absence.since
        )
        found.append(lost)
    return found


def _schedule_healthy(schedule: ModelSchedule) -> schemas.Condition:
    failure, last = schedule.failure, schedule.last
    if failure is None:
        since = schedule.updated_at if last is None else max(last.at, schedule.updated_at)
        message = "Its schedule acts as it should."
        return schemas.Condition(type="ScheduleHealthy", status=True, reason="Active", message=message, since=since)
    message = f"{failure.message} It is tried again at {failure.retry_at:%H:%M} UTC."
    return schemas.Condition(
        type="ScheduleHealthy", status=False, reason="ActionFailed", message=message, since=failure.at
    )


def _desired(model: domain.Model) -> int:
    """How many instances there should be now."""
    if model.desired is not RunState.RUNNING or model.status.state is State.IDLE:
        return 0
    return model.spec.base if model.status.scale is None else model.status.scale.desired


def _waiting(waiting: domain.Waiting, place: int | None, hidden: Collection[str]) -> schemas.Waiting:
    return schemas.Waiting(
        since=waiting.since,
        reason=waiting.reason,
        message=waiting.message,
        place=place,
        kinds=kinds_out(waiting.kinds),
        holders=refs_out(waiting.holders, hidden),
        others=sum(ref.uid in hidden for ref in waiting.holders),
    )


def _rollout(rollout: domain.Rollout, wanted: wish.Rollout) -> schemas.RolloutStatus:
    return schemas.RolloutStatus(
        before=rollout.before.generation,
        after=rollout.after.generation,
        strategy=rollout.strategy,
        began_at=rollout.began_at,
        ready=rollout.ready,
        paused=rollout.paused_at is not None,
        forced=rollout.forced,
        canary=_canary(rollout, rollout.ramp, wanted.canary) if rollout.ramp and wanted.canary else None,
    )


def _canary(rollout: domain.Rollout, progress: domain.CanaryProgress, canary: wish.Canary) -> schemas.CanaryStatus:
    counts = progress.percent == progress.wanted and rollout.paused_at is None
    return schemas.CanaryStatus(
        percent=progress.percent,
        wanted=progress.wanted,
        since=progress.since,
        next_percent=next((step for step in canary.steps if step > progress.wanted), None),
        next_at=progress.since + timedelta(seconds=canary.interval) if counts else None,
    )


def _scale(scale: domain.Scale, spec: wish.Spec) -> schemas.Scale:
    return schemas.Scale(
        desired=scale.desired,
        min=spec.replicas.min,
        max=spec.replicas.max,
        since=scale.changed_at,
        reason=scale.reason,
        suspended=scale.suspended,
    )


def _preempted(preempted: domain.Preempted, hidden: Collection[str]) -> schemas.Preempted:
    by = None if preempted.by.uid in hidden else ref_out(preempted.by)
    return schemas.Preempted(by=by, at=preempted.at)


def ref_out(ref: domain.ModelRef) -> schemas.ModelRef:
    return schemas.ModelRef(namespace=ref.namespace, name=ref.name)


def refs_out(refs: Iterable[domain.ModelRef], hidden: Collection[str] = ()) -> list[schemas.ModelRef]:
    """Those whose uids are not ``hidden``."""
    return [ref_out(ref) for ref in refs if ref.uid not in hidden]


def amount_out(amount: domain.Amount) -> schemas.Amount:
    return schemas.Amount(cpu=round(amount.cpu, 6), memory=amount.memory, gpus=amount.devices)


def kinds_out(kinds: Iterable[str]) -> list[str]:
    """By the words of a spec's resources."""
    return ["gpus" if kind == "devices" else kind for kind in kinds]


def instance_out(instance: domain.Instance) -> schemas.Instance:
    return schemas.Instance(
        id=instance.id,
        generation=instance.target.generation,
        phase=instance.phase,
        since=instance.since,
        pid=instance.pid,
        memory=instance.memory,
        devices=list(instance.devices),
        processes=instance.processes,
        message=instance.message,
    )


def _allocation(model: domain.Model) -> schemas.ResourceAllocation:
    instances = model.status.instances
    held = add_up(i.held for i in instances)
    return schemas.ResourceAllocation(
        instances=len(instances),
        cpu=round(held.cpu, 6),
        memory_limit=held.memory or None,
        memory_resident=sum(i.memory for i in instances),
        gpus=held.devices,
    )


def _endpoints(model: domain.Model) -> schemas.Endpoints:
    if model.spec.engine is wish.Engine.COMMAND:
        proxy = f"/proxy/{model.namespace}/{model.name}/"
        return schemas.Endpoints(infer=None, ready=None, metadata=None, proxy=proxy)
    prefix = "" if model.namespace == DEFAULT_NAMESPACE else f"/namespaces/{model.namespace}"
    base = f"{prefix}/v2/models/{model.name}"
    return schemas.Endpoints(infer=f"{base}/infer", ready=f"{base}/ready", metadata=base, proxy=None)


def _released(released: domain.Released) -> schemas.Released:
    return schemas.Released(
        at=released.at,
        took_seconds=released.took_seconds,
        instances=released.instances,
        processes=released.processes,
        memory=released.memory,
        devices=list(released.devices),
        requests=schemas.Requests.model_validate(released.requests, from_attributes=True),
    )


def _artifact(artifact: wish.Artifact, newer: str | None) -> schemas.Artifact:
    return schemas.Artifact(version=artifact.version, manifest=artifact.manifest, newer=newer)


def _failure(failure: domain.Failure) -> schemas.Failure:
    return schemas.Failure(code=failure.code, message=failure.message, instance=failure.instance, log=list(failure.log))


def revision_out(revision: domain.Revision, model: domain.Model) -> schemas.Revision:
    current, good = _current(model), model.status.good
    good_generation = current if good == model.status.target else good.generation if good else None
    return schemas.Revision(
        generation=revision.generation,
        spec=spec_out(revision.spec),
        created_at=revision.created_at,
        actor=revision.actor,
        reason=revision.reason,
        current=revision.generation == current,
        good=revision.generation == good_generation,
        artifact=revision.spec.artifact.version if revision.spec.artifact else None,
        failure=_failure(revision.failure) if revision.failure else None,
    )


def _current(model: domain.Model) -> int:
    """The revision in effect: instances of an earlier one carry a later one out too where nothing of them differs."""
    replaces = needs_new_instances(model.target_spec, model.spec)
    return model.status.target.generation if replaces else model.generation


def change_out(change: FieldChange) -> schemas.FieldChange:
    """Sizes and durations are spelled as in the spec that the path leads into."""
    spell = _spelling(change.path)
    return schemas.FieldChange(
        path=change.path, before=spell(change.before), after=spell(change.after), effect=change.effect
    )


def _spelling(path: str) -> Callable[[Any], Any]:
    kind: Any = schemas.Spec
    for name in path.split("."):
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return _as_it_is
        field = kind.model_fields.get(name)
        if field is None:
            return _as_it_is
        kind = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    adapter = _adapter(kind)
    return lambda value: adapter.dump_python(adapter.validate_python(value, from_attributes=True), mode="json")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _as_it_is(value: Any) -> Any:
    """What is below a mapping (an environment's variable, an option) has no shape of its own."""
    return value


def operation_out(operation: operations.Operation) -> schemas.Operation:
    return schemas.Operation(
        id=operation.id,
        kind=operation.kind,
        namespace=operation.namespace,
        model=operation.model,
        actor=operation.actor,
        reason=operation.reason,
        state=operation.state,
        done=operation.done,
        created_at=operation.created_at,
        updated_at=operation.updated_at,
        steps=[schemas.Step.model_validate(s, from_attributes=True) for s in operation.steps],
        result=dict(operation.result) if operation.result is not None else None,
        error=schemas.OperationError.model_validate(operation.error) if operation.error is not None else None,
        warnings=list(operation.warnings),
    )


def event_out(event: domain.Event) -> schemas.Event:
    return schemas.Event(
        id=event.id,
        at=event.at,
        namespace=event.namespace,
        model=event.model,
        type=event.type,
        reason=event.reason,
        message=event.message,
        actor=event.actor,
        data=dict(event.data),
    )


def namespace_out(namespace: domain.Namespace, usage: domain.Amount) -> schemas.Namespace:
    return schemas.Namespace(
        name=namespace.name,
        description=namespace.description,
        created_at=namespace.created_at,
        quota=schemas.Quota.model_validate(namespace.quota, from_attributes=True),
        require_signature=namespace.require_signature,
        features={name: feature(namespace.features, name) for name in FEATURES},
        usage=amount_out(usage),
    )
