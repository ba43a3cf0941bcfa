"""Who is let in, and where the gateway may listen."""

import os
import signal
import socket
import subprocess
import sys

import aiohttp
import pytest
from tests.cli.yard import free_port

from modelyard.gateway.access import Access


async def test_without_the_token_nothing_of_a_model_is_told(gateway, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    async with aiohttp.ClientSession(gateway.url) as http:
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eA=="}, {"Authorization": "x"}):
            for method, path in (
                ("POST", f"/v2/models/{name}/infer"), ("GET", f"/v2/models/{name}"), ("GET", "/v2/models/none/ready"),
                ("GET", "/metrics"), ("GET", f"/proxy/default/{name}/x"),
            ):  # fmt: skip
                async with http.request(method, path, headers=header) as answer:
                    assert answer.status == 401, path
                    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                    assert (await answer.json())["code"] == "unauthenticated"


async def test_a_public_model_needs_no_token(gateway, channel, worker, name, make_route):
    await channel.set(make_route(name, worker, public=True))
    async with aiohttp.ClientSession(gateway.url) as http, http.post(f"/v2/models/{name}/infer", json={}) as answer:
        assert answer.status == 200


def test_the_token_is_read_again_when_its_file_changes(tmp_path):
    file = tmp_path / "admin.token"
    access = Access(file)
    assert not access.has_token
    assert not access.allows(b"Bearer ")
    assert not access.allows(None)
    file.write_text("one\n")
    assert access.allows(b"bearer one")
    replacement = tmp_path / "new"
    replacement.write_text("two")
    replacement.rename(file)
    assert access.allows(b"Bearer two")
    assert not access.allows(b"Bearer one")
    file.unlink()
    assert not access.allows(b"Bearer other")
    assert not access.allows(b"Bearer two")
    assert Access(file, "fixed").allows(b"Bearer fixed")


@pytest.mark.parametrize("inherited", [True, False])
def test_another_address_without_a_token_is_refused(own_gateway, inherited):
    own_gateway.settings.token_file.unlink()
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        environment = {**os.environ, "MODELYARD_HOME": str(own_gateway.home)}
        if inherited:
            environment["MODELYARD_LISTEN_FD"] = str(listener.fileno())
        else:
            environment |= {"MODELYARD_HOST": "0.0.0.0", "MODELYARD_PORT": str(free_port())}
        ended = subprocess.run(
            [sys.executable, "-m", "modelyard.gateway"], env=environment, pass_fds=[listener.fileno()],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    assert ended.returncode == 2
    assert "refusing to listen on 0.0.0.0 without an administrator token" in ended.stderr


def test_a_taken_port_is_said_in_one_line(own_gateway):
    own_gateway.listener.listen()
    environment = {**os.environ, "MODELYARD_HOME": str(own_gateway.home), "MODELYARD_PORT": str(own_gateway.port)}
    ended = subprocess.run(
        [sys.executable, "-m", "modelyard.gateway"], env=environment, capture_output=True, text=True, timeout=20,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "cannot listen on 127.0.0.1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_gateway_that_binds_by_itself_serves_and_ends_with_0(own_gateway):
    port = own_gateway.port
    own_gateway.listener.close()
    own_gateway.process = subprocess.Popen(
        [sys.executable, "-m", "modelyard.gateway"],
        env={**os.environ, "MODELYARD_HOME": str(own_gateway.home), "MODELYARD_PORT": str(port)},
    )
    own_gateway.wait_until_ready()
    with own_gateway.connect() as client:
        client.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    assert own_gateway.settings.gateway_socket.stat().st_mode & 0o777 == 0o600
    assert own_gateway.end(signal.SIGINT) == 0


async def test_why_a_public_model_does_not_serve_is_told_only_with_the_token(gateway, channel, name, make_route, auth):
    await channel.set(make_route(name, public=True, state="error", message="/secret/model.pkl: KeyError('x')"))
    async with aiohttp.ClientSession(gateway.url) as http:
        for method, path in (
            ("POST", f"/v2/models/{name}/infer"), ("GET", f"/v2/models/{name}/ready"), ("GET", f"/v2/models/{name}"),
            ("GET", f"/proxy/default/{name}/x"),
        ):  # fmt: skip
            for header in ({}, {"Authorization": "Bearer wrong"}):
                async with http.request(method, path, json={}, headers=header) as answer:
                    assert answer.status == 503
                    assert "secret" not in await answer.text()
                    problem = await answer.json()
                assert problem["state"] == "error"
                assert "modelyard logs" in problem["detail"]
            async with http.request(method, path, json={}, headers=auth) as answer:
                assert (await answer.json())["message"] == "/secret/model.pkl: KeyError('x')"
