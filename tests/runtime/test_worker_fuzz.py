"""Whatever is written on one connection of a worker, it answers or closes that one, and serves the others."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

StartWorker = Callable[..., Any]

HEADER = struct.Struct(">IIBI")
REQUEST, RESPONSE = 1, 2
_streams = itertools.count(1)


def frame(head: Any, body: bytes, kind: int = REQUEST, stream: int | None = None) -> bytes:
    packed = head if isinstance(head, bytes) else msgspec.msgpack.encode(head)
    number = next(_streams) if stream is None else stream
    return HEADER.pack(len(packed) + len(body), number, kind, len(packed)) + packed + body


class Connection:
    """Blocking, and as plain as can be."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)

    def read(self) -> tuple[int, Any, bytes] | None:
        """The next frame's stream, head and body; None: the worker has closed the connection."""
        header = self._exactly(HEADER.size)
        if header is None:
            return None
        length, stream, _, head = HEADER.unpack(header)
        rest = self._exactly(length)
        assert rest is not None
        return stream, msgspec.msgpack.decode(rest[:head]), rest[head:]

    def _exactly(self, size: int) -> bytes | None:
        found = b""
        while len(found) < size:
            try:
                more = self.socket.recv(size - len(found))
            except ConnectionError:
                return None
            if not more:
                return None
            found += more
        return found


@contextmanager
def neighbour(path: str, good: bytes) -> Iterator[None]:
    """Has a request in flight meanwhile, on a connection of its own, and gets its answer."""
    other = Connection(path)
    try:
        other.socket.sendall(good)
        yield
        other.socket.sendall(good)
        for _ in range(2):
            answered = other.read()
            assert answered is not None
            assert answered[1][1] == 200
            assert json.loads(answered[2])["outputs"][0]["name"] == "label"
    finally:
        other.socket.close()


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=4) | st.binary()
anything = st.recursive(
    scalars, lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=3), c, max_size=3), max_leaves=6
)
operations = st.sampled_from(["infer", "infer", "hello", "ready", "health", "metadata", "fly", ""])
heads = st.tuples(operations | anything, st.integers(0, 600) | anything, st.dictionaries(st.text(max_size=4), anything))
streams = st.builds(
    lambda parts: b"".join(parts),
    st.lists(
        st.binary(max_size=40)
        | st.builds(frame, heads | st.binary(max_size=12), st.binary(max_size=20), st.integers(0, 255))
        | st.builds(HEADER.pack, *[st.integers(0, 2**32 - 1)] * 2, st.integers(0, 255), st.integers(0, 2**32 - 1)),
        max_size=4,
    ),
)

params = st.fixed_dictionaries(
    {},
    optional={
        "header_length": st.integers(-5, 400) | anything,
        "content_type": st.sampled_from(["application/json", "application/octet-stream"]) | anything,
        "version": st.sampled_from(["3", "9", ""]) | anything,
        "id": anything,
        "path": anything,
        "form": st.sampled_from(["v2", "v1", "generate"]) | anything,
        "stream": st.booleans() | anything,
        "encoding": st.sampled_from(["gzip", "deflate", "br"]) | anything,
        "max_body": st.integers(-1, 2**20) | anything,
    },
)
sizes = st.integers(-1, 300) | anything.filter(lambda value: not isinstance(value, bytes))
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["input", "input", "other"]),
        "shape": st.lists(st.sampled_from([0, 1, 2, 64, 2**62]), max_size=3),
        "datatype": st.sampled_from(["FP32", "FP32", "FP64", "BYTES", "BF16", "FP31"]),
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.sampled_from([256, 512, 4]) | sizes}),
        "data": st.lists(st.sampled_from([1, 2.5, 1e39, True, None, "x"]), max_size=3),
    },
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    if draw(st.booleans()):
        return draw(st.binary(max_size=60)), draw(params)
    outputs = draw(st.sampled_from([[], [{"name": "label", "parameters": {"binary_data": True}}]]))
    entries = draw(st.lists(tensors, min_size=1, max_size=2))
    text = json.dumps({"inputs": entries, "outputs": outputs}, default=repr).encode()
    tail = draw(st.binary(max_size=20) | st.just(b"\x00\x00\xc0\x7f" * 64))
    return text + tail, {"header_length": len(text), **draw(params.filter(lambda p: "header_length" not in p))}


async def test_a_malformed_request_takes_no_other_down(start_worker: StartWorker, demo: Path) -> None:
    worker = start_worker("onnx", source=str(demo / "digits" / "model.onnx"))
    await worker.ready()
    sample = (demo / "digits" / "sample.json").read_bytes()
    good = frame(("infer", 0, {"content_type": "application/json"}), sample)
    quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

    @quick
    @given(written=streams)
    def bytes_that_are_no_frames(written: bytes) -> None:
        with neighbour(worker.socket, good):
            connection = Connection(worker.socket)
            connection.socket.sendall(written)
            connection.socket.shutdown(socket.SHUT_WR)
            while connection.read() is not None:
                pass
            connection.socket.close()

    @quick
    @given(requests=st.lists(bodies(), min_size=1, max_size=5))
    def requests_that_are_no_good(requests: list[tuple[bytes, dict[str, Any]]]) -> None:
        with neighbour(worker.socket, good):
            connection = Connection(worker.socket)
            frames = [frame(("infer", 0, given), body) for body, given in requests]
            connection.socket.sendall(b"".join([*frames, frame(("infer", 0, {}), sample)]))
            answers = [connection.read() for _ in range(len(frames) + 1)]
            connection.socket.close()
        assert None not in answers
        statuses = {stream: head[1] for stream, head, _ in filter(None, answers)}
        assert len(statuses) == len(answers)
        assert set(statuses.values()) <= {200, 400, 404, 413, 415, 422, 500}

    await asyncio.to_thread(bytes_that_are_no_frames)
    await asyncio.to_thread(requests_that_are_no_good)
    assert worker.process.poll() is None
    assert "Traceback" not in worker.log


async def test_a_worker_that_is_taken_down_in_mid_batch_answers_nobody_twice(
    start_worker: StartWorker, python_model: Callable[[str], Path], home: Path
) -> None:
    begun = home / "begun"
    folder = python_model(
        "import os, time\nclass Model:\n  batching = True\n  def predict(self, inputs):\n"
        f"    open({str(begun)!r}, 'w').close()\n    time.sleep(60)\n"
    )
    worker = start_worker("python", source=str(folder))
    await worker.ready()
    body = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}).encode()
    connection = Connection(worker.socket)
    connection.socket.sendall(b"".join(frame(("infer", 0, {}), body) for _ in range(5)))
    while not begun.exists():
        await asyncio.sleep(0.002)
    worker.process.kill()
    assert await asyncio.to_thread(connection.read) is None
    connection.socket.close()
