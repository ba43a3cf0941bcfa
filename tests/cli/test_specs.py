"""What --set, --unset and --target make of a spec."""

from __future__ import annotations

import pytest
import typer

from modelyard.cli import specs


def test_a_patch_holds_typed_values_at_their_paths_and_null_for_what_is_unset() -> None:
    patch = specs.patch(
        [
            "container.environment.TZ=UTC",
            "container.environment.WORKERS=4",
            "labels.app.kubernetes.io/name=yes",
            "description=1.0",
            "replicas.max=3",
            "pin=true",
            "resources.memory=1Gi",
            "groups=[a, b]",
        ],
        ["autoscaling.idle_after", "container.environment.OLD"],
    )
    assert patch == {
        "container": {"environment": {"TZ": "UTC", "WORKERS": "4", "OLD": None}},
        "labels": {"app.kubernetes.io/name": "yes"},
        "description": "1.0",
        "replicas": {"max": 3},
        "pin": True,
        "resources": {"memory": "1Gi"},
        "groups": ["a", "b"],
        "autoscaling": {"idle_after": None},
    }


@pytest.mark.parametrize(
    ("settings", "removals"),
    [
        (["replicas"], []),
        (["=1"], []),
        (["replicas=1", "replicas.max=2"], []),
        (["replicas.max=2", "replicas=1"], []),
        (["replicas.max=2"], ["replicas.max"]),
    ],
)
def test_a_patch_that_contradicts_itself_is_refused(settings: list[str], removals: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        specs.patch(settings, removals)


def test_a_target_names_its_metric() -> None:
    assert specs.target("rps=50") == {"metric": "rps", "target": 50.0}
    assert specs.target("none") == {"target": None}
    assert specs.target(None) == {}
    with pytest.raises(typer.BadParameter, match="concurrency=4"):
        specs.target("50")
