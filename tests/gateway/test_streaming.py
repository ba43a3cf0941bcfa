"""Answers in pieces, through a real gateway."""

import asyncio
import time

import aiohttp
import pytest


def ask(http, name, **parameters):
    return http.post(f"/v2/models/{name}/generate_stream", json={"parameters": parameters})


async def test_each_piece_is_there_before_the_next_is_made(http, channel, worker, name, make_route, metrics):
    await channel.set(make_route(name, worker))
    async with ask(http, name, pieces=4, pause=0.2) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
        came = []
        async for line in answer.content:
            if line.startswith(b"data:"):
                came.append((line.split()[1], time.monotonic()))
    assert [number for number, _ in came] == [b"0", b"1", b"2", b"3"]
    assert came[3][1] - came[0][1] > 0.4
    await metrics.until_codes(name, {"200": 1})
    assert await metrics.in_flight(name) == {worker.id: 0}


async def test_what_refuses_a_stream_answers_with_its_own_status(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    async with ask(http, name, status=422) as answer:
        assert answer.status == 422


async def test_a_stream_whose_worker_dies_is_broken_off_so_that_nobody_takes_it_for_whole(
    http, channel, new_worker, name, make_route, metrics
):
    await channel.set(make_route(name, new_worker(), new_worker(), repeatable=True))
    async with ask(http, name, pieces=4, die_at=2) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    await metrics.until_codes(name, {"503": 1})


async def test_a_caller_who_leaves_ends_the_stream_in_the_worker(http, channel, new_worker, name, make_route, metrics):
    worker = new_worker()
    await channel.set(make_route(name, worker))
    async with ask(http, name, pieces=1000, pause=0.05) as answer:
        await answer.content.readline()
        answer.close()
    await worker.until_count(cancelled=1, waiting=0)
    await metrics.until_codes(name, {"499": 1})


async def test_a_caller_who_does_not_read_is_cut_off_and_holds_up_nobody(
    http, channel, new_worker, name, make_route, gateway, auth, metrics
):
    worker = new_worker()
    await channel.set(make_route(name, worker))
    slow = gateway.connect()
    body = b'{"parameters":{"pieces":100000,"size":100000}}'
    slow.sendall(
        b"POST /v2/models/%b/generate_stream HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (name.encode(), auth["Authorization"].encode(), len(body), body)
    )
    await metrics.until_codes(name, {"499": 1})
    async with ask(http, name, pieces=2) as answer:
        assert (await answer.read()).count(b"data:") == 2
    await worker.until_count(cancelled=1, waiting=0)
    slow.close()


async def test_a_silence_longer_than_the_limit_ends_a_stream(http, channel, new_worker, name, make_route):
    worker = new_worker()
    await channel.set(make_route(name, worker, request_timeout=0.3))
    async with ask(http, name, pieces=8, pause=0.15) as answer:  # longer than the limit, but never silent so long
        assert (await answer.read()).count(b"data:") == 8
    async with ask(http, name, pieces=3, pause=1) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    await worker.until_count(waiting=0)


async def test_streams_and_plain_requests_share_a_worker(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))

    async def streamed():
        async with ask(http, name, pieces=20, pause=0.005) as answer:
            return (await answer.read()).count(b"data:")

    async def plain():
        async with http.post(f"/v2/models/{name}/infer", json={"parameters": {"echo": 1}}) as answer:
            return answer.status

    found = await asyncio.gather(*(streamed() for _ in range(10)), *(plain() for _ in range(30)))
    assert found == [20] * 10 + [200] * 30


async def test_one_piece_may_be_larger_than_what_is_kept_for_slow_callers(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    async with ask(http, name, pieces=2, size=6 * 2**20, pause=0.05) as answer:
        assert len(await answer.read()) > 12 * 2**20
