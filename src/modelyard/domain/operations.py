"""The record of one long-running request, and when it ends.

An operation ends by what its model comes to, never by a step that only lives in memory:
:func:`settle` is asked on every pass over the model, so every operation ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from modelyard.domain.model import ConditionType, InstancePhase, Model, Status, Target
from modelyard.domain.release import STUCK
from modelyard.domain.states import RunState, State


class OperationKind(StrEnum):
    DEPLOY = "deploy"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    UPDATE = "update"
    ROLLBACK = "rollback"
    REDEPLOY = "redeploy"
    TERMINATE = "terminate"
    DELETE = "delete"
    BULK = "bulk"  # of many models, each with an operation of its own (see bulk.py)


# Those that replace instances, and the steps that each of them goes through.
ROLLOUTS = (OperationKind.UPDATE, OperationKind.ROLLBACK, OperationKind.REDEPLOY, OperationKind.RESTART)
INTAKE = ("intake", "validate")
STEPS = (*INTAKE, "prepare", "roll_out", "verify", "finish")


class OperationState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A state that the model went through on the way, and when."""

    name: str
    at: datetime
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """``target`` is what a deploy, start, restart or update wants to see running; ``error`` and
    ``result`` are set when it ends."""

    id: str
    kind: OperationKind
    namespace: str
    model: str
    model_uid: str
    actor: str
    created_at: datetime
    updated_at: datetime
    state: OperationState = OperationState.RUNNING
    reason: str = ""
    target: Target | None = None
    steps: tuple[Step, ...] = ()
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = field(default=None)
    # What was let pass that a policy warns of.
    warnings: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        return self.state is not OperationState.RUNNING


def succeed(operation: Operation, now: datetime, result: Mapping[str, Any]) -> Operation:
    return replace(operation, state=OperationState.SUCCEEDED, updated_at=now, result=result)


def fail(operation: Operation, now: datetime, code: str, message: str, log: tuple[str, ...] = ()) -> Operation:
    error = {"code": code, "message": message, "log": list(log)}
    return replace(operation, state=OperationState.FAILED, updated_at=now, error=error)


def cancel(operation: Operation, now: datetime, message: str) -> Operation:
    error = {"code": "cancelled", "message": message, "log": []}
    return replace(operation, state=OperationState.CANCELLED, updated_at=now, error=error)


def settle(operation: Operation, model: Model | None, now: datetime) -> Operation:
    """What has become of a running ``operation`` now that its model is as given (None: gone)."""
    if operation.done:
        return operation
    if model is not None:
        operation = _rolling(operation, model, now) if operation.kind in ROLLOUTS else _stepped(operation, model)
    if operation.kind is OperationKind.TERMINATE:
        return _settle_terminate(operation, model, now)
    if operation.kind is OperationKind.DELETE:
        return succeed(operation, now, {"deleted": True}) if model is None else _stuck(operation, model, now)
    if operation.kind is OperationKind.STOP:
        return _settle_stop(operation, model, now)
    return _settle_run(operation, model, now)


def _stepped(operation: Operation, model: Model) -> Operation:
    transition = model.status.transition
    name = str(model.status.state)
    if (operation.steps and operation.steps[-1].name == name) or transition.at < operation.created_at:
        return operation
    step = Step(name=name, at=transition.at, message=transition.message)
    return replace(operation, steps=(*operation.steps, step), updated_at=max(transition.at, operation.updated_at))


def _settle_stop(operation: Operation, model: Model | None, now: datetime) -> Operation:
    if model is None:
        return succeed(operation, now, {"state": "deleted"})
    if model.status.state is State.STOPPED:
        released = model.status.released
        return succeed(operation, now, {"state": "stopped", "released": _plain(asdict(released)) if released else None})
    return _stuck(operation, model, now)


def _stuck(operation: Operation, model: Model, now: datetime) -> Operation:
    """What cannot be ended is named, and its operation ends; the model goes on ending."""
    degraded = model.status.condition(ConditionType.DEGRADED)
    if degraded is None or not degraded.status or degraded.reason != STUCK:
        return operation
    return fail(operation, now, "not_released", degraded.message)


