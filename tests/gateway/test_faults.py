"""Processes that die at the worst moment."""

import asyncio
import json

import aiohttp
import pytest


async def infer(http, name, **parameters):
    async with http.post(f"/v2/models/{name}/infer", json={"parameters": parameters}) as answer:
        return answer.status, await answer.json()


async def test_a_worker_killed_mid_request_fails_that_request_only(http, channel, new_worker, name, make_route):
    first, second = new_worker(), new_worker()
    await channel.set(make_route(name, first, second))
    status, problem = await infer(http, name, die=True)
    assert (status, problem["code"]) == (503, "instance_lost")
    assert problem["retry_after"] == 1
    # A killed process may still seem to listen while the kernel takes it apart.
    async with asyncio.timeout(10):
        while first.process.poll() is None and second.process.poll() is None:
            await asyncio.sleep(0.005)
    # The control process has not noticed yet; the one that lives answers all the same.
    assert [(await infer(http, name, echo=1))[0] for _ in range(10)] == [200] * 10
    assert (await infer(http, name, die=True))[0] == 503
    status, problem = await infer(http, name, echo=1)
    # A killed process may still seem to listen while the kernel takes it apart.
    assert status == 503
    assert problem["code"] in ("instance_unreachable", "instance_lost")


async def test_a_worker_killed_under_load_loses_only_what_it_held(http, channel, new_worker, name, make_route, metrics):
    first, second = new_worker(), new_worker()
    await channel.set(make_route(name, first, second, max_queue=1000))
    codes: list[int] = []

    async def call_often():
        for _ in range(60):
            status, problem = await infer(http, name, sleep=0.01)
            codes.append(status)
            assert status == 200 or problem["code"] == "instance_lost"

    async def kill_when_busy():
        async with asyncio.timeout(10):
            while len(codes) < 50:
                await asyncio.sleep(0.001)
        first.kill()

    await asyncio.gather(kill_when_busy(), *(call_often() for _ in range(8)))
    assert codes.count(503) <= 8
    assert codes.count(200) == 480 - codes.count(503)
    assert await metrics.in_flight(name) == {first.id: 0, second.id: 0}


async def test_a_restarted_worker_is_found_again(http, channel, new_worker, name, make_route):
    worker = new_worker()
    await channel.set(make_route(name, worker))
    assert (await infer(http, name, die=True))[0] == 503
    successor = new_worker()
    await channel.set(make_route(name, successor))
    assert (await infer(http, name, echo=1))[1]["worker"] == successor.id


async def test_a_gateway_killed_mid_request_leaves_the_worker_to_its_successor(
    own_gateway, new_worker, make_route, auth
):
    worker = new_worker()
    (own_gateway.settings.routes_dir / "u-m.json").write_text(json.dumps(make_route("m", worker)))
    own_gateway.start()
    async with aiohttp.ClientSession(own_gateway.url, headers=auth) as http:
        slow = asyncio.create_task(infer(http, "m", sleep=30))
        await worker.until_count(waiting=1)
        own_gateway.end(9)
        with pytest.raises(aiohttp.ClientError):
            await slow
        # Nobody listens, yet the port is held: this caller waits for the next gateway.
        waits = asyncio.create_task(infer(http, "m", echo=1))
        await asyncio.to_thread(own_gateway.start)
        assert (await waits)[0] == 200
