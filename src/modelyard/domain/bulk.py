"""Work on many models: one request, an item for each model, and what comes of all of them together.

What a request chose is written down when it is taken, and stays: models that match later are none of its business.
Each item is carried out by a command of its own, whose operation says what became of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from modelyard.domain.access import EVERYWHERE, Permission
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.model import MAX_DRAIN, ModelRef, StopMode
from modelyard.domain.operations import Operation, OperationKind, OperationState, Step
from modelyard.domain.schedules import Schedule, schedule_problems
from modelyard.domain.spec import Spec
from modelyard.domain.states import State

# A start costs a machine more than anything else that is asked for here; those that wait for capacity do not count.
STARTS_AT_A_TIME: Final = 16
MOST_ITEMS: Final = 10_000


class BulkAction(StrEnum):
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    DELETE = "delete"
    LABEL = "label"
    SCHEDULE = "schedule"

    @property
    def permission(self) -> Permission:
        """What the caller needs in a model's namespace."""
        return Permission.EDIT if self in (BulkAction.DELETE, BulkAction.LABEL) else Permission.OPERATE

    @property
    def launches(self) -> bool:
        """Whether a later stop of the model makes it void."""
        return self in (BulkAction.START, BulkAction.RESTART)


class ItemState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"  # another one failed, and the request was to stop then
    CANCELLED = "cancelled"  # by whoever cancelled the request, or by a later stop of the model


class OnError(StrEnum):
    CONTINUE = "continue"
    STOP = "stop"  # begin no more once one has failed; what runs goes on


class ScheduleEdit(StrEnum):
    SET = "set"
    ENABLE = "enable"
    DISABLE = "disable"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which models: ``names`` (of the form ``namespace/name``), those that all the rest holds for (what is empty
    holds for all), or, with ``all``, every one; of ``namespaces`` if any are named. Exactly one of the three."""

    names: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    states: tuple[State, ...] = ()
    search: str = ""
    all: bool = False

    @property
    def selects(self) -> bool:
        """Whether it says anything of the models that it wants."""
        return bool(self.labels or self.states or self.search)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done to each. ``timeout`` in seconds (of a stop or delete); ``labels``: None removes one;
    ``concurrency``: how many are carried out at a time (0: no limit; None: what suits the action)."""

    action: BulkAction
    selection: Selection
    restore_autoscaling: bool = True
    mode: StopMode = StopMode.DRAIN
    timeout: float = 30.0
    labels: Mapping[str, str | None] = field(default_factory=dict)
    schedule_edit: ScheduleEdit | None = None
    schedule: Schedule | None = None
    concurrency: int | None = None
    on_error: OnError = OnError.CONTINUE

    @property
    def at_a_time(self) -> int | None:
        """How many are carried out at a time; None: all."""
        if self.concurrency is None:
            return STARTS_AT_A_TIME if self.action.launches else None
        return self.concurrency or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One model of many. ``operation`` is the command's, once it has begun; ``code`` and ``message`` say why it
    failed, or why there was nothing to do."""

    position: int
    model: ModelRef
    state: ItemState = ItemState.WAITING
    operation: str | None = None
    code: str = ""
    message: str = ""

    @property
    def cancellable(self) -> str | None:
        """The running operation that was begun for it; None where it has none, or waits for that of somebody else, as
        its message says then."""
        return self.operation if self.state is ItemState.RUNNING and not self.message else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """A request that is under way: its operation, what it asks for, and the site whose process carries it out."""

    operation: Operation
    order: Order
    site: str
    cancelled_by: str = ""


Counts = Mapping[ItemState, int]


def problems(order: Order) -> list[Problem]:
    """What is wrong with a request, whichever models there are."""
    found = list(_selection_problems(order.selection))
    if not 0 <= order.timeout <= MAX_DRAIN:
        found.append(Problem("timeout", "out_of_range", "timeout is from 0 to 24h; graceful: false waits for none."))
    if order.action is BulkAction.LABEL and not order.labels:
        found.append(Problem("labels", "required", "Say which labels to set, or with null which to remove."))
    if order.action is BulkAction.SCHEDULE and order.schedule_edit is None:
        found.append(Problem("schedule", "required", "Send a schedule, or schedule_edit: enable, disable, remove."))
    if order.schedule is not None:
        found += [replace(p, path=f"schedule.{p.path}") for p in schedule_problems(order.schedule)]
    return found


def _selection_problems(selection: Selection) -> list[Problem]:
    given = bool(selection.names) + selection.selects + selection.all
    if given != 1 and not (given == 0 and selection.namespaces):
        message = "Say which models: models (by name), selector or all, and only one of these."
        return [Problem("models", "required", message)]
    if selection.names and selection.namespaces:
        message = "Models that are named are in the namespace that they name."
        return [Problem("selector.namespaces", "invalid_value", message)]
    return []


def begin(operation_id: str, order: Order, namespace: str | None, actor: str, reason: str, now: datetime) -> Operation:
    """The record of a request about ``namespace`` (None: about any)."""
    return Operation(
        id=operation_id, kind=OperationKind.BULK, namespace=namespace or EVERYWHERE, model="", model_uid="",
        actor=actor, reason=reason, created_at=now, updated_at=now, steps=(Step(name="accepted", at=now),),
    )  # fmt: skip


def is_over(counts: Counts) -> bool:
    return not counts.get(ItemState.WAITING) and not counts.get(ItemState.RUNNING)


def room(order: Order, counts: Counts, queued: int) -> int | None:
    """How many more may begin now; None: any number. ``queued`` of those that run only wait for capacity."""
    if order.at_a_time is None:
        return None
    return max(order.at_a_time - counts.get(ItemState.RUNNING, 0) + queued, 0)


def settle(bulk: Bulk, counts: Counts, now: datetime) -> Operation:
    """The request's end. It has succeeded only if every item has; what has not is counted in words."""
    total, done = sum(counts.values()), counts.get(ItemState.SUCCEEDED, 0)
    result: dict[str, Any] = {"action": str(bulk.order.action), "counts": counts_out(counts)}
    ended = replace(bulk.operation, updated_at=now, result=result)
    if done == total:
        return replace(ended, state=OperationState.SUCCEEDED)
    others = [
        f"{counts[state]} {state}" for state in ItemState if counts.get(state) and state is not ItemState.SUCCEEDED
    ]
    sentence = f"{done} of {total} models succeeded: {', '.join(others)}."
    if bulk.cancelled_by:
        error = {"code": "cancelled", "message": f"Cancelled by {bulk.cancelled_by}. {sentence}", "log": []}
        return replace(ended, state=OperationState.CANCELLED, error=error)
    error = {"code": "partial_failure" if done else "bulk_failed", "message": sentence, "log": []}
    return replace(ended, state=OperationState.FAILED, error=error)


def counts_out(counts: Counts) -> dict[str, int]:
    """Every state, and the total."""
    return {"total": sum(counts.values()), **{str(state): counts.get(state, 0) for state in ItemState}}


def relabelled(spec: Spec, labels: Mapping[str, str | None]) -> Spec:
    """With these labels set and, where None, removed."""
    wanted = {**spec.labels, **labels}
    return replace(spec, labels={key: value for key, value in wanted.items() if value is not None})


def nothing_selected(selection: Selection) -> InvalidRequest:
    """The answer where no model is meant."""
    what = "There is no model." if selection.all else "No model matches."
    return InvalidRequest([Problem("all" if selection.all else "selector", "nothing_selected", what)])
