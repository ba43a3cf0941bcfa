"""When alerts fire and are over, whatever is told of models and in whatever order."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.alerts import (
    BUILT_IN,
    Alert,
    AlertKind,
    AlertRule,
    AlertState,
    Fact,
    Subject,
    evaluate,
    rule_of,
    rule_problems,
    with_built_in,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PAT = Subject(uid="u1", namespace="default", name="pat", labels={"team": "a"})
KIM = Subject(uid="u2", namespace="other", name="kim")
BOTH = {subject.uid: subject for subject in (PAT, KIM)}
ERRORS = replace(rule_of(AlertKind.ERROR_RATE, "errors"), threshold=0.5, lasting=30.0, keep=60.0)


class Watched:
    """Rules and what has come of them, as a loop would keep it."""

    def __init__(self, *rules: AlertRule, subjects: Mapping[str, Subject] = BOTH) -> None:
        self.rules = rules
        self.subjects = dict(subjects)
        self.open: Mapping[str, Alert] = {}
        self.now = NOW

    def after(self, seconds: float, *facts: Fact) -> list[tuple[str, str]]:
        """What changes: model and state."""
        self.now += timedelta(seconds=seconds)
        outcome = evaluate({rule.key: rule for rule in self.rules}, self.subjects, facts, self.open, self.now)
        self.open = outcome.alerts
        return [(alert.model, str(alert.state)) for alert in outcome.changes]


def fact(value: float | None, subject: Subject = PAT, rule: AlertRule = ERRORS) -> Fact:
    return Fact(uid=subject.uid, rule=rule.key, value=value)


def test_what_must_last_fires_only_once_it_has() -> None:
    w = Watched(ERRORS)
    assert w.after(0, fact(0.9)) == w.after(29, fact(0.9)) == []
    assert w.after(1, fact(0.9)) == [("pat", "firing")]
    assert w.after(60, fact(0.9)) == []


def test_what_ends_before_it_has_lasted_never_fires() -> None:
    w = Watched(ERRORS)
    w.after(0, fact(0.9))
    assert w.after(10, fact(0.1)) == []
    assert w.after(25, fact(0.9)) == w.after(10, fact(0.9)) == []


def test_it_is_over_only_once_it_was_well_below_for_long_enough() -> None:
    w = Watched(replace(ERRORS, lasting=0.0))
    assert w.after(0, fact(0.5)) == [("pat", "firing")]
    # Below the threshold, and not below nine tenths of it: still bad.
    assert w.after(59, fact(0.46)) == []
    assert w.after(59, fact(0.44)) == []
    assert w.after(1, fact(0.44)) == [("pat", "resolved")]


def test_what_nobody_knows_begins_nothing_and_ends_nothing() -> None:
    w = Watched(replace(ERRORS, lasting=0.0, keep=0.0))
    assert w.after(0, fact(None)) == []
    assert w.after(1, fact(1.0)) == [("pat", "firing")]
    assert w.after(1000, fact(None)) == []
    assert w.after(1, fact(0.0)) == [("pat", "resolved")]


def test_the_alerts_of_a_model_that_is_gone_or_meant_no_more_are_over_at_once() -> None:
    for end in ("deleted", "rule deleted", "rule off", "labels"):
        w = Watched(replace(ERRORS, lasting=0.0, labels={"team": "a"}))
        assert w.after(0, fact(1.0)) == [("pat", "firing")]
        if end == "deleted":
            del w.subjects["u1"]
        elif end == "rule deleted":
            w.rules = ()
        elif end == "rule off":
            w.rules = (replace(w.rules[0], enabled=False),)
        else:
            w.subjects["u1"] = replace(PAT, labels={})
        assert w.after(0.001, fact(1.0)) == [("pat", "resolved")], end


@pytest.mark.parametrize(
    ("change", "means"),
    [
        ({}, {"pat", "kim"}),
        ({"namespace": "other"}, {"kim"}),
        ({"namespaces": ("default",)}, {"pat"}),
        ({"names": ("p*", "x")}, {"pat"}),
        ({"labels": {"team": "a"}}, {"pat"}),
        ({"labels": {"team": "b"}}, set()),
        ({"enabled": False}, set()),
    ],
)
def test_a_rule_means_the_models_that_it_selects(change: Mapping[str, object], means: set[str]) -> None:
    rule = replace(ERRORS, **change)  # type: ignore[arg-type]
    assert {subject.name for subject in (PAT, KIM) if rule.means(subject)} == means


def test_a_rule_of_the_same_name_takes_the_place_of_a_built_in_one() -> None:
    mine = replace(rule_of(AlertKind.CRASH_LOOP, "crash-loop"), enabled=False, version=1)
    assert [rule for rule in with_built_in([mine]) if rule.name == "crash-loop"] == [mine]
    assert {rule.kind for rule in BUILT_IN} == {
        AlertKind.START_FAILED, AlertKind.SCHEDULE_FAILED, AlertKind.CRASH_LOOP,
    }  # fmt: skip


def test_every_kind_has_a_usual_rule_that_is_valid_and_all_faults_are_named_at_once() -> None:
    assert all(rule_problems(rule_of(kind, "r")) == [] for kind in AlertKind)
    bad = replace(ERRORS, name="Bad!", threshold=2.0, window=1.0, quantile=1.0, least=0, clear=3.0, keep=-1.0)
    paths = {problem.path for problem in rule_problems(bad)}
    assert paths == {"name", "threshold", "window", "quantile", "least", "clear", "keep"}


# ------------------------------------------------------------------------------------------- whatever happens

_VALUES = st.sampled_from([None, 0.0, 0.44, 0.46, 0.5, 1.0])
_STEPS = st.lists(
    st.tuples(
        st.sampled_from([-30.0, 0.001, 1.0, 31.0, 100.0]), _VALUES, _VALUES,
        st.sampled_from(["", "", "", "gone", "back", "off", "on"]),
    ),
    max_size=25,
)  # fmt: skip
RULES = (
    replace(ERRORS, name="slow"),
    replace(ERRORS, name="quick", lasting=0.0, keep=0.0),
    replace(rule_of(AlertKind.CRASH_LOOP, "loop"), threshold=1.0),
)


def run(steps: Sequence[tuple[float, float | None, float | None, str]], shuffle: random.Random | None) -> list[Alert]:
    """All changes, and at the end, once everything has been well for long, those too."""
    now = NOW
    earlier: dict[str, Alert] = {}
    history: list[Alert] = []
    subjects, rules = dict(BOTH), list(RULES)
    ended = [*steps, (0.001, 0.0, 0.0, ""), (1000.0, 0.0, 0.0, "")]
    for seconds, pat, kim, happens in ended:
        now += timedelta(seconds=seconds)
        if happens == "gone":
            subjects.pop("u1", None)
        elif happens == "back":
            subjects["u1"] = PAT
        elif happens in ("off", "on"):
            rules[0] = replace(rules[0], enabled=happens == "on")
        facts = [
            Fact(uid=uid, rule=rule.key, value=value)
            for uid, value in (("u1", pat), ("u2", kim)) for rule in rules
        ]  # fmt: skip
        if shuffle is not None:
            shuffle.shuffle(facts)
        outcome = evaluate({rule.key: rule for rule in rules}, subjects, facts, earlier, now)
        earlier = dict(outcome.alerts)
        history += outcome.changes
    assert not earlier
    return history


@given(_STEPS)
def test_every_alert_fires_once_and_is_over_once_in_turns(steps: Sequence[tuple[float, float, float, str]]) -> None:
    firing: dict[str, str] = {}
    for alert in run(steps, None):
        if alert.state is AlertState.FIRING:
            assert alert.fingerprint not in firing
            firing[alert.fingerprint] = alert.id
        else:
            assert firing.pop(alert.fingerprint) == alert.id
            assert alert.ends_at is not None
            assert alert.ends_at >= alert.starts_at
    assert not firing


@given(_STEPS, st.randoms(use_true_random=False))
def test_the_order_in_which_facts_are_told_changes_nothing(
    steps: Sequence[tuple[float, float, float, str]], shuffle: random.Random
) -> None:
    assert run(steps, shuffle) == run(steps, None)
