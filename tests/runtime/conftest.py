"""Real models and real worker processes for the runtime's tests."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.runtime.frames import FramePeer, Head, connect

DEADLINE = 60.0


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder whose path is short enough for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def demo(trained: Path) -> Path:
    return trained


class WorkerProcess:
    """One worker as the backend starts it: a listening socket passed on, its output in a log."""

    def __init__(self, folder: Path, module: list[str], instance: dict[str, Any], environment: dict[str, str]) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "instance.json").write_text(json.dumps(instance))
        self.socket = str(folder / "socket")
        with socket.socket(socket.AF_UNIX) as listening, (folder / "log").open("wb") as log:
            listening.bind(self.socket)
            listening.listen(128)
            self.process = subprocess.Popen(
                [sys.executable, "-m", *module, str(folder)],
                env={**os.environ, **environment, "MODELYARD_SOCKET_FD": str(listening.fileno())},
                pass_fds=[listening.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.peers: list[FramePeer] = []

    async def connect(self) -> FramePeer:
        peer = await connect(self.socket)
        self.peers.append(peer)
        return peer

    async def ready(self) -> FramePeer:
        """Connect and wait until the model is loaded."""
        peer = await self.connect()
        head, _ = await asyncio.wait_for(peer.request(Head(op="ready")), DEADLINE)
        assert head.status == 200, (head, self.log)
        return peer

    async def wait(self) -> int:
        """The exit code."""
        return await asyncio.to_thread(self.process.wait, DEADLINE)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def failure(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "failure.json").read_text())
        return content

    def end(self) -> None:
        for peer in self.peers:
            peer.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
async def start_worker(home: Path) -> AsyncIterator[StartWorker]:
    """Starts workers: ``start_worker("mock", source=None, options=..., resources=...)``."""
    started: list[WorkerProcess] = []

    def start(
        engine: str,
        *,
        module: tuple[str, ...] = ("modelyard.runtime", "--instance"),
        environment: dict[str, str] | None = None,
        **fields: Any,
    ) -> WorkerProcess:
        instance = {
            "instance": f"a{len(started)}",
            "namespace": "default",
            "model": "m",
            "model_uid": "u",
            "generation": 3,
            "epoch": 1,
            "engine": engine,
            "source": None,
            "options": {},
            "trusted": False,
            "resources": {"cpu": 1.0, "memory": None},
            "shared_memory": None,
            "working_dir": None,
            "secret": "00ff11",
            **fields,
        }
        worker = WorkerProcess(home / f"i{len(started)}", list(module), instance, environment or {})
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.end()


@pytest.fixture
def python_model(home: Path) -> Callable[[str], Path]:
    """Writes a folder with the given ``model.py``."""

    def write(source: str) -> Path:
        folder = home / "model"
        folder.mkdir(exist_ok=True)
        (folder / "model.py").write_text(source)
        return folder

    return write
