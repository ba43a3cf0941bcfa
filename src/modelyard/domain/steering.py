"""Commands that steer what is under way: a rollout, its canary, an operation. As in :mod:`modelyard.domain.commands`,
pure functions from a model to a change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modelyard.domain.commands import Asked, Change, event_of, fresh_try, stop
from modelyard.domain.errors import InvalidRequest, Problem, Refused
from modelyard.domain.model import CanaryProgress, Failure, Model, Rollout, Status, StopMode
from modelyard.domain.operations import ROLLOUTS, Operation, OperationKind, cancel


def pause_rollout(model: Model, asked: Asked) -> Change:
    """Neither on nor back, and no deadline, until it is resumed, cancelled or forced. A paused one stays so."""
    rollout = _rollout_of(model)
    if rollout.paused_at is not None:
        return Change(before=model, after=model)
    if rollout.forced:
        raise Refused("rollout_forced", "The rollout was forced: old instances are ending already. Wait for it.")
    return _rolled(model, replace(rollout, paused_at=asked.at), "RolloutPaused", "Paused.", asked)


def resume_rollout(model: Model, asked: Asked) -> Change:
    rollout = _rollout_of(model)
    if rollout.paused_at is None:
        return Change(before=model, after=model)
    # A canary's step has not been looked at while it was paused: it begins anew.
    canary = rollout.canary and replace(rollout.canary, since=asked.at)
    resumed = replace(rollout, paused_at=None, progressed_at=asked.at, canary=canary)
    return _rolled(model, resumed, "RolloutResumed", "Resumed.", asked)


def force_rollout(model: Model, asked: Asked) -> Change:
    """Forward, whatever happens: old instances end now, and nothing goes back by itself."""
    forced = replace(_rollout_of(model), paused_at=None, forced=True)
    return _rolled(model, forced, "RolloutForced", f"Forced forward to revision {forced.after.generation}.", asked)


def promote_rollout(model: Model, asked: Asked) -> Change:
    """The canary is good: the rollout goes on without it, and is no longer paused."""
    rollout, canary = _canary_of(model)
    promoted = replace(
        rollout, paused_at=None, progressed_at=asked.at, canary=replace(canary, promoted=True)
    )  # fmt: skip
    return _rolled(model, promoted, "CanaryPromoted", f"Promoted at {canary.percent} %.", asked)


def set_canary_percent(model: Model, percent: int, asked: Asked) -> Change:
    """Send so many per cent of the requests to the new revision; the ramp goes on from there, with the first larger
    step.

    Raises:
        InvalidRequest: it is not from 1 to 99.
    """
    rollout, canary = _canary_of(model)
    if not 1 <= percent <= 99:
        message = "percent is from 1 to 99; promote the rollout to send all, abort it to send none."
        raise InvalidRequest([Problem("percent", "out_of_range", message)])
    changed = replace(rollout, canary=replace(canary, wanted=percent, since=asked.at))
    return _rolled(model, changed, "CanarySet", f"Set to {percent} % by hand.", asked)


def abort_canary(model: Model, running: Sequence[Operation], asked: Asked) -> Change:
    """As :func:`cancel_rollout`, of a rollout with a canary."""
    _canary_of(model)
    return cancel_rollout(model, running, asked, "canary_aborted")


def _canary_of(model: Model) -> tuple[Rollout, CanaryProgress]:
    rollout = _rollout_of(model)
    if rollout.ramp is None:
        message = "The rollout has no canary now: it replaces instances one after the other. Cancel it or force it."
        raise Refused("no_canary", message)
    return rollout, rollout.ramp


def cancel_rollout(model: Model, running: Sequence[Operation], asked: Asked, code: str = "cancelled") -> Change:
    """Back to the last good revision; ``running`` are the model's operations, of which the rollout's end. ``code``
    stays with the revision that is given up."""
    target = _rollout_of(model).after
    change = _back_to_good(model, asked, code)
    cancelled = tuple(cancel(o, asked.at, f"Cancelled by {asked.actor}.") for o in running if o.target == target)
    return replace(change, operations=cancelled)


def _rollout_of(model: Model) -> Rollout:
    if model.status.rollout is None:
        raise Refused("no_rollout", f"No rollout of model {model.name!r} is under way: it is {model.status.state}.")
    return model.status.rollout


def _counting_anew(status: Status) -> Status:
    """Failures before a pause and during it are of different revisions."""
    return replace(status, failures=0, failure=None, retry_at=None)


def _rolled(model: Model, rollout: Rollout, type_: str, message: str, asked: Asked) -> Change:
    after = replace(model, status=replace(_counting_anew(model.status), rollout=rollout), updated_at=asked.at)
    return Change(before=model, after=after, events=(event_of(after, type_, asked, message, {}),))


def _back_to_good(model: Model, asked: Asked, code: str = "cancelled") -> Change:
    good = model.status.good
    assert good is not None
    status = replace(fresh_try(model.status), target=good, rollout=None)
    after = replace(model, status=status, updated_at=asked.at)
    event = event_of(after, "Cancelled", asked, f"Going back to revision {good.generation}, the last good one.", {})
    target = model.status.target
    reason = Failure(code=code, message=f"Its rollout was cancelled by {asked.actor}.")
    given_up = ((target.generation, reason),) if target.generation != good.generation else ()
    return Change(before=model, after=after, events=(event,), given_up=given_up)


def cancel_operation(model: Model, operation: Operation, asked: Asked) -> Change:
    """Cancel a running operation: a deploy or start becomes a forced stop, a restart or update goes
    back to the last good target. A stop or delete always finishes.

    Raises:
        Refused: if it is done already or cannot be cancelled.
    """
    if operation.done:
        raise Refused("operation_done", f"The operation has {operation.state} already.")
    if operation.kind in (OperationKind.STOP, OperationKind.DELETE, OperationKind.TERMINATE):
        raise Refused("not_cancellable", f"A {operation.kind} always finishes. Wait for it.")
    cancelled = cancel(operation, asked.at, f"Cancelled by {asked.actor}.")
    if operation.kind in ROLLOUTS and model.status.good is not None:
        return replace(_back_to_good(model, asked), operations=(cancelled,))
    change = stop(model, StopMode.FORCE, 0, asked)
    return replace(change, operations=(*change.operations, cancelled))
