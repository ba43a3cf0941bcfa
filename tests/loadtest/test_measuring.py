"""Processes of a load put together, and limits, payloads and pictures of what they measured."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest

from modelyard.loadtest.asking import Answer, ask, post, target
from modelyard.loadtest.gates import gate, judge
from modelyard.loadtest.histogram import Histogram
from modelyard.loadtest.measuring import LoadFailed, Measured, Second, measure
from modelyard.loadtest.plan import Errors, Plan
from modelyard.loadtest.svg import picture
from tests.loadtest.server import OK, Server, answer, serving


def plan(server: Server, **how: Any) -> Plan:
    to = target(f"http://127.0.0.1:{server.port}")
    requests = (post(to, "/", {"Authorization": "Bearer abc"}, b"{}"),)
    return Plan(**{"host": to.host, "port": to.port, "requests": requests, "connections": 5, "duration": 0.5, **how})


async def ok(request: bytes, number: int) -> bytes:
    return OK


async def test_two_processes_share_connections_and_rate_and_their_results_are_one() -> None:
    async with serving(ok) as server:
        told: list[Second] = []
        measured = await measure(plan(server, rate=201.0, duration=1.5), processes=2, tell=told.append)
    assert server.connections == 5
    assert measured.latencies.count == len(server.requests) == pytest.approx(301, abs=1)
    assert [second.index for second in told if second.seconds] == [0, 1]
    assert measured.rate == pytest.approx(201, rel=0.05)
    assert 0 < measured.busy < 1.5
    assert measured.sent == sum(map(len, server.requests))


async def test_a_load_is_ended_early_and_still_tells_what_it_measured() -> None:
    async with serving(ok) as server:
        stop = asyncio.Event()
        began = time.perf_counter()
        measured = await measure(plan(server, duration=60.0), stop=stop, tell=lambda _: stop.set())
    assert time.perf_counter() - began < 10
    assert 1 <= measured.seconds < 5
    assert measured.latencies.count > 0
    assert not measured.errors


async def test_a_load_that_nobody_takes_says_why() -> None:
    async with serving(ok) as server:
        nowhere = plan(server)
    with pytest.raises(LoadFailed, match="refused"):
        await measure(nowhere)


async def test_the_death_of_a_process_of_the_load_is_told_and_leaves_none_behind() -> None:
    here = psutil.Process()
    async with serving(ok) as server:
        others = here.children()  # of other tests: servers that all share
        running = asyncio.create_task(measure(plan(server, duration=60.0), processes=2))
        while len(server.requests) < 10:
            await asyncio.sleep(0.01)
        made = [process for process in here.children() if process not in others]
        os.kill(made[0].pid, signal.SIGKILL)
        with pytest.raises(LoadFailed, match="ended before"):
            await running
    assert not any(process.is_running() for process in made)


async def test_one_request_alone_is_answered_or_says_why_not() -> None:
    async def answering(request: bytes, number: int) -> bytes | None:
        return answer(404, b'{"detail": "no such model"}') if number == 0 else None

    async with serving(answering) as server:
        to = target(f"http://127.0.0.1:{server.port}")
        assert await ask(to, post(to, "/", {}, b""), 5) == Answer(404, b'{"detail": "no such model"}')
        with pytest.raises(ConnectionError, match="closed before"):
            await ask(to, post(to, "/", {}, b""), 5)
    with pytest.raises(ConnectionRefusedError):
        await ask(to, post(to, "/", {}, b""), 5)


def test_urls_become_targets_and_others_are_refused() -> None:
    assert target("http://127.0.0.1:8900/") == ("127.0.0.1", 8900, False, "")
    assert target("https://models.example.com/yard/").authority == "models.example.com"
    assert target("http://[::1]:80").authority == "[::1]"
    assert post(target("http://h/base"), "/x", {"A": "b"}, b"no").startswith(b"POST /base/x HTTP/1.1\r\nHost: h\r\n")
    for wrong in ("127.0.0.1:8900", "ftp://h", "http://"):
        with pytest.raises(ValueError, match="is no URL"):
            target(wrong)
    with pytest.raises(ValueError, match="line break"):
        post(target("http://h"), "/", {"Authorization": "Bearer x\r\nEvil: 1"}, b"")


def measured(*milliseconds: float, errors: int = 0) -> Measured:
    latencies = Histogram()
    for value in milliseconds:
        latencies.record(int(value * 1e6))
    kinds = [Errors(503, "model_stopped", errors, "stopped")] if errors else []
    second = Second(0, 1.0, len(milliseconds), errors, latencies.quantile(0.5), latencies.quantile(0.99),
                    latencies.highest)  # fmt: skip
    return Measured(seconds=1.0, latencies=latencies, errors=kinds, timeline=[second])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("p50=10ms", True), ("p50=9ms", False), ("p99=0.09s", False), ("p99=0.11 s", True), ("max=99999us", False),
        ("p99.9=100ms", True), ("errors=1%", False), ("errors=2%", True), ("errors=1", False), ("errors=2", True),
    ],
)  # fmt: skip
def test_a_limit_is_kept_or_not(text: str, kept: bool) -> None:
    # 98 of 10 ms, two failed, and one of 100 ms.
    assert judge(gate(text), measured(*[10.0] * 97, 100.0, errors=2)).kept is kept


def test_a_load_without_answers_keeps_no_limit_of_time() -> None:
    assert not judge(gate("p50=1s"), Measured(seconds=1.0)).kept


@pytest.mark.parametrize("text", ["p50", "p42=1ms", "p50=5", "p50=-1ms", "errors=5ms", "errors=101%", "=", "p50=1 day"])
def test_what_is_no_limit_is_refused_with_what_may_be_written(text: str) -> None:
    with pytest.raises(ValueError, match="p99"):
        gate(text)


@pytest.mark.parametrize("load", [measured(), measured(3.0), measured(*range(1, 500), errors=7), measured(errors=3)])
def test_the_picture_is_well_formed_whatever_was_measured(load: Measured) -> None:
    drawn = ElementTree.fromstring(picture(load, "digits <&> 8 callers"))
    texts = ["".join(each.itertext()) for each in drawn.iter() if each.tag.endswith("text")]
    assert texts[0] == "digits <&> 8 callers"
    assert f"{load.failed} errors" in texts[1]
    numbers = " ".join(value for each in drawn.iter() for value in each.attrib.values())
    assert "nan" not in numbers
    assert "inf" not in numbers
