"""What the control process is told of the requests: exact counts, when something has changed, and no sooner."""

import asyncio
import contextlib
import itertools
import json
import signal
import time

import aiohttp
import pytest
from aiohttp import web

from modelyard.control.ports import Endpoint, Hold, Route
from modelyard.domain.model import ModelRef
from modelyard.domain.states import State
from modelyard.gateway import loads as gateway_loads
from modelyard.gateway.client import GatewayChannel
from modelyard.gateway.loads import Loads
from modelyard.runtime.frames import Head


async def infer(http, name, **parameters):
    async with http.post(f"/v2/models/{name}/infer", json={"parameters": parameters}) as answer:
        return answer.status


async def next_report(channel, last, uid):
    """The next one after ``last`` that tells of ``uid``: other tests' models may be among the changes."""
    async with asyncio.timeout(10):
        while True:
            last = await channel.loads(last["gateway"], last["since"])
            if uid in last["models"]:
                return last


# ---------------------------------------------------------------- what is counted


def test_busy_is_the_integral_of_what_is_in_flight(monkeypatch):
    now = 100.0
    monkeypatch.setattr(gateway_loads, "monotonic", lambda: now)
    meter = Loads().add("u")
    for at, begins in ((101.0, True), (102.5, True), (103.0, False), (105.0, False), (109.0, True)):
        now = at
        if begins:
            meter.begin(again=False)
        else:
            meter.end()
    # 1.5 s with one, 0.5 s with two, 2 s with one, and the third since 109.
    assert meter.read(110.0) == {"uid": "u", "requests": 3, "busy": 5.5, "in_flight": 1, "waiting": 0, "quiet": 0.0}
    now = 111.0
    meter.end()
    assert meter.read(114.0) == {"uid": "u", "requests": 3, "busy": 6.5, "in_flight": 0, "waiting": 0, "quiet": 3.0}


async def test_requests_are_counted_once_each_and_their_time_in_all_instances(
    http, channel, new_worker, name, make_route
):
    first, second = new_worker(), new_worker()
    await channel.set(make_route(name, first, second))
    assert await channel.load(name) | {"quiet": 0} == {
        "uid": f"u-{name}", "requests": 0, "busy": 0, "in_flight": 0, "waiting": 0, "quiet": 0,
    }  # fmt: skip
    took = []

    async def timed(**parameters):
        started = time.monotonic()
        await infer(http, name, **parameters)
        took.append(time.monotonic() - started)

    slow = [asyncio.create_task(timed(sleep=0.3)) for _ in range(6)]
    load = await channel.until_load(name, in_flight=6)
    assert (load["requests"], load["quiet"]) == (6, 0)
    await asyncio.gather(*slow)
    await timed(status=422)
    ended = time.monotonic()
    load = await channel.load(name)
    assert (load["requests"], load["in_flight"]) == (7, 0)
    assert 6 * 0.299 <= load["busy"] <= sum(took)
    assert load["quiet"] <= time.monotonic() - ended + 0.1


async def test_how_requests_were_answered_is_told_of_the_model_refusals_too(
    http, channel, new_worker, name, make_route
):
    await channel.set(make_route(name, new_worker()))
    await infer(http, name)
    await infer(http, name, status=500)
    await channel.set(make_route(name, state="stopped"))
    await infer(http, name)
    answered = (await channel.load(name))["answered"]
    assert (answered["answers"], answered["errors"], sum(answered["buckets"])) == (3, 2, 2)


async def test_a_request_that_its_first_instance_did_not_take_counts_once(http, channel, new_worker, name, make_route):
    gone, there = new_worker(), new_worker()
    await channel.set(make_route(name, gone, there))
    gone.kill()
    for _ in range(4):
        assert await infer(http, name, echo=1) == 200
    load = await channel.load(name)
    assert (load["requests"], load["in_flight"]) == (4, 0)


async def test_callers_who_leave_and_workers_who_die_leave_nothing_in_flight(
    http, channel, new_worker, name, make_route
):
    worker = new_worker()
    await channel.set(make_route(name, worker))
    slow = asyncio.create_task(infer(http, name, sleep=30))
    await channel.until_load(name, in_flight=1)
    slow.cancel()
    await channel.until_load(name, in_flight=0, requests=1)
    slow = asyncio.create_task(infer(http, name, sleep=30))
    await channel.until_load(name, in_flight=1, requests=2)
    worker.kill()
    assert await slow == 503
    await channel.until_load(name, in_flight=0, requests=2)


