"""What several policies come to: the order of them never matters, and none allows what another refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain import commands
from modelyard.domain.commands import Asked
from modelyard.domain.enforcing import due, ending_findings, launch_findings, next_stop, signature_findings
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.model import Model
from modelyard.domain.policies import (
    Caps,
    MarkKind,
    Mode,
    Override,
    Policy,
    Rule,
    Rules,
    Selector,
    Subject,
    check_override,
    policy_problems,
)
from modelyard.domain.schedules import Weekday
from modelyard.domain.spec import Autoscaling, BackendName, Engine, Replicas, Resources, Spec
from modelyard.domain.states import RunState, State
from modelyard.domain.verdicts import Standing, Verdict, decide
from modelyard.domain.windows import Shutdown, ShutdownWindow

NOW = datetime(2030, 1, 5, 12, tzinfo=UTC)  # a Saturday
SUBJECT = Subject(uid="u", namespace="vision", name="pat", labels={"team": "a"})
WEEKEND = Shutdown(timezone="UTC", windows=(ShutdownWindow(days=(Weekday.SATURDAY, Weekday.SUNDAY)),))
WEEKDAYS = Shutdown(timezone="UTC", windows=(ShutdownWindow(days=(Weekday.MONDAY,), start=time(8), stop=time(9)),))
GIB = 2**30


def policy(name: str, namespace: str = "", mode: Mode = Mode.ENFORCE, **rules: object) -> Policy:
    made = Rules(**rules)  # type: ignore[arg-type]
    return Policy(name=name, namespace=namespace, mode=mode, rules=made, changed_at=NOW)


def verdict(*policies: Policy, overrides: tuple[Override, ...] = (), now: datetime = NOW) -> Verdict:
    return decide(SUBJECT, policies, overrides, now)


def standings(found: Verdict) -> dict[tuple[str, str], str]:
    return {(r.policy.name, str(r.rule)): str(r.standing) for r in found.rulings}


def running(spec: Spec | None = None, since: datetime = NOW) -> Model:
    asked = Asked(actor="a", reason="", at=since, operation_id="op")
    made = commands.create("u", "vision", "pat", spec or Spec(engine=Engine.MOCK), RunState.RUNNING, asked).after
    assert made is not None
    transition = replace(made.status.transition, after=State.RUNNING)
    return replace(made, status=replace(made.status, state=State.RUNNING, transition=transition))


def override(name: str, hours: float = 4, **more: str) -> Override:
    made = {"scope": "", "model_uid": "u", "reason": "a demonstration", "by": "admin"} | more
    return Override(policy=name, created_at=NOW, expires_at=NOW + timedelta(hours=hours), **made)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- whom


@pytest.mark.parametrize(
    ("selector", "selects"),
    [
        (Selector(), True),
        (Selector(namespaces=("vis*", "speech")), True),
        (Selector(namespaces=("speech",)), False),
        (Selector(labels={"team": "a"}), True),
        (Selector(labels={"team": "a", "tier": "gold"}), False),
        (Selector(models=("p?t",), namespaces=("vision",)), True),
        (Selector(models=("cat-*",)), False),
    ],
)
def test_a_policy_is_for_whom_all_of_its_selector_matches(selector: Selector, selects: bool) -> None:
    assert Policy(name="p", selector=selector).selects(SUBJECT) is selects


def test_a_policy_of_another_namespace_is_for_none_of_its_models() -> None:
    assert verdict(policy("p", "speech", protected=True)).rulings == ()


# ------------------------------------------------------------------------------------------- precedence


def test_the_strictest_cap_holds_and_the_others_say_to_whom_they_yield() -> None:
    found = verdict(
        policy("house", caps=Caps(gpus=4)), policy("mine", "vision", caps=Caps(gpus=2)),
        policy("soft", mode=Mode.WARN, caps=Caps(gpus=1)), policy("softer", mode=Mode.WARN, caps=Caps(gpus=3)),
    )  # fmt: skip
    assert standings(found) == {
        ("house", "caps.gpus"): "yields", ("mine", "caps.gpus"): "in_force", ("soft", "caps.gpus"): "warns",
        ("softer", "caps.gpus"): "yields",
    }  # fmt: skip
    (house,) = [r for r in found.rulings if r.policy.name == "house"]
    assert "policy mine is as strict or stricter (2)" in house.why


def test_a_namespace_cannot_loosen_what_the_installation_demands() -> None:
    found = verdict(
        policy("weekend", shutdown=WEEKEND), policy("run", max_run_time=3600.0),
        policy("mine", "vision", protected=True, max_run_time=86_400.0, shutdown=WEEKDAYS, caps=Caps(memory=64 * GIB)),
        policy("small", caps=Caps(memory=GIB)),
    )  # fmt: skip
    assert standings(found) == {
        ("weekend", "shutdown"): "in_force", ("mine", "shutdown"): "shielded", ("run", "max_run_time"): "in_force",
        ("mine", "max_run_time"): "shielded", ("small", "caps.memory"): "in_force", ("mine", "caps.memory"): "yields",
        ("mine", "protected"): "in_force",
    }  # fmt: skip


def test_a_stricter_rule_that_is_shielded_does_not_push_out_one_that_holds() -> None:
    found = verdict(policy("house", max_run_time=7200.0), policy("mine", "vision", max_run_time=3600.0, protected=True))
    assert standings(found)["house", "max_run_time"] == "in_force"


def test_a_warning_protects_from_nothing() -> None:
    found = verdict(policy("soft", mode=Mode.WARN, protected=True), policy("weekend", shutdown=WEEKEND))
    assert standings(found)["weekend", "shutdown"] == "in_force"


def test_backends_that_exclude_each_other_are_shown_as_a_conflict() -> None:
    found = verdict(
        policy("a", allowed_backends=(BackendName.LOCAL,)), policy("b", allowed_backends=())
    )  # fmt: skip
    assert [r.why for r in found.rulings] == [""]
    others = [b for b in BackendName if b is not BackendName.LOCAL]
    if others:
        both = verdict(policy("a", allowed_backends=(BackendName.LOCAL,)), policy("b", allowed_backends=(others[0],)))
        assert {r.why for r in both.rulings} == {"conflict: a, b allow no backend together"}


def test_an_override_takes_all_rules_of_its_policy_out_until_it_expires() -> None:
    policies = (policy("weekend", shutdown=WEEKEND, caps=Caps(gpus=0)), policy("other", caps=Caps(gpus=1)))
    found = verdict(*policies, overrides=(override("weekend"),))
    assert standings(found) == {
        ("weekend", "shutdown"): "overridden", ("weekend", "caps.gpus"): "overridden",
        ("other", "caps.gpus"): "in_force",
    }  # fmt: skip
    assert "until 2030-01-05 16:00 UTC by admin: a demonstration" in {r.why for r in found.rulings}
    later = verdict(*policies, overrides=(override("weekend"),), now=NOW + timedelta(hours=4))
    assert standings(later)["weekend", "shutdown"] == "in_force"


def test_an_override_is_for_one_model_and_one_policy_of_one_scope() -> None:
    for another in (override("weekend", model_uid="v"), override("weekend", scope="vision"), override("other")):
        assert standings(verdict(policy("weekend", shutdown=WEEKEND), overrides=(another,))) == {
            ("weekend", "shutdown"): "in_force"
        }


@pytest.mark.parametrize(("hours", "reason"), [(0, "why"), (-1, "why"), (24 * 91, "why"), (1, " ")])
def test_an_override_has_a_reason_and_an_end(hours: float, reason: str) -> None:
    with pytest.raises(InvalidRequest):
        check_override(override("p", hours, reason=reason))


# ------------------------------------------------------------------------------------------- properties

_MODES = st.sampled_from(list(Mode))
_RULES = st.builds(
    Rules,
    shutdown=st.sampled_from([None, WEEKEND, WEEKDAYS]),
    idle_after=st.sampled_from([None, 60.0, 3600.0]),
    max_run_time=st.sampled_from([None, 60.0, 3600.0]),
    caps=st.builds(
        Caps, gpus=st.sampled_from([None, 0, 2, 4]), memory=st.sampled_from([None, GIB, 8 * GIB]),
        cpu=st.sampled_from([None, 1.0, 8.0]),
    ),
    require_signature=st.booleans(),
    allowed_backends=st.sampled_from([(), (BackendName.LOCAL,)]),
    protected=st.booleans(),
)  # fmt: skip
_POLICIES = st.lists(
    st.builds(
        Policy, name=st.sampled_from(list("abcdef")), namespace=st.sampled_from(["", "vision", "speech"]),
        mode=_MODES, rules=_RULES,
    ),
    max_size=5, unique_by=lambda p: p.key,
)  # fmt: skip
_SPECS = st.builds(
    Spec, engine=st.just(Engine.MOCK),
    resources=st.builds(
        Resources, gpus=st.integers(0, 5), memory=st.sampled_from([None, GIB, 9 * GIB]),
        cpu=st.sampled_from([None, 0.5, 9.0]),
    ),
    replicas=st.builds(Replicas, min=st.integers(1, 2), max=st.integers(2, 3)),
)  # fmt: skip


def refused(found: Verdict, spec: Spec) -> set[tuple[str, str]]:
    """What users are refused, by what they ask and for which rule."""
    unsigned = signature_findings(found, [Problem("source", "unsigned", "It is not signed.")])
    commands_ = {
        "start": launch_findings(found, spec, NOW, begins=True) + unsigned,
        "update": launch_findings(found, spec, NOW, begins=False) + unsigned,
        "stop": ending_findings(found, "stopped"),
    }
    return {(name, str(f.rule)) for name, findings in commands_.items() for f in findings.refused}


def told(found: Verdict, spec: Spec) -> set[tuple[tuple[str, str], str]]:
    unsigned = signature_findings(found, [Problem("source", "unsigned", "It is not signed.")])
    both = launch_findings(found, spec, NOW, begins=True) + unsigned + ending_findings(found, "stopped")
    return {(f.policy.key, str(f.rule)) for f in (*both.refused, *both.warned)}


@given(policies=_POLICIES, data=st.data())
@settings(max_examples=150, deadline=None)
def test_the_order_of_policies_makes_no_difference(policies: list[Policy], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(policies))
    assert verdict(*policies) == verdict(*shuffled)
    for one in verdict(*policies).rulings:
        assert one.why or one.standing in (Standing.IN_FORCE, Standing.WARNS)


@given(policies=_POLICIES, spec=_SPECS, data=st.data())
@settings(max_examples=200, deadline=None)
def test_one_more_policy_never_allows_what_was_refused(policies: list[Policy], spec: Spec, data: st.DataObject) -> None:
    if not policies:
        return
    added = data.draw(st.sampled_from(policies))
    without = [p for p in policies if p is not added]
    assert refused(verdict(*without), spec) <= refused(verdict(*policies), spec)


@given(policies=_POLICIES, spec=_SPECS, data=st.data())
@settings(max_examples=200, deadline=None)
def test_to_enforce_is_never_weaker_than_to_warn(policies: list[Policy], spec: Spec, data: st.DataObject) -> None:
    if not policies:
        return
    chosen = data.draw(st.sampled_from(policies))
    others = [p for p in policies if p is not chosen]
    soft, hard = (verdict(*others, replace(chosen, mode=mode)) for mode in (Mode.WARN, Mode.ENFORCE))
    assert refused(soft, spec) <= refused(hard, spec)
    # What it would only have warned of, it refuses, or another one does.
    warned = {rule for key, rule in told(soft, spec) if key == chosen.key}
    assert warned <= {rule for _, rule in refused(hard, spec)}


@given(policies=_POLICIES, spec=_SPECS, gpus=st.integers(0, 4), data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_tighter_cap_never_allows_more(policies: list[Policy], spec: Spec, gpus: int, data: st.DataObject) -> None:
    if not policies:
        return
    chosen = data.draw(st.sampled_from(policies))
    had = chosen.rules.caps.gpus
    tight = replace(chosen.rules.caps, gpus=gpus if had is None else min(gpus, had))
    tighter = replace(chosen, rules=replace(chosen.rules, caps=tight))
    others = [p for p in policies if p is not chosen]
    assert refused(verdict(*policies), spec) <= refused(verdict(*others, tighter), spec)


# ------------------------------------------------------------------------------------------- commands


def test_a_start_within_a_window_is_told_when_it_is_over_and_whom_to_ask() -> None:
    found = launch_findings(verdict(policy("weekend", shutdown=WEEKEND)), Spec(engine=Engine.MOCK), NOW, begins=True)
    (finding,) = found.refused
    assert "until Monday 2030-01-07 00:00 UTC" in finding.message
    assert "modelyard policy override pat weekend --reason … --for 4h" in finding.message
    again = launch_findings(verdict(policy("weekend", shutdown=WEEKEND)), Spec(engine=Engine.MOCK), NOW, begins=False)
    assert again.refused == (), "what runs already does not begin"


def test_caps_count_all_replicas_that_there_may_be() -> None:
    cap = verdict(policy("cap", caps=Caps(gpus=4)))
    two = Resources(gpus=2)
    fixed = Spec(engine=Engine.MOCK, resources=two, replicas=Replicas(min=2, max=4))
    assert launch_findings(cap, fixed, NOW, begins=True).refused == ()
    scaled = replace(fixed, autoscaling=Autoscaling(target=1.0))
    (finding,) = launch_findings(cap, scaled, NOW, begins=True).refused
    assert finding.path == "spec.resources.gpus"
    assert "8 GPU(s)" in finding.message


def test_under_a_cap_of_memory_every_model_says_how_much_it_takes() -> None:
    (finding,) = launch_findings(
        verdict(policy("cap", caps=Caps(memory=GIB))), Spec(engine=Engine.MOCK), NOW, begins=True
    ).refused
    assert finding.path == "spec.resources.memory"


def test_an_update_that_makes_nothing_worse_passes_a_cap_that_came_later() -> None:
    cap = verdict(policy("cap", caps=Caps(gpus=1, memory=GIB)))
    before = Spec(engine=Engine.MOCK, resources=Resources(gpus=4))
    for after in (before, replace(before, description="new"), replace(before, resources=Resources(gpus=2))):
        assert launch_findings(cap, after, NOW, begins=False, before=before).refused == ()
    more = replace(before, resources=Resources(gpus=5))
    assert [f.rule for f in launch_findings(cap, more, NOW, begins=False, before=before).refused] == [Rule.GPUS]


# ------------------------------------------------------------------------------------------- what runs


def test_a_model_is_stopped_in_a_window_and_looked_at_when_the_next_begins() -> None:
    found = due(verdict(policy("weekend", shutdown=WEEKEND)), running(), None, NOW)
    assert found.stop is not None
    assert found.stop.until == datetime(2030, 1, 7, tzinfo=UTC)
    later = due(verdict(policy("weekend", shutdown=WEEKEND)), running(), None, datetime(2030, 1, 7, tzinfo=UTC))
    assert (later.stop, later.wake_at) == (None, datetime(2030, 1, 12, tzinfo=UTC))


def test_ten_minutes_before_its_time_is_up_a_model_is_told_so() -> None:
    found, model = verdict(policy("short", max_run_time=3600.0)), running()
    assert due(found, model, None, NOW).wake_at == NOW + timedelta(minutes=50)
    notice = due(found, model, None, NOW + timedelta(minutes=50))
    assert [w.kind for w in notice.warnings] == [MarkKind.NOTICE_OF_RUN_TIME]
    assert (notice.stop, notice.wake_at) == (None, NOW + timedelta(hours=1))
    assert due(found, model, None, NOW + timedelta(hours=1)).stop is not None


def test_idle_time_counts_from_the_last_request_or_what_came_after_it() -> None:
    found, model = verdict(policy("idle", idle_after=3600.0)), running()
    before = NOW - timedelta(hours=5)
    assert due(found, model, before, NOW).stop is None, "it was started after the last request"
    assert due(found, model, before, NOW + timedelta(hours=1)).stop is not None
    assert due(found, model, None, NOW + timedelta(hours=9)).stop is None, "a request is in flight"
    starting = replace(model, status=replace(model.status, state=State.STARTING))
    assert due(found, starting, before, NOW + timedelta(hours=9)).stop is None, "it does not serve yet"


def test_what_only_warns_stops_nothing_and_says_so_once_an_occasion() -> None:
    soft = [
        policy("w", mode=Mode.WARN, shutdown=WEEKEND), policy("r", mode=Mode.WARN, max_run_time=60.0),
        policy("i", mode=Mode.WARN, idle_after=60.0),
    ]  # fmt: skip
    first = due(verdict(*soft), running(), NOW, NOW + timedelta(hours=1))
    second = due(verdict(*soft), running(), NOW, NOW + timedelta(hours=2))
    assert first.stop is second.stop is None
    assert {w.kind for w in first.warnings} == {
        MarkKind.WARNED_OF_SHUTDOWN, MarkKind.WARNED_OF_RUN_TIME, MarkKind.WARNED_OF_IDLING
    }  # fmt: skip
    assert [(w.kind, w.at) for w in first.warnings] == [(w.kind, w.at) for w in second.warnings]


def test_a_protected_model_is_stopped_by_no_policy_of_its_scope() -> None:
    rules = [policy("w", shutdown=WEEKEND), policy("r", max_run_time=60.0), policy("i", idle_after=60.0)]
    kept = verdict(*rules, policy("keep", protected=True))
    assert due(kept, running(), NOW, NOW + timedelta(hours=9)).stop is None
    assert next_stop(kept, running(), NOW) is None
    assert [f.rule for f in launch_findings(kept, Spec(engine=Engine.MOCK), NOW, begins=True).refused] == [
        Rule.SHUTDOWN
    ]


def test_what_runs_over_a_cap_is_told_of_and_goes_on() -> None:
    model = running(Spec(engine=Engine.MOCK, resources=Resources(gpus=4)))
    found = due(verdict(policy("cap", caps=Caps(gpus=1))), model, None, NOW)
    assert found.stop is None
    assert [w.kind for w in found.warnings] == [MarkKind.OVER_CAP]


def test_everything_wrong_with_a_policy_is_told_at_once() -> None:
    made = Policy(
        name="No Name", namespace="vision", selector=Selector(namespaces=("a",), models=("",), labels={"": "x"}),
        rules=Rules(idle_after=1.0, max_run_time=1e12, caps=Caps(gpus=-1)),
    )  # fmt: skip
    assert {p.path for p in policy_problems(made)} == {
        "name", "selector.namespaces", "selector.models[0]", "selector.labels.", "rules.idle_after",
        "rules.max_run_time", "rules.caps.gpus",
    }  # fmt: skip
    assert [p.path for p in policy_problems(Policy(name="p"))] == ["rules"]
