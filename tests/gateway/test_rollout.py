"""Instances of two generations, or of two kinds, that serve one model at once."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiohttp import web

from modelyard.control.actor import _route
from modelyard.domain import commands
from modelyard.domain.actions import Plan
from modelyard.domain.commands import Asked
from modelyard.domain.model import Instance, InstancePhase, Target
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import RunState, State
from modelyard.gateway.client import GatewayChannel

NOW = datetime(2030, 1, 1, tzinfo=UTC)


async def pinned(http, name, version, **parameters):
    async with http.post(
        f"/v2/models/{name}/versions/{version}/infer", json={"parameters": parameters or {"echo": 1}}
    ) as answer:
        return answer.status, await answer.json()


async def status_of(http, path, method="POST"):
    async with http.request(method, path, json={}) as answer:
        return answer.status, (await answer.json()).get("code")


def rollout(make_route, name, old, new, **changes):
    """A route of generation 3 while instances of generation 2 still serve."""
    instances = {"old": {"address": old, "generation": 2}, "new": {"address": new, "generation": 3}}
    return make_route(name, state="updating", generation=3, instances=instances, **changes)


@pytest.fixture
async def server(serve_http):
    """A user's server; answers with the path it was asked for."""

    async def handle(request):
        return web.json_response({"path": request.raw_path})

    async with serve_http(handle) as origin:
        yield origin


async def test_a_pinned_version_is_answered_by_an_instance_of_that_generation(
    http, channel, new_worker, name, make_route
):
    old, new = new_worker(), new_worker()
    await channel.set(rollout(make_route, name, old.address, new.address))
    for version, worker in (("2", old), ("3", new)):
        for _ in range(4):
            status, body = await pinned(http, name, version)
            assert (status, body["worker"]) == (200, worker.id)
            assert body["params"]["version"] == version
        async with http.get(f"/v2/models/{name}/versions/{version}/ready") as answer:
            assert (await answer.json())["version"] == version
    for version in ("1", "4", "03", "x"):
        assert (await pinned(http, name, version))[1]["code"] == "version_not_found"
        assert await status_of(http, f"/v2/models/{name}/versions/{version}/ready", "GET") == (404, "version_not_found")
    async with http.post(f"/v2/models/{name}/infer", json={"parameters": {"echo": 1}}) as answer:
        assert "version" not in (await answer.json())["params"]


async def test_the_target_is_not_found_by_version_before_one_of_its_instances_serves(
    http, channel, worker, name, make_route
):
    old = {worker.id: {"address": worker.address, "generation": 2}}
    await channel.set(make_route(name, state="updating", generation=3, instances=old))
    assert (await pinned(http, name, "2"))[0] == 200
    status, problem = await pinned(http, name, "3")
    assert (status, problem["code"]) == (404, "version_not_found")
    assert "serves version 2, not '3'" in problem["detail"]
    await channel.set(make_route(name, state="starting", generation=3))
    assert (await pinned(http, name, "3"))[1]["code"] == "model_not_serving"
    assert (await pinned(http, name, "2"))[1]["code"] == "version_not_found"


async def test_metadata_in_a_rollout_names_both_versions_and_is_never_that_of_the_last_one(
    http, channel, new_worker, name, make_route
):
    old, new = new_worker(), new_worker()
    last = {"platform": "of generation 2", "inputs": [], "outputs": []}
    await channel.set(rollout(make_route, name, old.address, new.address, metadata=last))
    async with http.get(f"/v2/models/{name}/versions/3") as answer:
        body = await answer.json()
    assert (body["versions"], body["platform"]) == (["2", "3"], "echo_v1")


async def test_while_a_worker_replaces_a_users_server_each_gets_what_it_can_answer(
    http, channel, worker, name, make_route, server
):
    await channel.set(rollout(make_route, name, server, worker.address))
    for _ in range(4):
        async with http.post(f"/v2/models/{name}/infer", json={"parameters": {"echo": 1}}) as answer:
            assert (await answer.json())["worker"] == worker.id
        async with http.get(f"/proxy/default/{name}/x") as answer:
            assert (await answer.json())["path"] == "/x"
    assert (await pinned(http, name, "3"))[1]["worker"] == worker.id
    assert (await pinned(http, name, "2"))[1]["path"] == f"/v2/models/{name}/versions/2/infer"
    async with http.post(f"/v2/models/{name}/explain", json={}) as answer:
        assert (await answer.json())["path"] == f"/v2/models/{name}/explain"
    await channel.set(make_route(name, worker))
    assert await status_of(http, f"/proxy/default/{name}/x") == (404, "not_proxied")
    assert await status_of(http, f"/v2/models/{name}/explain") == (404, "not_found")
    await channel.set(make_route(name, state="stopped"))
    assert await status_of(http, f"/proxy/default/{name}/x") == (503, "model_not_serving")


async def test_a_server_alone_answers_v2_until_a_worker_is_there(http, channel, name, make_route, server):
    instances = {"old": {"address": server, "generation": 2}}
    await channel.set(make_route(name, state="updating", generation=3, instances=instances))
    async with http.post(f"/v2/models/{name}/infer", json={}) as answer:
        assert (await answer.json())["path"] == f"/v2/models/{name}/infer"


async def test_an_update_from_the_command_engine_to_another_is_routed_while_both_serve(
    gateway, http, worker, name, server
):
    spec = Spec(engine=Engine.MOCK)
    change = commands.create(
        f"u-{name}", "default", name, spec, RunState.RUNNING, Asked(actor="t", reason="", at=NOW, operation_id="o")
    )
    instances = tuple(
        Instance(id=id_, target=Target(generation), phase=InstancePhase.READY, address=address, since=NOW)
        for id_, generation, address in (("old", 1, server), ("new", 2, worker.address))
    )
    status = replace(change.after.status, state=State.UPDATING, target=Target(2), instances=instances)
    model = replace(change.after, status=status)
    channel = GatewayChannel(gateway.settings)
    async with contextlib.AsyncExitStack() as stack:
        await channel.open()
        stack.push_async_callback(channel.close)
        await channel.set_route(_route(model, Plan(status=status, serving=("old", "new"))), ())
        assert (await pinned(http, name, "2"))[1]["worker"] == worker.id
        async with http.get(f"/proxy/default/{name}/x") as answer:
            assert (await answer.json())["path"] == "/x"
        await channel.remove_route(model.ref)
