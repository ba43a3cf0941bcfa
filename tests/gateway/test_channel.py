"""The control process's end of the channel, against real gateways that come and go."""

import asyncio
import contextlib
import signal
from dataclasses import replace

import aiohttp
import pytest

from modelyard.control.ports import Closed, Endpoint, Route
from modelyard.domain.model import DrainReport, ModelRef
from modelyard.domain.states import State
from modelyard.gateway.client import GatewayChannel
from modelyard.gateway.routes import Instance, parse_route

REF = ModelRef("u1", "default", "m")


def served_by(*workers, **changes) -> Route:
    route = Route(
        ref=REF, state=State.RUNNING, message="", generation=1, public=True,
        instances={w.id: Endpoint(address=w.address, generation=1) for w in workers}, request_timeout=20, max_body=1000,
        max_queue=10, metadata={},
    )  # fmt: skip
    return replace(route, **changes)


@contextlib.asynccontextmanager
async def channel_to(gateway):
    channel = GatewayChannel(gateway.settings)
    await channel.open()
    try:
        yield channel
    finally:
        await channel.close()


async def infer(gateway, **parameters):
    async with (
        aiohttp.ClientSession(gateway.url) as http,
        http.post("/v2/models/m/infer", json={"parameters": parameters}) as answer,
    ):
        return answer.status


async def next_ref(channel):
    async with asyncio.timeout(10):
        return await anext(channel.drained())


async def connected(channel):
    async with asyncio.timeout(10):
        while not channel.connected:
            await asyncio.sleep(0.01)


async def test_a_gateway_that_is_away_serves_nobody_and_is_told_when_it_comes(own_gateway, new_worker):
    worker = new_worker()
    async with channel_to(own_gateway) as channel:
        closed = await channel.set_route(served_by(worker), ("old",))
        assert closed == Closed(in_flight={"old": 0}, report=DrainReport())
        (own_gateway.settings.routes_dir / "u1.json").unlink()
        await asyncio.to_thread(own_gateway.start)
        assert await next_ref(channel) == REF
        assert await infer(own_gateway, echo=1) == 200


async def test_a_drain_is_reported_when_the_last_request_has_ended(own_gateway, new_worker):
    worker = new_worker()
    await asyncio.to_thread(own_gateway.start)
    async with channel_to(own_gateway) as channel:
        await channel.set_route(served_by(worker), ())
        slow = asyncio.create_task(infer(own_gateway, sleep=1.0))
        await worker.until_count(waiting=1)
        closed = await channel.set_route(served_by(state=State.STOPPING), (worker.id,))
        assert closed.in_flight == {worker.id: 1}
        assert await next_ref(channel) == REF
        assert await slow == 200
        closed = await channel.set_route(served_by(state=State.STOPPING), (worker.id,))
        assert closed == Closed(in_flight={worker.id: 0}, report=DrainReport(finished=1))


async def test_a_control_process_that_starts_finds_what_is_in_flight_already(own_gateway, new_worker):
    worker = new_worker()
    await asyncio.to_thread(own_gateway.start)
    async with channel_to(own_gateway) as first:
        await first.set_route(served_by(worker), ())
    slow = asyncio.create_task(infer(own_gateway, sleep=1.0))
    await worker.until_count(waiting=1)
    async with channel_to(own_gateway) as second:
        closed = await second.set_route(served_by(state=State.STOPPING), (worker.id,))
        assert closed.in_flight == {worker.id: 1}
        assert await slow == 200


async def test_a_killed_gateways_successor_knows_all_and_every_model_is_looked_at_again(own_gateway, new_worker):
    worker = new_worker()
    await asyncio.to_thread(own_gateway.start)
    async with channel_to(own_gateway) as channel:
        await channel.set_route(served_by(worker), ())
        own_gateway.end(signal.SIGKILL)
        await asyncio.to_thread(own_gateway.start)
        assert await next_ref(channel) == REF
        assert await infer(own_gateway, echo=1) == 200


async def test_a_hanging_gateway_does_not_count_as_drained(own_gateway, new_worker, monkeypatch):
    monkeypatch.setattr("modelyard.gateway.client._ANSWER_TIMEOUT", 0.2)
    worker = new_worker()
    await asyncio.to_thread(own_gateway.start)
    async with channel_to(own_gateway) as channel:
        await channel.set_route(served_by(worker), ())
        own_gateway.process.send_signal(signal.SIGSTOP)
        for _ in range(3):
            closed = await channel.set_route(served_by(state=State.STOPPING), (worker.id,))
            assert closed.in_flight == {}
        own_gateway.process.send_signal(signal.SIGCONT)
        assert await next_ref(channel) == REF
        assert await infer(own_gateway, echo=1) == 503


async def test_routes_are_files_that_go_with_the_model(own_gateway, new_worker):
    worker = new_worker()
    file = own_gateway.settings.routes_dir / "u1.json"
    await asyncio.to_thread(own_gateway.start)
    async with channel_to(own_gateway) as channel:
        await channel.set_route(served_by(worker), ())
        assert parse_route(file.read_bytes()).instances == {worker.id: Instance(worker.address, 1)}
        await channel.set_route(served_by(state=State.STOPPED, message="Gone."), ())
        assert parse_route(file.read_bytes()).message == "Gone."
        await channel.remove_route(REF)
        assert not file.exists()
        assert await infer(own_gateway, echo=1) == 401


@pytest.mark.parametrize("away", [True, False])
async def test_a_route_is_told_even_if_its_file_cannot_be_written(own_gateway, new_worker, away, caplog):
    worker = new_worker()
    own_gateway.settings.routes_dir.rmdir()
    own_gateway.settings.routes_dir.write_text("not a folder")
    if not away:
        await asyncio.to_thread(own_gateway.start)
    async with channel_to(own_gateway) as channel:
        await channel.set_route(served_by(worker), ())
        if away:
            await asyncio.to_thread(own_gateway.start)
            assert await next_ref(channel) == REF
        assert await infer(own_gateway, echo=1) == 200
    assert "cannot write the route" in caplog.text


async def test_a_route_that_the_gateway_refuses_is_logged_and_holds_nobody_up(own_gateway, new_worker, caplog):
    worker = new_worker()
    bad = served_by(state=State.UPDATING, instances={"bad": Endpoint(address="ftp://x", generation=2)})
    await asyncio.to_thread(own_gateway.start)
    async with channel_to(own_gateway) as channel:
        await channel.set_route(served_by(worker), ())
        closed = await channel.set_route(bad, (worker.id,))
        # What it served it still serves, so nothing of it counts as drained.
        assert closed == Closed(in_flight={}, report=DrainReport())
        assert await infer(own_gateway, echo=1) == 200
        assert "refused set_route: address 'ftp://x'" in caplog.text
        assert (await channel.set_route(served_by(), (worker.id,))).in_flight == {worker.id: 0}
