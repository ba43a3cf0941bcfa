"""Where TLS is spoken: who is let in, who is given up, and what those are told who speak something else."""

import asyncio
import json
import socket
import ssl

import pytest
from tests.gateway.test_front_door import certify

from modelyard.gateway import doorway, heads
from modelyard.gateway.doorway import Doorway
from modelyard.gateway.tls import Certificate

MOST = 3


class Echo(asyncio.Protocol):
    """What is behind the door; ``inside`` are those that came in."""

    inside = 0

    def connection_made(self, transport):
        Echo.inside += 1
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


@pytest.fixture
async def door(tmp_path, monkeypatch):
    """The port of a door, and what trusts its certificate."""
    trust = certify(tmp_path, 1)
    context = Certificate(tmp_path / "cert.pem", tmp_path / "key.pem").context
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(Echo, "inside", 0)
    monkeypatch.setattr(heads, "_told", set())
    opened = Doorway(listener, context, Echo, lambda: [(b"x-content-type-options", b"nosniff")], MOST)
    opened.listen(100)
    yield listener.getsockname()[1], trust
    opened.close()
    await opened.wait_closed()
    listener.close()


async def said(reader):
    """What comes to the end of a connection; a reset is an end too."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def echoed(port, trust):
    reader, writer = await asyncio.open_connection("localhost", port, ssl=trust)
    writer.write(b"hello")
    answer = await reader.readexactly(5)
    writer.transport.abort()
    return answer


async def test_of_too_many_who_do_not_finish_the_handshake_the_longest_is_given_up_and_others_come_in(door):
    port, trust = door
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST)]
    # The beginning of a handshake, and no more of it.
    silent[0][1].write(b"\x16\x03\x01\x02\x00\x01")
    async with asyncio.timeout(10):
        assert await echoed(port, trust) == b"hello"
        assert await said(silent[0][0]) == b""
        for _ in range(20):
            assert await echoed(port, trust) == b"hello"
    for _, writer in silent:
        writer.transport.abort()


@pytest.mark.parametrize("begun", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["silent", "a byte", "begun"])
async def test_who_does_not_finish_the_handshake_in_time_is_given_up(door, monkeypatch, begun):
    monkeypatch.setattr(doorway, "HANDSHAKE_TIMEOUT", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", door[0])
    writer.write(begun)
    async with asyncio.timeout(10):
        assert await said(reader) == b""
    writer.transport.abort()
    assert Echo.inside == 0


async def test_who_speaks_plain_http_is_told_to_use_https_and_the_log_says_it_once(door, caplog):
    port, trust = door
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v2 HTTP/1.1\r\nHost: models.example:8443\r\n\r\n")
        async with asyncio.timeout(10):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.transport.abort()
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"x-content-type-options: nosniff" in head
        problem = json.loads(body)
        assert problem["code"] == "tls_required"
        assert "use https://models.example:8443 instead of http://" in problem["detail"]
    assert caplog.text.count("spoke plain HTTP") == 1
    assert await echoed(port, trust) == b"hello"


async def test_what_speaks_neither_ends_nobody_elses_connection(door):
    port, trust = door
    # A record of a handshake that is none, and a caller who goes at once.
    for junk in (b"\x16\x03\x01\x00\x05hello" * 100, b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(junk)
        writer.write_eof()
        async with asyncio.timeout(10):
            assert not (await said(reader)).startswith(b"HTTP")
        writer.transport.abort()
    assert await echoed(port, trust) == b"hello"


def test_an_answer_names_no_host_that_could_be_more_than_one():
    for host in (b"a b", b"x/y", b"<script>", b"a" * 300):
        assert doorway._HOST.search(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n") is None


async def test_a_door_that_closes_gives_up_who_is_not_in_yet(tmp_path):
    certify(tmp_path, 1)
    context = Certificate(tmp_path / "cert.pem", tmp_path / "key.pem").context
    assert isinstance(context, ssl.SSLContext)
    listener = socket.create_server(("127.0.0.1", 0))
    opened = Doorway(listener, context, Echo, list, MOST)
    opened.listen(100)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
    writer.write(b"\x16")
    while not opened._entering:
        await asyncio.sleep(0)
    opened.close()
    async with asyncio.timeout(10):
        await opened.wait_closed()
        assert await said(reader) == b""
    listener.close()
    writer.transport.abort()
