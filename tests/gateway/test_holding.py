"""Requests to a model that is about to serve: they wait, are bounded, and are never stuck."""

import asyncio
import contextlib
import io
import json
import tempfile
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from modelyard.runtime.frames import FramePeer, Head

HOLD = {"max_waiting": 5, "timeout": 20.0}


async def infer(http, name, **parameters):
    async with http.post(f"/v2/models/{name}/infer", json={"parameters": parameters}) as answer:
        return answer.status, await answer.json()


async def passed_on(http, path, method="POST", **parts):
    async with http.request(method, path, **parts) as answer:
        return answer.status, await answer.json()


@pytest.fixture
def idle(make_route, name):
    """Routes of the model while it does not serve."""

    def make(**changes):
        return make_route(name, **{"state": "idle", "hold": HOLD} | changes)

    return make


@pytest.fixture
def wake(channel, make_route, name, worker):
    """Have the model served by a worker."""

    async def serve(*workers, **changes):
        await channel.set(make_route(name, *(workers or (worker,)), **{"hold": HOLD} | changes))

    return serve


@pytest.fixture
async def server(serve_http):
    """A user's server; answers with what it was asked."""

    async def handle(request):
        return web.json_response({"path": request.raw_path, "size": len(await request.read())})

    async with serve_http(handle) as origin:
        yield {"s": {"address": origin, "generation": 3}}


# ---------------------------------------------------------------- waiting, and then being answered


@pytest.mark.parametrize("state", ["idle", "queued", "starting", "running", "updating"])
async def test_a_request_waits_until_an_instance_serves(http, channel, name, idle, wake, state):
    await channel.set(idle(state=state))
    held = asyncio.create_task(infer(http, name, echo=1))
    await channel.until_load(name, waiting=1, requests=0, in_flight=0)
    # News that bring no instance change nothing.
    await channel.set(idle(state="starting", message="Loading."))
    await channel.until_load(name, waiting=1)
    await wake()
    assert (await held)[0] == 200
    await channel.until_load(name, waiting=0, requests=1, in_flight=0)


async def test_a_body_larger_than_what_is_read_ahead_arrives_whole(http, channel, name, idle, wake):
    await channel.set(idle(max_body=2**24))
    body = json.dumps({"parameters": {"echo": 1}, "inputs": ["x" * (8 * 2**20)]}).encode()
    held = asyncio.create_task(
        passed_on(http, f"/v2/models/{name}/infer", data=io.BytesIO(body), headers={"Content-Type": "application/json"})
    )
    await channel.until_load(name, waiting=1)
    await wake(max_body=2**24)
    status, seen = await held
    assert (status, seen["size"]) == (200, len(body))


async def test_those_who_wait_go_on_in_the_order_in_which_they_came(http, channel, make_route, name, idle):
    seen = []

    def answer(peer, stream, head, body, respond):
        seen.append(json.loads(bytes(body))["number"])
        respond(Head("", 200, {"content_type": "application/json"}), b"{}")

    await channel.set(idle())
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder:
        path = Path(folder, "w.sock")
        listener = await asyncio.get_running_loop().create_unix_server(lambda: FramePeer(answer), str(path))
        async with listener:
            held = []
            for number in range(5):
                held.append(asyncio.create_task(passed_on(http, f"/v2/models/{name}/infer", json={"number": number})))
                await channel.until_load(name, waiting=number + 1)
            instances = {"w": {"address": f"unix:{path}", "generation": 3}}
            await channel.set(make_route(name, instances=instances, hold=HOLD))
            assert {(await task)[0] for task in held} == {200}
            await channel.ask("remove_route", uid=f"u-{name}")
    assert seen == [0, 1, 2, 3, 4]


async def test_the_queues_limit_holds_for_those_who_waited_too(http, channel, worker, name, idle, wake):
    await channel.set(idle(max_queue=1))
    held = [asyncio.create_task(infer(http, name, sleep=0.3)) for _ in range(2)]
    await channel.until_load(name, waiting=2)
    await wake(max_queue=1)
    answers = sorted([await task for task in held], key=lambda answer: answer[0])
    assert [answer[0] for answer in answers] == [200, 503]
    assert answers[1][1]["code"] == "queue_full"


