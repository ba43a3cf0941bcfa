"""One process's load on a real server: what is counted is what the server did."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from msgspec.structs import replace

from modelyard.loadtest.asking import post, target
from modelyard.loadtest.connection import Connection
from modelyard.loadtest.generator import generator
from modelyard.loadtest.histogram import Histogram
from modelyard.loadtest.plan import Ended, Errors, Plan, Slice
from tests.loadtest.server import OK, Server, answer, serving

MS = 1e6


def plan(server: Server, **how: Any) -> Plan:
    to = target(f"http://127.0.0.1:{server.port}")
    requests = tuple(post(to, f"/{name}", {}, name.encode()) for name in ("one", "two"))
    return Plan(**{"host": to.host, "port": to.port, "requests": requests, "connections": 4, "duration": 0.4, **how})


class Load:
    """A load and what it told."""

    def __init__(self, of: Plan) -> None:
        self.slices: list[Slice] = []
        self.generator = generator(of, self.slices.append)

    async def run(self, warm_up: float = 0.0) -> Ended:
        await self.generator.connect()
        return await self.generator.run(time.perf_counter_ns() + int(warm_up * 1e9))

    @property
    def latencies(self) -> Histogram:
        whole = Histogram()
        for each in self.slices:
            whole.add(each.latencies)
        return whole

    def errors(self) -> dict[str, Errors]:
        """Those of all slices, by code."""
        found: dict[str, Errors] = {}
        for each in (each for part in self.slices for each in part.errors):
            before = found.get(each.code, Errors(each.status, each.code, 0, each.example))
            found[each.code] = replace(before, count=before.count + each.count)
        return found


async def ok(request: bytes, number: int) -> bytes:
    return OK


@pytest.mark.parametrize("rate", [None, 50.0])
async def test_a_connection_that_is_lost_before_it_is_used_is_made_again(
    monkeypatch: pytest.MonkeyPatch, rate: float | None
) -> None:
    async with serving(ok) as server:
        load = Load(plan(server, connections=1, rate=rate))
        opened, lost = load.generator._opened, []

        async def losing(connection: Connection) -> Connection:
            await opened(connection)
            if not lost:
                lost.append(connection)
                connection.connection_lost(None)
            return connection

        await load.generator.connect()
        monkeypatch.setattr(load.generator, "_opened", losing)
        running = asyncio.create_task(load.generator.run(time.perf_counter_ns()))
        while not load.generator._latencies.count:
            await asyncio.sleep(0)
        load.generator._connections[0].abort()
        while not lost:
            await asyncio.sleep(0)
        before = load.generator._latencies.count
        ended = await running
        assert ended.reconnected == 1
        assert load.latencies.count > before, "it went on with the one after"


async def test_every_answer_is_counted_once_and_so_is_every_byte() -> None:
    async with serving(ok) as server:
        load = Load(plan(server))
        ended = await load.run()
    assert ended.seconds == pytest.approx(0.4)
    assert server.connections == 4
    assert load.latencies.count == len(server.requests) > 10
    assert sum(each.sent for each in load.slices) == sum(map(len, server.requests))
    assert sum(each.received for each in load.slices) == len(OK) * len(server.requests)
    assert sum(each.seconds for each in load.slices) == pytest.approx(0.4)
    assert not load.errors()


async def test_different_requests_are_sent_in_turns() -> None:
    async with serving(ok) as server:
        await Load(plan(server, connections=1)).run()
    assert [request.split()[1] for request in server.requests[:4]] == [b"/one", b"/two", b"/one", b"/two"]


async def test_latencies_are_as_long_as_the_server_takes() -> None:
    async def slow_every_fifth(request: bytes, number: int) -> bytes:
        await asyncio.sleep(0.06 if number % 5 == 4 else 0.01)
        return OK

    async with serving(slow_every_fifth) as server:
        load = Load(plan(server, duration=0.7))
        await load.run()
    latencies = load.latencies
    assert 10 * MS <= latencies.lowest <= latencies.quantile(0.5) < 60 * MS
    assert 60 * MS <= latencies.quantile(0.9) <= latencies.highest
    assert latencies.count / len(server.requests) == 1


async def test_what_the_warm_up_sent_is_not_counted() -> None:
    async with serving(ok) as server:
        load = Load(plan(server, warm_up=0.2))
        ended = await load.run(warm_up=0.2)
    assert ended.seconds == pytest.approx(0.4)
    assert 0 < load.latencies.count < len(server.requests)


async def test_errors_are_told_apart_by_status_and_code_with_the_first_ones_text() -> None:
    async def sometimes(request: bytes, number: int) -> bytes:
        if number % 4 == 1:
            return answer(503, b'{"code": "model_stopped", "detail": "number %d"}' % number)
        return answer(429, b"slow down") if number % 4 == 2 else OK

    async with serving(sometimes) as server:
        load = Load(plan(server))
        await load.run()
    errors = load.errors()
    assert errors.keys() == {"model_stopped", "http_429"}
    assert errors["model_stopped"].status == 503
    assert "number 1" in errors["model_stopped"].example
    assert errors["http_429"].example == "slow down"
    failed = errors["model_stopped"].count + errors["http_429"].count
    assert load.latencies.count + failed == len(server.requests)
    assert failed == pytest.approx(len(server.requests) / 2, abs=2)


async def test_a_connection_that_the_server_ends_without_an_answer_is_an_error_and_made_anew() -> None:
    async def dropped(request: bytes, number: int) -> bytes | None:
        return None if number % 10 == 3 else OK

    async with serving(dropped) as server:
        load = Load(plan(server))
        ended = await load.run()
    lost = load.errors()["connection_lost"]
    assert load.latencies.count + lost.count == len(server.requests)
    assert "closed before the answer" in lost.example
    assert ended.reconnected >= lost.count - 4
    assert server.connections >= ended.reconnected + 4


async def test_a_server_that_closes_after_each_answer_makes_no_errors() -> None:
    async def closing(request: bytes, number: int) -> bytes:
        return answer(200, b"ok", b"Connection: close")

    async with serving(closing) as server:
        load = Load(plan(server))
        ended = await load.run()
    assert not load.errors()
    assert load.latencies.count == len(server.requests) > 4
    assert ended.reconnected > 0


async def test_answers_in_chunks_and_interim_answers_are_understood() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    async def answering(request: bytes, number: int) -> bytes:
        return b"HTTP/1.1 103 Early Hints\r\n\r\n" + chunked

    async with serving(answering) as server:
        load = Load(plan(server, duration=0.1))
        await load.run()
    assert not load.errors()
    assert load.latencies.count == len(server.requests)


async def test_what_is_not_http_is_an_error() -> None:
    async def talking(request: bytes, number: int) -> bytes:
        return b"220 mail.example.com ESMTP\r\n"

    async with serving(talking) as server:
        load = Load(plan(server, duration=0.1))
        await load.run()
    assert load.errors().keys() == {"not_http"}


async def test_no_answer_in_time_is_an_error_and_its_connection_is_given_up() -> None:
    async def silent(request: bytes, number: int) -> bytes:
        await asyncio.sleep(60)
        return OK

    async with serving(silent) as server:
        load = Load(plan(server, timeout=0.1))
        began = time.perf_counter()
        await load.run()
    assert time.perf_counter() - began < 5
    assert load.errors().keys() == {"timeout"}
    assert load.errors()["timeout"].example == "No answer came within 0.1 s."
    assert load.latencies.count == 0


async def test_a_stall_is_in_the_latencies_of_all_who_would_have_called_meanwhile() -> None:
    """The same stall of half a second: four callers in a closed loop see it four times, an open loop sees it as often
    as requests were due in it."""
    stalled = 0.5

    async def seen(**how: Any) -> int:
        until = 0.0

        async def stalls_once(request: bytes, number: int) -> bytes:
            nonlocal until
            if number == 40:
                until = time.perf_counter() + stalled
            if (left := until - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            return OK

        async with serving(stalls_once) as server:
            load = Load(plan(server, duration=1.0, **how))
            await load.run()
        return load.latencies.between([stalled / 4 * 1e9, 1e12])[0]

    # 200 a second: about 75 are due in the first three quarters of the stall.
    assert await seen(rate=200.0) >= 60
    assert await seen() <= 10


async def test_an_open_loop_sends_at_its_rate_whatever_the_answers_take() -> None:
    async def slow(request: bytes, number: int) -> bytes:
        await asyncio.sleep(0.05)
        return OK

    async with serving(slow) as server:
        load = Load(plan(server, rate=300.0, connections=100, duration=0.5))
        await load.run()
    assert len(server.requests) == 150
    assert load.latencies.count == 150


async def test_a_request_that_finds_no_connection_in_time_has_failed() -> None:
    async def slow(request: bytes, number: int) -> bytes:
        await asyncio.sleep(0.3)
        return OK

    async with serving(slow) as server:
        load = Load(plan(server, rate=100.0, connections=1, duration=0.5, timeout=0.4))
        await load.run()
    assert load.latencies.count <= 3
    assert load.latencies.count + load.errors()["timeout"].count == 50


async def test_stopped_early_it_measured_less_and_waits_for_nobody() -> None:
    async def never_the_tenth(request: bytes, number: int) -> bytes:
        await asyncio.sleep(60 if number == 10 else 0.001)
        return OK

    async with serving(never_the_tenth) as server:
        load = Load(plan(server, duration=60.0))
        asyncio.get_running_loop().call_later(0.3, load.generator.stop)
        ended = await load.run()
    assert 0.1 < ended.seconds < 5
    assert load.latencies.count > 10
    assert not load.errors()


async def test_no_load_is_made_where_nobody_listens() -> None:
    async with serving(ok) as server:
        nowhere = plan(server)
    with pytest.raises(ConnectionRefusedError):
        await Load(nowhere).run()


async def test_a_server_that_goes_away_is_an_error_while_it_is_away() -> None:
    async with serving(ok) as server:
        load = Load(plan(server, duration=0.5))
        await load.generator.connect()
        running = asyncio.create_task(load.generator.run(time.perf_counter_ns()))
        await asyncio.sleep(0.1)
    await running
    assert load.latencies.count > 0
    assert "cannot_connect" in load.errors()
