"""What is passed on: to the control process, and to the servers of the command engine."""

import asyncio
import gzip
import io
import signal

import aiohttp
import pytest
from aiohttp import web
from yarl import URL


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    seen = {
        "method": request.method,
        "path": request.raw_path,
        "headers": [*request.headers.items()],
        "size": len(body),
    }
    return web.json_response(seen, status=207, headers={"X-Own": "kept", "Connection": "close, X-Hop", "X-Hop": "no"})


def values(seen, name):
    return [value for key, value in seen["headers"] if key.lower() == name.lower()]


@pytest.fixture
async def control(gateway, serve_http):
    """A control process whose handler the test may set."""
    gateway.settings.control_socket.unlink(missing_ok=True)

    class Control:
        handler = staticmethod(echo)

    async def handle(request):
        return await Control.handler(request)

    async with serve_http(handle, path=gateway.settings.control_socket):
        yield Control


async def test_everything_else_goes_to_the_control_process_as_it_is(http, gateway, control):
    async with http.post(
        URL(f"{gateway.url}/api/v1/models?x=%2F&y=1", encoded=True), data=b"abc",
        headers={
            "X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6", "TE": "trailers", "Connection": "X-Secret",
            "X-Secret": "1", "X-Request-ID": "mine", "Idempotency-Key": "k",
        },
    ) as answer:  # fmt: skip
        assert answer.status == 207
        assert answer.headers["X-Own"] == "kept"
        assert "X-Hop" not in answer.headers
        assert answer.headers.getall("X-Request-ID") == ["mine"]
        seen = await answer.json()
    assert (seen["method"], seen["path"], seen["size"]) == ("POST", "/api/v1/models?x=%2F&y=1", 3)
    assert values(seen, "X-Forwarded-For") == ["127.0.0.1"]
    assert values(seen, "X-Forwarded-Proto") == ["http"]
    assert values(seen, "X-Forwarded-Host") == values(seen, "Host") == [f"127.0.0.1:{gateway.port}"]
    assert values(seen, "X-Request-ID") == ["mine"]
    assert values(seen, "Idempotency-Key") == ["k"]
    assert values(seen, "Authorization")
    for hop in ("TE", "X-Secret", "Forwarded"):
        assert values(seen, hop) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_any_method_is_passed_on(http, control, method):
    async with http.request(method, "/api/v1/x") as answer:
        assert answer.status == 207
        assert method == "HEAD" or (await answer.json())["method"] == method


async def test_a_chunked_body_is_framed_anew_and_trailers_are_no_headers(gateway, control):
    with await asyncio.to_thread(gateway.connect) as client:
        client.sendall(
            b"POST /api/v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;ext=1\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"
        )
        answer = await asyncio.to_thread(client.makefile("rb").read)
    assert answer.startswith(b"HTTP/1.1 207 ")
    assert b'"size": 3' in answer
    assert b"X-Trailer" not in answer