async def test_a_request_for_the_version_to_come_waits_and_for_another_it_does_not(http, channel, name, idle, wake):
    await channel.set(idle(generation=3))
    held = asyncio.create_task(passed_on(http, f"/v2/models/{name}/versions/3/infer", json={"parameters": {"echo": 1}}))
    await channel.until_load(name, waiting=1)
    status, problem = await passed_on(http, f"/v2/models/{name}/versions/2/infer", json={})
    assert (status, problem["code"]) == (404, "version_not_found")
    await wake()
    assert (await held)[1]["params"]["version"] == "3"


@pytest.mark.parametrize("call", ["infer", "generate", "generate_stream"])
async def test_a_model_that_goes_idle_while_a_body_is_on_its_way_is_woken_by_it(
    gateway, channel, name, idle, wake, auth, call
):
    await wake()
    body = b'{"parameters": {"echo": 1}}'
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        f"POST /v2/models/{name}/{call} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Authorization: {auth['Authorization']}\r\nContent-Length: {len(body)}\r\n"
        "Expect: 100-continue\r\n\r\n".encode()
    )
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
        await channel.set(idle())
        writer.write(body)
        await channel.until_load(name, waiting=1)
        await wake()
        assert b"HTTP/1.1 200 " in await reader.read()
    writer.close()


@pytest.mark.parametrize(
    ("method", "path", "passed"),
    [
        ("POST", "/proxy/default/{name}/v1/chat?a=b", "/v1/chat?a=b"), ("GET", "/proxy/default/{name}", "/"),
        ("POST", "/v2/models/{name}/infer", "/v2/models/{name}/infer"),
        ("POST", "/v2/models/{name}/generate", "/v2/models/{name}/generate"),
    ],
)  # fmt: skip
async def test_requests_to_a_users_server_wait_for_it(http, channel, server, name, idle, wake, method, path, passed):
    await channel.set(idle(max_body=2**22))
    size = 2**21 if method == "POST" else 0
    held = asyncio.create_task(passed_on(http, path.format(name=name), method, data=io.BytesIO(bytes(size))))
    await channel.until_load(name, waiting=1)
    await wake(instances=server, max_body=2**22)
    assert await held == (200, {"path": passed.format(name=name), "size": size})
    assert (await channel.load(name))["requests"] == 1


async def test_what_a_woken_model_cannot_answer_is_said_once_it_is_there(http, channel, name, idle, wake):
    await channel.set(idle())
    held = asyncio.create_task(passed_on(http, f"/proxy/default/{name}/x"))
    other = asyncio.create_task(passed_on(http, f"/v2/models/{name}/explain"))
    await channel.until_load(name, waiting=2)
    await wake()
    assert (await held)[1]["code"] == "not_proxied"
    assert (await other)[1]["code"] == "not_found"


# ---------------------------------------------------------------- waiting in vain


