"""KServe's V1 protocol through a real gateway; what becomes of bodies is the worker's (tests/runtime/test_v1.py)."""

import asyncio
import gzip
import json
import zlib

import pytest

from modelyard.runtime import frames
from modelyard.runtime.frames import Head


async def test_a_prediction_reaches_the_worker_as_v1(http, channel, worker, name, make_route, metrics):
    await channel.set(make_route(name, worker))
    await channel.set(make_route(f"{name}-t", worker, namespace="team", uid=f"t-{name}"))
    for path in (f"/v1/models/{name}:predict", f"/namespaces/team/v1/models/{name}-t:predict"):
        async with http.post(path, json={"parameters": {"echo": 1}}) as answer:
            assert answer.status == 200
            params = (await answer.json())["params"]
            assert (params["form"], params["path"]) == ("v1", path)
    async with http.post(f"/v1/models/{name}%3Apredict", json={}) as answer:
        assert answer.status == 200
    assert await metrics.codes(name) == {"200": 2}


async def test_models_are_listed_for_those_who_may_know_of_them(http, channel, worker, name, make_route):
    space = {"namespace": f"space-{name}"}
    await channel.set(make_route(f"{name}-b", worker, uid="v1-b", public=True, **space))
    await channel.set(make_route(f"{name}-a", uid="v1-a", state="stopped", **space))
    path = f"/namespaces/space-{name}/v1/models"
    async with http.get(path) as answer:
        assert await answer.json() == {"models": [f"{name}-a", f"{name}-b"]}
    async with http.get(path, headers={"Authorization": ""}) as answer:
        assert answer.status == 401
    async with http.get(path, skip_auto_headers=("Authorization",)) as answer:
        assert answer.status == 200


async def test_a_model_is_ready_or_says_why_it_is_not(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    async with http.get(f"/v1/models/{name}") as answer:
        assert await answer.json() == {"name": name, "ready": True}
    await channel.set(make_route(name, state="stopped"))
    async with http.get(f"/v1/models/{name}") as answer:
        assert (answer.status, (await answer.json())["code"]) == (503, "model_not_serving")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/{}:predict", 405),
        ("POST", "/v1/models/{}", 405),
        ("POST", "/v1/models/{}:explain", 404),
        ("POST", "/v1/models/{}:", 404),
        ("POST", "/v1/models/:predict", 404),
        ("POST", "/v1/models/{}/more:predict", 404),
        ("POST", "/v1/models/other:predict", 404),
    ],
)
async def test_what_v1_does_not_have_is_refused(http, channel, worker, name, make_route, method, path, status):
    await channel.set(make_route(name, worker))
    async with http.request(method, path.format(name)) as answer:
        assert answer.status == status


async def test_a_users_own_server_answers_v1_itself(http, channel, name, make_route, serve_http):
    async def echo(request):
        from aiohttp import web

        return web.json_response({"path": request.path, "body": await request.text()})

    async with serve_http(echo) as origin:
        await channel.set(make_route(name, instances={"s1": {"address": origin, "generation": 3}}))
        async with http.post(f"/v1/models/{name}:predict", data=b"{}") as answer:
            assert await answer.json() == {"path": f"/v1/models/{name}:predict", "body": "{}"}
        async with http.get(f"/v1/models/{name}") as answer:
            assert (await answer.json())["path"] == f"/v1/models/{name}"


async def test_compressed_bodies_are_left_to_the_worker_with_their_limit(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker, max_body=5000))
    for encoding, body in (("gzip", gzip.compress(b"{}")), ("deflate", zlib.compress(b"{}"))):
        async with http.post(
            f"/v2/models/{name}/infer", data=body,
            headers={"Content-Type": "application/json", "Content-Encoding": encoding},
        ) as answer:  # fmt: skip
            assert answer.status == 200
            assert await answer.read() == body
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Inference-Header-Content-Length": "900"}
    async with http.post(f"/v2/models/{name}/infer", data=gzip.compress(b"{}"), headers=headers) as answer:
        # The length is that of the JSON inside.
        assert answer.headers["Inference-Header-Content-Length"] == "900"


def test_pipelined_requests_of_all_protocols_are_answered_in_their_order(gateway, new_worker, name, make_route):
    worker = new_worker()
    asyncio.run(_set(gateway, make_route(name, worker)))
    token = b"authorization: Bearer a-token-for-tests\r\nhost: h\r\ncontent-type: application/json\r\n"
    slow = b'{"parameters": {"sleep": 0.2}}'
    model = name.encode()
    requests = [
        b"POST /v1/models/%s:predict HTTP/1.1\r\n%scontent-length: %d\r\n\r\n%s" % (model, token, len(slow), slow),
        b'POST /v2/models/%s/infer HTTP/1.1\r\n%scontent-length: 7\r\n\r\n{"a":1}' % (model, token),
        b"GET /v1/models/%s HTTP/1.1\r\n%s\r\n" % (model, token),
        b"POST /v2/repository/index HTTP/1.1\r\n%scontent-length: 0\r\n\r\n" % token,
        b"POST /v1/models/%s:predict HTTP/1.1\r\n%stransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        % (model, token),
        b"GET /v1/models/other HTTP/1.1\r\n%sconnection: close\r\n\r\n" % token,
    ]
    with gateway.connect() as client:
        client.sendall(b"".join(requests))
        answers = b"".join(iter(lambda: client.recv(65536), b""))
    bodies = [(part[:3], part.partition(b"\r\n\r\n")[2]) for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert [status for status, _ in bodies] == [b"200"] * 5 + [b"404"]
    assert json.loads(bodies[0][1])["params"]["form"] == "v1"
    assert bodies[1][1] == b'{"a":1}'
    assert json.loads(bodies[2][1]) == {"name": name, "ready": True}
    assert name in {entry["name"] for entry in json.loads(bodies[3][1])}
    assert bodies[4][1] == b"{}"


async def _set(gateway, document):
    peer = await frames.connect(str(gateway.settings.gateway_socket))
    await peer.request(Head("set_route", 0, {"watch": []}), json.dumps(document).encode())
    peer.close()
