"""Ends that do not come: what is left is named, the operation ends, the model goes on ending."""

from __future__ import annotations

from modelyard.domain import commands
from modelyard.domain.model import ConditionType, InstancePhase, StopMode
from modelyard.domain.operations import Operation, OperationState
from modelyard.domain.states import State
from tests.domain.world import SPEC, World


def unkillable() -> World:
    """A running model whose process waits for a device that does not answer."""
    w = World()
    w.create(SPEC)
    w.settle()
    w.become_ready()
    w.settle()
    next(iter(w.processes.values())).in_flight = 1
    return w


def hang(w: World) -> None:
    """The kill has been sent, and changes nothing."""
    for process in w.processes.values():
        process.phase, process.kill_at = InstancePhase.TERMINATING, None


def last(w: World) -> Operation:
    return list(w.operations.values())[-1]


def degraded(w: World) -> str:
    assert w.model is not None
    condition = w.model.status.condition(ConditionType.DEGRADED)
    return condition.reason if condition is not None and condition.status else ""


def stop(w: World) -> None:
    w.try_command(lambda m, asked: commands.stop(m, StopMode.FORCE, 0, asked))
    w.reconcile()
    hang(w)
    w.reconcile()
    hang(w)


def test_a_stop_whose_process_does_not_die_says_what_is_left_and_ends_its_operation() -> None:
    w = unkillable()
    stop(w)
    assert w.plan is not None
    assert w.plan.wake_at is not None
    w.advance((w.plan.wake_at - w.now).total_seconds() - 1)
    w.reconcile()
    hang(w)
    assert not last(w).done
    w.advance(1)
    w.reconcile()
    assert degraded(w) == "Stuck"
    failed = last(w)
    assert failed.state is OperationState.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "not_released"
    assert next(iter(w.processes)) in failed.error["message"]
    assert w.model is not None
    assert w.model.status.state is State.STOPPING, "never called stopped while something is left"


def test_what_was_stuck_is_stopped_once_it_does_end() -> None:
    w = unkillable()
    stop(w)
    w.advance(1000)
    w.reconcile()
    w.processes.clear()
    w.reconcile()
    assert w.model is not None
    assert w.model.status.state is State.STOPPED
    assert degraded(w) == ""


def test_a_delete_has_a_deadline_too_and_may_be_asked_for_again() -> None:
    w = unkillable()
    w.try_command(lambda m, asked: commands.delete(m, StopMode.FORCE, 0, None, asked))
    w.reconcile()
    hang(w)
    w.advance(1000)
    w.reconcile()
    assert last(w).state is OperationState.FAILED
    w.try_command(lambda m, asked: commands.delete(m, StopMode.FORCE, 0, w.running_delete(), asked))
    w.processes.clear()
    w.reconcile()
    assert w.model is None
    assert last(w).state is OperationState.SUCCEEDED
