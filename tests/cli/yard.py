"""A real Modelyard in a home of its own, driven through its command line."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.supervisor.processes import Identity, instance_processes, recorded
from tests.cli import forking

COMMAND = [sys.executable, "-m", "modelyard.cli.main"]


def free_port() -> int:
    """One that is none of those that the system gives away by itself, nor another test process's."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    while True:
        port = 20_000 + 1000 * process + secrets.randbelow(1000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port


def eventually(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first true value of ``condition``; fails, saying ``what`` did not happen, when time is up."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return value


@dataclass
class Yard:
    """One home and one port. Sockets need short paths, so the home is made in /tmp."""

    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="my-", dir="/tmp")))
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MODELYARD_", "FORCE_COLOR"))}
        home = {"MODELYARD_HOME": str(self.home), "MODELYARD_PORT": str(self.port)}
        return {**kept, **home, "COLUMNS": "200", **self.environment}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        return forking.run([*arguments], {**self.env, **env}, stdin or "", timeout=90)

    def ok(self, *arguments: str, stdin: str | None = None) -> str:
        """The output of a command that must succeed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "-o", "json"))

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on."""
        return subprocess.Popen(
            [*COMMAND, *arguments], env=self.env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def record(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.home / "run" / "up.json").read_text()))
        except OSError:
            return {}

    def process(self, name: str) -> Identity | None:
        """The living process of a name: supervisor, gateway or control."""
        record = self.record()
        return recorded(record if name == "supervisor" else record.get(name))

    def state(self, model: str) -> str:
        return str(self.json("status", model)["state"])

    def is_silent(self) -> bool:
        """Whether nothing of it runs or listens."""
        named = [self.process(name) for name in ("supervisor", "gateway", "control")]
        with socket.socket() as probe:
            listening = probe.connect_ex(("127.0.0.1", self.port)) == 0
        return not any(named) and not listening and not instance_processes(self.home)

    def close(self) -> None:
        self.run("down", "--timeout", "2s")
        silent = self.is_silent()
        shutil.rmtree(self.home, ignore_errors=True)
        assert silent, f"processes of {self.home} are left"