async def test_compressed_answers_redirects_and_cookies_are_left_alone(http, control):
    async def answer_oddly(request):
        if request.path == "/redirect":
            return web.Response(status=307, headers={"Location": "/elsewhere", "Set-Cookie": "a=b"})
        if request.path == "/nothing":
            return web.Response(status=304, headers={"ETag": '"1"'})
        return web.Response(body=gzip.compress(b"text"), headers={"Content-Encoding": "gzip"})

    control.handler = staticmethod(answer_oddly)
    async with http.get("/zipped") as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert await answer.read() == b"text"
    async with http.get("/redirect", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (307, "/elsewhere")
    async with http.get("/nothing") as answer:
        assert answer.status == 304
        assert answer.headers["ETag"] == '"1"'


async def test_events_stream_as_they_happen_and_stop_when_the_caller_leaves(http, control):
    go, gone = asyncio.Event(), asyncio.Event()

    async def stream(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await response.write(b"data: 1\n\n")
            await go.wait()
            await response.write(b"data: 2\n\n")
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.01)
        finally:
            gone.set()
        return response

    control.handler = staticmethod(stream)
    async with asyncio.timeout(10):
        answer = await http.get("/api/v1/events?follow=true")
        assert await answer.content.readline() == b"data: 1\n"
        assert await answer.content.readline() == b"\n"
        go.set()
        assert await answer.content.readline() == b"data: 2\n"
        answer.close()
        await gone.wait()


async def test_an_answer_that_breaks_off_breaks_off_for_the_caller_too(http, control):
    async def break_off(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        request.transport.abort()
        return response

    control.handler = staticmethod(break_off)
    answer = await http.get("/api/v1/x")
    with pytest.raises(aiohttp.ClientError):
        await answer.read()


async def test_a_body_too_large_for_the_api_is_refused_with_the_setting_to_raise(http, gateway, control):
    limit = gateway.settings.max_body
    async with http.post("/api/v1/models", data=io.BytesIO(bytes(limit + 1))) as answer:
        assert answer.status == 413
        problem = await answer.json()
    assert problem["max_body"] == limit
    assert "MODELYARD_MAX_BODY" in problem["detail"]
    assert "limits.max_body" not in problem["detail"]


async def test_a_control_process_that_is_away_is_said_to_be(http, gateway):
    gateway.settings.control_socket.unlink(missing_ok=True)
    async with http.get("/api/v1/models") as answer:
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
        problem = await answer.json()
        assert problem["code"] == "control_unavailable"


async def test_a_control_process_that_leaves_mid_request_is_said_to_have(http, control):
    async def leave(request):
        request.transport.abort()

    control.handler = staticmethod(leave)
    async with http.post("/api/v1/models", json={}) as answer:
        assert answer.status == 503
        assert "may have been done or not" in (await answer.json())["detail"]


@pytest.mark.parametrize(
    "path", ["/internal/metrics", "/%69nternal/metrics", "//internal/metrics", "/internal%2fmetrics"]
)
async def test_what_is_internal_is_not_passed_on(gateway, control, path):
    with await asyncio.to_thread(gateway.connect) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert (await asyncio.to_thread(client.makefile("rb").read)).startswith(b"HTTP/1.1 404 ")


@pytest.fixture
async def server(serve_http):
    """A server that a user brought."""

    class Server:
        handler = staticmethod(echo)

    async def handle(request):
        return await Server.handler(request)

    async with serve_http(handle) as Server.origin:
        yield Server


def command_route(make_route, name, *servers, **changes):
    instances = {f"s{i}": {"address": server, "generation": 3} for i, server in enumerate(servers)}
    return make_route(name, instances=instances, **changes)


async def test_a_users_server_gets_paths_bodies_and_no_admin_token(http, channel, server, name, make_route, metrics):
    await channel.set(command_route(make_route, name, server.origin))
    for path, passed in (
        (f"/proxy/default/{name}/v1/chat%2Fx?a=b", "/v1/chat%2Fx?a=b"),
        (f"/proxy/default/{name}", "/"),
        (f"/v2/models/{name}/infer", f"/v2/models/{name}/infer"),
        (f"/namespaces/default/v2/models/{name}/versions/3/infer", f"/v2/models/{name}/versions/3/infer"),
        (f"/v2/models/{name}/generate", f"/v2/models/{name}/generate"),
    ):
        async with http.post(path, data=b"abc") as answer:
            assert answer.status == 207
            seen = await answer.json()
            assert (seen["path"], seen["size"]) == (passed, 3)
            assert values(seen, "Authorization") == []
    async with http.get(f"/v2/models/{name}/ready") as answer:
        assert answer.status == 200
    assert await metrics.codes(name) == {"207": 5}


async def test_the_admin_token_is_withheld_wherever_it_stands(gateway, channel, server, name, make_route, auth):
    ours = auth["Authorization"]
    await channel.set(command_route(make_route, name, server.origin, public=True))
    for values_sent in ((ours, "Bearer theirs"), ("Bearer theirs", ours), (ours, ours, "Bearer theirs")):
        headers = [("Authorization", value) for value in values_sent]
        async with (
            aiohttp.ClientSession(gateway.url) as http,
            http.get(f"/proxy/default/{name}/x", headers=headers) as answer,
        ):
            assert values(await answer.json(), "Authorization") == ["Bearer theirs"]


async def test_a_public_servers_own_credentials_are_its_own(http, channel, server, name, make_route):
    await channel.set(command_route(make_route, name, server.origin, public=True))
    async with http.get(f"/proxy/default/{name}/x", headers={"Authorization": "Bearer theirs"}) as answer:
        assert values(await answer.json(), "Authorization") == ["Bearer theirs"]


async def test_a_users_server_streams_both_ways(http, channel, server, name, make_route):
    async def parrot(request):
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        return response

    server.handler = staticmethod(parrot)
    await channel.set(command_route(make_route, name, server.origin, max_body=2**30))
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def speak():
        yield b"one"
        assert await heard.get() == b"one"
        yield b"two"

    async with asyncio.timeout(10), http.post(f"/proxy/default/{name}/talk", data=speak()) as answer:
        async for piece in answer.content.iter_any():
            heard.put_nowait(piece)
        assert await heard.get() == b"two"


async def test_a_server_that_is_gone_is_passed_over(http, channel, server, name, make_route, unused_tcp_port):
    dead = f"http://127.0.0.1:{unused_tcp_port}"
    await channel.set(command_route(make_route, name, dead, server.origin))
    for _ in range(4):
        async with http.post(f"/proxy/default/{name}/x", data=b"abc") as answer:
            assert answer.status == 207
    await channel.set(command_route(make_route, name, dead))
    async with http.post(f"/proxy/default/{name}/x", data=b"abc") as answer:
        assert (answer.status, (await answer.json())["code"]) == (503, "instance_unreachable")


async def test_a_users_server_is_held_to_the_limits_too(http, channel, server, name, make_route):
    async def never(request):
        await asyncio.sleep(30)

    async def pieces():
        for _ in range(4):
            yield b" " * 100_000

    server.handler = staticmethod(never)
    await channel.set(
        command_route(make_route, name, server.origin, request_timeout=0.2, max_body=300_000, max_queue=1)
    )
    async with http.post(f"/proxy/default/{name}/x", data=b"x") as answer:
        assert (answer.status, (await answer.json())["code"]) == (504, "request_timeout")
    server.handler = staticmethod(echo)
    async with http.post(f"/proxy/default/{name}/x", data=b" " * 300_001) as answer:
        assert answer.status == 413
    async with http.post(f"/proxy/default/{name}/x", data=pieces()) as answer:
        assert answer.status == 413
    # Each has left the queue, which holds one.
    async with http.post(f"/proxy/default/{name}/x", data=b"x") as answer:
        assert answer.status == 207


async def test_a_model_that_speaks_v2_is_not_proxied(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    async with http.get(f"/proxy/default/{name}/x") as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "not_proxied")


async def test_sigterm_ends_streams_in_bounded_time(own_gateway, serve_http):
    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await asyncio.sleep(30)
        return response

    own_gateway.start()
    async with serve_http(stream, path=own_gateway.settings.control_socket), aiohttp.ClientSession() as http:
        answer = await http.get(f"{own_gateway.url}/api/v1/events")
        assert await answer.content.readany() == b"x"
        own_gateway.process.send_signal(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    assert await asyncio.to_thread(own_gateway.process.wait, 10) == 0
    assert "Traceback" not in own_gateway.log.read_text()
