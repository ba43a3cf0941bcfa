"""What the environment is told by, what follows from it, and which models a path stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.runtime import ProgressiveLoadingConfig
from modelyard.runtime.manager.config import Environment, OnTimeout, detect
from modelyard.runtime.manager.folders import NothingFound, find

NOTHING = "there is no terminal, and nothing says otherwise"


@pytest.mark.parametrize(
    ("environ", "arguments", "terminal", "expected", "told_by"),
    [
        ({}, ["app"], False, "production", NOTHING),
        ({}, ["app"], True, "development", "it runs in a terminal"),
        ({}, ["uvicorn", "app:app", "--reload"], False, "development", "it is started to be reloaded"),
        ({}, ["fastapi", "dev"], False, "development", "it is started to be reloaded"),
        ({"DEBUG": "true"}, ["app"], False, "development", "DEBUG"),
        ({"DEBUG": "0"}, ["app"], False, "production", NOTHING),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "DEBUG": "1"}, ["app"], True, "production", "KUBERNETES_SERVICE_HOST"),
        ({"MODELYARD_ENVIRONMENT": "dev", "K_SERVICE": "s"}, ["app"], False, "development", "MODELYARD_ENVIRONMENT"),
        ({"MODELYARD_ENVIRONMENT": "PRODUCTION"}, ["app", "--reload"], True, "production", "MODELYARD_ENVIRONMENT"),
    ],
)
def test_the_environment_is_told_by_what_is_nearest(
    environ: dict[str, str], arguments: list[str], terminal: bool, expected: str, told_by: str
) -> None:
    assert detect(environ, arguments, terminal=terminal) == (Environment(expected), told_by)


def test_what_is_no_environment_is_refused() -> None:
    with pytest.raises(ValueError, match="'staging': write production or development"):
        detect({"MODELYARD_ENVIRONMENT": "staging"}, [], terminal=False)


def test_production_is_strict_and_development_lazy() -> None:
    strict = ProgressiveLoadingConfig(environment="production").settle()
    assert (strict.preload, strict.allow_mock, strict.startup_timeout) == (None, False, 300.0)
    assert strict.on_timeout is OnTimeout.FAIL
    lazy = ProgressiveLoadingConfig(environment="development").settle()
    assert (lazy.preload, lazy.allow_mock, lazy.startup_timeout) == (frozenset(), True, None)
    assert lazy.on_timeout is OnTimeout.SERVE
    assert ProgressiveLoadingConfig(environment="production", memory_budget="2Gi").settle().memory_budget == 2**31


def test_everything_that_is_wrong_with_a_configuration_is_said_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        ProgressiveLoadingConfig(
            environment="x", preload="some", max_parallel_loads=0, memory_budget="much", on_timeout="wait",
            wait_timeout=-1,
        )  # fmt: skip
    for field in ("environment", "preload", "max_parallel_loads", "memory_budget", "on_timeout", "wait_timeout"):
        assert field in str(caught.value)


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_a_folder_of_models_holds_files_folders_and_numbered_versions(home: Path) -> None:
    root = home / "models"
    write(root / "a.onnx")
    write(root / "b" / "model.skops")
    write(root / "b" / "sample.json")
    code = write(root / "c" / "model.py").parent
    latest = write(root / "d" / "10" / "model.onnx")
    write(root / "d" / "9" / "model.onnx")
    write(root / "odd name!.onnx")
    write(root / ".hidden" / "model.onnx")
    write(root / "notes.txt")
    found = {one.name: one for one in find(root)}
    assert set(found) == {"a", "b", "c", "d", "odd-name"}
    assert found["c"].path == code
    assert (found["d"].path, found["d"].watched) == (latest, root / "d")


def test_a_file_or_a_folder_can_be_one_model_by_its_own_name_or_a_given_one(home: Path) -> None:
    path = write(home / "digits" / "model.onnx")
    assert [one.name for one in find(path)] == ["digits"]
    assert [(one.name, one.path) for one in find(path.parent, "d")] == [("d", path)]


@pytest.mark.parametrize("name", ["gone", "empty", "notes.txt"])
def test_where_there_is_no_model_it_says_what_was_looked_for(home: Path, name: str) -> None:
    (home / "empty").mkdir()
    write(home / "notes.txt")
    with pytest.raises(NothingFound, match=name):
        find(home / name)


def test_a_name_is_not_given_to_many(home: Path) -> None:
    write(home / "m" / "a.onnx")
    write(home / "m" / "b.onnx")
    with pytest.raises(NothingFound, match="2 models, which have names of their own"):
        find(home / "m", "one")
