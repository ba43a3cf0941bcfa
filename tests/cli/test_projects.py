"""``modelyard init``, and what ``push`` takes from the file that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.test_push import times
from tests.cli.yard import Yard


def changed(path: Path, **values: Any) -> None:
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


def test_a_folder_is_made_a_project_and_pushed_without_another_word(yard: Yard, tmp_path: Path) -> None:
    folder = times(2.25, tmp_path / "My Tripler_2")
    (folder / "README.md").write_text("# It multiplies\n")
    yard.ok("init", str(folder))
    project = folder / "model.yaml"
    written = yaml.safe_load(project.read_text())
    assert (written["name"], written["version"], written["card"]) == ("my-tripler-2", "0.1.0", "README.md")
    assert written["signature"] == {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 64]}],
    }
    changed(project, licence="MIT", metrics={"f1": 0.5, "loss": 2}, labels={"team": "a"}, aliases=["stable"])
    yard.ok("push", str(folder), "--metric", "f1=0.75", "--dataset", "d1")
    shown = yard.json("registry", "show", "my-tripler-2@stable")
    assert (shown["version"], shown["licence"], shown["labels"]) == ("0.1.0", "MIT", {"team": "a"})
    assert shown["metrics"] == {"f1": 0.75, "loss": 2.0}, "what is given goes before what is written"
    assert shown["framework"]["name"] == "onnx"
    assert shown["lineage"]["dataset"] == "d1"
    assert shown["card"] == "# It multiplies\n"
    assert shown["files"] == 3, "the project's own file is not in the version"
    said = yard.ok("push", str(folder), "--bump", "minor")
    assert "my-tripler-2@0.2.0 is published" in said


def test_a_model_says_itself_what_it_takes_unless_it_is_said(yard: Yard, tmp_path: Path) -> None:
    folder = times(2.75, tmp_path / "a")
    yard.ok("push", str(folder), "says@1.0.0")
    shown = yard.json("registry", "show", "says@1.0.0")
    assert shown["signature"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}]
    assert shown["framework"]["name"] == "onnx"
    yard.ok("push", str(folder), "says@1.0.0")  # the same once more
    yard.ok("push", str(folder), "says@1.1.0", "--framework", "pytorch:2.9")
    assert yard.json("registry", "show", "says@1.1.0")["framework"] == {"name": "pytorch", "version": "2.9"}


def test_a_project_that_is_there_is_not_written_over(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text("name: mine\n")
    refused = yard.run("init", str(tmp_path))
    assert refused.returncode == 4
    assert "is there already" in refused.stderr
    assert (tmp_path / "model.yaml").read_text() == "name: mine\n"


def test_a_name_that_makes_no_model_is_asked_for(yard: Yard, tmp_path: Path) -> None:
    refused = yard.run("init", str(tmp_path / "2024"))
    assert refused.returncode == 7
    assert "--name NAME" in refused.stderr
    yard.ok("init", str(tmp_path / "2024"), "--name", "year")
    assert yaml.safe_load((tmp_path / "2024" / "model.yaml").read_text())["name"] == "year"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", ["It is a mapping"]),
        ("version: 1.0\nnmae: x\n", ["name: it is missing", "version: it is a text", "nmae: there is no such key"]),
        ("name: x\ntrust: [1]\nmetrics: []\n", ["trust: each of it is a text", "metrics: it is a mapping"]),
        ("name: x\ncard: none.md\n", ["none.md, which is not there"]),
        ("a: [", ["is no YAML"]),
    ],
)
def test_all_that_is_wrong_with_a_project_is_said(yard: Yard, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "model.yaml").write_text(text)
    refused = yard.run("push", str(tmp_path))
    assert refused.returncode == 7
    for word in words:
        assert word in refused.stderr


def test_without_a_project_a_push_needs_a_name(yard: Yard, tmp_path: Path) -> None:
    refused = yard.run("push", str(tmp_path))
    assert refused.returncode == 2
    assert "modelyard init" in refused.stderr
