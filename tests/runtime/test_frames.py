"""The framed protocol over real Unix sockets, and against bytes that no peer of ours would send."""

from __future__ import annotations

import asyncio
import itertools
import random
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.runtime import frames
from modelyard.runtime.frames import ConnectionLost, FramePeer, Head, connect


class Recorder(asyncio.Transport):
    """Keeps what a peer writes."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.aborted = False

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.sent += part

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        pass


def echo(peer: FramePeer, stream: int, head: Head, body: memoryview, respond: frames.Respond) -> None:
    respond(Head(status=200, params=head.params), bytes(body))


@pytest.fixture
async def serve(home: Path) -> AsyncIterator[Callable[..., Any]]:
    """Serves a handler on a socket and returns its path and the peers that connected."""
    servers: list[asyncio.Server] = []
    peers: list[FramePeer] = []

    async def start(handler: frames.Handler, **options: Any) -> tuple[str, list[FramePeer]]:
        def accept() -> FramePeer:
            peers.append(FramePeer(handler, **options))
            return peers[-1]

        path = str(home / f"s{len(servers)}")
        servers.append(await asyncio.get_running_loop().create_unix_server(accept, path))
        return path, peers

    yield start
    for peer in peers:
        peer.close()
    for server in servers:
        server.close()


async def test_request_gets_its_response(serve: Callable[..., Any]) -> None:
    path, _ = await serve(echo)
    peer = await connect(path)
    head, body = await peer.request(Head(op="x", params={"a": [1, "b"]}), b"content")
    assert (head.status, head.params, bytes(body)) == (200, {"a": [1, "b"]}, b"content")
    peer.close()


async def test_many_concurrent_requests_each_get_their_own_answer(serve: Callable[..., Any]) -> None:
    loop = asyncio.get_running_loop()

    def late(peer: FramePeer, stream: int, head: Head, body: memoryview, respond: frames.Respond) -> None:
        loop.call_later(random.random() / 100, respond, Head(status=200), bytes(body))

    path, _ = await serve(late)
    peer = await connect(path)

    async def one(number: int) -> None:
        _, body = await peer.request(Head(op="x"), str(number).encode())
        assert int(bytes(body)) == number

    await asyncio.gather(*(one(number) for number in range(2000)))
    assert peer.pending == 0
    peer.close()


async def test_body_of_many_megabytes_arrives_whole_and_aligned(serve: Callable[..., Any]) -> None:
    path, _ = await serve(echo)
    peer = await connect(path)
    content = random.Random(0).randbytes(40 * 2**20)
    _, body = await peer.request(Head(op="x"), content)
    assert body == content
    peer.close()


async def test_cancelled_wait_cancels_the_request_at_the_other_end(serve: Callable[..., Any]) -> None:
    cancelled: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    arrived: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    path, _ = await serve(
        lambda peer, stream, head, body, respond: arrived.set_result(stream),
        on_cancel=lambda peer, stream: cancelled.set_result(stream),
    )
    peer = await connect(path)
    task = asyncio.create_task(peer.request(Head(op="x")))
    stream = await arrived
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(cancelled, 10) == stream
    assert peer.pending == 0
    peer.close()


async def test_waiting_requests_fail_when_the_peer_goes_away(serve: Callable[..., Any]) -> None:
    path, peers = await serve(lambda peer, stream, head, body, respond: peer.close())
    peer = await connect(path)
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(peer.request(Head(op="x")), 10)
    with pytest.raises(ConnectionLost):
        await peer.request(Head(op="x"))
    assert peers[0].closed


def frame(stream: int, kind: int, head: bytes, body: bytes) -> bytes:
    return struct.pack(">IIBI", len(head) + len(body), stream, kind, len(head)) + head + body


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bodies=st.lists(st.binary(max_size=300), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
)
async def test_frames_are_the_same_however_their_bytes_are_split(bodies: list[bytes], cuts: list[int]) -> None:
    got: list[tuple[int, str, bytes]] = []

    def keep(peer: FramePeer, stream: int, head: Head, body: memoryview, respond: frames.Respond) -> None:
        got.append((stream, head.op, bytes(body)))

    peer = FramePeer(keep)
    peer.connection_made(Recorder())
    head = frames._encode(Head(op="é" * 10, params={"n": 1}))
    data = b"".join(frame(stream, frames.REQUEST, head, body) for stream, body in enumerate(bodies))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(edges):
        peer.data_received(data[start:end])
    assert got == [(stream, "é" * 10, body) for stream, body in enumerate(bodies)]


@settings(max_examples=200, deadline=None)
@given(garbage=st.binary(min_size=13, max_size=200))
async def test_garbage_never_raises(garbage: bytes) -> None:
    peer = FramePeer(echo)
    transport = Recorder()
    peer.connection_made(transport)
    peer.data_received(garbage)
    assert peer.closed == transport.aborted


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">IIBI", 10, 1, 9, 1) + b"x" * 10,  # a kind that is none
        struct.pack(">IIBI", 10, 1, frames.REQUEST, 11) + b"x" * 10,  # a head longer than the frame
        struct.pack(">IIBI", 2**31, 1, frames.REQUEST, 2**30),  # a head over the limit
        frame(1, frames.REQUEST, b"\xc1", b""),  # a head that is no msgpack
        frame(1, frames.REQUEST, b"\x93\xa2\xff\xfe\x00\x80", b""),  # text that is no UTF-8
        frame(1, frames.REQUEST, b"\x91" * 100_000, b""),  # nested without end
    ],
)
async def test_malformed_frame_closes_the_connection(data: bytes) -> None:
    peer = FramePeer(echo)
    transport = Recorder()
    peer.connection_made(transport)
    peer.data_received(data)
    assert transport.aborted
    assert not transport.sent


async def test_frame_over_the_limit_closes_the_connection(serve: Callable[..., Any]) -> None:
    path, _ = await serve(echo, max_frame=1000)
    peer = await connect(path)
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(peer.request(Head(op="x"), b"x" * 1001), 10)


async def test_response_to_a_request_that_was_cancelled_is_dropped() -> None:
    peer = FramePeer()
    peer.connection_made(Recorder())
    peer.data_received(frame(7, frames.RESPONSE, frames._encode(Head(status=200)), b"late"))
    assert not peer.closed


async def test_request_to_a_peer_that_serves_nothing_closes_the_connection() -> None:
    peer = FramePeer()
    transport = Recorder()
    peer.connection_made(transport)
    peer.data_received(frame(1, frames.REQUEST, frames._encode(Head(op="x")), b""))
    assert transport.aborted
