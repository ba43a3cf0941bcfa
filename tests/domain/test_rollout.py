"""Rollouts: the order in which old and new instances come and go, and who may hold one up or push it on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain import commands, steering
from modelyard.domain.errors import InvalidRequest, NotFound, Refused
from modelyard.domain.model import InstancePhase, Revision, StopMode, Target
from modelyard.domain.operations import Operation, OperationKind, OperationState
from modelyard.domain.spec import Container, Replicas, Resources, Rollout, Spec, Strategy
from modelyard.domain.states import State
from tests.domain.world import SPEC, World, claim_of_another

GIB = 2**30
OTHER = {"latency_ms": 2}


def running(spec: Spec = SPEC, capacity: int = 2**40) -> World:
    w = World(capacity=capacity)
    w.create(spec)
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    return w


def state(w: World) -> State:
    assert w.model is not None
    return w.model.status.state


def update(w: World, **change: object) -> Operation:
    assert w.model is not None
    spec = replace(w.model.spec, **change)  # type: ignore[arg-type]
    w.apply(commands.update(w.model, spec, w.asked()))
    return list(w.operations.values())[-1]


def operation(w: World, op: Operation) -> Operation:
    return w.operations[op.id]


def targets(w: World, phase: InstancePhase | None = None) -> list[int]:
    return sorted(p.target.generation for p in w.processes.values() if phase in (None, p.phase))


def three(**more: object) -> Spec:
    return replace(SPEC, replicas=Replicas(min=3, max=3), **more)  # type: ignore[arg-type]


def test_a_surge_brings_new_instances_a_few_at_a_time_and_each_takes_the_place_of_an_old_one() -> None:
    w = running(three())
    update(w, options=OTHER)
    w.settle()
    assert targets(w) == [1, 1, 1, 2], "a quarter of three at a time, and one at least"
    w.become_ready()
    w.settle()
    assert targets(w) == [1, 1, 2, 2]
    while 1 in targets(w):
        w.become_ready()
        w.settle()
        assert len([p for p in w.processes.values() if p.phase is InstancePhase.READY]) >= 3 - 0 or state(w)
    w.become_ready()
    w.settle()
    assert targets(w) == [2, 2, 2]
    assert state(w) is State.RUNNING


def test_during_a_surge_never_fewer_serve_than_are_wanted() -> None:
    w = running(three())
    update(w, options=OTHER)
    for _ in range(12):
        w.settle()
        assert len(w.serving) >= 3
        w.become_ready()
    w.settle()
    assert targets(w) == [2, 2, 2]


def test_replace_releases_an_old_instance_before_it_launches_a_new_one() -> None:
    w = running(three(rollout=Rollout(strategy=Strategy.REPLACE)))
    update(w, options=OTHER)
    for _ in range(12):
        w.settle()
        assert len(w.processes) <= 3
        w.become_ready()
    w.settle()
    assert targets(w) == [2, 2, 2]


def test_on_a_full_machine_the_old_makes_room_for_the_new() -> None:
    w = running(replace(SPEC, resources=Resources(memory=3 * GIB)), capacity=4 * GIB)
    op = update(w, options=OTHER)
    w.settle()
    assert targets(w) == [2]
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    assert operation(w, op).state is OperationState.SUCCEEDED


def test_on_a_full_machine_a_new_revision_that_fails_gives_the_place_back_to_the_old_one() -> None:
    w = running(replace(SPEC, resources=Resources(memory=3 * GIB)), capacity=4 * GIB)
    op = update(w, options=OTHER)
    w.settle()
    w.crash_instance(next(iter(w.processes)), "load_failed", permanent=True)
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    assert targets(w) == [1]
    assert operation(w, op).state is OperationState.FAILED
    assert w.model is not None
    assert w.model.status.rolled_back is not None
    assert w.model.status.rolled_back.failure.log == ("last line",)


def test_a_rollout_without_progress_goes_back_at_its_deadline_and_says_what_it_waited_for() -> None:
    strategy = Rollout(strategy=Strategy.SURGE, progress_deadline=100)
    w = running(replace(SPEC, resources=Resources(memory=3 * GIB), rollout=strategy), capacity=4 * GIB)
    op = update(w, options=OTHER)
    w.settle()
    assert targets(w) == [1], "surge was asked for, and a second one does not fit"
    assert w.plan is not None
    assert w.plan.wake_at is not None
    w.advance((w.plan.wake_at - w.now).total_seconds())
    w.settle()
    assert state(w) is State.RUNNING
    failed = operation(w, op)
    assert failed.error is not None
    assert failed.error["code"] == "progress_deadline_exceeded"
    assert "waited for capacity" in failed.error["message"]


def test_the_deadline_counts_from_the_last_instance_that_became_ready() -> None:
    w = running(three(rollout=Rollout(progress_deadline=100)))
    op = update(w, options=OTHER)
    for _ in range(3):
        w.settle()
        w.advance(90)
        w.become_ready()
    w.settle()
    assert operation(w, op).state is OperationState.SUCCEEDED


def test_a_failed_update_goes_back_to_what_serves_though_all_of_it_was_never_ready() -> None:
    w = World()
    w.create(replace(SPEC, replicas=Replicas(min=2, max=2)))
    w.settle()
    first = next(iter(w.processes))
    w.become_ready(first)
    w.settle()
    assert state(w) is State.STARTING
    op = update(w, options=OTHER)
    w.settle()
    assert state(w) is State.UPDATING
    w.crash_instance(next(p.id for p in w.processes.values() if p.target.generation == 2), permanent=True)
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    assert first in w.processes
    assert targets(w) == [1, 1]
    assert operation(w, op).state is OperationState.FAILED


def test_an_update_before_all_was_ready_may_be_paused_and_has_a_deadline() -> None:
    w = World()
    w.create(replace(SPEC, replicas=Replicas(min=2, max=2), rollout=Rollout(progress_deadline=100)))
    w.settle()
    w.become_ready(next(iter(w.processes)))
    op = update(w, options=OTHER)
    w.settle()
    assert w.model is not None
    w.apply(steering.pause_rollout(w.model, w.asked()))
    w.advance(101)
    w.settle()
    assert state(w) is State.UPDATING
    w.apply(steering.resume_rollout(w.model, w.asked()))
    w.settle()
    w.advance(101)
    w.settle()
    w.become_ready()
    w.settle()
    assert targets(w) == [1, 1]
    error = operation(w, op).error
    assert error is not None
    assert error["code"] == "progress_deadline_exceeded"


def test_a_paused_rollout_stays_as_it_is_and_its_deadline_does_not_run() -> None:
    w = running()
    op = update(w, options=OTHER)
    w.settle()
    w.try_command(steering.pause_rollout)
    w.become_ready()
    w.settle()
    w.advance(100_000)
    w.settle()
    assert targets(w) == [1, 2]
    assert len(w.serving) == 2, "both are ready, and nobody is being replaced"
    assert not operation(w, op).done
    w.try_command(steering.resume_rollout)
    w.settle()
    assert targets(w) == [2]
    assert operation(w, op).state is OperationState.SUCCEEDED


def test_an_instance_that_crashes_while_a_rollout_is_paused_is_made_good_with_the_last_good_revision() -> None:
    w = running()
    update(w, options=OTHER)
    w.settle()
    w.try_command(steering.pause_rollout)
    for victim in list(w.processes):
        w.crash_instance(victim)
    w.settle()
    w.advance(5)
    w.settle()
    assert targets(w) == [1]


def test_a_cancelled_rollout_goes_back() -> None:
    w = running()
    op = update(w, options=OTHER)
    w.settle()
    assert w.model is not None
    w.apply(steering.cancel_rollout(w.model, [operation(w, op)], w.asked()))
    w.settle()
    assert targets(w) == [1]
    assert operation(w, op).state is OperationState.CANCELLED
    assert state(w) is State.RUNNING


def test_a_forced_rollout_goes_forward_though_the_new_revision_is_not_ready_and_never_back() -> None:
    w = running()
    update(w, options=OTHER)
    w.settle()
    w.try_command(steering.force_rollout)
    w.settle()
    assert targets(w) == [2]
    for _ in range(4):
        for victim in list(w.processes):
            w.crash_instance(victim)
        w.settle()
        w.advance(30)
        w.settle()
    assert w.model is not None
    assert w.model.status.target == Target(2)


@pytest.mark.parametrize("command", [steering.pause_rollout, steering.resume_rollout, steering.force_rollout])
def test_without_a_rollout_there_is_nothing_to_steer(command: object) -> None:
    outcome = running().try_command(command)
    assert isinstance(outcome, Refused)
    assert outcome.code == "no_rollout"


def test_stop_wins_over_a_paused_rollout() -> None:
    w = running()
    update(w, options=OTHER)
    w.settle()
    w.try_command(steering.pause_rollout)
    w.try_command(lambda m, asked: commands.stop(m, StopMode.DRAIN, 30, asked))
    w.settle()
    assert state(w) is State.STOPPED
    assert not w.processes
    assert all(o.done for o in w.operations.values())


def test_an_update_shows_every_step_in_order() -> None:
    w = running()
    op = update(w, options=OTHER)
    w.settle()
    assert [s.name for s in operation(w, op).steps] == ["intake", "validate", "prepare", "roll_out"]
    w.become_ready()
    w.settle()
    done = operation(w, op)
    assert [s.name for s in done.steps] == ["intake", "validate", "prepare", "roll_out", "verify", "finish"]
    assert sorted(done.steps, key=lambda s: s.at) == list(done.steps)


def test_a_rollback_makes_a_new_generation_with_the_old_spec() -> None:
    w = running()
    update(w, options=OTHER)
    for _ in range(3):
        w.settle()
        w.become_ready()
    assert w.model is not None
    first = Revision(model_uid="uid", generation=1, spec=w.revisions[1], created_at=w.now, actor="tester")
    w.apply(commands.rollback(w.model, first, w.asked()))
    for _ in range(3):
        w.settle()
        w.become_ready()
    w.settle()
    assert w.model.generation == 3
    assert w.model.spec == w.revisions[1]
    assert targets(w) == [3]
    assert list(w.operations.values())[-1].kind is OperationKind.ROLLBACK
    assert list(w.operations.values())[-1].state is OperationState.SUCCEEDED


def test_a_redeploy_forces_new_instances_of_the_same_spec() -> None:
    w = running()
    before = set(w.processes)
    w.try_command(commands.redeploy)
    for _ in range(3):
        w.settle()
        w.become_ready()
    w.settle()
    assert w.model is not None
    assert w.model.generation == 1
    assert set(w.processes).isdisjoint(before)
    assert list(w.operations.values())[-1].state is OperationState.SUCCEEDED


def test_a_redeploy_of_a_stopped_model_is_done_at_once_and_starts_nothing() -> None:
    w = World()
    w.create(SPEC, "stopped")
    w.try_command(commands.redeploy)
    w.settle()
    assert state(w) is State.STOPPED
    assert list(w.operations.values())[-1].state is OperationState.SUCCEEDED


def test_a_terminated_instance_is_replaced_after_its_requests_are_finished() -> None:
    w = running(three())
    victim = sorted(w.processes)[0]
    w.processes[victim].in_flight = 1
    w.try_command(lambda m, asked: commands.terminate(m, victim, StopMode.DRAIN, 60, asked))
    w.settle()
    assert victim in w.processes
    assert victim not in w.serving
    w.become_ready()
    w.processes[victim].in_flight = 0
    w.settle()
    assert victim not in w.processes
    assert len(w.processes) == 3
    assert state(w) is State.RUNNING
    assert list(w.operations.values())[-1].state is OperationState.SUCCEEDED


def test_terminate_by_force_waits_for_nothing() -> None:
    w = running(three())
    victim = sorted(w.processes)[0]
    w.processes[victim].in_flight = 1
    w.try_command(lambda m, asked: commands.terminate(m, victim, StopMode.FORCE, 0, asked))
    w.reconcile()
    assert w.processes[victim].phase is InstancePhase.TERMINATING


def test_an_instance_that_is_not_there_cannot_be_terminated() -> None:
    w = running()
    assert w.model is not None
    with pytest.raises(NotFound, match="has no instance 'nope'"):
        commands.terminate(w.model, "nope", StopMode.DRAIN, 30, w.asked())


def test_a_change_of_what_surrounds_the_process_must_be_acknowledged_while_it_runs() -> None:
    w = running()
    assert w.model is not None
    spec = replace(w.model.spec, container=Container(environment={"TZ": "UTC"}))
    (problem,) = commands.update_problems(w.model, spec, acknowledge_restart=False)
    assert problem.path == "acknowledge_restart"
    assert "spec.container.environment.TZ" in problem.message
    assert commands.update_problems(w.model, spec, acknowledge_restart=True) == []
    w.try_command(lambda m, asked: commands.stop(m, StopMode.DRAIN, 30, asked))
    w.settle()
    assert commands.update_problems(w.model, spec, acknowledge_restart=False) == []


def test_a_timeout_that_is_none_is_refused() -> None:
    w = running()
    assert w.model is not None
    with pytest.raises(InvalidRequest):
        commands.terminate(w.model, next(iter(w.processes)), StopMode.DRAIN, -1, w.asked())


def test_a_model_that_serves_runs_though_not_all_of_its_instances_fit() -> None:
    w = World(capacity=4 * GIB)
    w.create(three(resources=Resources(memory=GIB * 3 // 2)))
    for _ in range(3):
        w.settle()
        w.become_ready()
    assert state(w) is State.RUNNING
    assert len(w.serving) == 2
    assert w.model is not None
    assert w.model.status.waiting is not None
    ready = next(c for c in w.model.status.conditions if c.type == "Ready")
    assert ready.message.startswith("2 of 3 instance(s) ready; waiting for capacity: 1536Mi of memory needed")
    assert [o.state for o in w.operations.values()] == [OperationState.SUCCEEDED]
    w.capacity = 8 * GIB
    for _ in range(3):
        w.settle()
        w.become_ready()
    assert len(w.serving) == 3


def test_what_died_of_the_old_revision_meanwhile_is_not_launched_again() -> None:
    w = running(three())
    update(w, options=OTHER)
    assert w.model is not None
    decided = w.reconcile(crash_after=0)
    assert decided is not None
    w.crash_instance(next(iter(w.processes)))
    for action in decided.actions:
        w._act(action)
    assert targets(w).count(1) == 2


def test_a_model_that_lost_its_place_by_failing_waits_in_the_queue_with_the_failure_beside_it() -> None:
    w = World(capacity=GIB)
    w.create(replace(SPEC, resources=Resources(memory=GIB)))
    w.settle()
    for _ in range(5):
        w.crash_instance(next(iter(w.processes)))
        w.settle()
        if w.model is not None and w.model.status.retry_at is not None and len(w.processes) == 0:
            w.capacity = 0 if w.model.status.failures == 5 else GIB
            w.now = w.model.status.retry_at
            w.settle()
    assert state(w) is State.QUEUED
    assert w.model is not None
    degraded = next(c for c in w.model.status.conditions if c.type == "Degraded")
    assert degraded.status
    assert degraded.reason == "crashed"


def test_a_rollout_whose_new_instances_serve_does_not_go_back_for_old_ones_that_take_their_time() -> None:
    w = running(replace(SPEC, rollout=Rollout(progress_deadline=10)))
    next(iter(w.processes.values())).in_flight = 1
    op = update(w, options=OTHER)
    w.settle()
    w.become_ready()
    w.settle()
    w.advance(15)
    w.settle()
    assert sorted(targets(w)) == [1, 2]
    w.advance(20)
    w.settle()
    w.advance(10)
    w.settle()
    assert targets(w) == [2]
    assert operation(w, op).state is OperationState.SUCCEEDED


def test_replace_keeps_what_serves_while_a_failing_revision_waits_for_its_next_try() -> None:
    w = running(three(rollout=Rollout(strategy=Strategy.REPLACE)))
    update(w, options=OTHER)
    for _ in range(3):
        w.settle()
        assert len(w.serving) >= 2
        for process in list(w.processes.values()):
            if process.target == Target(2):
                w.crash_instance(process.id)
        w.settle()
        assert len(w.serving) >= 2
        w.advance(0.5)
        w.settle()
        assert len(w.serving) >= 2
        w.advance(4)


def test_a_revision_that_fails_for_good_does_not_end_a_pause() -> None:
    w = running()
    update(w, options=OTHER)
    w.settle()
    w.try_command(steering.pause_rollout)
    for process in list(w.processes.values()):
        if process.target == Target(2):
            w.crash_instance(process.id, permanent=True)
    w.settle()
    assert w.model is not None
    assert w.model.status.target == Target(2)
    assert w.model.status.rollout is not None
    assert w.model.status.rollout.paused_at is not None


def test_what_crashes_during_a_pause_is_launched_ever_more_slowly() -> None:
    w = running()
    update(w, options=OTHER)
    w.settle()
    w.try_command(steering.pause_rollout)
    before = w.launches
    for _ in range(60):
        for victim in list(w.processes):
            w.crash_instance(victim)
        w.settle()
        w.advance(1)
        w.settle()
    assert w.launches - before < 12


def test_a_paused_rollout_that_makes_room_is_still_paused_when_it_comes_back() -> None:
    w = running(replace(SPEC, resources=Resources(memory=GIB)))
    update(w, options=OTHER)
    w.settle()
    w.try_command(steering.pause_rollout)
    w.preempted_by = claim_of_another()
    w.capacity = 0
    w.settle()
    assert state(w) is State.QUEUED
    w.preempted_by, w.capacity = None, 2**40
    w.settle()
    assert targets(w) == [1]
    assert w.model is not None
    assert w.model.status.rollout is not None


def test_a_cancelled_revision_is_not_brought_back_by_a_change_beside_it_but_by_itself() -> None:
    w = running()
    op = update(w, options=OTHER)
    w.settle()
    assert w.model is not None
    change = w.apply(steering.cancel_rollout(w.model, [operation(w, op)], w.asked()))
    assert [generation for generation, _ in change.given_up] == [2]
    w.settle()
    update(w, description="better words")
    w.settle()
    assert targets(w) == [1]
    assert w.model.spec.options == OTHER
    w.apply(commands.update(w.model, w.model.spec, w.asked()))
    w.settle()
    assert targets(w) == [1, 4]


def test_each_instance_that_leaves_has_its_own_time_to_finish() -> None:
    w = running(three())
    first, second, _ = sorted(w.processes)
    for id_ in (first, second):
        w.processes[id_].in_flight = 1
    assert w.model is not None
    w.apply(commands.update(w.model, replace(w.model.spec, replicas=Replicas(min=2, max=3)), w.asked()))
    w.settle()
    w.advance(20)
    w.apply(commands.update(w.model, replace(w.model.spec, replicas=Replicas(min=1, max=3)), w.asked()))
    w.settle()
    closed = [p for p in w.processes.values() if p.id not in w.serving]
    w.advance(15)
    w.settle()
    left = [p for p in closed if p.id in w.processes and p.phase is InstancePhase.READY]
    assert all(p.in_flight for p in left)
