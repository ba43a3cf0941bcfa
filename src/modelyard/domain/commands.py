"""What each command makes of a model: pure functions from a model to a :class:`Change`.

A change is all that one command writes, in one transaction: the model, a revision if the spec is
new, the operation that records the request, and the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from modelyard.domain.capacity import amount_of
from modelyard.domain.effects import Effect, changes, needs_new_instances
from modelyard.domain.errors import InvalidRequest, NotFound, Problem
from modelyard.domain.model import (
    MAX_DRAIN,
    Doomed,
    Event,
    Failure,
    Model,
    Revision,
    Rollout,
    Scale,
    Status,
    StopMode,
    StopRequest,
    Target,
    Transition,
)
from modelyard.domain.operations import INTAKE, ROLLOUTS, Operation, OperationKind, Step, succeed, with_step
from modelyard.domain.ramping import first_step
from modelyard.domain.scheduling import ScheduleChange
from modelyard.domain.spec import Follow, Spec
from modelyard.domain.states import Command, RunState, State, decide

CANNOT_FOLLOW = "CannotFollow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks for what reason at what time; ``operation_id`` names the record of it."""

    actor: str
    reason: str
    at: datetime
    operation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One transaction. ``before`` is what the change was worked out from (None: the model is new),
    ``after`` what it leaves (None: the model is gone); ``given_up`` are generations whose rollout was, and why;
    ``schedule`` is what becomes of the model's schedule with it."""

    before: Model | None
    after: Model | None
    revision: Revision | None = None
    given_up: tuple[tuple[int, Failure], ...] = ()
    operations: tuple[Operation, ...] = ()
    events: tuple[Event, ...] = ()
    schedule: ScheduleChange | None = None


def create(uid: str, namespace: str, name: str, spec: Spec, desired: RunState, asked: Asked, site: str = "") -> Change:
    """A new model, running unless ``desired`` says otherwise. ``site`` is where its instances will live."""
    state = State.STARTING if desired is RunState.RUNNING else State.STOPPED
    target = Target(1)
    transition = Transition(
        before=None,
        after=state,
        at=asked.at,
        actor=asked.actor,
        reason=asked.reason or "Created",
        message="Created.",
    )
    model = Model(
        uid=uid, namespace=namespace, name=name, spec=spec, target_spec=spec, generation=1, desired=desired,
        status=Status(
            state=state, target=target, transition=transition,
            run_since=asked.at if desired is RunState.RUNNING else None,
        ),
        created_at=asked.at, updated_at=asked.at, site=site,
    )  # fmt: skip
    operation = _operation(model, OperationKind.DEPLOY, asked, target)
    if desired is RunState.STOPPED:
        operation = succeed(operation, asked.at, {"state": "stopped", "generation": 1})
    revision = Revision(
        model_uid=uid, generation=1, spec=spec, created_at=asked.at, actor=asked.actor, reason=asked.reason
    )
    event = event_of(model, "Created", asked, f"Created with engine {spec.engine}.", {"generation": 1})
    return Change(before=None, after=model, revision=revision, operations=(operation,), events=(event,))


def start(model: Model, asked: Asked, *, restore_autoscaling: bool = True) -> Change:
    """Run it. Without ``restore_autoscaling`` the spec's number of instances runs, whatever is asked of them,
    until the next start."""
    state = decide(model.status.state, Command.START)
    status = fresh_try(_move(model.status, state, asked, "Start requested."))
    fixed = Scale(desired=model.spec.base, changed_at=asked.at, reason="Started without autoscaling.", suspended=True)
    status = replace(
        status, scale=None if restore_autoscaling else fixed, awake_since=asked.at, run_since=asked.at
    )  # fmt: skip
    after = replace(model, desired=RunState.RUNNING, status=status, updated_at=asked.at)
    return _commanded(model, after, OperationKind.START, asked, status.target)


def restart(model: Model, asked: Asked) -> Change:
    """New instances of the same spec; no generation."""
    return _renew(model, Command.RESTART, OperationKind.RESTART, asked)


