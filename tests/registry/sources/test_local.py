"""Files of this machine, copied for whoever may not push them from where they lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard.domain.errors import InvalidRequest, NotFound
from modelyard.registry.sources.fetching import fetch
from modelyard.registry.sources.picking import Picking


@pytest.fixture
def folder(home: Path) -> Path:
    (home / "m" / "sub").mkdir(parents=True)
    (home / "m" / "model.onnx").write_bytes(b"abc")
    (home / "m" / "sub" / "b c.txt").write_bytes(b"")
    return home / "m"


def test_a_folder_or_a_file_is_copied(folder: Path, to: Path) -> None:
    assert fetch(folder.as_uri(), to) == "", "of this machine nothing is said"
    assert sorted(p.relative_to(to).as_posix() for p in to.rglob("*") if p.is_file()) == ["model.onnx", "sub/b c.txt"]
    assert (to / "model.onnx").stat().st_nlink == 1
    (folder / "model.onnx").write_bytes(b"other")
    fetch(str(folder / "model.onnx"), to)
    assert [(p.name, p.read_bytes()) for p in to.rglob("*") if p.is_file()] == [("model.onnx", b"other")]


def test_a_folder_may_have_become_a_file_and_a_file_a_folder(folder: Path, to: Path) -> None:
    fetch(str(folder), to)
    (folder / "sub" / "b c.txt").unlink()
    (folder / "sub").rmdir()
    (folder / "sub").write_bytes(b"file")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    (folder / "model.onnx" / "a.txt").write_bytes(b"a")
    fetch(str(folder), to)
    assert (to / "sub").read_bytes() == b"file"
    assert (to / "model.onnx" / "a.txt").read_bytes() == b"a"


def test_links_and_what_is_no_plain_file_are_refused_unless_they_are_left_out(folder: Path, to: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "linked").symlink_to("/etc")
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidRequest) as caught:
        fetch(str(folder), to)
    assert sorted(problem.path for problem in caught.value.problems) == ["link", "linked", "pipe"]
    fetch(str(folder), to, Picking(exclude=("lin*", "pipe")))
    assert not any(path.is_symlink() for path in to.rglob("*"))


def test_what_is_not_there_is_said(folder: Path, to: Path) -> None:
    for source, picking in ((f"{folder}/nothing", Picking()), (str(folder), Picking(include=("*.bin",)))):
        with pytest.raises(NotFound):
            fetch(source, to, picking)