async def test_who_has_waited_long_enough_is_refused_and_told_what_to_do(http, channel, name, idle, wake, metrics):
    await channel.set(idle(state="starting", hold={"max_waiting": 5, "timeout": 0.3}))
    async with http.post(f"/v2/models/{name}/infer", json={}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        problem = await answer.json()
    assert (problem["code"], problem["state"]) == ("wake_timeout", "starting")
    assert "within 0.3 s, its autoscaling.wake_timeout" in problem["detail"]
    assert (await channel.load(name))["waiting"] == 0
    assert await metrics.codes(name) == {"503": 1}
    await wake()
    assert (await infer(http, name, echo=1))[0] == 200


async def test_the_requests_own_time_bounds_its_wait(http, channel, name, idle):
    await channel.set(idle(request_timeout=0.3))
    status, problem = await infer(http, name)
    assert (status, problem["code"]) == (503, "wake_timeout")
    assert "raise limits.request_timeout" in problem["detail"]


async def test_the_time_waited_is_part_of_the_requests_time(http, channel, worker, name, idle, wake):
    await channel.set(idle(request_timeout=1.0))
    held = asyncio.create_task(infer(http, name, sleep=30))
    load = await channel.until_load(name, waiting=1)
    started = (await channel.loads())["at"]
    await wake(request_timeout=1.0)
    assert (await held)[1]["code"] == "request_timeout"
    assert (await channel.loads())["at"] - started < 1.5
    assert load["requests"] == 0


async def test_no_more_wait_than_may(http, channel, name, idle, wake):
    await channel.set(idle(hold={"max_waiting": 2, "timeout": 20}))
    held = [asyncio.create_task(infer(http, name, echo=1)) for _ in range(2)]
    await channel.until_load(name, waiting=2)
    async with http.post(f"/v2/models/{name}/infer", json={}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        problem = await answer.json()
    assert (problem["code"], problem["max_waiting"]) == ("too_many_waiting", 2)
    assert "raise autoscaling.max_waiting" in problem["detail"]
    await wake()
    assert [(await task)[0] for task in held] == [200, 200]


async def test_a_body_too_large_does_not_wake_the_model(http, channel, name, idle):
    await channel.set(idle(max_body=10))
    status, problem = await infer(http, name, echo="more than ten bytes")
    assert (status, problem["code"]) == (413, "body_too_large")
    assert (await channel.load(name))["waiting"] == 0


@pytest.mark.parametrize("state", ["stopping", "deleting"])
async def test_a_stop_refuses_those_who_wait_at_once_and_counts_them(
    http, channel, make_route, name, idle, state, metrics
):
    await channel.set(idle())
    held = [asyncio.create_task(infer(http, name)) for _ in range(3)]
    await channel.until_load(name, waiting=3)
    told = await channel.set(idle(state=state))
    # In the very answer: there may be nothing to drain, and so no later one.
    assert told["report"] == {"finished": 0, "refused": 3, "cut": 0}
    for task in held:
        status, problem = await task
        assert (status, problem["code"], problem["state"]) == (503, "model_not_serving", state)
    assert await metrics.codes(name) == {"503": 3}
    assert (await channel.set(idle(state=state)))["report"]["refused"] == 3
    assert (await channel.load(name))["waiting"] == 0


@pytest.mark.parametrize("changes", [{"state": "stopped"}, {"state": "error"}, {"hold": None}])
async def test_those_who_wait_are_refused_once_nothing_will_come(http, channel, name, idle, changes):
    await channel.set(idle())
    held = asyncio.create_task(infer(http, name))
    await channel.until_load(name, waiting=1)
    await channel.set(idle(**changes))
    status, problem = await held
    assert (status, problem["code"], problem["state"]) == (503, "model_not_serving", changes.get("state", "idle"))


async def test_those_who_wait_for_a_model_that_is_removed_are_refused(http, channel, name, idle):
    await channel.set(idle())
    held = asyncio.create_task(infer(http, name))
    await channel.until_load(name, waiting=1)
    await channel.ask("remove_route", uid=f"u-{name}")
    status, problem = await held
    assert (status, problem["code"], problem["state"]) == (503, "model_not_serving", "deleting")


@pytest.mark.parametrize("state", ["stopped", "stopping", "deleting", "error"])
@pytest.mark.parametrize("path", ["/v2/models/{name}/infer", "/proxy/default/{name}/x"])
async def test_in_states_that_nothing_wakes_no_request_waits(http, channel, name, idle, state, path):
    await channel.set(idle(state=state))
    status, problem = await passed_on(http, path.format(name=name), json={})
    assert (status, problem["code"]) == (503, "model_not_serving")
    assert (await channel.load(name))["waiting"] == 0


@pytest.mark.parametrize("hold", [None, {"max_waiting": 0, "timeout": 20}])
async def test_a_model_that_holds_nobody_refuses_as_ever(http, channel, name, idle, hold):
    await channel.set(idle(hold=hold))
    status, problem = await infer(http, name)
    assert (status, problem["code"]) == (503, "model_not_serving")
    assert "modelyard start" in problem["detail"]


async def test_probes_neither_wait_nor_wake(http, channel, name, idle):
    await channel.set(idle())
    for path in (
        f"/v2/models/{name}", f"/v2/models/{name}/ready", f"/proxy/default/{name}/metrics",
        f"/proxy/default/{name}/health", f"/v2/models/{name}/some/healthz",
    ):  # fmt: skip
        async with asyncio.timeout(5):
            status, problem = await passed_on(http, path, "GET")
        assert (status, problem["code"]) == (503, "model_not_serving")
        assert "It wakes with the next request." in problem["detail"]
    assert (await channel.load(name))["waiting"] == 0


# ---------------------------------------------------------------- callers who leave


@contextlib.asynccontextmanager
async def caller(gateway, name, auth, body):
    """One who has sent all of a request that he may and waits for the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: {auth['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    yield reader, writer
    writer.transport.abort()


@pytest.mark.parametrize("size", [100, 150_000])
async def test_who_leaves_while_waiting_is_forgotten(gateway, channel, name, idle, auth, metrics, size):
    # Of the larger body a part is not read, so that its sender's leaving must be looked for.
    await channel.set(idle())
    async with caller(gateway, name, auth, b" " * size) as (_, writer):
        await channel.until_load(name, waiting=1)
        writer.transport.abort()
        await channel.until_load(name, waiting=0)
    assert await metrics.codes(name) == {"499": 1}


async def test_who_leaves_behind_a_body_that_nobody_reads_waits_no_longer_than_any(
    gateway, http, channel, name, idle, wake, auth, metrics
):
    # The kernel says nothing of the end of a connection before what was sent earlier has been read.
    await channel.set(idle(max_body=2**24, hold={"max_waiting": 1, "timeout": 20}))
    async with caller(gateway, name, auth, b" " * 2**23) as (_, writer):
        await channel.until_load(name, waiting=1)
        writer.transport.abort()
        await wake(max_body=2**24)
        await metrics.until_codes(name, {"499": 1})
    assert (await infer(http, name, echo=1))[0] == 200
    await channel.until_load(name, in_flight=0, requests=1)


async def test_who_waits_with_a_large_body_is_not_taken_for_gone(gateway, channel, name, idle, wake, auth):
    await channel.set(idle(max_body=2**24))
    async with caller(gateway, name, auth, b" " * 2**22) as (reader, _):
        load = await channel.until_load(name, waiting=1)
        # Longer than the looks are apart.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1), 1.5)
        assert (await channel.load(name))["waiting"] == load["waiting"] == 1
        await wake(max_body=2**24)
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_a_gateway_told_to_end_lets_those_who_wait_go(own_gateway, idle, name, auth):
    (own_gateway.settings.routes_dir / "u.json").write_text(json.dumps(idle()))
    await asyncio.to_thread(own_gateway.start)
    async with aiohttp.ClientSession(own_gateway.url, headers=auth) as http:
        held = asyncio.create_task(infer(http, name))

        async def waiting():
            async with http.get("/metrics") as answer:
                return f'model_inference_waiting{{model="{name}",namespace="default"}} 1.0' in await answer.text()

        async with asyncio.timeout(10):
            while not await waiting():
                await asyncio.sleep(0.01)
        assert await asyncio.to_thread(own_gateway.end) == 0
        status, problem = await held
        assert (status, problem["code"]) == (503, "gateway_stopping")


async def test_who_waits_and_how_often_a_model_was_woken_are_metrics(http, channel, name, idle, wake, metrics):
    await channel.set(idle())
    assert await metrics.value(name, "model_inference_waiting") == 0
    held = [asyncio.create_task(infer(http, name, echo=1)) for _ in range(2)]
    await channel.until_load(name, waiting=2)
    assert await metrics.value(name, "model_inference_waiting") == 2
    await wake()
    assert [(await task)[0] for task in held] == [200, 200]
    assert await metrics.value(name, "model_inference_waiting") == 0
    assert await metrics.value(name, "model_wakes_total") == 1