def redeploy(model: Model, asked: Asked) -> Change:
    """As :func:`restart`, and also taken where there is no instance to replace: the next ones are new anyway."""
    change = _renew(model, Command.REDEPLOY, OperationKind.REDEPLOY, asked)
    if model.desired is RunState.RUNNING:
        return change
    operation = succeed(change.operations[-1], asked.at, {"state": str(model.status.state)})
    return replace(change, operations=(operation,))


def _renew(model: Model, command: Command, kind: OperationKind, asked: Asked) -> Change:
    state = decide(model.status.state, command)
    target = Target(model.status.target.generation, model.status.target.epoch + 1)
    status = _move(model.status, state, asked, f"{str(command).capitalize()} requested.")
    status = _retarget(fresh_try(status), target, model.target_spec, model.target_spec, asked.at)
    desired = RunState.RUNNING if command is Command.RESTART else model.desired
    if model.desired is RunState.STOPPED and desired is RunState.RUNNING:
        status = replace(status, run_since=asked.at)
    after = replace(model, desired=desired, status=status, updated_at=asked.at)
    return _commanded(model, after, kind, asked, target)


def terminate(model: Model, instance: str, mode: StopMode, timeout: float, asked: Asked) -> Change:
    """End one instance; another takes its place. ``timeout`` in seconds.

    Raises:
        NotFound: the model has no such instance.
    """
    check_timeout(timeout)
    state = decide(model.status.state, Command.TERMINATE)
    known = [i.id for i in model.status.instances]
    if instance not in known:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise NotFound(f"Model {model.name!r} has no instance {instance!r}: {has}.")
    request = StopRequest(mode=mode, timeout=timeout, at=asked.at, actor=asked.actor, reason=asked.reason)
    others = tuple(d for d in model.status.doomed if d.id != instance)
    status = replace(model.status, doomed=(*others, Doomed(id=instance, request=request)))
    status = _move(status, state, asked, "Terminate requested.")
    after = replace(model, status=status, updated_at=asked.at)
    operation = _operation(after, OperationKind.TERMINATE, asked, None)
    event = event_of(after, "TerminateRequested", asked, f"Ending instance {instance}.", {"instance": instance})
    return Change(before=model, after=after, operations=(operation,), events=(event,))


def stop(model: Model, mode: StopMode, timeout: float, asked: Asked) -> Change:
    """Stop always wins. A stop of a stopped model is done at once and changes nothing of its state; yet it is written,
    so that a start that was worked out before it loses the race and looks again. ``timeout`` in seconds."""
    check_timeout(timeout)
    state = decide(model.status.state, Command.STOP)
    if model.status.state is State.STOPPED:
        operation = _operation(model, OperationKind.STOP, asked, None)
        operation = succeed(operation, asked.at, {"state": "stopped", "released": None, "already": True})
        return Change(before=model, after=replace(model, updated_at=asked.at), operations=(operation,))
    status = _stopping(model.status, state, mode, timeout, asked)
    after = replace(model, desired=RunState.STOPPED, status=status, updated_at=asked.at)
    return _commanded(model, after, OperationKind.STOP, asked, None)


def delete(model: Model, mode: StopMode, timeout: float, running: Operation | None, asked: Asked) -> Change:
    """Stop, then forget. ``running`` is the delete already under way, if any: a second one joins it, and
    may hurry it."""
    check_timeout(timeout)
    if running is not None:
        asked = replace(asked, operation_id=running.id)
    state = decide(model.status.state, Command.DELETE)
    status = _stopping(model.status, state, mode, timeout, asked)
    after = replace(model, desired=RunState.STOPPED, status=status, updated_at=asked.at)
    change = _commanded(model, after, OperationKind.DELETE, asked, None)
    return change if running is None else replace(change, operations=(running,))


