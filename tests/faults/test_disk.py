"""A full disk and a home that cannot be written: clear errors, and never a broken database."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.yard import Yard
from tests.faults.load import load

needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk for the home needs root")


@pytest.fixture
def small_disk() -> Iterator[Yard]:
    """A Modelyard whose home is a disk of 48 MiB."""
    made = Yard()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=0700", "tmpfs", str(made.home)], check=True)
    try:
        yield made
    finally:
        made.run("down", "--timeout", "2s")
        subprocess.run(["umount", str(made.home)], check=True)
        made.close()


def fill(home: Path) -> Path:
    filler = home / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0")
    return filler


@needs_mount
def test_a_full_disk_is_said_and_serving_goes_on_and_nothing_is_broken(small_disk: Yard) -> None:
    yard = small_disk
    yard.ok("up", "--detach")
    yard.ok("deploy", "m", "--engine", "mock")
    with load(yard, "m", callers=2) as outcomes:
        outcomes.wait_for_more()
        filler = fill(yard.home)
        refused = yard.run("deploy", "n", "--engine", "mock")
        assert refused.returncode not in (0, 130)
        assert "full" in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
        outcomes.wait_for_more()
        filler.unlink()
        outcomes.wait_for_more()
    assert outcomes.bad == {}
    yard.ok("deploy", "n", "--engine", "mock")
    yard.ok("stop", "m")
    with sqlite3.connect(yard.home / "state.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


@needs_mount
def test_a_stop_asked_on_a_full_disk_is_refused_or_done_but_never_half(small_disk: Yard) -> None:
    yard = small_disk
    yard.ok("up", "--detach")
    yard.ok("deploy", "m", "--engine", "mock")
    filler = fill(yard.home)
    stopped = yard.run("stop", "m", "--timeout", "2s")
    filler.unlink()
    if stopped.returncode != 0:
        assert "full" in stopped.stderr
        yard.ok("stop", "m")
    assert yard.state("m") == "stopped"


@needs_mount
def test_a_home_that_cannot_be_written_is_said(small_disk: Yard) -> None:
    yard = small_disk
    subprocess.run(["mount", "-o", "remount,ro", str(yard.home)], check=True)
    try:
        refused = yard.run("up", "--detach")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(yard.home)], check=True)
    assert refused.returncode == 1
    assert str(yard.home) in refused.stderr
    assert "read-only" in refused.stderr.lower()
    assert "Traceback" not in refused.stderr
