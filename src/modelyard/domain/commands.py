"""What each command makes of a model: pure functions from a model to a :class:`Change`.

A change is all that one command writes, in one transaction: the model, a revision if the spec is
new, the operation that records the request, and the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from modelyard.domain.errors import InvalidRequest, Problem, Refused
from modelyard.domain.model import (
    MAX_DRAIN,
    Event,
    Model,
    Revision,
    Status,
    StopMode,
    StopRequest,
    Target,
    Transition,
)
from modelyard.domain.operations import Operation, OperationKind, Step, cancel, succeed
from modelyard.domain.spec import Spec, needs_new_instances
from modelyard.domain.states import Command, RunState, State, decide


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
    ``after`` what it leaves (None: the model is gone)."""

    before: Model | None
    after: Model | None
    revision: Revision | None = None
    operations: tuple[Operation, ...] = ()
    events: tuple[Event, ...] = ()


def create(uid: str, namespace: str, name: str, spec: Spec, desired: RunState, asked: Asked) -> Change:
    """A new model, running unless ``desired`` says otherwise."""
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
        status=Status(state=state, target=target, transition=transition),
        created_at=asked.at, updated_at=asked.at,
    )  # fmt: skip
    operation = _operation(model, OperationKind.DEPLOY, asked, target)
    if desired is RunState.STOPPED:
        operation = succeed(operation, asked.at, {"state": "stopped", "generation": 1})
    revision = Revision(
        model_uid=uid, generation=1, spec=spec, created_at=asked.at, actor=asked.actor, reason=asked.reason
    )
    event = _event(model, "Created", asked, f"Created with engine {spec.engine}.", {"generation": 1})
    return Change(before=None, after=model, revision=revision, operations=(operation,), events=(event,))


def start(model: Model, asked: Asked) -> Change:
    state = decide(model.status.state, Command.START)
    status = _fresh_try(_move(model.status, state, asked, "Start requested."))
    after = replace(model, desired=RunState.RUNNING, status=status, updated_at=asked.at)
    return _commanded(model, after, OperationKind.START, asked, status.target)


def restart(model: Model, asked: Asked) -> Change:
    """New instances of the same spec; no generation."""
    state = decide(model.status.state, Command.RESTART)
    target = Target(model.status.target.generation, model.status.target.epoch + 1)
    status = replace(_fresh_try(_move(model.status, state, asked, "Restart requested.")), target=target)
    after = replace(model, desired=RunState.RUNNING, status=status, updated_at=asked.at)
    return _commanded(model, after, OperationKind.RESTART, asked, target)


def stop(model: Model, mode: StopMode, timeout: float, asked: Asked) -> Change:
    """Stop always wins. A stop of a stopped model is done at once and changes nothing. ``timeout`` in seconds."""
    _check_timeout(timeout)
    state = decide(model.status.state, Command.STOP)
    if model.status.state is State.STOPPED:
        operation = _operation(model, OperationKind.STOP, asked, None)
        operation = succeed(operation, asked.at, {"state": "stopped", "released": None, "already": True})
        return Change(before=model, after=model, operations=(operation,))
    status = _stopping(model.status, state, mode, timeout, asked)
    after = replace(model, desired=RunState.STOPPED, status=status, updated_at=asked.at)
    return _commanded(model, after, OperationKind.STOP, asked, None)


def delete(model: Model, mode: StopMode, timeout: float, running: Operation | None, asked: Asked) -> Change:
    """Stop, then forget. ``running`` is the delete already under way, if any: a second one joins it, and
    may hurry it."""
    _check_timeout(timeout)
    if running is not None:
        asked = replace(asked, operation_id=running.id)
    state = decide(model.status.state, Command.DELETE)
    status = _stopping(model.status, state, mode, timeout, asked)
    after = replace(model, desired=RunState.STOPPED, status=status, updated_at=asked.at)
    change = _commanded(model, after, OperationKind.DELETE, asked, None)
    return change if running is None else replace(change, operations=(running,))


