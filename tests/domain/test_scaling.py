"""How many instances run: by the spec, by what is asked, and none at all when nobody asks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from modelyard.domain import commands
from modelyard.domain.model import StopMode
from modelyard.domain.observation import Demand
from modelyard.domain.operations import OperationState
from modelyard.domain.spec import Autoscaling, Replicas, Resources, Spec
from modelyard.domain.states import RunState, State
from tests.domain.world import SPEC, World, claim_of_another

SCALING = Autoscaling(target=2, cooldown=15, warm_up=10, scale_down_delay=300)


def spec(scaling: Autoscaling = SCALING, least: int = 1, most: int = 4, desired: int | None = None) -> Spec:
    return replace(SPEC, replicas=Replicas(min=least, max=most, desired=desired), autoscaling=scaling)


def running(of: Spec) -> World:
    w = World()
    w.create(of)
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    return w


def state(w: World) -> State:
    assert w.model is not None
    return w.model.status.state


def ask(w: World, average: float | None, peak: float | None = None) -> None:
    w.demand = Demand(average=average, peak=average if peak is None else peak)
    w.settle()
    w.become_ready()
    w.settle()


def test_without_a_target_the_desired_number_runs() -> None:
    assert len(running(spec(Autoscaling(), desired=3)).processes) == 3


def test_more_is_asked_than_the_target_allows_and_there_are_as_many_as_it_takes() -> None:
    w = running(spec())
    w.advance(20)
    ask(w, 5.0)
    assert len(w.processes) == 3
    assert w.model is not None
    assert w.model.status.scale is not None
    assert w.model.status.scale.reason == "5.0 requests in flight, 2 wanted for each instance."


def test_there_are_never_more_than_max_nor_fewer_than_min() -> None:
    w = running(spec(least=2, most=3))
    w.advance(1000)
    ask(w, 500.0)
    assert len(w.processes) == 3
    w.advance(1000)
    ask(w, 0.0)
    assert len(w.processes) == 2


def test_an_average_that_is_just_met_adds_nothing() -> None:
    w = running(spec())
    w.advance(1000)
    ask(w, 2.0)
    assert len(w.processes) == 1


def test_what_is_not_known_changes_nothing() -> None:
    w = running(spec(desired=3))
    w.advance(1000)
    ask(w, None)
    assert len(w.processes) == 3


def test_new_instances_are_given_time_to_warm_up_before_more_are_added() -> None:
    w = running(spec())
    w.demand = Demand(average=3.0, peak=3.0)
    w.settle()
    assert len(w.processes) == 1, "the first one has only just begun"
    assert w.plan is not None
    assert w.plan.wake_at == w.now + timedelta(seconds=10)
    w.advance(10)
    w.settle()
    assert len(w.processes) == 2
    w.demand = Demand(average=8.0, peak=8.0)
    w.settle()
    assert len(w.processes) == 2, "the second one is still loading"


def test_after_a_change_the_next_waits_for_the_cooldown() -> None:
    w = running(spec())
    w.advance(100)
    ask(w, 3.0)
    assert len(w.processes) == 2
    w.advance(12)
    ask(w, 8.0)
    assert len(w.processes) == 2
    w.advance(3)
    ask(w, 8.0)
    assert len(w.processes) == 4


def test_fewer_run_only_when_fewer_would_have_sufficed_throughout_the_delay() -> None:
    w = running(spec())
    w.advance(100)
    ask(w, 8.0)
    assert len(w.processes) == 4
    w.advance(100)
    ask(w, 1.0, peak=8.0)
    assert len(w.processes) == 4
    ask(w, 1.0, peak=5.0)
    assert len(w.processes) == 3, "what the busiest moment needed stays"
    w.advance(100)
    ask(w, 1.0, peak=1.0)
    assert len(w.processes) == 1


def test_a_clock_that_was_set_back_does_not_hold_up_scaling() -> None:
    w = running(spec())
    w.advance(1000)
    ask(w, 3.0)
    w.advance(-5000)
    ask(w, 3.0)
    w.advance(20)
    for process in w.processes.values():
        process.since = w.now - timedelta(seconds=20)
    ask(w, 8.0)
    assert len(w.processes) == 4


def test_a_start_without_autoscaling_runs_the_specs_number_until_the_next_start() -> None:
    w = running(spec(desired=2))
    w.try_command(lambda m, asked: commands.stop(m, StopMode.DRAIN, 30, asked))
    w.settle()
    w.try_command(lambda m, asked: commands.start(m, asked, restore_autoscaling=False))
    w.settle()
    w.become_ready()
    w.advance(1000)
    ask(w, 100.0)
    assert len(w.processes) == 2
    w.try_command(lambda m, asked: commands.stop(m, StopMode.DRAIN, 30, asked))
    w.settle()
    w.try_command(commands.start)
    w.settle()
    w.become_ready()
    w.advance(1000)
    ask(w, 100.0)
    assert len(w.processes) == 4


IDLE = Autoscaling(idle_after=60)


def quiet(w: World) -> None:
    """Nobody has called since now."""
    w.demand = Demand(quiet_since=w.now)
    w.settle()


def idle() -> World:
    w = running(spec(IDLE))
    quiet(w)
    w.advance(60)
    w.settle()
    assert state(w) is State.IDLE
    return w


def test_a_model_that_nobody_calls_goes_idle_at_its_time_and_holds_nothing() -> None:
    w = running(spec(IDLE))
    quiet(w)
    assert w.plan is not None
    assert w.plan.wake_at == w.now + timedelta(seconds=60)
    w.advance(59)
    w.settle()
    assert state(w) is State.RUNNING
    w.advance(1)
    w.settle()
    assert state(w) is State.IDLE
    assert not w.processes
    assert w.model is not None
    assert w.model.desired is RunState.RUNNING


def test_a_model_that_is_called_does_not_go_idle() -> None:
    w = running(spec(IDLE))
    w.demand = Demand(quiet_since=None)
    w.advance(100_000)
    w.settle()
    assert state(w) is State.RUNNING


def test_a_request_wakes_an_idle_model() -> None:
    w = idle()
    w.demand = Demand(waiting=1)
    w.settle()
    assert state(w) is State.STARTING
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    assert w.model is not None
    assert w.model.generation == 1


def test_a_woken_model_goes_idle_again_only_after_a_whole_quiet_time() -> None:
    w = idle()
    w.demand = Demand(waiting=1)
    w.settle()
    w.become_ready()
    # The gateway's count of quiet seconds may begin before the wake.
    w.demand = Demand(quiet_since=w.now - timedelta(seconds=1000))
    w.settle()
    assert state(w) is State.RUNNING
    w.advance(60)
    w.settle()
    assert state(w) is State.IDLE


def test_a_request_that_comes_while_the_instances_are_ending_is_served() -> None:
    w = running(spec(IDLE))
    quiet(w)
    w.advance(60)
    w.reconcile()
    assert state(w) is State.IDLE
    w.demand = Demand(waiting=1)
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    assert w.serving


def test_a_start_wakes_an_idle_model_and_its_operation_ends() -> None:
    w = idle()
    w.try_command(commands.start)
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    assert list(w.operations.values())[-1].state is OperationState.SUCCEEDED


def test_a_stopped_model_never_wakes() -> None:
    w = idle()
    w.try_command(lambda m, asked: commands.stop(m, StopMode.DRAIN, 30, asked))
    w.settle()
    w.demand = Demand(waiting=5)
    w.settle()
    assert state(w) is State.STOPPED
    assert not w.processes


def test_an_update_of_an_idle_model_holds_for_its_next_wake() -> None:
    w = idle()
    assert w.model is not None
    w.apply(commands.update(w.model, replace(w.model.spec, options={"latency_ms": 5}), w.asked()))
    w.settle()
    assert state(w) is State.IDLE
    assert list(w.operations.values())[-1].state is OperationState.SUCCEEDED
    w.demand = Demand(waiting=1)
    w.settle()
    assert {p.target.generation for p in w.processes.values()} == {2}


def test_a_model_that_is_not_to_go_idle_any_more_wakes() -> None:
    w = idle()
    assert w.model is not None
    w.apply(commands.update(w.model, replace(w.model.spec, autoscaling=Autoscaling()), w.asked()))
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING


def test_a_woken_model_runs_the_specs_number_whatever_was_asked_of_it_before_it_slept() -> None:
    w = running(spec(replace(IDLE, target=2)))
    w.advance(1000)
    ask(w, 8.0)
    assert len(w.processes) == 4
    quiet(w)
    w.advance(60)
    w.settle()
    assert state(w) is State.IDLE
    w.demand = Demand(waiting=1)
    w.settle()
    assert len(w.processes) == 1


def test_a_clock_that_was_set_back_does_not_keep_a_model_from_going_idle() -> None:
    w = running(spec(IDLE))
    w.advance(-7200)
    quiet(w)
    w.advance(59)
    w.settle()
    assert state(w) is State.RUNNING
    w.advance(2)
    w.settle()
    assert state(w) is State.IDLE


def test_a_preempted_model_finishes_its_requests_makes_room_and_comes_back() -> None:
    w = running(replace(SPEC, resources=Resources(memory=2**30)))
    process = next(iter(w.processes.values()))
    process.in_flight = 1
    w.preempted_by = claim_of_another()
    w.settle()
    assert state(w) is State.QUEUED
    assert w.processes, "what is in flight is finished first"
    assert w.serving == frozenset()
    process.in_flight = 0
    w.capacity = 0
    w.settle()
    assert not w.processes
    w.preempted_by = None
    w.settle()
    assert state(w) is State.QUEUED
    assert w.model is not None
    assert w.model.status.preempted is not None
    assert w.model.desired is RunState.RUNNING
    w.capacity = 2**40
    w.settle()
    w.become_ready()
    w.settle()
    assert state(w) is State.RUNNING
    assert w.model.status.preempted is None


def test_one_that_was_asked_to_make_room_and_is_more_important_or_pinned_by_now_stays() -> None:
    for spec in (replace(SPEC, pin=True), replace(SPEC, priority=2)):
        w = running(replace(spec, resources=Resources(memory=2**30)))
        w.preempted_by = claim_of_another(priority=1)
        w.settle()
        assert state(w) is State.RUNNING
        assert w.model is not None
        assert w.model.status.preempted is None


def test_stop_wins_over_a_model_that_makes_room() -> None:
    w = running(replace(SPEC, resources=Resources(memory=2**30)))
    w.preempted_by = claim_of_another()
    w.reconcile()
    w.try_command(lambda m, asked: commands.stop(m, StopMode.FORCE, 0, asked))
    w.settle()
    assert state(w) is State.STOPPED
    assert w.model is not None
    assert w.model.status.preempted is None