async def test_probes_scrapes_and_refused_requests_are_no_traffic(http, channel, worker, name, make_route, serve_http):
    async def fine(request):
        return web.json_response({})

    async with serve_http(fine) as origin:
        server = {"s": {"address": origin, "generation": 3}}
        await channel.set(make_route(name, worker, max_body=10))
        for path in (f"/v2/models/{name}", f"/v2/models/{name}/ready", "/metrics"):
            async with http.get(path) as answer:
                assert answer.status == 200
        assert await infer(http, name, too_long="x" * 20) == 413
        await channel.set(make_route(name, instances=server))
        for path in ("", "/ready", "/other/metrics"):
            async with http.get(f"/v2/models/{name}{path}") as answer:
                assert answer.status == 200
        for path in ("/metrics", "/healthz", "/v2/health/ready", "/health/"):
            async with http.get(f"/proxy/default/{name}{path}") as answer:
                assert answer.status == 200
        assert (await channel.load(name))["requests"] == 0
        await channel.set(make_route(name, instances=server))
        for method, path, requests in (
            ("GET", f"/proxy/default/{name}/v1/models", 1), ("POST", f"/proxy/default/{name}/health", 2),
            ("POST", f"/v2/models/{name}/infer", 3), ("POST", f"/v2/models/{name}/generate", 4),
        ):  # fmt: skip
            async with http.request(method, path) as answer:
                assert answer.status == 200
            assert (await channel.load(name))["requests"] == requests
        assert (await channel.load(name))["in_flight"] == 0


async def test_a_stream_from_a_users_server_is_in_flight_until_its_end(http, channel, name, make_route, serve_http):
    go = asyncio.Event()

    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await go.wait()
        return response

    async with serve_http(stream) as origin:
        await channel.set(make_route(name, instances={"s": {"address": origin, "generation": 3}}))
        async with http.get(f"/proxy/default/{name}/talk") as answer:
            assert await answer.content.readany() == b"x"
            assert (await channel.load(name))["in_flight"] == 1
            go.set()
            await answer.read()
        await channel.until_load(name, in_flight=0, requests=1)


# ---------------------------------------------------------------- when it is told


