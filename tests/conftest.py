"""Fixtures that several areas share, how random the tests are, what the commands that they start inherit, and how often
garbage is looked for."""

import fcntl
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.cli.conftest import yard  # noqa: F401

# The same draws on every run: who changes one thing is not to be stopped by a rare history that has always failed.
# Such a history is for the soak to find (`make soak`), which draws anew each time. How long one takes says more of the
# machine than of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None)
if "MODELYARD_HISTORIES" not in os.environ:
    settings.load_profile("repeatable")

# A shell that runs the tests in the background has them ignore SIGINT, and with them every command that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What is loaded and collected stays, and is a million objects: to look through them again and again took a third of
# the time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes that a test is made from may hold the time: several processes that share the tests out must call them the
    same."""
    return argname if isinstance(val, bytes) and len(val) > 16 else None


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the demo's models, which nobody changes: trained once for all processes that share the tests out,
    in one of its own, as the libraries warn."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # What is whole is kept.
        subprocess.run([sys.executable, "-m", "modelyard.demo", str(shared / "trained")], check=True, timeout=300)
    return shared / "trained"
