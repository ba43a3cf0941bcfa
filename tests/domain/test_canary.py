"""The ramp of a canary: what it may do and when, and what it makes of a rollout."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain import commands, steering
from modelyard.domain.canary import Abort, Advance, Evidence, Wait, decide
from modelyard.domain.errors import InvalidRequest, Refused
from modelyard.domain.model import CanaryProgress, InstancePhase, Revision
from modelyard.domain.observation import Demand
from modelyard.domain.operations import OperationState
from modelyard.domain.significance import Counts
from modelyard.domain.spec import (
    Autoscaling,
    Canary,
    Engine,
    Replicas,
    Resources,
    Rollout,
    Shadow,
    Spec,
    SplitArm,
    Sticky,
    StickyBy,
    Strategy,
    Traffic,
)
from modelyard.domain.states import State
from modelyard.domain.validation import spec_problems
from tests.domain.test_significance import lognormal
from tests.domain.world import SPEC, World

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CANARY = Canary(steps=(5, 25, 50), interval=60, min_requests=50, max_wait=600)
GOOD, BAD = Counts(requests=50), Counts(requests=50, errors=15)
GIB = 2**30


def evidence(mark: int, old: Counts, new: Counts) -> Evidence:
    return Evidence(mark=mark, old=old, new=new)


# ------------------------------------------------------------------------------------------- the judgement


def step(seconds: float, old: Counts, new: Counts, canary: Canary = CANARY, percent: int = 5) -> object:
    progress = CanaryProgress(wanted=percent, percent=percent, since=NOW, mark=1)
    return decide(canary, progress, evidence(1, old, new), NOW + timedelta(seconds=seconds))


def test_a_good_step_goes_on_after_its_interval_and_the_last_is_the_end() -> None:
    assert isinstance(step(59, GOOD, GOOD), Wait)
    assert step(60, GOOD, GOOD) == Advance(25, "Within its bounds over 50 requests.")
    assert step(60, GOOD, GOOD, percent=30) == Advance(50, "Within its bounds over 50 requests.")
    assert step(60, GOOD, GOOD, percent=50) == Advance(None, "Within its bounds over 50 requests.")


def test_a_broken_bound_aborts_before_the_interval_and_says_the_numbers() -> None:
    found = step(1, Counts(requests=950, errors=2), BAD)
    assert isinstance(found, Abort)
    assert "15 of 50 requests failed on the new revision, 2 of 950 on the old one" in found.why


def test_errors_that_both_have_are_held_against_nobody() -> None:
    assert isinstance(step(60, Counts(requests=950, errors=285), BAD), Advance)


def test_three_requests_prove_nothing() -> None:
    assert isinstance(step(1, Counts(requests=57), Counts(requests=3, errors=3)), Wait)


def test_a_slow_revision_is_sent_back() -> None:
    found = step(1, lognormal(1, 1000, 0.010), lognormal(2, 100, 0.040))
    assert isinstance(found, Abort)
    assert "rollout.canary.max_latency_ratio" in found.why


def test_a_step_that_nobody_calls_in_is_passed_at_the_end_of_its_patience() -> None:
    few = Counts(requests=49)
    found = step(60, few, few)
    assert isinstance(found, Wait)
    assert found.until == NOW + timedelta(seconds=600)
    assert step(600, few, few) == Advance(25, "Not judged: 49 of 50 requests in 600s.")


def test_numbers_beyond_a_bound_that_chance_may_explain_are_waited_out() -> None:
    doubtful = Counts(requests=50, errors=2)
    assert isinstance(step(60, Counts(requests=950), doubtful), Wait)
    assert isinstance(step(600, Counts(requests=950), doubtful), Abort)
    assert isinstance(step(61, Counts(requests=1900), Counts(requests=150, errors=2)), Advance)


def test_what_was_counted_in_another_step_counts_for_nothing() -> None:
    progress = CanaryProgress(wanted=25, percent=25, since=NOW, mark=2)
    found = decide(CANARY, progress, evidence(1, GOOD, BAD), NOW + timedelta(seconds=60))
    assert isinstance(found, Wait)


some = st.builds(
    lambda requests, errors: Counts(requests=requests, errors=min(errors, requests)),
    st.integers(0, 400),
    st.integers(0, 400),
)
canaries = st.builds(
    Canary,
    steps=st.lists(st.integers(1, 99), min_size=1, max_size=5, unique=True).map(lambda s: tuple(sorted(s))),
    interval=st.floats(1, 600),
    min_requests=st.integers(1, 200),
    max_wait=st.floats(1, 3600),
    max_error_rate=st.floats(0, 1),
)


@settings(max_examples=300)
@given(canaries, st.lists(st.tuples(some, some, st.floats(-500, 5000)), min_size=1, max_size=40))
def test_a_ramp_only_rises_never_early_goes_back_on_proof_and_always_ends(
    canary: Canary, looks: list[tuple[Counts, Counts, float]]
) -> None:
    now, mark = NOW, 1
    progress = CanaryProgress(wanted=canary.steps[0], percent=canary.steps[0], since=now, mark=mark)
    ended = False
    patience = max(canary.max_wait, canary.interval)
    for old, new, passed in [*looks, *[(Counts(), Counts(), patience)] * (len(canary.steps) + 1)]:
        now += timedelta(seconds=passed)
        progress = replace(progress, since=min(progress.since, now))
        found = decide(canary, progress, evidence(mark, old, new), now)
        if isinstance(found, Abort):
            assert new.requests >= canary.min_requests
            ended = True
            break
        if isinstance(found, Wait):
            assert now < found.until <= progress.since + timedelta(seconds=patience)
            continue
        assert now - progress.since >= timedelta(seconds=canary.interval)
        if found.percent is None:
            ended = True
            break
        assert found.percent > progress.percent
        mark += 1
        progress = CanaryProgress(wanted=found.percent, percent=found.percent, since=now, mark=mark)
    assert ended, "time alone brings every canary to its end"


# ------------------------------------------------------------------------------------------- the rollout


def canaried(replicas: int = 4, canary: Canary = CANARY, **more: object) -> Spec:
    spec = replace(SPEC, replicas=Replicas(min=replicas, max=replicas), rollout=Rollout(canary=canary))
    return replace(spec, **more)  # type: ignore[arg-type]


def begun(spec: Spec | None = None, capacity: int = 2**40) -> World:
    """A world in which revision 2 is to replace revision 1."""
    w = World(capacity=capacity)
    w.create(spec or canaried())
    w.settle()
    w.become_ready()
    w.settle()
    assert w.model is not None
    w.apply(commands.update(w.model, replace(w.model.spec, options={"latency_ms": 2}), w.asked()))
    w.settle()
    return w


def counted(w: World, old: Counts, new: Counts) -> None:
    w.canary = evidence(progress(w).mark, old, new)


def progress(w: World) -> CanaryProgress:
    assert w.model is not None
    assert w.model.status.rollout is not None
    assert w.model.status.rollout.canary is not None
    return w.model.status.rollout.canary


def wait(w: World) -> None:
    """Until the plan wants to look again."""
    assert w.plan is not None
    assert w.plan.wake_at is not None
    w.advance((w.plan.wake_at - w.now).total_seconds())
    w.settle()


def generations(w: World) -> list[int]:
    return sorted(p.target.generation for p in w.processes.values() if p.phase is not InstancePhase.TERMINATING)


def good_step(w: World) -> None:
    counted(w, Counts(requests=500), GOOD)
    w.advance(60)
    w.settle()
    w.become_ready()
    w.settle()


def test_each_step_has_the_instances_it_needs_beside_all_the_old_ones_before_it_gets_requests() -> None:
    w = begun()
    assert (generations(w), progress(w).percent) == ([1, 1, 1, 1, 2], 0)
    w.become_ready()
    w.settle()
    assert progress(w).percent == 5
    assert len(w.serving) == 5
    good_step(w)
    assert (generations(w), progress(w).percent) == ([1, 1, 1, 1, 2], 25)
    counted(w, Counts(requests=500), GOOD)
    w.advance(60)
    w.settle()
    assert (generations(w), progress(w).percent, progress(w).wanted) == ([1, 1, 1, 1, 2, 2], 25, 50)
    w.become_ready()
    w.settle()
    assert progress(w).percent == 50


def test_a_good_canary_becomes_a_plain_rollout_that_finishes() -> None:
    w = begun()
    w.become_ready()
    w.settle()
    for _ in range(3):
        good_step(w)
    for _ in range(4):
        w.become_ready()
        w.settle()
    assert w.model is not None
    assert (w.model.status.state, generations(w)) == (State.RUNNING, [2, 2, 2, 2])
    assert list(w.operations.values())[-1].state is OperationState.SUCCEEDED


def test_a_bad_canary_goes_back_at_once_and_keeps_its_reason() -> None:
    w = begun()
    w.become_ready()
    w.settle()
    counted(w, Counts(requests=950), BAD)
    w.settle()
    assert w.model is not None
    status = w.model.status
    assert (status.state, generations(w)) == (State.RUNNING, [1, 1, 1, 1])
    assert status.rolled_back is not None
    assert status.rolled_back.failure.code == "canary_aborted"
    assert "15 of 50 requests failed" in status.rolled_back.failure.message
    operation = list(w.operations.values())[-1]
    assert operation.state is OperationState.FAILED
    assert operation.error is not None
    assert operation.error["code"] == "canary_aborted"


def test_without_a_request_it_ends_by_time_alone_and_no_deadline_ends_it_before() -> None:
    spec = canaried(1, replace(CANARY, max_wait=7200), rollout=Rollout(canary=CANARY, progress_deadline=30))
    w = begun(spec)
    w.become_ready()
    w.settle()
    for _ in range(40):
        assert w.model is not None
        if w.model.status.rollout is None:
            break
        wait(w)
        w.become_ready()
        w.settle()
    assert w.model is not None
    assert (w.model.status.state, generations(w)) == (State.RUNNING, [2])


def test_a_canary_that_never_becomes_ready_meets_the_deadline() -> None:
    w = begun(canaried(1, rollout=Rollout(canary=CANARY, progress_deadline=30)))
    wait(w)
    w.settle()
    assert w.model is not None
    assert w.model.status.rolled_back is not None
    assert w.model.status.rolled_back.failure.code == "progress_deadline_exceeded"


def test_where_nothing_fits_beside_the_old_ones_it_waits_and_says_so() -> None:
    w = begun(canaried(1, resources=Resources(memory=3 * GIB)), capacity=4 * GIB)
    assert w.model is not None
    assert generations(w) == [1], "no old one makes room"
    assert w.model.status.waiting is not None


def test_an_old_instance_that_crashes_beside_a_canary_is_made_good() -> None:
    w = begun()
    w.become_ready()
    w.settle()
    old = next(p.id for p in w.processes.values() if p.target.generation == 1)
    w.crash_instance(old)
    w.settle()
    w.become_ready()
    w.settle()
    assert generations(w) == [1, 1, 1, 1, 2]
    assert progress(w).percent == 5


def test_beside_a_canary_the_old_revision_follows_what_is_asked_of_it() -> None:
    scaling = Autoscaling(target=1, cooldown=0, warm_up=0)
    w = begun(replace(canaried(2, autoscaling=scaling), replicas=Replicas(min=2, max=6)))
    w.become_ready()
    w.settle()
    assert generations(w) == [1, 1, 2]
    w.demand = Demand(average=4.0, peak=4.0)
    for _ in range(3):
        w.advance(1)
        w.settle()
        w.become_ready()
    assert generations(w) == [1, 1, 1, 1, 2]


def test_a_pause_holds_the_share_and_what_follows_begins_its_step_anew() -> None:
    w = begun()
    w.become_ready()
    w.settle()
    w.try_command(steering.pause_rollout)
    counted(w, Counts(requests=950), BAD)
    w.advance(6000)
    w.settle()
    assert progress(w).percent == 5
    counted(w, Counts(requests=500), GOOD)
    w.try_command(steering.resume_rollout)
    w.advance(59)
    w.settle()
    assert progress(w).percent == 5
    w.advance(1)
    w.settle()
    assert progress(w).wanted == 25


def test_a_share_set_by_hand_may_be_smaller_and_the_ramp_goes_on_from_it() -> None:
    w = begun()
    w.become_ready()
    w.settle()
    good_step(w)
    before = progress(w).mark
    w.try_command(steering.set_canary_percent, 10)
    w.settle()
    assert (progress(w).percent, progress(w).mark) == (10, before + 1)
    good_step(w)
    assert progress(w).wanted == 25
    assert w.model is not None
    for wrong in (0, 100):
        with pytest.raises(InvalidRequest):
            steering.set_canary_percent(w.model, wrong, w.asked())


def test_promote_skips_what_is_left_and_abort_goes_back() -> None:
    w = begun()
    w.become_ready()
    w.settle()
    w.try_command(steering.promote_rollout)
    w.settle()
    assert w.model is not None
    with pytest.raises(Refused, match="no canary now"):
        steering.promote_rollout(w.model, w.asked())
    for _ in range(4):
        w.become_ready()
        w.settle()
    assert generations(w) == [2, 2, 2, 2]
    w = begun()
    assert w.model is not None
    change = w.apply(steering.abort_canary(w.model, list(w.operations.values())[-1:], w.asked()))
    assert [failure.code for _, failure in change.given_up] == ["canary_aborted"]
    w.settle()
    assert generations(w) == [1, 1, 1, 1]


def test_a_rollback_by_hand_is_no_canary() -> None:
    w = begun()
    w.try_command(steering.promote_rollout)
    for _ in range(6):
        w.become_ready()
        w.settle()
    assert w.model is not None
    first = Revision(model_uid="uid", generation=1, spec=canaried(), created_at=w.now, actor="tester")
    w.apply(commands.rollback(w.model, first, w.asked()))
    w.settle()
    assert progress(w).promoted
    for _ in range(6):
        w.become_ready()
        w.settle()
    assert generations(w) == [3, 3, 3, 3]


def test_a_canary_taken_out_of_the_spec_is_over() -> None:
    w = begun()
    w.become_ready()
    w.settle()
    assert w.model is not None
    w.apply(commands.update(w.model, replace(w.model.spec, rollout=Rollout()), w.asked()))
    w.settle()
    assert progress(w).promoted


def test_a_restart_of_the_same_revision_has_no_canary() -> None:
    w = begun()
    w.try_command(steering.promote_rollout)
    for _ in range(6):
        w.become_ready()
        w.settle()
    w.try_command(commands.redeploy)
    w.settle()
    assert w.model is not None
    assert w.model.status.rollout is not None
    assert w.model.status.rollout.canary is None


# ------------------------------------------------------------------------------------------- the spec


def problems(**more: object) -> dict[str, str]:
    return {p.path: p.code for p in spec_problems(Spec(engine=Engine.MOCK, **more), "front")}  # type: ignore[arg-type]


def test_all_that_is_wrong_with_a_canary_is_said() -> None:
    wrong = Canary(steps=(50, 5), interval=0, min_requests=0, max_wait=0, max_error_rate=2, max_latency_ratio=0.5)
    named = ("", ".steps", ".interval", ".max_wait", ".min_requests", ".max_error_rate", ".max_latency_ratio")
    found = problems(rollout=Rollout(strategy=Strategy.REPLACE, canary=wrong))
    assert set(found) == {f"rollout.canary{name}" for name in named}
    assert problems(rollout=Rollout(canary=Canary())) == {}
    port = {"command": ["x", "{port}"], "port": 80}
    fixed = Spec(engine=Engine.COMMAND, options=port, rollout=Rollout(canary=Canary()))
    assert [p.path for p in spec_problems(fixed)] == ["rollout.canary"]


def test_all_that_is_wrong_with_traffic_is_said() -> None:
    split = (SplitArm(model="b", weight=60), SplitArm(model="b", weight=50), SplitArm(model="front", weight=-1))
    shadow = (Shadow(model="Not A Name"), Shadow(model="c", percent=101))
    found = problems(traffic=Traffic(split=split, shadow=shadow, sticky=Sticky(by=StickyBy.HEADER, name="a b")))
    assert found == {
        "traffic.split[1].model": "duplicate", "traffic.split[2].model": "self_reference",
        "traffic.split[2].weight": "out_of_range", "traffic.split": "out_of_range",
        "traffic.shadow[0].model": "invalid_name", "traffic.shadow[1].percent": "out_of_range",
        "traffic.sticky.name": "invalid_name",
    }  # fmt: skip
    assert problems(traffic=Traffic(sticky=Sticky(name="x"))) == {"traffic.sticky.by": "required"}
    header = Sticky(by=StickyBy.HEADER, name="X-User-ID", set_cookie=True)
    assert problems(traffic=Traffic(sticky=header)) == {"traffic.sticky.set_cookie": "not_applicable"}
