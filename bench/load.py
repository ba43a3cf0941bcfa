"""Closed-loop HTTP load: so many callers, each sends its next request when the last is answered.

Uses ``wrk`` where it is installed (one thread); otherwise a client of our own on raw asyncio
protocols, which takes more of the processor that the server under test needs: the report says which.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop


@dataclass(frozen=True)
class Load:
    """``rate`` in requests per second, latencies in milliseconds."""

    client: str
    rate: float
    p50: float
    p99: float
    errors: int


def percentile(values: Sequence[float], share: float) -> float:
    """The value at rank ``ceil(share * n)`` of the sorted values."""
    ordered = sorted(values)
    return ordered[min(max(int(-(-share * len(ordered) // 1)) - 1, 0), len(ordered) - 1)]


def drive(port: int, path: str, body: bytes, headers: dict[str, str], callers: int, seconds: float) -> Load:
    if shutil.which("wrk"):
        return _wrk(port, path, body, headers, callers, seconds)
    return uvloop.run(_own(port, path, body, headers, callers, seconds))


def _wrk(port: int, path: str, body: bytes, headers: dict[str, str], callers: int, seconds: float) -> Load:
    lines = ["wrk.method = 'POST'"]
    lines += [f"wrk.headers['{name}'] = '{value}'" for name, value in headers.items()]
    lines += [
        "done = function(s, l, r)",
        "  print(string.format('OURS %d %d %f %f', s.requests, s.duration, l:percentile(50), l:percentile(99)))",
        "  print(string.format('FAILED %d', s.errors.status + s.errors.connect + s.errors.read + s.errors.timeout))",
        "end",
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script, tempfile.NamedTemporaryFile("wb") as content:
        # By a file: a body may be binary.
        content.write(body)
        content.flush()
        lines.append(f"wrk.body = io.open('{content.name}', 'rb'):read('*a')")
        script.write("\n".join(lines))
        script.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{callers}",
            f"-d{seconds:.0f}s",
            "-s",
            script.name,
            f"http://127.0.0.1:{port}{path}",
        ]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ours, failed = re.search(r"OURS (\d+) (\d+) (\S+) (\S+)", output), re.search(r"FAILED (\d+)", output)
    assert ours, output
    assert failed, output
    rate = int(ours[1]) / (int(ours[2]) / 1e6)
    return Load("wrk", rate, float(ours[3]) / 1e3, float(ours[4]) / 1e3, int(failed[1]))


class _Caller(asyncio.Protocol):
    def __init__(self, request: bytes, ended: float) -> None:
        self.request, self.ended = request, ended
        self.latencies: list[float] = []
        self.errors = 0
        self.closed = asyncio.get_running_loop().create_future()
        self.left = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.since, self.left = time.perf_counter(), -1
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if self.left < 0:
            head, _, rest = data.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert length, head
            self.left = int(length[1])
            self.errors += not head.startswith(b"HTTP/1.1 200")
            data = rest
        self.left -= len(data)
        if self.left > 0:
            return
        now = time.perf_counter()
        self.latencies.append(now - self.since)
        if now < self.ended:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.errors += error is not None
        if not self.closed.done():
            self.closed.set_result(None)


async def _own(port: int, path: str, body: bytes, headers: dict[str, str], callers: int, seconds: float) -> Load:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [
        (await loop.create_connection(lambda: _Caller(request, began + seconds), "127.0.0.1", port))[1]
        for _ in range(callers)
    ]
    await asyncio.gather(*(caller.closed for caller in made))
    latencies = [latency * 1e3 for caller in made for latency in caller.latencies]
    took = time.perf_counter() - began
    errors = sum(caller.errors for caller in made)
    return Load("asyncio", len(latencies) / took, percentile(latencies, 0.5), percentile(latencies, 0.99), errors)
