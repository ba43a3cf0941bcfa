"""``python -m modelyard.runtime serve`` as a process: folders, mocks, changes of files, what it says, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

DEADLINE = 60.0


class Server:
    """One that runs, and what it says, line by line."""

    def __init__(self, *arguments: str, cwd: Path | None = None, **environment: str) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MODELYARD_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "modelyard.runtime", "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd,
            env={**kept, "MODELYARD_ENVIRONMENT": "development", "PYTHONUNBUFFERED": "1", **environment},
        )  # fmt: skip
        self.said: list[str] = []
        self._lines: Queue[str | None] = Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.port = int(self.until(r"http://127\.0\.0\.1:(\d+)$")[1])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip())
        self._lines.put(None)

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for a line."""
        while True:
            try:
                line = self._lines.get(timeout=DEADLINE)
            except Empty:
                pytest.fail(f"{pattern} was not said: {self.said}")
            assert line is not None, f"it ended before it said {pattern}: {self.said}"
            self.said.append(line)
            if found := re.search(pattern, line):
                return found

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content)

    def infer(self, name: str, value: float = 2.0) -> Any:
        body = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [value]}]}
        status, answer = self.ask("POST", f"/v2/models/{name}/infer", json.dumps(body).encode())
        assert status == 200, answer
        return answer["outputs"][0]["data"]

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE)


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Server] = []

    def start(*arguments: str, **environment: Any) -> Server:
        started.append(Server(*arguments, **environment))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        if server.process.stdout is not None:
            server.process.stdout.close()


def python_model(folder: Path, factor: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "helper.py").write_text(f"FACTOR = {factor}\n")
    (folder / "model.py").write_text(
        "import helper\n\nclass Model:\n    def predict(self, inputs):\n"
        "        return {'y': inputs['x'] * helper.FACTOR}\n"
    )
    return folder


def test_a_folder_of_models_is_served_while_it_changes(serve: Serve, demo: Path, home: Path) -> None:
    models = home / "models"
    python_model(models / "scale", "2.0")
    shutil.copy(demo / "digits" / "model.onnx", models / "digits.onnx")
    server = serve(str(models), "--reload", "--critical", "digits", "--preload", "all")
    server.until("fully ready")
    assert any(re.search(r"^models ready \(\d", line) for line in server.said)
    sample = (demo / "digits" / "sample.json").read_bytes()
    assert server.ask("POST", "/v2/models/digits/infer", sample)[0] == 200
    assert server.infer("scale") == [4.0]

    (models / "scale" / "helper.py").write_text("FACTOR = 10.0\n")
    server.until(r"scale +changed: the new one serves")
    assert server.infer("scale") == [20.0]

    (models / "scale" / "helper.py").write_text("FACTOR = \n")
    server.until(r"scale +changed, and cannot be loaded: the old one goes on: .*invalid syntax")
    assert server.infer("scale") == [20.0]

    (models / "digits.onnx").write_bytes(b"no model")
    server.until(r"digits +changed, and cannot be loaded: the old one goes on: .*cannot be loaded|corrupt|not a whole")
    assert server.ask("POST", "/v2/models/digits/infer", sample)[0] == 200

    python_model(home / "new", "3.0").rename(models / "triple")
    server.until(r"triple +is new")
    server.until(r"triple +ready")
    assert server.infer("triple") == [6.0]
    shutil.rmtree(models / "triple")
    server.until(r"triple +unloaded")
    assert server.ask("GET", "/v2/models/triple/ready")[0] == 404
    assert server.end() == 0


def test_code_that_a_model_imports_from_elsewhere_is_watched_too(serve: Serve, home: Path) -> None:
    shared = home / "shared"
    shared.mkdir()
    (shared / "factors.py").write_text("FACTOR = 2.0\n")
    folder = python_model(home / "m", "1.0")
    (folder / "helper.py").write_text("from factors import FACTOR\n")
    server = serve(str(folder), "--reload", PYTHONPATH=str(shared))
    server.until("fully ready")
    assert server.infer("m") == [4.0]
    (shared / "factors.py").write_text("FACTOR = 21.0\n")
    server.until(r"m +changed: the new one serves")
    assert server.infer("m") == [42.0]


def test_mocks_answer_with_what_a_file_says(serve: Serve, home: Path) -> None:
    file = home / "outputs.json"
    outputs = [{"name": "y", "datatype": "FP64", "shape": [1], "data": [42.0]}]
    file.write_text(json.dumps(outputs))
    server = serve("--mock", f"answer={file}", "--mock", "echo", "--reload", "--cors", "https://board.example")
    server.until("fully ready")
    assert server.infer("answer") == [42.0]
    assert server.infer("echo") == [2.0]
    outputs[0]["data"] = [43.0]
    file.write_text(json.dumps({"outputs": outputs, "latency_ms": 1}))
    server.until(r"answer +changed: the new one serves")
    assert server.infer("answer") == [43.0]
    assert server.ask("GET", "/health/ready", Origin="https://board.example")[0] == 200
    assert server.ask("GET", "/health/ready", Origin="https://evil.example")[1]["code"] == "origin_refused"
    server.process.terminate()
    assert server.process.wait(DEADLINE) == 0


def test_production_whose_critical_model_does_not_come_ends_and_says_so(serve: Serve, home: Path) -> None:
    (home / "bad.onnx").write_bytes(b"no model")
    arguments = (str(home / "bad.onnx"), "--critical", "bad", "--startup-timeout", "0.5")
    server = serve(*arguments, MODELYARD_ENVIRONMENT="production")
    server.until(r"bad +failed: ")
    server.until(r"Error: Not ready after 0\.5 s: bad\.")
    assert server.process.wait(DEADLINE) == 1


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        ([], {}, "There is nothing to serve"),
        (["/nowhere"], {}, "There is no /nowhere"),
        (["--mock", "m", "--environment", "production"], {}, "this is production (told by: config), which serves no"),
        (["--mock", "m"], {"MODELYARD_ENVIRONMENT": ""}, "(told by: there is no terminal, and nothing says otherwise)"),
        (
            ["--mock", "m"],
            {"MODELYARD_ENVIRONMENT": "", "K_SERVICE": "s"},
            "(told by: K_SERVICE), which serves no mocks: give --environment development",
        ),
        (["--mock", "m", "--preload", "n"], {}, "--preload: there is no model n; there are m"),
        (["--mock", "m", "--critical", "n"], {}, "there is no model n; there are m"),
        (["--mock", "m"], {"MODELYARD_HOST": "0.0.0.0"}, "give --host 0.0.0.0 if that is meant"),
        (["--mock", "m", "--memory-budget", "much"], {}, "memory_budget"),
        (["--mock", "m=/nowhere.json"], {}, "there is no file /nowhere.json"),
    ],
)
def test_what_cannot_be_served_is_a_clear_error(arguments: list[str], environment: dict[str, str], says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modelyard.runtime", "serve", *arguments], capture_output=True, text=True, timeout=60,
        env={**os.environ, "MODELYARD_ENVIRONMENT": "development", **environment}, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
