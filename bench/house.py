"""One Modelyard for a benchmark: its own home, its own port, gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

BIN = Path(sys.executable).with_name("modelyard")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class House:
    home: Path
    port: int
    token: str
    http: httpx2.Client

    @property
    def digits(self) -> Path:
        return self.home / "models" / "digits"

    @property
    def sample(self) -> bytes:
        """One row for the digits model, V2 JSON."""
        return (self.digits / "sample.json").read_bytes()

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self.http.post(f"/api/v1{path}", json=body or {})
        answer.raise_for_status()
        return dict(answer.json())

    def wait(self, operation: dict[str, Any]) -> dict[str, Any]:
        """The operation once it has succeeded."""
        if not operation["done"]:
            answer = self.http.get(f"/api/v1/operations/{operation['id']}/wait", params={"timeout": "60s"})
            answer.raise_for_status()
            operation = answer.json()
        if operation["state"] != "succeeded":
            raise RuntimeError(f"{operation['kind']} {operation['state']}: {operation['error']}")
        return operation


@contextlib.contextmanager
def house(**settings: str) -> Iterator[House]:
    """With ``settings`` in its environment, for example ``MODELYARD_DEVICES="gpu:2"``."""
    home = Path(tempfile.mkdtemp(prefix="my-bench-", dir="/tmp"))
    port = free_port()
    environment = {**os.environ, "MODELYARD_HOME": str(home), "MODELYARD_PORT": str(port), **settings}
    subprocess.run([sys.executable, "-m", "modelyard.demo", str(home / "models")], env=environment, check=True)
    subprocess.run([BIN, "up", "--detach"], env=environment, check=True, stdout=subprocess.DEVNULL)
    try:
        token = (home / "admin.token").read_text().strip()
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}, timeout=90
        ) as http:
            yield House(home, port, token, http)
    finally:
        subprocess.run([BIN, "down"], env=environment, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(home)


def pid_of(home: Path, name: str) -> int:
    """The process id of the control process or the gateway."""
    return int(json.loads((home / "run" / f"{name}.json").read_text())["pid"])


def deploy(h: House) -> None:
    """Serve the digits model."""
    spec = {"source": f"file://{h.digits / 'model.onnx'}"}
    h.wait(h.post("/models", {"name": "digits", "spec": spec}))


def infer(http: httpx2.Client, sample: bytes) -> bool:
    """Whether the digits model answers."""
    return http.post("/v2/models/digits/infer", content=sample).status_code == 200


def start_through_api(h: House) -> float:
    """Milliseconds from the call to the first answer of digits, which is stopped before."""
    h.wait(h.post("/models/digits/stop"))
    began = time.perf_counter()
    h.wait(h.post("/models/digits/start"))
    while not infer(h.http, h.sample):
        pass
    return (time.perf_counter() - began) * 1e3
