"""Who gets the devices, in which order, who makes room for whom, and that nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelyard.domain import commands, steering
from modelyard.domain.capacity import OVERTAKEN_AT_MOST, UNUSED_AFTER
from modelyard.domain.errors import ModelyardError
from modelyard.domain.model import Quota, Scale, StopMode, Target
from modelyard.domain.operations import Operation, OperationState
from modelyard.domain.spec import Autoscaling, Engine, Preempt, Replicas, Resources, Rollout, Spec, Strategy
from modelyard.domain.states import RunState, State
from tests.control.yard import GIB, MOCK, Yard, gpu

FIVE = ("a", "b", "c", "d", "e")


def running(yard: Yard) -> list[str]:
    return sorted(m.name for m in yard.database.models.values() if m.status.state is State.RUNNING)


def queue(yard: Yard) -> list[str]:
    assert yard.plane is not None
    return [ref.name for ref in yard.plane.admission.waiting]


def full(*names: str, **changes: object) -> Yard:
    """A yard of two devices and models that want one each, deployed one second after the other."""
    yard = Yard(devices=2)
    for name in names:
        yard.deploy(name, gpu(**changes))  # type: ignore[arg-type]
        yard.advance(1)
    yard.advance(3)
    return yard


def revised(spec: Spec) -> Spec:
    return replace(spec, options={"latency_ms": 9})


def outcome(yard: Yard, operation: object) -> OperationState:
    assert isinstance(operation, Operation)
    return yard.database.operations[operation.id].state


# ------------------------------------------------------------------------------------------- the queue


def test_five_models_rotate_over_two_devices() -> None:
    yard = full(*FIVE)
    assert running(yard) == ["a", "b"]
    seen: list[list[str]] = []
    for _ in range(5):
        oldest = running(yard)[0] if not seen else min(running(yard), key=lambda n: yard.processes(n)[0].since)
        yard.stop(oldest)
        yard.advance(2)
        yard.start(oldest)
        yard.advance(2)
        seen.append(running(yard))
        yard.check()
    assert seen == [["b", "c"], ["c", "d"], ["d", "e"], ["a", "e"], ["a", "b"]]


def test_a_stop_lets_the_next_one_in_without_anybody_looking_by_itself() -> None:
    yard = full(*FIVE)
    yard.stop("a")
    yard.settle()
    assert yard.processes("c"), "what was given back goes on at once"


def test_priority_comes_before_age() -> None:
    yard = full("a", "b", "c")
    yard.deploy("urgent", gpu(priority=5))
    yard.advance(1)
    assert queue(yard) == ["urgent", "c"]
    yard.stop("a")
    yard.advance(3)
    assert running(yard) == ["b", "urgent"]
    yard.stop("b")
    yard.advance(3)
    assert running(yard) == ["c", "urgent"]


def test_who_waits_is_told_what_for_and_who_holds_it() -> None:
    yard = full("a", "b", "c")
    waiting = yard.model("c").status.waiting
    assert waiting is not None
    assert waiting.reason == "InsufficientCapacity"
    assert [ref.name for ref in waiting.holders] == ["a", "b"]
    assert "1 GPU needed, 0 free of 2; held by a, b" in waiting.message


def test_small_ones_may_pass_a_large_one_only_for_a_while() -> None:
    yard = full("a", "b")
    yard.deploy("large", gpu(2))
    yard.advance(5)
    yard.deploy("small", gpu())
    yard.stop("a")
    yard.advance(5)
    assert running(yard) == ["b", "small"], "the device would have lain idle"
    yard.advance(OVERTAKEN_AT_MOST.total_seconds())
    yard.deploy("later", gpu())
    yard.stop("b")
    yard.advance(5)
    assert running(yard) == ["small"], "from now on devices are saved up for the large one"
    yard.stop("small")
    yard.advance(5)
    assert running(yard) == ["large"]
    yard.stop("large")
    yard.advance(5)
    assert running(yard) == ["later"]


def test_what_a_saved_up_claim_does_not_need_is_not_kept_from_others() -> None:
    yard = full("a", "b")
    yard.deploy("large", gpu(2))
    yard.advance(OVERTAKEN_AT_MOST.total_seconds() + 5)
    yard.deploy("plain", replace(MOCK, resources=Resources(memory=GIB)))
    yard.advance(3)
    assert "plain" in running(yard)


def test_a_quota_queues_and_its_raise_lets_in() -> None:
    yard = Yard(devices=2)
    yard.set_quota("team", Quota(gpus=1))
    for name in ("a", "b"):
        yard.deploy(name, gpu(), namespace="team")
    yard.deploy("c", gpu())
    yard.advance(5)
    assert running(yard) == ["a", "c"]
    waiting = yard.model("b").status.waiting
    assert waiting is not None
    assert waiting.reason == "QuotaExceeded"
    assert [ref.name for ref in waiting.holders] == ["a"]
    yard.stop("c")
    yard.advance(5)
    assert yard.state("b") is State.QUEUED, "there is a device, and the quota is still used up"
    yard.set_quota("team", Quota(gpus=2))
    yard.advance(10)
    assert running(yard) == ["a", "b"]


def test_one_that_waits_for_its_quota_keeps_nobody_else_waiting() -> None:
    yard = Yard(devices=2)
    yard.set_quota("team", Quota(gpus=1))
    for name in ("a", "b"):
        yard.deploy(name, gpu(priority=9), namespace="team")
    yard.advance(OVERTAKEN_AT_MOST.total_seconds() + 5)
    yard.deploy("c", gpu())
    yard.advance(3)
    assert running(yard) == ["a", "c"]


def test_a_crash_does_not_cost_a_model_its_place() -> None:
    yard = full("a", "b", "c")
    yard.deploy("urgent", gpu(priority=9))
    yard.advance(1)
    yard.machine.crash(yard.processes("a")[0].id)
    yard.advance(5)
    assert running(yard) == ["a", "b"]
    yard.machine.failing.add(yard.uid("a"))
    yard.machine.crash(yard.processes("a")[0].id)
    yard.advance(3)
    yard.machine.failing.clear()
    yard.advance(10)
    assert running(yard) == ["a", "b"], "nor does one that is followed by failed starts"


def test_nor_does_a_crash_of_the_control_process_change_the_queue() -> None:
    yard = full(*FIVE)
    before = queue(yard)
    yard.crash()
    yard.machine.crash(yard.processes("a")[0].id)
    yard.advance(2)
    yard.boot()
    yard.advance(5)
    assert running(yard) == ["a", "b"]
    assert queue(yard) == before == ["c", "d", "e"]


def test_one_that_fails_for_good_gives_up_its_place() -> None:
    yard = full("a", "b", "c")
    yard.machine.crash(yard.processes("a")[0].id, "load_failed", permanent=True)
    yard.advance(5)
    assert yard.state("a") is State.ERROR
    assert running(yard) == ["b", "c"]


def test_a_device_that_is_lost_and_found_again_is_given_out_again() -> None:
    yard = full("a", "b", "c")
    yard.set_inventory(devices=1)
    yard.machine.crash(yard.processes("b")[0].id)
    yard.advance(5)
    assert running(yard) == ["a"]
    assert yard.state("b") is State.QUEUED
    yard.set_inventory(devices=2)
    yard.advance(61)
    assert running(yard) == ["a", "b"]


# ------------------------------------------------------------------------------------------- making room


def test_only_what_has_not_been_called_for_a_while_makes_room_for_preempt_idle() -> None:
    yard = full("a", "b")
    for _ in range(int(UNUSED_AFTER.total_seconds()) // 10 + 1):
        yard.call("b")
        yard.advance(10)
        yard.end_requests()
    yard.deploy("c", gpu(preempt=Preempt.IDLE))
    yard.advance(10)
    assert running(yard) == ["b", "c"]
    preempted = yard.model("a").status.preempted
    assert preempted is not None
    assert preempted.by.name == "c"
    assert yard.state("a") is State.QUEUED
    yard.stop("b")
    yard.advance(5)
    assert running(yard) == ["a", "c"], "the victim comes back"


def test_a_request_a_moment_ago_saves_a_model_without_autoscaling_from_being_taken_for_idle() -> None:
    yard = full("a", "b")
    yard.advance(130)
    yard.call("a")
    yard.call("b")
    yard.advance(1)
    yard.deploy("c", gpu(preempt=Preempt.IDLE))
    yard.advance(20)
    assert running(yard) == ["a", "b"]


def test_lower_priority_makes_room_even_while_it_serves_and_finishes_what_it_has() -> None:
    yard = full("low", "mid")
    yard.update("mid", gpu(priority=1))
    yard.advance(1)
    assert [yard.call("low"), yard.call("mid")] == ["served", "served"]
    yard.advance(1)
    yard.deploy("high", gpu(priority=5, preempt=Preempt.LOWER_PRIORITY))
    yard.advance(5)
    assert running(yard) == ["mid"]
    assert len(yard.processes("low")) == 1, "a request is still in flight"
    yard.end_requests()
    yard.advance(5)
    assert running(yard) == ["high", "mid"]
    yard.stop("high")
    yard.advance(5)
    assert running(yard) == ["low", "mid"]


def test_a_pinned_model_makes_room_for_nobody() -> None:
    yard = full("a", "b", pin=True)
    yard.advance(UNUSED_AFTER.total_seconds() + 5)
    yard.deploy("c", gpu(priority=9, preempt=Preempt.LOWER_PRIORITY))
    yard.advance(30)
    assert running(yard) == ["a", "b"]


def test_nor_does_one_that_was_pinned_after_it_had_been_asked() -> None:
    yard = full("a", "b")
    yard.update("b", gpu(pin=True))
    yard.deploy("c", gpu(priority=9, preempt=Preempt.LOWER_PRIORITY))
    assert yard.plane is not None
    yard.plane.step(yard.uid("c"), None)
    yard.update("a", gpu(pin=True))
    yard.advance(30)
    assert running(yard) == ["a", "b"]


def test_two_that_may_preempt_each_other_do_not_take_turns_for_ever() -> None:
    yard = Yard(devices=1)
    for name in ("a", "b"):
        yard.deploy(name, gpu(preempt=Preempt.IDLE))
    yard.advance(600)
    launches = len(yard.machine.launches)
    yard.advance(1200)
    assert len(yard.machine.launches) == launches <= 3


def test_as_few_as_will_do_make_room() -> None:
    yard = full("a", "b")
    yard.deploy("c", gpu(priority=5, preempt=Preempt.LOWER_PRIORITY))
    yard.advance(5)
    assert len(running(yard)) == 2
    yard.deploy("large", gpu(2, priority=9, preempt=Preempt.LOWER_PRIORITY))
    yard.advance(10)
    assert running(yard) == ["large"]


# ------------------------------------------------------------------------------------------- updates


@pytest.mark.parametrize("strategy", [Strategy.AUTO, Strategy.REPLACE])
def test_the_update_of_a_model_that_holds_the_only_device_completes_by_replacing_it(strategy: Strategy) -> None:
    yard = Yard(devices=1)
    yard.deploy("a", gpu(rollout=Rollout(strategy=strategy)))
    yard.deploy("b", gpu(priority=9))
    yard.advance(5)
    (holder,) = running(yard)
    operation = yard.update(holder, revised(yard.model(holder).spec))
    yard.advance(10)
    assert running(yard) == [holder], "nobody slips into the gap"
    assert outcome(yard, operation) is OperationState.SUCCEEDED
    assert [p.target for p in yard.processes(holder)] == [Target(2)]


def test_and_restores_the_old_version_where_the_new_one_fails() -> None:
    yard = Yard(devices=1)
    yard.deploy("a", gpu())
    yard.deploy("b", gpu(priority=9), "stopped")
    yard.advance(5)
    yard.machine.bad.add((yard.uid("a"), 2))
    yard.start("b")
    operation = yard.update("a", revised(gpu()))
    yard.advance(30)
    assert outcome(yard, operation) is OperationState.FAILED
    assert running(yard) == ["a"]
    assert [p.target for p in yard.processes("a")] == [Target(1)]
    failed = yard.database.revisions[yard.uid("a")][1]
    assert failed.failure is not None
    assert failed.failure.code == "load_failed"


def test_two_that_update_on_a_full_machine_do_not_wait_for_each_other() -> None:
    yard = full("a", "b", "c")
    operations = [yard.update(name, revised(gpu())) for name in ("a", "b")]
    yard.advance(20)
    assert [outcome(yard, o) for o in operations] == [OperationState.SUCCEEDED] * 2
    assert running(yard) == ["a", "b"]


def test_nor_do_two_that_want_more_than_they_had() -> None:
    yard = full("a", "b")
    operations = [yard.update(name, gpu(2, rollout=Rollout(progress_deadline=60))) for name in ("a", "b")]
    yard.advance(600)
    states = [outcome(yard, o) for o in operations]
    assert OperationState.RUNNING not in states
    assert running(yard), "one of them at least serves"
    yard.check()


def test_an_update_that_only_fits_beside_nothing_gives_up_at_its_deadline_where_it_must_not_replace() -> None:
    yard = full("a", "b")
    rollout = Rollout(strategy=Strategy.SURGE, progress_deadline=60)
    operation = yard.update("a", revised(gpu(rollout=rollout)))
    yard.advance(50)
    assert yard.state("a") is State.UPDATING
    yard.advance(30)
    assert outcome(yard, operation) is OperationState.FAILED
    assert running(yard) == ["a", "b"]


def test_a_clock_that_is_set_back_makes_no_retry_and_no_drain_wait_for_the_old_time() -> None:
    yard = full("a", "b")
    yard.machine.failing.add(yard.uid("a"))
    yard.machine.crash(yard.processes("a")[0].id)
    yard.advance(3)
    while yard.processes("a"):
        yard.advance(0.5)
    yard.call("b")
    yard.stop("b", StopMode.DRAIN, 20.0)
    yard.now = yard.now.replace(year=2029)
    yard.machine.failing.clear()
    yard.advance(30)
    assert yard.state("a") is State.RUNNING
    assert yard.state("b") is State.STOPPED


def test_a_terminated_instance_is_replaced_though_the_new_one_comes_before_the_old_has_gone() -> None:
    yard = full("a")
    (old,) = yard.processes("a")
    operation = yard.command("a", lambda m, a: commands.terminate(m, old.id, StopMode.FORCE, 0.0, a))
    yard.advance(5)
    (new,) = yard.processes("a")
    assert new.id != old.id
    assert outcome(yard, operation) is OperationState.SUCCEEDED


def test_what_lives_once_is_not_doubled_by_an_update_to_two_that_is_given_up() -> None:
    yard = Yard(devices=0)
    server = Spec(engine=Engine.COMMAND, options={"command": ["x"], "port": 9000})
    yard.deploy("a", server)
    yard.advance(3)
    yard.update("a", replace(gpu(), replicas=Replicas(min=2, max=2), rollout=Rollout(progress_deadline=30)))
    yard.advance(90)
    assert running(yard) == ["a"]
    assert len(yard.processes("a")) == 1


@pytest.mark.parametrize("old", [1, 2])
def test_what_crashes_while_a_rollout_is_paused_comes_back_with_what_it_had(old: int) -> None:
    yard = Yard(devices=2)
    yard.deploy("a", gpu(old))
    yard.advance(3)
    yard.update("a", gpu(3 - old, rollout=Rollout(strategy=Strategy.SURGE)))
    yard.command("a", steering.pause_rollout)
    yard.settle()
    yard.machine.crash(yard.processes("a")[0].id)
    yard.advance(3)
    assert [(p.target, len(p.devices)) for p in yard.processes("a")] == [(Target(1), old)]


def test_and_waits_where_that_does_not_fit_any_more() -> None:
    yard = Yard(devices=2)
    yard.deploy("a", gpu(2))
    yard.advance(3)
    yard.update("a", gpu(1, rollout=Rollout(strategy=Strategy.SURGE)))
    yard.command("a", steering.pause_rollout)
    yard.settle()
    yard.set_inventory(devices=1)
    yard.machine.crash(yard.processes("a")[0].id)
    yard.advance(3)
    assert len(yard.machine.launches) == 1
    waiting = yard.model("a").status.waiting
    assert waiting is not None
    assert "2 GPUs needed" in waiting.message


# ------------------------------------------------------------------------------------------- scaling


def scale(yard: Yard, name: str) -> int:
    found = yard.model(name).status.scale
    assert isinstance(found, Scale)
    return found.desired


def test_instances_follow_the_requests_up_at_once_and_down_after_the_delay() -> None:
    yard = Yard(devices=0)
    scaling = Autoscaling(target=1.0, window=10.0, cooldown=15.0, warm_up=5.0, scale_down_delay=60.0)
    yard.deploy("a", replace(MOCK, replicas=Replicas(min=1, max=3), autoscaling=scaling))
    yard.advance(15)
    for _ in range(3):
        yard.call("a")
    yard.advance(11)
    first = scale(yard, "a")
    assert first >= 2
    yard.advance(30)
    assert scale(yard, "a") == 3
    assert len(yard.processes("a")) == 3
    yard.end_requests()
    yard.advance(40)
    assert scale(yard, "a") == 3, "less would not have sufficed throughout the delay"
    yard.advance(60)
    assert scale(yard, "a") == 1
    yard.advance(40)
    assert len(yard.processes("a")) == 1


def test_after_a_change_the_next_waits_for_the_cooldown() -> None:
    yard = Yard(devices=0)
    scaling = Autoscaling(target=1.0, window=5.0, cooldown=60.0, warm_up=0.0, scale_down_delay=10.0)
    yard.deploy("a", replace(MOCK, replicas=Replicas(min=1, max=3), autoscaling=scaling))
    yard.advance(10)
    yard.call("a")
    yard.call("a")
    yard.advance(8)
    assert scale(yard, "a") == 2
    yard.call("a")
    yard.advance(20)
    assert scale(yard, "a") == 2
    yard.advance(40)
    assert scale(yard, "a") == 3


def test_a_control_process_that_has_just_begun_scales_nothing_down_on_a_guess() -> None:
    yard = Yard(devices=0)
    scaling = Autoscaling(target=1.0, window=5.0, cooldown=5.0, warm_up=0.0, scale_down_delay=60.0)
    yard.deploy("a", replace(MOCK, replicas=Replicas(min=1, max=2), autoscaling=scaling))
    yard.advance(10)
    yard.call("a")
    yard.call("a")
    yard.advance(20)
    assert len(yard.processes("a")) == 2
    yard.crash()
    yard.boot()
    yard.end_requests()
    yard.advance(30)
    assert len(yard.processes("a")) == 2


# ------------------------------------------------------------------------------------------- idle and awake


def test_an_idle_model_holds_nothing_wakes_on_a_request_and_serves_it() -> None:
    yard = full("a", autoscaling=Autoscaling(idle_after=30.0))
    yard.advance(35)
    assert yard.state("a") is State.IDLE
    assert not yard.processes("a")
    assert yard.call("a") == "held"
    yard.advance(0.5)
    assert yard.state("a") is State.STARTING
    yard.advance(2)
    assert yard.state("a") is State.RUNNING
    assert yard.gateway.busy(yard.uid("a"), yard.processes("a")[0].id) == 1


def test_a_stopped_model_is_woken_by_no_request() -> None:
    yard = full("a", autoscaling=Autoscaling(idle_after=30.0))
    yard.advance(35)
    yard.stop("a")
    yard.advance(1)
    assert yard.call("a") == "refused"
    yard.advance(30)
    assert yard.state("a") is State.STOPPED
    assert len(yard.machine.launches) == 1


def test_a_request_that_waits_when_the_model_is_stopped_is_refused_and_wakes_nothing() -> None:
    yard = full("a", autoscaling=Autoscaling(idle_after=30.0))
    yard.advance(35)
    yard.call("a")
    yard.stop("a")
    yard.advance(30)
    assert yard.state("a") is State.STOPPED
    assert yard.model("a").desired is RunState.STOPPED
    assert len(yard.machine.launches) == 1


def test_one_that_wakes_on_a_full_machine_waits_in_the_queue() -> None:
    yard = full("a", autoscaling=Autoscaling(idle_after=30.0))
    yard.advance(35)
    yard.deploy("b", gpu(2))
    yard.advance(3)
    assert running(yard) == ["b"]
    assert yard.call("a") == "held"
    yard.advance(3)
    assert yard.state("a") is State.QUEUED
    yard.stop("b")
    yard.advance(3)
    assert yard.state("a") is State.RUNNING


def test_a_refused_command_changes_nothing() -> None:
    yard = full("a")
    before = yard.model("a")
    assert isinstance(yard.start("a"), ModelyardError)
    assert yard.model("a") is before


def test_two_that_began_to_wait_at_once_do_not_take_turns() -> None:
    """After the clock was set back both have waited since now: the one that made room, and the other."""
    yard = Yard(devices=2)
    yard.deploy("a", replace(gpu(), replicas=Replicas(min=2, max=2)))
    yard.deploy("b", replace(gpu(), preempt=Preempt.IDLE))
    yard.advance(3)
    assert running(yard) == ["a"]
    yard.now -= timedelta(hours=1)
    yard.advance(UNUSED_AFTER.total_seconds(), settle=False)
    yard.advance(5)
    assert running(yard) == ["a", "b"]
    assert len(yard.processes("a")) == len(yard.processes("b")) == 1
    assert len(yard.machine.launches) == 4
