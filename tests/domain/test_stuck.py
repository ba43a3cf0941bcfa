"""Ends that do not come: what is left is named, the operation ends, the model goes on ending."""

from __future__ import annotations

from dataclasses import replace

from modelyard.domain import commands
from modelyard.domain.model import ConditionType, InstancePhase, StopMode
from modelyard.domain.operations import Operation, OperationState
from modelyard.domain.states import State
from tests.domain.world import EPOCH, SPEC, World


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


def test_an_update_is_done_though_an_old_process_does_not_die_and_the_model_says_so() -> None:
    w = World()
    w.create(SPEC)
    w.settle()
    w.become_ready()
    w.settle()
    assert w.model is not None
    w.apply(commands.update(w.model, replace(w.model.spec, options={"latency_ms": 2}), w.asked()))
    w.settle()
    old = next(p for p in w.processes.values() if p.target.generation == 1)
    w.become_ready()
    old.in_flight = 1
    w.settle()
    for _ in range(4):
        w.advance(40)
        if old.id not in w.processes:
            w.processes[old.id] = old
        old.phase, old.kill_at, old.since = InstancePhase.TERMINATING, None, EPOCH
        w.reconcile()
    assert last(w).state is OperationState.SUCCEEDED
    assert w.model.status.state is State.RUNNING
    assert degraded(w) == "Stuck"


def test_a_terminate_whose_process_does_not_die_ends_with_what_is_left() -> None:
    w = unkillable()
    victim = next(iter(w.processes))
    w.try_command(lambda m, asked: commands.terminate(m, victim, StopMode.FORCE, 0, asked))
    w.reconcile()
    old = w.processes[victim]
    for _ in range(4):
        w.processes[victim] = old
        old.phase, old.kill_at, old.since = InstancePhase.TERMINATING, None, EPOCH
        w.become_ready()
        w.advance(40)
        w.processes[victim] = old
        w.reconcile()
    assert last(w).error is not None
    assert last(w).error["code"] == "not_released"
