"""Triton's repository endpoints through a real gateway; the control process is a stand-in."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

OPERATION = {"id": "op-1", "done": False, "error": None}


async def index(http, name, **request):
    async with http.post(f"/namespaces/space-{name}/v2/repository/index", **request) as answer:
        assert answer.status == 200, await answer.text()
        return [(entry["name"], entry["version"], entry["state"]) for entry in await answer.json()]


async def test_the_index_tells_of_each_version_that_serves_and_of_what_does_not(
    http, channel, worker, new_worker, name, make_route
):
    space, newer = f"space-{name}", new_worker()
    instances = {
        "w1": {"address": worker.address, "generation": 3}, "w2": {"address": newer.address, "generation": 4},
    }  # fmt: skip
    await channel.set(make_route("a", namespace=space, uid=f"{name}-a", state="updating", instances=instances))
    for state in ("stopped", "starting", "queued", "stopping", "idle", "error", "running"):
        await channel.set(make_route(f"b-{state}", namespace=space, uid=f"{name}-{state}", state=state))
    await channel.set(make_route("c", namespace=space, uid=f"{name}-c", state="error", message="no such file"))
    assert await index(http, name) == [
        ("a", "3", "READY"), ("a", "4", "READY"), ("b-error", "3", "UNAVAILABLE"), ("b-idle", "3", "UNAVAILABLE"),
        ("b-queued", "3", "LOADING"), ("b-running", "3", "UNAVAILABLE"), ("b-starting", "3", "LOADING"),
        ("b-stopped", "3", "UNAVAILABLE"), ("b-stopping", "3", "UNLOADING"), ("c", "3", "UNAVAILABLE"),
    ]  # fmt: skip
    assert await index(http, name, json={"ready": True}) == [("a", "3", "READY"), ("a", "4", "READY")]
    async with http.post(f"/namespaces/{space}/v2/repository/index") as answer:
        assert "no such file" in (await answer.json())[-1]["reason"]


async def test_without_a_token_the_index_has_public_models_only(http, gateway, channel, worker, name, make_route):
    space = f"space-{name}"
    await channel.set(make_route("seen", worker, namespace=space, uid=f"{name}-s", public=True))
    await channel.set(
        make_route("broken", namespace=space, uid=f"{name}-b", public=True, state="error", message="no such file")
    )
    await channel.set(make_route("hidden", worker, namespace=space, uid=f"{name}-h"))
    async with aiohttp.ClientSession(gateway.url) as anybody:
        async with anybody.post(f"/namespaces/{space}/v2/repository/index") as answer:
            entries = await answer.json()
        async with anybody.get(f"/namespaces/{space}/v1/models") as answer:
            assert await answer.json() == {"models": ["broken", "seen"]}
        for action in ("load", "unload"):
            async with anybody.post(f"/namespaces/{space}/v2/repository/models/seen/{action}") as answer:
                assert answer.status == 401
    assert [entry["name"] for entry in entries] == ["broken", "seen"]
    assert "no such file" not in entries[0]["reason"]
    for uid in (f"{name}-s", f"{name}-b"):
        await channel.ask("remove_route", uid=uid)


class Control:
    """The control process: takes starts and stops, and is asked how far they are."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.waits = 0
        self.answers = [{**OPERATION, "done": True}]
        self.status = 202
        self.code = "not_allowed"

    async def handle(self, request: web.Request) -> web.Response:
        if request.path.endswith("/wait"):
            self.waits += 1
            return web.json_response(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        self.asked.append((request.method, request.path, request.headers.get("Authorization", "")))
        if request.method == "GET":
            return web.json_response({"items": [OPERATION]})
        body = OPERATION if self.status == 202 else {"code": self.code, "detail": "Not now."}
        return web.json_response(body, status=self.status)


@pytest.fixture
async def control(gateway, serve_http):
    control = Control()
    gateway.settings.control_socket.unlink(missing_ok=True)
    async with serve_http(control.handle, path=gateway.settings.control_socket):
        yield control


async def post(http, path, **request):
    async with http.post(path, **request) as answer:
        return answer.status, await answer.json()


async def test_loading_starts_and_unloading_stops_and_both_wait(http, control, channel, name, make_route, auth):
    await channel.set(make_route(name, state="stopped"))
    control.answers = [OPERATION, OPERATION, {**OPERATION, "done": True}]
    assert await post(http, f"/v2/repository/models/{name}/load", json={}) == (200, {})
    assert control.waits == 3
    assert await post(
        http, f"/v2/repository/models/{name}/unload", json={"parameters": {"unload_dependents": True}}
    ) == (200, {})
    token = auth["Authorization"]
    assert control.asked == [
        ("POST", f"/api/v1/namespaces/default/models/{name}/start", token),
        ("POST", f"/api/v1/namespaces/default/models/{name}/stop", token),
    ]


async def test_a_model_that_is_loaded_or_being_loaded_is_not_started_again(http, control, channel, name, make_route):
    await channel.set(make_route(name, state="starting"))
    control.status, control.code = 409, "already_running"
    assert await post(http, f"/v2/repository/models/{name}/load") == (200, {})
    assert control.waits == 0
    control.code = "already_starting"
    assert await post(http, f"/v2/repository/models/{name}/load") == (200, {})
    assert control.waits == 1
    assert control.asked[-1][:2] == ("GET", "/api/v1/operations")


async def test_what_fails_or_is_refused_is_told(http, control, channel, name, make_route):
    await channel.set(make_route(name, state="stopped"))
    path = f"/v2/repository/models/{name}/load"
    control.answers = [{**OPERATION, "done": True, "error": {"code": "load_failed", "message": "It is broken."}}]
    status, problem = await post(http, path)
    assert (status, problem["code"]) == (400, "load_failed")
    assert problem["error"] == f"The load of model {name!r} failed: It is broken."
    control.status = 409
    assert (await post(http, path))[1]["detail"] == "Not now."


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"parameters": {"config": "{}"}}, "unsupported_parameter"),
        ({"parameters": {"file:1/model.onnx": "AAAA"}}, "unsupported_parameter"),
        ({"parameters": []}, "invalid_request"),
        ([], "invalid_json"),
    ],
)
async def test_a_load_with_another_configuration_is_refused(http, control, channel, name, make_route, body, code):
    await channel.set(make_route(name, state="stopped"))
    status, problem = await post(http, f"/v2/repository/models/{name}/load", json=body)
    assert problem["code"] == code
    assert status in (400, 422)
    assert control.asked == []


