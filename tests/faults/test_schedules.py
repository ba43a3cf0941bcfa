"""``kill -9`` of the control process at the very time at which schedules act."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modelyard.supervisor.processes import instance_processes
from tests.store.templates import prepare

ROOT = Path(__file__).parents[2]
TOKEN = "token-of-the-tests"
EIGHT = datetime(2030, 1, 7, 8, tzinfo=UTC)
# When each model's window begins: that of c while nobody is there.
MODELS = {"a": "08:00", "b": "08:00", "c": "08:05"}


class Control:
    """One control process after another on a home, all by one clock that the test sets."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
        prepare(f"sqlite:///{self.home / 'state.db'}")
        self._offset, self._log = self.home / "clock", (self.home / "log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None
        self._http: httpx2.Client | None = None

    def set_clock(self, at: datetime) -> None:
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(str(at.timestamp() - time.time()))
        fresh.rename(self._offset)

    def start(self) -> None:
        environment = {**os.environ, "MODELYARD_HOME": str(self.home), "MODELYARD_TOKEN": TOKEN}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.clocked", str(self._offset)],
            cwd=ROOT, env=environment, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        path = str(self.home / "run" / "control.sock")
        self.eventually(lambda: _is_open(path), "the control process listens")
        self._http = httpx2.Client(
            transport=httpx2.HTTPTransport(uds=path), base_url="http://control/api/v1",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )  # fmt: skip

    def kill(self) -> None:
        assert self._process is not None
        assert self._http is not None
        self._process.kill()
        assert self._process.wait(10) == -signal.SIGKILL
        self._http.close()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)
        # Those of a control process that was killed, and that no other one has adopted.
        for left in instance_processes(self.home):
            left.signal(signal.SIGKILL)
        if self._http is not None:
            self._http.close()
        self._log.close()
        shutil.rmtree(self.home)

    # ------------------------------------------------------------------ what is asked

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        assert self._http is not None
        answer = self._http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def eventually(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, f"{what}: {(self.home / 'log').read_text()}"
            time.sleep(0.02)

    def done_by_schedule(self) -> Counter[tuple[str, str]]:
        """How often each model was started and stopped: read past the process, which may be dead."""
        connection = sqlite3.connect(f"file:{self.home / 'state.db'}?mode=ro", uri=True)
        try:
            rows = connection.execute("SELECT model, kind FROM operations WHERE actor = 'schedule'").fetchall()
        finally:
            connection.close()
        return Counter(rows)

    def status(self, name: str) -> dict[str, Any]:
        return dict(self.ask("GET", f"/models/{name}/schedule/status"))

    def settled(self) -> bool:
        found = [self.status(name)["last_action"] for name in MODELS]
        return all(last is not None and last["outcome"] == "succeeded" for last in found)


def window(start: str) -> dict[str, Any]:
    return {"type": "recurring", "timezone": "UTC", "recurring": {"start": start, "stop": "20:00"}}


def _is_open(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


@pytest.fixture
def control() -> Iterator[Control]:
    made = Control()
    try:
        yield made
    finally:
        made.close()


def test_a_control_process_that_is_killed_as_schedules_act_does_each_action_once_or_says_that_it_was_late(
    control: Control,
) -> None:
    control.set_clock(EIGHT.replace(hour=7))
    control.start()
    for name in (*MODELS, "bell"):
        control.ask("POST", "/models", {"name": name, "spec": {"engine": "mock"}, "desired": "stopped"})
    for name, start in MODELS.items():
        control.ask("PUT", f"/models/{name}/schedule", window(start))
    control.set_clock(EIGHT)
    # Within half a minute it would find that out by itself.
    control.ask("PUT", "/models/bell/schedule", {**window("08:00"), "enabled": False})
    control.kill()
    begun = control.done_by_schedule()

    control.set_clock(EIGHT.replace(minute=10))
    control.start()
    control.eventually(control.settled, "the models are started")
    assert control.done_by_schedule() == {(name, "start"): 1 for name in MODELS}
    late = {name for name in MODELS if control.status(name)["missed"]}
    assert late == {name for name in MODELS if not begun[name, "start"]}
    assert "c" in late
    told = [event for event in control.ask("GET", "/events")["items"] if event["type"] == "ScheduleCaughtUp"]
    assert sorted(event["model"] for event in told) == sorted(late)