async def test_nothing_is_told_while_nothing_changes(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    everything = await channel.loads()
    poll = asyncio.create_task(channel.loads(everything["gateway"], everything["since"]))
    async with http.get(f"/v2/models/{name}/ready") as answer:
        assert answer.status == 200
    await channel.set(make_route(name, worker))
    done, _ = await asyncio.wait([poll], timeout=0.8)
    assert not done
    assert await infer(http, name, echo=1) == 200
    async with asyncio.timeout(10):
        report = await poll
    assert set(report["models"]) == {f"u-{name}"}
    assert report["gateway"] == everything["gateway"]


async def test_a_model_in_use_is_told_of_twice_a_second_and_once_more_when_it_is_quiet(
    http, channel, worker, name, make_route
):
    uid = f"u-{name}"
    await channel.set(make_route(name, worker))
    last = await channel.loads()
    slow = asyncio.create_task(infer(http, name, sleep=1.6))
    reports = [await next_report(channel, last, uid)]
    while reports[-1]["models"][uid]["requests"] == 0 or reports[-1]["models"][uid]["in_flight"]:
        reports.append(await next_report(channel, reports[-1], uid))
    assert await slow == 200
    for before, after in itertools.pairwise(reports):
        assert after["at"] - before["at"] > 0.49
        if after["models"][uid]["in_flight"]:
            grown = after["models"][uid]["busy"] - before["models"][uid]["busy"]
            assert grown == pytest.approx(after["at"] - before["at"], abs=0.01)
    assert 4 <= len(reports) <= 6
    quiet = asyncio.create_task(channel.loads(reports[-1]["gateway"], reports[-1]["since"]))
    done, _ = await asyncio.wait([quiet], timeout=0.8)
    assert not done
    quiet.cancel()


async def test_a_request_that_begins_to_wait_is_told_of_at_once(http, channel, worker, name, make_route):
    uid = f"u-{name}"
    idle = make_route(name, state="idle", hold={"max_waiting": 5, "timeout": 20})
    await channel.set(idle)
    last = await channel.loads()
    held = []
    # The first one has no half second to wait; neither has the next that begins to wait after that.
    for _ in range(2):
        held.append(asyncio.create_task(infer(http, name, echo=1)))
        report = await next_report(channel, last, uid)
        assert report["models"][uid]["waiting"] == 1
        assert report["at"] - last["at"] < 0.4
        await channel.set(make_route(name, worker))
        assert await held[-1] == 200
        last = await channel.loads()
        await channel.set(idle)


async def test_a_wait_that_began_between_two_polls_is_told_of_at_once(http, channel, worker, name, make_route):
    uid = f"u-{name}"
    await channel.set(make_route(name, state="idle", hold={"max_waiting": 5, "timeout": 20}))
    last = await channel.loads()
    held = asyncio.create_task(infer(http, name, echo=1))
    await channel.until_load(name, waiting=1)
    async with asyncio.timeout(0.4):
        assert (await channel.loads(last["gateway"], last["since"]))["models"][uid]["waiting"] == 1
    await channel.set(make_route(name, worker))
    assert await held == 200


async def test_an_answer_that_was_lost_is_told_again_and_strangers_are_told_everything(
    http, channel, worker, name, make_route
):
    await channel.set(make_route(name, worker))
    await channel.set(make_route(f"{name}-other", worker))
    first = await channel.loads()
    await infer(http, name, echo=1)
    for _ in range(2):
        report = await next_report(channel, first, f"u-{name}")
        assert report["models"][f"u-{name}"]["requests"] == 1
        assert f"u-{name}-other" not in report["models"]
    for gateway, since in ((first["gateway"], 0), ("another", first["since"]), (first["gateway"], 10**9)):
        async with asyncio.timeout(5):
            report = await channel.loads(gateway, since)
        assert {f"u-{name}", f"u-{name}-other"} <= set(report["models"])


async def test_a_removed_model_is_told_of_no_more(channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    await channel.ask("remove_route", uid=f"u-{name}")
    assert f"u-{name}" not in (await channel.loads())["models"]


@pytest.mark.parametrize("params", [{"since": "x", "gateway": ""}, {"since": 1}, {}])
async def test_a_poll_that_is_none_is_refused(channel, params):
    head, _ = await channel.peer.request(Head("loads", 0, params))
    assert (head.status, head.params["code"]) == (400, "invalid_request")


async def test_of_ten_thousand_models_only_the_changed_are_told():
    loads = Loads()
    meters = [loads.add(f"u{i}") for i in range(10_000)]
    told = asyncio.Queue()
    loads.poll(("me", 1), "", 0, told.put_nowait)
    async with asyncio.timeout(10):
        everything = await told.get()
        assert len(everything["models"]) == 10_000
        loads.poll(("me", 2), loads.gateway, everything["since"], told.put_nowait)
        meters[5000].begin(again=False)
        meters[5000].end()
        assert [load["uid"] for load in (await told.get())["models"]] == ["u5000"]


async def test_who_has_gone_is_told_nothing():
    loads = Loads()
    told = asyncio.Queue()
    loads.poll(("gone", 1), "", 0, told.put_nowait)
    loads.poll(("there", 1), "", 0, told.put_nowait)
    loads.poll(("there", 2), "", 0, told.put_nowait)
    loads.drop("gone")
    loads.drop("there", 1)
    async with asyncio.timeout(10):
        await told.get()
    assert told.empty()


# ---------------------------------------------------------------- the control process's end


@contextlib.asynccontextmanager
async def channel_to(gateway):
    channel = GatewayChannel(gateway.settings)
    await channel.open()
    try:
        yield channel
    finally:
        await channel.close()


def a_route(worker):
    return Route(
        ref=ModelRef("u1", "default", "m"), state=State.RUNNING, message="", generation=1, public=True,
        instances={worker.id: Endpoint(address=worker.address, generation=1)}, request_timeout=20, max_body=1000,
        max_queue=10, metadata={}, hold=Hold(max_waiting=3, timeout=5),
    )  # fmt: skip


async def test_a_new_gateway_has_a_new_name_and_tells_everything_from_nought(own_gateway, new_worker, auth):
    worker = new_worker()
    await asyncio.to_thread(own_gateway.start)
    async with channel_to(own_gateway) as channel, asyncio.timeout(20):
        await channel.set_route(a_route(worker), ())
        loads = channel.loads()
        first = await anext(loads)
        assert [load.uid for load in first.models] == ["u1"]
        async with aiohttp.ClientSession(own_gateway.url) as http:
            assert await infer(http, "m", echo=1) == 200
        second = await anext(loads)
        assert (second.gateway, second.models[0].requests) == (first.gateway, 1)
        while second.models[0].in_flight:
            second = await anext(loads)
        own_gateway.end(signal.SIGKILL)
        await asyncio.to_thread(own_gateway.start)
        third = await anext(loads)
        assert third.gateway != first.gateway
        assert [(load.uid, load.requests) for load in third.models] == [("u1", 0)]
        await loads.aclose()


async def test_loads_may_be_asked_for_before_there_is_a_gateway(own_gateway, new_worker):
    worker = new_worker()
    async with channel_to(own_gateway) as channel, asyncio.timeout(20):
        await channel.set_route(a_route(worker), ())
        report = asyncio.create_task(anext(channel.loads()))
        await asyncio.to_thread(own_gateway.start)
        assert [load.uid for load in (await report).models] == ["u1"]


async def test_the_route_file_says_what_may_wait(own_gateway, new_worker):
    async with channel_to(own_gateway) as channel:
        await channel.set_route(a_route(new_worker()), ())
        document = json.loads((own_gateway.settings.routes_dir / "u1.json").read_bytes())
        assert document["hold"] == {"max_waiting": 3, "timeout": 5}
