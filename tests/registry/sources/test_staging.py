"""What is fetched lies in a folder of its own until it is pushed, and two that fetch the same never share one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from modelyard.domain.errors import Unavailable
from modelyard.registry.sources.staging import staged

SOURCE = "hf://org/pat"
_HOLD = """
import sys, time
from modelyard.registry.sources.staging import staged
with staged(sys.argv[1]) as folder:
    (folder / "part").write_text("begun")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def base(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    return home / "cache" / "modelyard" / "fetching"


def held() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", _HOLD, SOURCE], text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_it_is_removed_when_all_went_well_and_kept_otherwise(base: Path) -> None:
    with suppress(ZeroDivisionError), staged(SOURCE) as folder:
        (folder / "part").write_text("begun")
        raise ZeroDivisionError
    with staged(SOURCE) as again, staged("hf://org/another") as other:
        assert again == folder
        assert (again / "part").read_text() == "begun"
        assert other != folder
    assert list(base.iterdir()) == []


def test_what_a_killed_process_left_is_gone_on_with_at_once(base: Path) -> None:
    process, folder = held()
    end(process)
    began = time.monotonic()
    with staged(SOURCE) as again:
        assert again == folder
        assert (again / "part").read_text() == "begun"
    assert time.monotonic() - began < 2


def test_while_one_works_another_has_a_folder_of_its_own(base: Path) -> None:
    process, folder = held()
    try:
        with staged(SOURCE) as mine:
            assert mine != folder
        assert (folder / "part").exists()
    finally:
        end(process)


def test_what_nobody_went_on_with_is_forgotten_after_a_while(base: Path) -> None:
    process, folder = held()
    end(process)
    month_ago = time.time() - 30 * 24 * 3600
    for path in base.iterdir():
        os.utime(path, (month_ago, month_ago))
    with staged("hf://org/another"):
        assert not folder.exists()
    assert list(base.iterdir()) == []


def test_where_nothing_can_be_kept_is_said(home: Path, base: Path) -> None:
    (home / "cache").write_text("no folder")
    with pytest.raises(Unavailable, match="XDG_CACHE_HOME names another place"), staged(SOURCE):
        pass


def test_a_cache_that_is_relative_counts_for_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    with staged(SOURCE) as folder:
        assert folder.is_relative_to(home / ".cache" / "modelyard" / "fetching")
        assert folder.stat().st_mode & 0o077 == 0
