"""Servers that run for a while: started, waited for, weighed, and gone afterwards with all that they started."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from bench.house import deploy, free_port, house, start_through_api
from bench.peers.serving.asking import Question, Wrong
from bench.peers.serving.table import Peer

_ROOT = Path(__file__).resolve().parents[3]
# In the environment of all processes of one server, by which they are found, also those that left their session.
_MARK = "BENCH_SERVER"
_START_SECONDS, _END_SECONDS = 120, 15
# Nobody is told that it runs, nobody is asked for a newer one, and no library takes more than its thread.
_QUIET = {
    "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "BENTOML_DO_NOT_TRACK": "True", "NO_PROXY": "127.0.0.1",
    "PYTHONWARNINGS": "ignore",
}  # fmt: skip
_COLD_STARTS = 3
# Seconds until a new home has its warm parents.
_SETTLES = 3.0


class Failed(Exception):
    """A server did not come up, or answered wrongly; the text says how."""


class Server(Protocol):
    """``cold``: seconds from each start to the first right answer."""

    port: int
    headers: dict[str, str]
    cold: list[float]

    def memory(self) -> int: ...


@dataclass
class _Marked:
    """A server whose processes are told by a mark that nobody else has."""

    mark: str
    port: int
    headers: dict[str, str] = field(default_factory=dict)
    cold: list[float] = field(default_factory=list)

    def pids(self) -> list[int]:
        """Those that have the mark in their environment or command line, and their children."""
        wanted = self.mark.encode()
        found = set()
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if not folder.name.isdigit() or int(folder.name) == os.getpid():
                    continue
                if wanted in (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes():
                    found.add(int(folder.name))
                    found.update(child.pid for child in psutil.Process(int(folder.name)).children(recursive=True))
        return sorted(found)

    def memory(self) -> int:
        """Bytes, what is shared with other processes counted in proportion (PSS)."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        return total

    def end(self) -> None:
        deadline = time.monotonic() + _END_SECONDS
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise Failed(f"its processes {pids} do not end")
            time.sleep(0.05)


@contextlib.contextmanager
def running(peer: Peer, python: Path, model: Path, question: Question) -> Iterator[Server]:
    """The peer, once it has answered the question. Raises Failed."""
    folder = Path(tempfile.mkdtemp(prefix="my-peer-", dir="/tmp"))
    ports = (free_port(), free_port(), free_port())
    server = _Marked(secrets.token_hex(8), ports[0])
    settings = {name: value.replace("{folder}", str(folder)) for name, value in peer.settings.items()}
    environment = {
        **os.environ, **_QUIET, **settings, _MARK: server.mark, "DIGITS_MODEL": str(model),
        "PYTHONPATH": str(_ROOT), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    log = folder / "log"
    try:
        with log.open("wb") as output:
            began = time.perf_counter()
            process = subprocess.Popen(
                peer.command(python, ports), cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            _await(server, question, process, log)
            server.cold.append(time.perf_counter() - began)
            yield server
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
            server.end()
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(server: Server, question: Question, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            question.ask(server.port, server.headers)
        except Wrong as wrong:
            if process.poll() is not None or time.monotonic() > deadline:
                state = "it ended" if process.poll() is not None else f"nothing right within {_START_SECONDS} s"
                last = " | ".join(log.read_text(errors="replace").splitlines()[-3:])
                raise Failed(f"{state}: {wrong} ({last[-300:]})") from None
            time.sleep(0.005)
        else:
            return


@contextlib.contextmanager
def ours(model: Path, question: Question) -> Iterator[Server]:
    """Modelyard with its gateway and all that is on by default, serving the model. Raises Failed."""
    with house(OMP_NUM_THREADS="1") as yard:
        shutil.copyfile(model, yard.digits / "model.onnx")
        # One that is up forks workers; one that has come up this second launches them afresh.
        time.sleep(_SETTLES)
        deploy(yard)
        headers = {"Authorization": f"Bearer {yard.token}"}
        server = _Marked(str(yard.home), yard.port, headers)
        # From the call to the API: the fewest that a median needs.
        server.cold = [start_through_api(yard) / 1e3 for _ in range(_COLD_STARTS)]
        try:
            question.ask(server.port, headers)
        except Wrong as wrong:
            raise Failed(str(wrong)) from None
        yield server
