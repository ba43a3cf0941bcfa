"""The effect table: what a change of each field does, and what is wrong with fields that must agree."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from modelyard.domain.effects import EFFECTS, Effect, changes, needs_new_instances
from modelyard.domain.spec import (
    Autoscaling,
    Container,
    Engine,
    Features,
    HealthCheck,
    ModelType,
    Probe,
    Replicas,
    Resources,
    Rollout,
    Spec,
    Strategy,
)
from modelyard.domain.validation import spec_problems

MOCK = Spec(engine=Engine.MOCK)


def test_every_field_of_a_spec_has_its_effect() -> None:
    assert set(EFFECTS) == {field.name for field in fields(Spec)}


@pytest.mark.parametrize(
    ("change", "effect"),
    [
        ({"description": "new"}, Effect.METADATA),
        ({"labels": {"team": "a"}}, Effect.METADATA),
        ({"groups": ("readers",)}, Effect.METADATA),
        ({"priority": 5}, Effect.METADATA),
        ({"features": Features(streaming=True)}, Effect.FEATURES),
        ({"features": Features(summarization=True)}, Effect.FEATURES),
        ({"replicas": Replicas(max=3)}, Effect.AUTOSCALING),
        ({"autoscaling": Autoscaling(target=2)}, Effect.AUTOSCALING),
        ({"container": Container(environment={"A": "1"})}, Effect.CONTAINER),
        ({"container": Container(shared_memory=2**24)}, Effect.CONTAINER),
        ({"container": Container(health_check=HealthCheck(retries=5))}, Effect.CONTAINER),
        ({"resources": Resources(gpus=1)}, Effect.ROLLOUT),
        ({"options": {"latency_ms": 3}}, Effect.ROLLOUT),
        ({"source": "file:///elsewhere"}, Effect.ROLLOUT),
    ],
)
def test_each_change_has_its_effect(change: dict[str, object], effect: Effect) -> None:
    new = replace(MOCK, **change)  # type: ignore[arg-type]
    assert {c.effect for c in changes(MOCK, new)} == {effect}
    assert needs_new_instances(MOCK, new) is effect.replaces


def test_a_difference_is_told_by_the_path_of_each_field_with_both_values() -> None:
    old = replace(MOCK, container=Container(environment={"KEPT": "1", "GONE": "2"}))
    new = replace(MOCK, container=Container(environment={"KEPT": "1", "NEW": "3"}), replicas=Replicas(max=2))
    assert [(c.path, c.before, c.after) for c in changes(old, new)] == [
        ("replicas.max", 1, 2),
        ("container.environment.GONE", "2", None),
        ("container.environment.NEW", None, "3"),
    ]


def test_equal_specs_have_no_difference() -> None:
    assert changes(MOCK, replace(MOCK)) == ()


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = replace(
        MOCK,
        type=ModelType.EMBEDDING,
        features=Features(streaming=True),
        replicas=Replicas(min=3, max=2, desired=5),
        autoscaling=Autoscaling(target=0, idle_after=0.1, max_waiting=0),
        rollout=Rollout(progress_deadline=0, probe=Probe(path="/x")),
        priority=10_000,
    )
    assert {p.path for p in spec_problems(wrong)} == {
        "features.streaming", "replicas.min", "replicas.desired", "autoscaling.target", "autoscaling.idle_after",
        "autoscaling.max_waiting", "rollout.progress_deadline", "rollout.probe.path", "priority",
    }  # fmt: skip


def test_a_server_with_a_port_of_its_own_cannot_surge() -> None:
    server = Spec(
        engine=Engine.COMMAND, options={"command": ["x"], "port": 9000}, rollout=Rollout(strategy=Strategy.SURGE)
    )
    assert {p.path: p.code for p in spec_problems(server)} == {"rollout.strategy": "conflict"}


def test_a_spec_that_cannot_be_carried_out_says_so_and_nothing_else() -> None:
    unresolved = replace(MOCK, unresolved="This version has no engine 'abacus'.")
    assert [(p.code, p.message) for p in spec_problems(unresolved)] == [
        ("unresolved", "This version has no engine 'abacus'.")
    ]
