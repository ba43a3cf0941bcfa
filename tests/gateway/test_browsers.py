"""Sessions of browsers at the gateway, and what servers that users bring can make of them: nothing."""

from __future__ import annotations

import math

import aiohttp
import pytest
from aiohttp import web

from modelyard.access.configuring import sessions_of
from modelyard.access.secrets import box_of

SANDBOX = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts"


@pytest.fixture
def sessions(gateway):
    """As the control process of this home makes them."""
    return sessions_of(gateway.settings, box_of(gateway.settings.secrets_file))


@pytest.fixture
def cookie(sessions, gateway):
    """Of the administrator's session."""
    return f"{sessions.name}={sessions.begin(gateway.settings.token_file.read_text().strip(), math.inf)[0]}"


@pytest.fixture
async def server(serve_http):
    """A server that a user brought, and that does its worst."""

    async def answer(request):
        seen = {"cookie": request.headers.get("Cookie"), "authorization": request.headers.get("Authorization")}
        response = web.json_response(seen, headers={"Content-Security-Policy": "default-src *"})
        for name in ("modelyard_session_8900", "__Host-modelyard_session_8900", "modelyard_sign_in_8900", "own"):
            response.headers.add("Set-Cookie", f"{name}=theirs; Path=/")
        return response

    async with serve_http(answer) as origin:
        yield origin


async def ask(gateway, method, path, **headers):
    async with (
        aiohttp.ClientSession(gateway.url, cookie_jar=aiohttp.DummyCookieJar()) as http,
        http.request(method, path, headers=headers, json={} if method == "POST" else None) as answer,
    ):
        return answer.status, await answer.json(), answer.headers


async def test_a_users_server_learns_and_sets_no_session_and_its_pages_are_of_no_origin(
    gateway, channel, server, name, make_route, cookie
):
    instances = {"s": {"address": server, "generation": 3}}
    await channel.set(make_route(name, instances=instances))
    for method, path in (("GET", f"/proxy/default/{name}/x"), ("POST", f"/v2/models/{name}/infer")):
        for sent, seen in ((f"own=1; {cookie}; b=2", "own=1; b=2"), (f"{cookie}; modelyard_sign_in_8900=x", None)):
            status, told, headers = await ask(gateway, method, path, Cookie=sent, Origin=gateway.url)
            assert (status, told) == (200, {"cookie": seen, "authorization": None})
            assert headers.getall("Set-Cookie") == ["own=theirs; Path=/"]
            assert headers.getall("Content-Security-Policy") == ["default-src *", SANDBOX]


async def test_a_session_of_no_use_is_said_to_be_and_hides_no_public_model(
    gateway, channel, worker, name, make_route, sessions, cookie, tmp_path
):
    await channel.set(make_route(name, worker))
    await channel.set(make_route(f"{name}-public", worker, public=True))
    foreign = sessions_of(gateway.settings, box_of(tmp_path / "secrets.key")).begin("x", math.inf)[0]
    over = sessions.begin("x", 1.0)[0]
    path, public = f"/v2/models/{name}/infer", f"/v2/models/{name}-public/infer"
    for sent in (f"{sessions.name}={foreign}", f"{sessions.name}={over}", f"{sessions.name}=", cookie[:-9]):
        status, told, headers = await ask(gateway, "POST", path, Cookie=sent, Origin=gateway.url)
        assert (status, told["code"]) == (401, "unauthenticated")
        assert ("this session is over" in told["detail"].lower()) == (not sent.endswith("_8900="))
        assert headers["WWW-Authenticate"].startswith("Bearer")
        assert (await ask(gateway, "POST", public, Cookie=sent, Origin=gateway.url))[0] == 200
    assert (await ask(gateway, "POST", path, Cookie=cookie, Origin=gateway.url))[0] == 200
    status, told, _ = await ask(gateway, "POST", path, Cookie=cookie, Origin="http://evil.example")
    assert (status, told["code"]) == (403, "cross_site")
    assert (await ask(gateway, "POST", public, Cookie=cookie, Origin="http://evil.example"))[0] == 200
    assert (await ask(gateway, "GET", f"/v2/models/{name}", Cookie=cookie))[0] == 200
