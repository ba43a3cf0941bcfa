"""Size, time and queue: what is refused, with which words, and what is given back."""

import asyncio
import json
import time

import pytest

JSON = {"Content-Type": "application/json"}


async def infer(http, name, **parameters):
    async with http.post(f"/v2/models/{name}/infer", json={"parameters": parameters}) as answer:
        return answer.status, await answer.json()


async def test_a_body_at_the_limit_passes_and_one_byte_more_is_refused(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker, max_body=1000))
    for size, status in ((1000, 200), (1001, 413)):
        async with http.post(f"/v2/models/{name}/infer", data=b" " * size, headers=JSON) as answer:
            assert answer.status == status
            problem = await answer.json(content_type=None) if status == 413 else {}
    assert problem["code"] == "body_too_large"
    assert problem["max_body"] == 1000
    assert "raise limits.max_body of the model" in problem["detail"]


async def test_a_chunked_body_is_counted_as_it_comes(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker, max_body=300_000))

    async def body(pieces):
        for _ in range(pieces):
            yield b" " * 100_000

    for pieces, status in ((3, 200), (4, 413)):
        async with http.post(f"/v2/models/{name}/infer", data=body(pieces), headers=JSON) as answer:
            assert answer.status == status
    async with http.get("/v2") as answer:
        assert answer.status == 200


def read_head(client):
    head = b""
    while b"\r\n\r\n" not in head:
        piece = client.recv(65536)
        assert piece, f"closed after {head!r}"
        head += piece
    return head


async def test_a_length_over_the_limit_is_refused_before_the_body_is_sent(
    gateway, channel, worker, name, make_route, auth
):
    await channel.set(make_route(name, worker, max_body=1000))
    client = await asyncio.to_thread(gateway.connect)
    with client:
        client.sendall(
            f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: {auth['Authorization']}\r\nContent-Length: 100000000\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        head = await asyncio.to_thread(read_head, client)
        assert head.startswith(b"HTTP/1.1 413 ")
        # The body may or may not follow now, so no second request can be told from it.
        assert b"connection: close" in head


async def test_one_who_sends_a_refused_body_to_its_end_still_reads_the_refusal(
    gateway, channel, worker, name, make_route, auth
):
    await channel.set(make_route(name, worker, max_body=1000))
    client = await asyncio.to_thread(gateway.connect)

    def send_all_then_read():
        client.sendall(
            f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: {auth['Authorization']}\r\nConnection: close\r\nContent-Length: 20000000\r\n\r\n".encode()
        )
        for _ in range(200):
            client.sendall(b" " * 100_000)
        return read_head(client)

    with client:
        assert (await asyncio.to_thread(send_all_then_read)).startswith(b"HTTP/1.1 413 ")


async def test_a_request_out_of_time_is_answered_cancelled_and_leaves_the_queue(
    http, channel, new_worker, name, make_route, metrics
):
    worker = new_worker()
    await channel.set(make_route(name, worker, request_timeout=0.2, max_queue=1))
    for _ in range(2):
        started = time.monotonic()
        status, problem = await infer(http, name, sleep=30)
        assert (status, problem["code"]) == (504, "request_timeout")
        assert 0.15 < time.monotonic() - started < 5
    await worker.until_count(cancelled=2, waiting=0)
    assert (await infer(http, name, echo=1))[0] == 200
    assert await metrics.in_flight(name) == {worker.id: 0}


async def test_a_body_that_does_not_arrive_in_time_is_refused(gateway, http, channel, worker, name, make_route, auth):
    await channel.set(make_route(name, worker, request_timeout=0.3, max_queue=1))
    client = await asyncio.to_thread(gateway.connect)
    with client:
        client.sendall(
            f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: {auth['Authorization']}\r\nContent-Length: 10\r\n\r\n[".encode()
        )
        head = await asyncio.to_thread(read_head, client)
        assert head.startswith(b"HTTP/1.1 408 ")
    assert (await infer(http, name, echo=1))[0] == 200


async def test_a_caller_who_leaves_takes_the_request_back(
    gateway, channel, new_worker, name, make_route, auth, metrics
):
    worker = new_worker()
    await channel.set(make_route(name, worker))
    body = json.dumps({"parameters": {"sleep": 30}})
    client = await asyncio.to_thread(gateway.connect)
    client.sendall(
        f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: {auth['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    await worker.until_count(waiting=1)
    client.close()
    await worker.until_count(cancelled=1, waiting=0)
    assert await metrics.codes(name) == {"499": 1}


async def test_more_than_the_queue_holds_is_refused_at_once(http, channel, new_worker, name, make_route):
    worker = new_worker()
    await channel.set(make_route(name, worker, max_queue=2))
    slow = [asyncio.create_task(infer(http, name, sleep=1.0)) for _ in range(2)]
    await worker.until_count(waiting=2)
    async with http.post(f"/v2/models/{name}/infer", json={}) as answer:
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
        assert (await answer.json())["code"] == "queue_full"
    assert [(await task)[0] for task in slow] == [200, 200]
    assert (await infer(http, name, echo=1))[0] == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 300_000, 431),
    ],
)
async def test_a_head_out_of_bounds_is_refused(gateway, head, status):
    client = await asyncio.to_thread(gateway.connect)
    with client:
        client.sendall(head)
        assert (await asyncio.to_thread(read_head, client)).startswith(b"HTTP/1.1 %d " % status)