def update(model: Model, spec: Spec, asked: Asked) -> Change:
    """The spec becomes ``spec``: a new generation and revision, rolled out if the model runs and the
    change needs new instances. An equal spec changes nothing, unless its rollout had failed: then it is
    tried again."""
    replaced = needs_new_instances(model.target_spec, spec)
    if spec == model.spec and not replaced:
        operation = succeed(_operation(model, OperationKind.UPDATE, asked, None), asked.at, _unchanged(model))
        return Change(before=model, after=model, operations=(operation,))
    if spec.backend != model.spec.backend:
        message = "A model does not move between backends: delete it and deploy it on the other one."
        raise InvalidRequest([Problem("spec.backend", "immutable", message)])
    generation = model.generation + 1
    if replaced:
        state = decide(model.status.state, Command.UPDATE)
        status = _fresh_try(_move(model.status, state, asked, f"Update to generation {generation} requested."))
        status = replace(status, target=Target(generation, model.status.target.epoch))
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
    operation = _operation(after, OperationKind.UPDATE, asked, status.target)
    resized = spec.replicas.min != model.spec.replicas.min and status.state is State.RUNNING
    if model.desired is RunState.STOPPED or not (replaced or resized):
        operation = succeed(operation, asked.at, {"state": str(status.state), "generation": generation})
    event = _event(after, "SpecChanged", asked, f"Generation {generation}.", {"generation": generation})
    return Change(before=model, after=after, revision=revision, operations=(operation,), events=(event,))


def cancel_operation(model: Model, operation: Operation, asked: Asked) -> Change:
    """Cancel a running operation: a deploy or start becomes a forced stop, a restart or update goes
    back to the last good target. A stop or delete always finishes.

    Raises:
        Refused: if it is done already or cannot be cancelled.
    """
    if operation.done:
        raise Refused("operation_done", f"The operation has {operation.state} already.")
    if operation.kind in (OperationKind.STOP, OperationKind.DELETE):
        raise Refused("not_cancellable", f"A {operation.kind} always finishes. Wait for it.")
    cancelled = cancel(operation, asked.at, f"Cancelled by {asked.actor}.")
    good = model.status.good
    if operation.kind in (OperationKind.RESTART, OperationKind.UPDATE) and good is not None:
        status = replace(_fresh_try(model.status), target=good)
        after = replace(model, status=status, updated_at=asked.at)
        event = _event(after, "Cancelled", asked, f"Going back to {good}, the last good revision.", {})
        return Change(before=model, after=after, operations=(cancelled,), events=(event,))
    change = stop(model, StopMode.FORCE, 0, asked)
    return replace(change, operations=(*change.operations, cancelled))


# ------------------------------------------------------------------------------------------- helpers


def _commanded(before: Model, after: Model, kind: OperationKind, asked: Asked, target: Target | None) -> Change:
    operation = _operation(after, kind, asked, target)
    data = {"from": str(before.status.state), "to": str(after.status.state), "operation": operation.id}
    event = _event(after, f"{str(kind).capitalize()}Requested", asked, after.status.transition.message, data)
    return Change(before=before, after=after, operations=(operation,), events=(event,))


def _operation(model: Model, kind: OperationKind, asked: Asked, target: Target | None) -> Operation:
    return Operation(
        id=asked.operation_id, kind=kind, namespace=model.namespace, model=model.name, model_uid=model.uid,
        actor=asked.actor, reason=asked.reason, created_at=asked.at, updated_at=asked.at, target=target,
        steps=(Step(name="accepted", at=asked.at),),
    )  # fmt: skip


def _event(model: Model, type_: str, asked: Asked, message: str, data: Mapping[str, Any]) -> Event:
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


def _fresh_try(status: Status) -> Status:
    """A user's command starts the count of failures anew."""
    return replace(status, failures=0, failure=None, retry_at=None, rolled_back=None, replacing_since=None)


def _check_timeout(timeout: float) -> None:
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