async def test_a_control_process_that_dies_meanwhile_is_waited_for(
    http, gateway, channel, name, make_route, serve_http
):
    await channel.set(make_route(name, state="stopped"))
    died = asyncio.Event()

    async def dies(request):
        if request.path.endswith("/wait"):
            died.set()
            request.transport.abort()
        return web.json_response(OPERATION, status=202)

    path = gateway.settings.control_socket
    path.unlink(missing_ok=True)
    async with serve_http(dies, path=path):
        loading = asyncio.ensure_future(post(http, f"/v2/repository/models/{name}/load"))
        await died.wait()
    control = Control()
    path.unlink(missing_ok=True)
    async with serve_http(control.handle, path=path):
        assert await loading == (200, {})
    assert control.asked == []


async def test_methods_models_and_paths_that_are_none(http, control, name):
    async with http.get("/v2/repository/index") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert (await post(http, f"/v2/repository/models/{name}/load"))[1]["code"] == "model_not_found"
    assert (await post(http, f"/v2/repository/models/{name}/other"))[1]["code"] == "not_found"
    assert (await post(http, "/v2/repository/index", data=json.dumps({"ready": 1})))[1]["code"] == "invalid_request"
    assert (await post(http, "/v2/repository/index", data=b"x" * 70_000))[0] == 413
