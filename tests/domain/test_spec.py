"""What is wrong with a spec is said whole, each thing with the path of its field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelyard.domain.effects import needs_new_instances
from modelyard.domain.spec import (
    Artifact,
    Container,
    Engine,
    Follow,
    HealthCheck,
    Limits,
    Replicas,
    Resources,
    Spec,
)
from modelyard.domain.validation import spec_problems

MOCK = Spec(engine=Engine.MOCK)
DIGITS = Artifact(version="1.0.0", manifest="sha256:" + "1" * 64, entry="digits.onnx")
ONNX = Spec(engine=Engine.ONNX, source="file:///m.onnx")


def paths(spec: Spec) -> dict[str, str]:
    return {p.path: p.code for p in spec_problems(spec)}


def test_all_problems_are_reported_at_once() -> None:
    spec = Spec(
        engine=Engine.ONNX,
        resources=Resources(cpu=0, memory=1, gpus=-1),
        replicas=Replicas(min=5, max=2),
        container=Container(environment={"1X": "a", "MODELYARD_HOME": "b"}, working_dir="relative"),
        limits=Limits(request_timeout=0, max_body=0, max_queue=0),
        labels={"": "x"},
    )
    assert set(paths(spec)) == {
        "source", "resources.cpu", "resources.memory", "resources.gpus", "replicas.min",
        "container.environment.1X", "container.environment.MODELYARD_HOME", "container.working_dir",
        "limits.request_timeout", "limits.max_body", "limits.max_queue", "labels.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "path", "code"),
    [
        (replace(ONNX, source=None), "source", "required"),
        (replace(ONNX, source="s3://b/k"), "source", "invalid_source"),
        (replace(ONNX, source="file:///a/../b"), "source", "invalid_source"),
        (replace(ONNX, source="digits@stable"), "source", "unresolved_source"),
        (replace(ONNX, source="digits@1.0.0", artifact=DIGITS, follow=Follow.AUTO), "follow", "nothing_to_follow"),
        (Spec(engine=Engine.SKLEARN, source="file:///m.PKL"), "source", "untrusted_pickle"),
        (replace(ONNX, options={"x": 1}), "options.x", "unknown_option"),
        (replace(ONNX, options={"batching": True}), "options.batching", "invalid_type"),
        (replace(ONNX, options={"batching": {"rows": 3}}), "options.batching.rows", "unknown_option"),
        (replace(ONNX, options={"batching": {"max_rows": 1}}), "options.batching.max_rows", "out_of_range"),
        (replace(ONNX, options={"batching": {"max_delay_ms": "3"}}), "options.batching.max_delay_ms", "out_of_range"),
        (Spec(engine=Engine.COMMAND), "options.command", "required"),
        (Spec(engine=Engine.COMMAND, options={"command": "ls"}), "options.command", "required"),
        (Spec(engine=Engine.COMMAND, options={"command": ["a"], "port": 0}), "options.port", "out_of_range"),
        (
            Spec(engine=Engine.COMMAND, options={"command": ["a"], "port": 1}, replicas=Replicas(max=2)),
            "replicas.max",
            "out_of_range",
        ),
        (replace(MOCK, options={"latency_ms": -1}), "options.latency_ms", "out_of_range"),
        (replace(MOCK, options={"outputs": [{"name": "x"}]}), "options.outputs[0]", "required"),
        (replace(MOCK, replicas=Replicas(min=0, max=0)), "replicas.min", "out_of_range"),
        (replace(MOCK, replicas=Replicas(min=1, max=1000)), "replicas.max", "out_of_range"),
        (
            replace(MOCK, container=Container(health_check=HealthCheck(path="/x"))),
            "container.health_check.path",
            "not_applicable",
        ),
        *(
            (
                Spec(engine=Engine.COMMAND, options={"command": ["a"]}, container=Container(health_check=check)),
                f"container.health_check.{field}",
                code,
            )
            for check, field, code in [
                (HealthCheck(path="health"), "path", "invalid_path"),
                (HealthCheck(path="/x HTTP/1.1\r\nHost: elsewhere"), "path", "invalid_path"),
                (HealthCheck(path="/a blank"), "path", "invalid_path"),
                (HealthCheck(path="/a\x7f"), "path", "invalid_path"),
                (HealthCheck(command=("sh", "-c", "a\x00b")), "command", "invalid_value"),
            ]
        ),
        (Spec(engine=Engine.COMMAND, options={"command": ["a\x00b"]}), "options.command", "invalid_value"),
        (replace(MOCK, container=Container(working_dir="/a\x00b")), "container.working_dir", "invalid_path"),
        (
            replace(MOCK, container=Container(health_check=HealthCheck(retries=0))),
            "container.health_check.retries",
            "out_of_range",
        ),
    ],
)
def test_a_wrong_field_is_named(spec: Spec, path: str, code: str) -> None:
    assert paths(spec) == {path: code}


def test_a_trusted_pickle_is_taken() -> None:
    assert paths(Spec(engine=Engine.SKLEARN, source="file:///m.pkl", trusted=True)) == {}


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        ({"description": "x"}, False),
        ({"labels": {"a": "b"}}, False),
        ({"public": True}, False),
        ({"limits": Limits(max_queue=1)}, False),
        ({"replicas": Replicas(min=2, max=2)}, False),
        ({"options": {"latency_ms": 1}}, True),
        ({"resources": Resources(cpu=2)}, True),
        ({"container": Container(environment={"A": "b"})}, True),
    ],
)
def test_only_what_instances_are_made_of_replaces_them(change: dict[str, Any], replaced: bool) -> None:
    assert needs_new_instances(MOCK, replace(MOCK, **change)) is replaced
