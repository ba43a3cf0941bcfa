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

from modelyard.domain.model import ConditionType, Model, Status, Target
from modelyard.domain.states import RunState, State


class OperationKind(StrEnum):
    DEPLOY = "deploy"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    UPDATE = "update"
    DELETE = "delete"


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
        operation = _stepped(operation, model)
    if operation.kind is OperationKind.DELETE:
        return succeed(operation, now, {"deleted": True}) if model is None else operation
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
    return operation


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
        went_back = f"{failure.message} The last good revision ({status.target}) keeps serving."
        return fail(operation, now, failure.code, went_back, failure.log)
    if status.state is State.RUNNING and not _is_progressing(status):
        return succeed(operation, now, {"state": "running", "generation": model.generation})
    if status.state is State.ERROR and status.failure is not None:
        return fail(operation, now, status.failure.code, status.transition.message, status.failure.log)
    return operation


def _is_progressing(status: Status) -> bool:
    progressing = status.condition(ConditionType.PROGRESSING)
    return progressing is not None and progressing.status


def _plain(value: Any) -> Any:
    """Datetimes as ISO 8601 text, so that a result is plain JSON."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value.isoformat() if isinstance(value, datetime) else value