def update(model: Model, spec: Spec, asked: Asked, kind: OperationKind = OperationKind.UPDATE) -> Change:
    """The spec becomes ``spec``: a new generation and revision, rolled out if the model runs and the
    change needs new instances. An equal spec changes nothing, unless its rollout had failed: then it is
    tried again."""
    replaced = replaces(model, spec)
    if spec == model.spec and not replaced:
        operation = _finished(_operation(model, kind, asked, None), asked.at, _unchanged(model))
        return Change(before=model, after=model, operations=(operation,))
    generation = model.generation + 1
    if replaced:
        state = decide(model.status.state, Command.UPDATE)
        status = fresh_try(_move(model.status, state, asked, f"Update to revision {generation} requested."))
        status = _retarget(status, Target(generation, model.status.target.epoch), model.target_spec, spec, asked.at)
        if kind is OperationKind.ROLLBACK:
            status = _without_canary(status)
    else:
        _refuse_when_deleting(model)
        # Nothing of the instances changes, so those of the target's generation serve the new one too.
        status = model.status
    after = replace(
        model,
        spec=spec,
        target_spec=spec if replaced else model.target_spec,
        generation=generation,
        status=status,
        updated_at=asked.at,
    )
    revision = Revision(
        model_uid=model.uid, generation=generation, spec=spec, created_at=asked.at, actor=asked.actor,
        reason=asked.reason,
    )  # fmt: skip
    operation = _operation(after, kind, asked, status.target)
    resized = spec.base != model.spec.base and status.state is State.RUNNING
    if model.desired is RunState.STOPPED or not (replaced or resized):
        operation = _finished(operation, asked.at, {"state": str(status.state), "generation": generation})
    paths = [c.path for c in changes(model.spec, spec)]
    message = f"Generation {generation}: {', '.join(paths)}." if paths else f"Generation {generation}, tried again."
    event = event_of(after, "SpecChanged", asked, message, {"generation": generation, "fields": paths})
    return Change(before=model, after=after, revision=revision, operations=(operation,), events=(event,))


def replaces(model: Model, spec: Spec) -> bool:
    """Whether going to ``spec`` replaces instances. Where the newest revision was given up for an earlier one, a
    change of what stands beside the instances does not bring it back; the same spec again does."""
    meant = spec == model.spec or needs_new_instances(model.spec, spec)
    return meant and needs_new_instances(model.target_spec, spec)


def launches(model: Model, spec: Spec) -> bool:
    """Whether the update launches anything: of a model that runs, a file that is gone meanwhile is no reason to
    refuse a new description."""
    return replaces(model, spec) or spec.base > model.spec.base


def update_problems(model: Model, spec: Spec, *, acknowledge_restart: bool) -> list[Problem]:
    """What speaks against going from the model's spec to ``spec``, whatever its state."""
    found = []
    if spec.backend != model.spec.backend:
        message = "A model does not move between backends: delete it and deploy it on the other one."
        found.append(Problem("spec.backend", "immutable", message))
    if not acknowledge_restart and (paths := restarting(model, spec)):
        message = f"Changing {', '.join(paths)} replaces the model's instances: send acknowledge_restart: true."
        found.append(Problem("acknowledge_restart", "acknowledgement_required", message))
    return found


def restarting(model: Model, spec: Spec) -> list[str]:
    """The paths of what surrounds the process that ``spec`` changes for instances that are there."""
    if not model.status.instances or model.desired is RunState.STOPPED or not replaces(model, spec):
        return []
    return [f"spec.{c.path}" for c in changes(model.target_spec, spec) if c.effect is Effect.CONTAINER]


def rollback(model: Model, revision: Revision, asked: Asked) -> Change:
    """The spec of an earlier revision, as a new generation. It no longer follows an alias by itself: that would bring
    back at once what was rolled back."""
    reason = asked.reason or f"Back to revision {revision.generation}"
    spec = replace(revision.spec, follow=Follow.OFFER)
    return update(model, spec, replace(asked, reason=reason), OperationKind.ROLLBACK)


# ------------------------------------------------------------------------------------------- helpers


def cannot_follow(model: Model, version: str, why: str, asked: Asked) -> Change:
    """It stays as it is, though its source means ``version`` now: only an event says so."""
    message = f"{model.spec.source} means {version} now, and the model cannot follow: {why}"
    event = event_of(model, CANNOT_FOLLOW, asked, message, {"version": version})
    return Change(before=model, after=model, events=(event,))


