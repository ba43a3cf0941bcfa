"""What the plan makes of each situation, one behaviour a test."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelyard.domain import commands, steering
from modelyard.domain.actions import Release
from modelyard.domain.commands import Change
from modelyard.domain.errors import InvalidRequest
from modelyard.domain.failing import CRASH_LOOP, UPDATE_ATTEMPTS, backoff
from modelyard.domain.leaving import REPLACE_DRAIN
from modelyard.domain.model import ConditionType, DrainReport, InstancePhase, StopMode, StopRequest, Target
from modelyard.domain.operations import OperationState
from modelyard.domain.spec import Engine, Replicas, Resources, Spec
from modelyard.domain.states import RunState, State
from tests.domain.world import SPEC, World


def running(spec: Spec = SPEC, **world: int) -> World:
    w = World(**world)
    w.create(spec)
    w.settle()
    w.become_ready()
    w.settle()
    assert w.model is not None
    assert w.model.status.state is State.RUNNING
    return w


def state(w: World) -> State:
    assert w.model is not None
    return w.model.status.state


def stop(w: World, mode: StopMode = StopMode.DRAIN, timeout: float = 30.0) -> None:
    w.try_command(lambda m, asked: commands.stop(m, mode, timeout, asked))


def update(w: World, spec: Spec) -> None:
    w.try_command(lambda m, asked: commands.update(m, spec, asked))


def test_a_new_model_starts_and_runs_once_its_instances_are_ready() -> None:
    w = World()
    w.create(replace(SPEC, replicas=Replicas(min=2, max=2)))
    w.settle()
    assert state(w) is State.STARTING
    assert len(w.processes) == 2
    w.become_ready(next(iter(w.processes)))
    w.settle()
    assert state(w) is State.STARTING, "one of two is not running yet"
    assert len(w.serving) == 1, "but what is ready serves"
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    assert [o.state for o in w.operations.values()] == [OperationState.SUCCEEDED]


def test_a_model_created_stopped_launches_nothing() -> None:
    w = World()
    w.create(SPEC, "stopped")
    w.settle()
    assert state(w) is State.STOPPED
    assert w.launches == 0


def test_a_drain_closes_the_door_first_and_ends_the_instances_when_nothing_is_in_flight() -> None:
    w = running()
    process = next(iter(w.processes.values()))
    process.in_flight = 2
    stop(w)
    w.settle()
    assert state(w) is State.STOPPING
    assert w.serving == frozenset()
    assert process.phase is InstancePhase.READY, "not asked to end while it still works"
    process.in_flight = 0
    w.settle()
    assert state(w) is State.STOPPED
    assert w.model is not None
    assert w.model.status.released is not None
    assert w.model.status.released.instances == 1


def test_a_drain_that_runs_out_of_time_kills() -> None:
    w = running()
    next(iter(w.processes.values())).in_flight = 1
    stop(w, timeout=10)
    w.settle()
    w.advance(10)
    decided = w.reconcile()
    assert decided is not None
    assert Release(0.0) in decided.actions
    w.advance(0)
    w.settle()
    assert state(w) is State.STOPPED


def test_force_cuts_a_drain_short() -> None:
    w = running()
    next(iter(w.processes.values())).in_flight = 1
    stop(w, timeout=3600)
    w.settle()
    stop(w, StopMode.FORCE)
    w.reconcile()
    w.advance(0)
    w.settle()
    assert state(w) is State.STOPPED
    assert all(o.state is OperationState.SUCCEEDED for o in w.operations.values())


def test_a_patient_stop_does_not_prolong_an_impatient_one() -> None:
    w = running()
    next(iter(w.processes.values())).in_flight = 1
    stop(w, StopMode.FORCE)
    stop(w, timeout=3600)
    assert w.model is not None
    assert w.model.status.stop is not None
    assert w.model.status.stop.mode is StopMode.FORCE


def test_stopped_is_not_said_while_an_instance_is_left() -> None:
    w = running()
    stop(w)
    for _ in range(5):
        w.reconcile()
    assert any(p.phase is InstancePhase.TERMINATING for p in w.processes.values())
    assert state(w) is State.STOPPING


def test_stop_and_start_make_no_generation_and_keep_the_endpoint() -> None:
    w = running()
    assert w.model is not None
    before = w.model
    stop(w)
    w.settle()
    w.try_command(commands.start)
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    assert (w.model.generation, w.model.name, w.model.spec) == (before.generation, before.name, before.spec)


def test_an_instance_of_a_stopped_model_is_ended_and_the_state_says_so_meanwhile() -> None:
    w = running()
    stop(w)
    w.settle()
    w._converge({Target(1): 1}, 5, launch=Target(1))  # a launch that slipped through a crash
    w.reconcile()
    assert state(w) is State.STOPPING
    w.advance(0)
    w.settle()
    assert state(w) is State.STOPPED
    assert not w.processes


def test_a_crashed_instance_comes_back_at_once_and_then_ever_more_slowly() -> None:
    w = running()
    w.crash_instance(next(iter(w.processes)))
    w.settle()
    assert len(w.processes) == 1, "the first restart waits for nothing"
    delays = []
    for _ in range(4):
        w.crash_instance(next(iter(w.processes)))
        w.settle()
        assert w.model is not None
        assert w.model.status.retry_at is not None
        delays.append((w.model.status.retry_at - w.now).total_seconds())
        w.now = w.model.status.retry_at
        w.settle()
        assert len(w.processes) == 1
    assert delays == [1, 2, 4, 8]


def test_a_model_that_keeps_crashing_is_in_error_with_the_reason_and_the_last_lines_and_recovers() -> None:
    w = running()
    for _ in range(CRASH_LOOP):
        w.crash_instance(next(iter(w.processes)))
        w.settle()
        assert w.model is not None
        if w.model.status.retry_at and state(w) is not State.ERROR:
            w.now = w.model.status.retry_at
            w.settle()
    assert state(w) is State.ERROR
    assert w.model is not None
    assert w.model.status.failure is not None
    assert w.model.status.failure.log == ("last line",)
    assert w.model.status.retry_at is not None
    w.now = w.model.status.retry_at
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING


def test_a_failure_that_would_repeat_itself_is_an_error_at_once_and_not_retried() -> None:
    w = World()
    w.create(SPEC)
    w.settle()
    w.crash_instance(next(iter(w.processes)), "load_failed", permanent=True)
    w.settle()
    assert state(w) is State.ERROR
    w.advance(86_400)
    w.settle()
    assert w.launches == 1
    assert [o.state for o in w.operations.values()] == [OperationState.FAILED]
    w.try_command(commands.start)
    w.settle()
    assert w.launches == 2, "until somebody asks"


def test_an_exit_is_counted_once_however_often_it_is_seen() -> None:
    w = running()
    w.crash_instance(next(iter(w.processes)))
    for _ in range(3):
        w.reconcile(crash_after=2)  # the write happens, then the control process dies before it forgets the exit
        assert w.model is not None
        assert w.model.status.failures == 1


def test_serving_for_a_while_forgives_earlier_failures() -> None:
    w = running()
    w.crash_instance(next(iter(w.processes)))
    w.settle()
    w.become_ready()
    w.settle()
    assert w.model is not None
    assert w.model.status.failures == 1
    w.advance(61)
    w.settle()
    assert w.model.status.failures == 0


def test_an_update_launches_the_new_before_it_ends_the_old() -> None:
    w = running()
    old = next(iter(w.processes.values()))
    old.in_flight = 1
    update(w, replace(SPEC, options={"latency_ms": 5}))
    w.settle()
    assert state(w) is State.UPDATING
    assert w.serving == {old.id}, "the old serves while the new loads"
    w.become_ready()
    w.settle()
    assert old.id not in w.serving
    assert old.phase is InstancePhase.READY, "and finishes what it has"
    old.in_flight = 0
    w.settle()
    assert state(w) is State.RUNNING
    assert [p.target for p in w.processes.values()] == [Target(2)]


def test_a_replaced_instance_that_never_finishes_is_ended_when_its_time_is_up() -> None:
    w = running()
    old = next(iter(w.processes.values()))
    old.in_flight = 1
    update(w, replace(SPEC, options={"latency_ms": 5}))
    w.settle()
    w.become_ready()
    w.settle()
    w.advance(REPLACE_DRAIN.total_seconds())
    w.reconcile()
    assert old.phase is InstancePhase.TERMINATING


def test_a_failed_update_goes_back_to_the_last_good_revision_by_itself() -> None:
    w = running()
    old = next(iter(w.processes))
    update(w, replace(SPEC, options={"latency_ms": 5}))
    w.settle()
    for _ in range(UPDATE_ATTEMPTS):
        new = next(i for i in w.processes if i != old)
        w.crash_instance(new)
        w.settle()
        assert old in w.serving, "nobody notices from outside"
        assert w.model is not None
        if w.model.status.retry_at:
            w.now = w.model.status.retry_at
            w.settle()
    assert w.model is not None
    assert state(w) is State.RUNNING
    assert w.model.status.target == Target(1)
    assert w.model.generation == 2, "the failed wish is kept"
    degraded = w.model.status.condition(ConditionType.DEGRADED)
    assert degraded is not None
    assert degraded.reason == "UpdateFailed"
    operation = list(w.operations.values())[-1]
    assert operation.state is OperationState.FAILED
    assert operation.error is not None
    assert operation.error["log"] == ["last line"]


def test_a_restart_that_fails_keeps_the_instances_that_serve() -> None:
    w = running()
    old = next(iter(w.processes))
    w.try_command(commands.restart)
    w.settle()
    w.crash_instance(next(i for i in w.processes if i != old), "load_failed", permanent=True)
    w.settle()
    assert state(w) is State.RUNNING
    assert list(w.processes) == [old]


def test_a_change_of_metadata_leaves_the_instances_alone() -> None:
    w = running()
    launches = w.launches
    update(w, replace(SPEC, description="new", labels={"a": "b"}))
    w.settle()
    assert state(w) is State.RUNNING
    assert w.launches == launches
    assert w.model is not None
    assert w.model.generation == 2


def test_more_replicas_are_added_without_touching_those_there() -> None:
    w = running()
    first = next(iter(w.processes))
    update(w, replace(SPEC, replicas=Replicas(min=3, max=3)))
    w.settle()
    w.become_ready()
    w.settle()
    assert len(w.processes) == 3
    assert first in w.processes
    update(w, SPEC)
    w.settle()
    assert len(w.processes) == 1


def test_a_start_that_does_not_fit_waits_and_goes_on_when_there_is_room() -> None:
    w = World(capacity=2**30)
    w.create(replace(SPEC, resources=Resources(memory=2**31)))
    w.settle()
    assert state(w) is State.QUEUED
    assert w.launches == 0
    assert w.model is not None
    assert "2Gi of memory needed" in w.model.status.transition.message
    w.capacity = 2**32
    w.settle()
    assert state(w) is State.STARTING
    assert w.launches == 1


def test_stop_wins_over_the_queue() -> None:
    w = World(capacity=0)
    w.create(replace(SPEC, resources=Resources(memory=2**31)))
    w.settle()
    stop(w)
    w.settle()
    assert state(w) is State.STOPPED


def test_an_update_that_does_not_fit_beside_the_old_replaces_it() -> None:
    w = running(replace(SPEC, resources=Resources(memory=3 * 2**29)), capacity=2**31)
    update(w, replace(SPEC, resources=Resources(memory=3 * 2**29), options={"latency_ms": 5}))
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    assert [p.target for p in w.processes.values()] == [Target(2)]


def test_an_update_of_a_server_with_a_fixed_port_waits_until_the_old_one_has_given_it_up() -> None:
    server = Spec(engine=Engine.COMMAND, options={"command": ["serve"], "port": 9000})
    w = running(server)
    old = next(iter(w.processes.values()))
    old.in_flight = 1
    update(w, replace(server, options={"command": ["serve", "--new"], "port": 9000}))
    w.settle()
    assert list(w.processes) == [old.id], "two cannot have the port"
    old.in_flight = 0
    w.reconcile()
    assert old.phase is InstancePhase.TERMINATING
    w.reconcile()
    assert list(w.processes) == [old.id], "nor while the old one is still ending"
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    assert [p.target for p in w.processes.values()] == [Target(2)]


def test_delete_ends_everything_first_and_then_the_record() -> None:
    w = running()
    next(iter(w.processes.values())).in_flight = 1
    w.try_command(lambda m, asked: commands.delete(m, StopMode.DRAIN, 10, w.running_delete(), asked))
    w.settle()
    assert state(w) is State.DELETING
    w.advance(10)
    w.reconcile()
    w.advance(0)
    w.settle()
    assert w.model is None
    assert w.removed
    assert all(o.done for o in w.operations.values())


def test_cancelling_an_update_goes_back() -> None:
    w = running()
    old = next(iter(w.processes))
    update(w, replace(SPEC, options={"latency_ms": 5}))
    w.settle()
    operation = list(w.operations.values())[-1]
    w.try_command(lambda m, asked: steering.cancel_operation(m, operation, asked))
    w.settle()
    assert state(w) is State.RUNNING
    assert list(w.processes) == [old]
    assert w.operations[operation.id].state is OperationState.CANCELLED


def test_cancelling_a_start_stops() -> None:
    w = World()
    w.create(SPEC)
    w.settle()
    operation = next(iter(w.operations.values()))
    w.try_command(lambda m, asked: steering.cancel_operation(m, operation, asked))
    w.reconcile()
    w.advance(0)
    w.settle()
    assert state(w) is State.STOPPED
    assert w.operations[operation.id].state is OperationState.CANCELLED


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 0), (2, 1), (3, 2), (9, 128), (11, 300), (10**6, 300)])
def test_the_back_off_grows_and_is_bounded(failures: int, seconds: float) -> None:
    assert backoff(failures) == seconds


def test_a_clock_that_jumps_back_does_not_undo_a_stop() -> None:
    w = running()
    stop(w)
    w.advance(-86_400)
    w.settle()
    assert state(w) is State.STOPPED
    assert w.model is not None
    assert w.model.status.released is not None
    assert w.model.status.released.took_seconds >= 0
    assert w.model.status.transition.at - w.now == timedelta(0)


def test_a_stop_however_patient_it_asks_to_be_is_refused_or_planned() -> None:
    w = running()
    with pytest.raises(InvalidRequest):
        stop(w, timeout=1e300)
    assert w.model is not None
    # One that an earlier version had stored does not stand in the way either.
    request = StopRequest(mode=StopMode.DRAIN, timeout=1e300, at=w.now, actor="a", reason="")
    status = replace(w.model.status, state=State.STOPPING, stop=request)
    w.model = replace(w.model, desired=RunState.STOPPED, status=status)
    w.settle()
    assert state(w) is State.STOPPED


def test_a_crash_after_a_change_of_metadata_is_no_failed_update() -> None:
    w = running()
    update(w, replace(SPEC, description="new"))
    w.settle()
    w.crash_instance(next(iter(w.processes)))
    w.settle()
    w.become_ready()
    w.settle()
    w.advance(61)
    w.settle()
    assert w.model is not None
    assert w.model.status.failure is None
    degraded = w.model.status.condition(ConditionType.DEGRADED)
    assert degraded is not None
    assert not degraded.status


def test_a_restart_that_fails_says_why() -> None:
    w = running()
    old = next(iter(w.processes))
    w.try_command(commands.restart)
    w.settle()
    w.crash_instance(next(i for i in w.processes if i != old), "load_failed", permanent=True)
    w.settle()
    operation = list(w.operations.values())[-1]
    assert operation.state is OperationState.FAILED
    assert operation.error is not None
    assert operation.error["code"] == "load_failed"
    assert operation.error["log"] == ["last line"]


def test_more_replicas_are_done_when_they_are_ready_and_nothing_is_degraded_meanwhile() -> None:
    w = running()
    update(w, replace(SPEC, replicas=Replicas(min=2, max=2)))
    w.settle()
    operation = list(w.operations.values())[-1].id
    assert not w.operations[operation].done
    assert w.model is not None
    degraded = w.model.status.condition(ConditionType.DEGRADED)
    assert degraded is not None
    assert not degraded.status
    w.become_ready()
    w.settle()
    assert w.operations[operation].state is OperationState.SUCCEEDED


def test_requests_counted_before_a_crash_of_the_control_process_are_in_the_result() -> None:
    w = running()
    next(iter(w.processes.values())).in_flight = 1
    w.report = DrainReport(finished=3, refused=2)
    stop(w)
    w.settle()
    w.report = DrainReport(refused=1)  # counted anew by a gateway that was restarted
    next(iter(w.processes.values())).in_flight = 0
    w.settle()
    assert w.model is not None
    assert w.model.status.released is not None
    assert w.model.status.released.requests == DrainReport(finished=3, refused=2)


def test_a_second_delete_joins_the_first() -> None:
    w = running()
    next(iter(w.processes.values())).in_flight = 1
    first = w.try_command(lambda m, asked: commands.delete(m, StopMode.DRAIN, 60, None, asked))
    second = w.try_command(lambda m, asked: commands.delete(m, StopMode.FORCE, 0, w.running_delete(), asked))
    assert isinstance(first, Change)
    assert isinstance(second, Change)
    assert second.operations[0].id == first.operations[0].id == second.events[0].data["operation"]
