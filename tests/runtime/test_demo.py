"""The demo's models: the same every time, kept when whole, made again when not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def make(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "modelyard.demo", str(folder)], check=True, timeout=300)


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_models_are_accurate_on_what_they_have_not_seen(demo: Path) -> None:
    assert json.loads((demo / "digits" / "about.json").read_text())["accuracy"] > 0.95
    assert json.loads((demo / "wine" / "about.json").read_text())["accuracy"] > 0.95
    assert {path.name for path in (demo / "digits").iterdir()} == {"model.onnx", "sample.json", "about.json"}
    assert {path.name for path in (demo / "wine").iterdir()} == {"model.skops", "sample.json", "about.json"}


def test_whole_models_are_kept_and_half_written_ones_made_again_as_they_were(demo: Path, home: Path) -> None:
    copy = home / "demo"
    shutil.copytree(demo, copy)
    before = times(copy)
    make(copy)
    assert times(copy) == before

    model = copy / "digits" / "model.onnx"
    model.write_bytes(model.read_bytes()[:100])
    make(copy)
    assert model.read_bytes() == (demo / "digits" / "model.onnx").read_bytes()
    assert (copy / "digits" / "sample.json").read_bytes() == (demo / "digits" / "sample.json").read_bytes()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"files": 3}', '{"files": {"gone": "x"}}'])
def test_damaged_about_file_counts_as_not_whole(home: Path, damage: str) -> None:
    from modelyard import demo

    (home / "about.json").write_text(damage)
    assert demo._whole(home) is None