def _commanded(before: Model, after: Model, kind: OperationKind, asked: Asked, target: Target | None) -> Change:
    operation = _operation(after, kind, asked, target)
    data = {"from": str(before.status.state), "to": str(after.status.state), "operation": operation.id}
    event = event_of(after, f"{str(kind).capitalize()}Requested", asked, after.status.transition.message, data)
    return Change(before=before, after=after, operations=(operation,), events=(event,))


def _operation(model: Model, kind: OperationKind, asked: Asked, target: Target | None) -> Operation:
    steps = INTAKE if kind in ROLLOUTS else ("accepted",)
    return Operation(
        id=asked.operation_id, kind=kind, namespace=model.namespace, model=model.name, model_uid=model.uid,
        actor=asked.actor, reason=asked.reason, created_at=asked.at, updated_at=asked.at, target=target,
        steps=tuple(Step(name=name, at=asked.at) for name in steps),
    )  # fmt: skip


def event_of(model: Model, type_: str, asked: Asked, message: str, data: Mapping[str, Any]) -> Event:
    return Event(
        at=asked.at, namespace=model.namespace, model=model.name, model_uid=model.uid, type=type_,
        reason=asked.reason or type_, message=message, actor=asked.actor, data=data,
    )  # fmt: skip


def _move(status: Status, state: State, asked: Asked, message: str) -> Status:
    if status.state is state:
        return status
    transition = Transition(
        before=status.state, after=state, at=asked.at, actor=asked.actor, reason=asked.reason or "Requested",
        message=message,
    )  # fmt: skip
    return replace(status, state=state, transition=transition)


def fresh_try(status: Status) -> Status:
    """A user's command starts the count of failures anew."""
    return replace(status, failures=0, failure=None, retry_at=None, rolled_back=None)


def _retarget(status: Status, target: Target, old: Spec, new: Spec, at: datetime) -> Status:
    """Steer to ``target``, of the spec ``new``; a rollout of it begins if something serves, which is of ``old``."""
    rollout = None
    if status.state is State.UPDATING and status.good is not None:
        rollout = Rollout(
            before=status.good, after=target, began_at=at, progressed_at=at, each=amount_of(old.resources),
            exclusive=old.is_exclusive, count=sum(1 for i in status.instances if i.target == status.good),
            canary=first_step(new, status.good, target, at),
        )  # fmt: skip
    return replace(status, target=target, rollout=rollout)


def _without_canary(status: Status) -> Status:
    """Who goes back by hand wants to be there, and knows what that revision does."""
    rollout = status.rollout
    if rollout is None or rollout.canary is None:
        return status
    return replace(status, rollout=replace(rollout, canary=replace(rollout.canary, promoted=True)))


def _finished(operation: Operation, at: datetime, result: Mapping[str, Any]) -> Operation:
    return succeed(with_step(operation, "finish", at), at, result)


def check_timeout(timeout: float) -> None:
    """Raises InvalidRequest."""
    if not 0 <= timeout <= MAX_DRAIN:
        raise InvalidRequest(
            [Problem("timeout", "out_of_range", "timeout is from 0 to 24h; use force to wait for none.")]
        )


def _stopping(status: Status, state: State, mode: StopMode, timeout: float, asked: Asked) -> Status:
    request = StopRequest(mode=mode, timeout=timeout, at=asked.at, actor=asked.actor, reason=asked.reason)
    message = "Stop requested." if state is State.STOPPING else "Delete requested."
    status = _move(status, state, asked, message)
    if status.stop is not None and status.stop.deadline < request.deadline:
        # A second, more patient stop never prolongs the first.
        request = status.stop
    return replace(status, stop=request)


def _refuse_when_deleting(model: Model) -> None:
    if model.status.state is State.DELETING:
        decide(model.status.state, Command.UPDATE)


def _unchanged(model: Model) -> Mapping[str, Any]:
    return {"state": str(model.status.state), "generation": model.generation, "unchanged": True}
