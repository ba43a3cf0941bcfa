"""What the gateway costs one caller: the same request to the gateway, to a worker that serves HTTP by itself and, over
frames, to the gateway's worker, by turns, from one client that does nothing else."""

from __future__ import annotations

import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.house import House, deploy, free_port, house
from modelyard.runtime.frames import REQUEST, Head, pack

_TURNS, _REQUESTS = 40, 250
_GOAL = 30.0
# The header of a frame; see modelyard.runtime.frames.
_FRAME = struct.Struct(">IIBI")

Report = Callable[[str, str, str, bool], None]


def hop(report: Report) -> None:
    with house() as h, _bare(h) as port:
        deploy(h)
        (worker,) = h.home.glob("run/i/*.sock")
        ways = ((_tcp(h.port), _over_http(h)), (_tcp(port), _over_http(h)), (_unix(worker), _over_frames(h)))
        took: tuple[list[float], ...] = tuple([] for _ in ways)
        for way, request in ways:
            _ask(way, request, [])
        for _ in range(_TURNS):
            for (way, request), times in zip(ways, took, strict=True):
                _ask(way, request, times)
        for way, _ in ways:
            way.close()
    through, bare, frames = (statistics.median(times) * 1e6 for times in took)
    report(f"one caller: the gateway, a worker alone over HTTP ({_TURNS * _REQUESTS:,} each)",
           f"{through:.0f} and {bare:.0f} us: {through - bare:.0f} us more", f"<= {_GOAL:.0f} us more",
           through - bare <= _GOAL)  # fmt: skip
    print(f"       the gateway's worker over frames, without the gateway and without TCP: {frames:.0f} us")


@contextmanager
def _bare(h: House) -> Iterator[int]:
    """The port of a worker for digits, started by hand as the gateway's is."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "modelyard.runtime", "--model", str(h.digits / "model.onnx"), "--name", "digits",
         "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            try:
                _tcp(port).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def _tcp(port: int) -> socket.socket:
    way = socket.create_connection(("127.0.0.1", port))
    way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return way


def _unix(path: Path) -> socket.socket:
    way = socket.socket(socket.AF_UNIX)
    way.connect(str(path))
    return way


def _over_http(h: House) -> bytes:
    head = (
        f"POST /v2/models/digits/infer HTTP/1.1\r\nHost: 127.0.0.1:{h.port}\r\nAuthorization: Bearer {h.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(h.sample)}\r\n\r\n"
    )
    return head.encode() + h.sample


def _over_frames(h: House) -> bytes:
    head = pack(Head("infer", 0, {"content_type": "application/json", "path": "/v2/models/digits/infer", "id": "x"}))
    return _FRAME.pack(len(head) + len(h.sample), 1, REQUEST, len(head)) + head + h.sample


def _ask(way: socket.socket, request: bytes, times: list[float]) -> None:
    """Until the answer's JSON has ended."""
    for _ in range(_REQUESTS):
        began = time.perf_counter()
        way.sendall(request)
        answer = way.recv(65536)
        while not answer.endswith(b"}"):
            more = way.recv(65536)
            assert more, answer
            answer += more
        times.append(time.perf_counter() - began)
        assert b'"outputs"' in answer, answer
