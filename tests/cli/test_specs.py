"""What --set, --unset and --target make of a spec, and what a folder tells of its model."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from modelyard.cli import specs
from modelyard.cli.problems import CliError


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


@pytest.mark.parametrize(
    ("files", "loaded", "engine"),
    [
        ((), "", None),
        (("readme.md",), "", None),
        (("digits.onnx", "readme.md"), "digits.onnx", None),
        (("other.onnx", "model.onnx"), "model.onnx", None),
        (("model.py", "weights.onnx"), "", "python"),
    ],
)
def test_a_folder_tells_what_is_loaded_of_it(
    tmp_path: Path, files: tuple[str, ...], loaded: str, engine: str | None
) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert specs.in_folder(str(tmp_path)) == (str(tmp_path / loaded), engine)


@pytest.mark.parametrize("names", [("a.onnx", "b.onnx"), ("model.onnx", "model.skops")])
def test_a_folder_of_several_models_is_refused_by_their_names(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(CliError, match=", ".join(names)):
        specs.in_folder(str(tmp_path))


def test_what_is_no_folder_here_is_left_as_it_is(tmp_path: Path) -> None:
    assert specs.in_folder("pat@stable") == ("pat@stable", None)
