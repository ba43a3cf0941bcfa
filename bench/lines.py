"""A process that does one thing after another when it is asked: a line of JSON goes to it, and one comes back.

What is compared is measured in such a process, so that all are warm and none shares an interpreter with another. The
standard library is enough: it also runs where only a peer is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]


class Refused(Exception):
    """What was asked for failed there: the error's type and text."""


class Worker:
    """The client's side of ``python -m <module>``. ``environment`` is added to this process's."""

    def __init__(self, module: str, environment: Mapping[str, str], python: Path | str = sys.executable) -> None:
        self._process = subprocess.Popen(
            [str(python), "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT,
            env={**os.environ, **environment},
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, what: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, arguments]) + "\n")
        self._process.stdin.flush()

    def receive(self) -> tuple[float, Any]:
        """How many seconds it took, and what came of it. Raises Refused."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Refused("the process has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["seconds"], answer["result"]

    def ask(self, what: str, **arguments: Any) -> tuple[float, Any]:
        self.send(what, **arguments)
        return self.receive()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


def serve(commands: Mapping[str, Callable[..., Any]]) -> None:
    """The process's side, until nobody asks any more."""
    # What libraries print goes where errors go.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        what, arguments = json.loads(line)
        answer: dict[str, Any]
        began = time.perf_counter()
        try:
            result = commands[what](**arguments)
            answer = {"seconds": time.perf_counter() - began, "result": result}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def synced(paths: Sequence[str]) -> float:
    """Seconds until these files are on the disk."""
    began = time.perf_counter()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return time.perf_counter() - began