def _settle_terminate(operation: Operation, model: Model | None, now: datetime) -> Operation:
    if model is None or model.desired is RunState.STOPPED:
        return succeed(operation, now, {"state": "stopped" if model else "deleted"})
    if model.status.doomed:
        return _stuck(operation, model, now)
    # Whether the one that takes its place is ready yet is the business of a rollout that goes on beside it.
    rolling = model.status.rollout is not None
    if not rolling and (model.status.state is State.STARTING or _is_progressing(model.status)):
        return operation
    return succeed(operation, now, {"state": str(model.status.state)})


def with_step(operation: Operation, name: str, at: datetime, message: str = "") -> Operation:
    """At step ``name``, and past those before it; steps are never taken back."""
    known = [step.name for step in operation.steps]
    fresh = [s for s in STEPS[: STEPS.index(name) + 1] if s not in known]
    if not fresh and known[-1] == name and operation.steps[-1].message != message:
        return replace(operation, steps=(*operation.steps[:-1], replace(operation.steps[-1], message=message)))
    if not fresh:
        return operation
    steps = tuple(Step(name=s, at=at, message=message if s == name else "") for s in fresh)
    return replace(operation, steps=(*operation.steps, *steps), updated_at=max(at, operation.updated_at))


def _rolling(operation: Operation, model: Model, now: datetime) -> Operation:
    """How far the replacement of instances has come."""
    status = model.status
    if status.target != operation.target:
        return operation
    mine = [i for i in status.instances if i.target == status.target]
    if not mine:
        return with_step(operation, "prepare", now, status.waiting.message if status.waiting else "")
    ready = sum(1 for i in mine if i.phase is InstancePhase.READY)
    canary = status.rollout.ramp if status.rollout is not None else None
    if canary is not None and canary.percent:
        return with_step(operation, "roll_out", now, f"Canary: {canary.percent} % of the requests go to it.")
    others = len(status.instances) - len(mine)
    if ready == len(mine) and (others or status.state is State.RUNNING):
        step = "verify" if len(mine) >= others else "roll_out"
        return with_step(operation, step, now, f"{ready} new instance(s) ready, {others} old one(s) left.")
    return with_step(operation, "roll_out", now, f"{ready} of {len(mine)} new instance(s) ready.")


def _settle_run(operation: Operation, model: Model | None, now: datetime) -> Operation:
    if model is None or model.desired is RunState.STOPPED:
        by = "delete" if model is None or model.status.state is State.DELETING else "stop"
        return cancel(operation, now, f"Superseded by a {by} of the model.")
    status = model.status
    if operation.target is not None and status.target != operation.target:
        given_up = status.rolled_back
        if given_up is None or given_up.target != operation.target:
            return cancel(operation, now, "Superseded by a later change of the model.")
        if status.state is State.UPDATING:
            return operation
        failure = given_up.failure
        message = failure.message.rstrip()
        stop = "" if message.endswith((".", "!", "?")) else "."
        went_back = f"{message}{stop} The last good revision ({status.target.generation}) is served."
        return fail(operation, now, failure.code, went_back, failure.log)
    if status.state is State.RUNNING and not _is_progressing(status):
        return _succeed_run(operation, now, {"state": "running", "generation": model.generation})
    if status.state is State.IDLE:
        # What it will run when it wakes.
        return _succeed_run(operation, now, {"state": "idle", "generation": model.generation})
    if status.state is State.ERROR and status.failure is not None:
        return fail(operation, now, status.failure.code, status.transition.message, status.failure.log)
    return operation


def _succeed_run(operation: Operation, now: datetime, result: Mapping[str, Any]) -> Operation:
    if operation.kind in ROLLOUTS:
        operation = with_step(operation, "finish", now)
    return succeed(operation, now, result)


def _is_progressing(status: Status) -> bool:
    progressing = status.condition(ConditionType.PROGRESSING)
    return progressing is not None and progressing.status


def _plain(value: Any) -> Any:
    """Datetimes as ISO 8601 text and tuples as lists, so that a result is plain JSON."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.isoformat() if isinstance(value, datetime) else value
