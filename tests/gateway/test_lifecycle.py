"""What callers are told while a model does not serve, and what the control process is told of them."""

import asyncio
import json
import signal

import aiohttp
import pytest


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("stopped", "modelyard start"), ("stopping", "Wait until it is stopped"), ("queued", "once there is room"),
        ("starting", "Try again"), ("error", "modelyard logs"), ("idle", "modelyard start"), ("deleting", "deleted"),
    ],
)  # fmt: skip
async def test_a_model_that_does_not_serve_says_its_state_and_what_to_do(
    http, channel, worker, name, make_route, state, word
):
    # A route of a stopped model that still names an instance is not served either.
    instances = [worker] if state in ("stopped", "stopping", "deleting") else []
    await channel.set(make_route(name, *instances, state=state, message="Because of a test."))
    for method, path in (("POST", "/infer"), ("GET", "/ready"), ("GET", "")):
        async with http.request(method, f"/v2/models/{name}{path}", json={}) as answer:
            assert answer.status == 503
            problem = await answer.json()
    assert problem["code"] == "model_not_serving"
    assert problem["state"] == state
    assert problem["message"] == "Because of a test."
    assert word in problem["detail"]
    assert "Because of a test" in problem["detail"]


async def test_in_the_window_of_a_policy_nobody_is_told_to_start_the_model_before_its_end(
    http, channel, name, make_route
):
    message = "The model is stopped: Shut down by policy weekend until Monday 2030-01-07 06:00 UTC."
    await channel.set(make_route(name, state="stopped", message=message))
    async with http.post(f"/v2/models/{name}/infer", json={}) as answer:
        assert answer.status == 503
        detail = (await answer.json())["detail"]
    assert detail == (
        f"Model '{name}' is stopped ({message.rstrip('.')}). Until then a start is refused, unless an administrator "
        f"overrides the policy ('modelyard policy override {name} …'); afterwards start it with "
        f"'modelyard start {name}'."
    )


async def test_a_starting_model_with_ready_instances_serves(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker, state="starting"))
    async with http.post(f"/v2/models/{name}/infer", json={}) as answer:
        assert answer.status == 200


async def infer(http, name, **parameters):
    async with http.post(f"/v2/models/{name}/infer", json={"parameters": parameters}) as answer:
        return answer.status, await answer.json()


async def test_a_drain_finishes_what_is_in_flight_refuses_the_rest_and_counts_both(
    http, channel, new_worker, name, make_route
):
    worker = new_worker()
    await channel.set(make_route(name, worker))
    slow = [asyncio.create_task(infer(http, name, sleep=1.0)) for _ in range(3)]
    await worker.until_count(waiting=3)
    told = await channel.set(make_route(name, state="stopping"), worker.id, "unknown")
    assert told["in_flight"] == {worker.id: 3, "unknown": 0}
    assert told["report"] == {"finished": 0, "refused": 0, "cut": 0}
    assert (await infer(http, name))[0] == 503
    drained = asyncio.create_task(channel.ask("drained", uid=f"u-{name}", instances=[worker.id]))
    assert [(await task)[0] for task in slow] == [200, 200, 200]
    assert (await drained)["report"] == {"finished": 3, "refused": 1, "cut": 0}
    await channel.set(make_route(name, state="stopped"))
    assert (await infer(http, name))[0] == 503
    assert (await channel.set(make_route(name, state="stopped")))["report"]["refused"] == 1
    assert (await channel.set(make_route(name, worker)))["report"] == {"finished": 0, "refused": 0, "cut": 0}
    assert (await infer(http, name))[0] == 200


async def test_each_drain_counts_from_nothing(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    await channel.set(make_route(name, state="stopping"))
    for _ in range(3):
        await infer(http, name)
    nothing = {"finished": 0, "refused": 0, "cut": 0}
    for state, report in (
        ("stopped", nothing | {"refused": 3}), ("starting", nothing), ("stopping", nothing), ("stopped", nothing),
    ):  # fmt: skip
        assert (await channel.set(make_route(name, state=state)))["report"] == report
    # From the start that came to nothing straight into the next drain, and on as a deletion.
    await channel.set(make_route(name, state="stopping"))
    await infer(http, name)
    assert (await channel.set(make_route(name, state="deleting")))["report"]["refused"] == 1
    await channel.set(make_route(name, state="stopped"))
    assert (await channel.set(make_route(name, state="deleting")))["report"] == nothing


async def test_probes_are_no_refused_requests(http, channel, name, make_route):
    await channel.set(make_route(name, state="stopping"))
    for path in (f"/v2/models/{name}", f"/v2/models/{name}/ready", f"/v2/models/{name}/versions/3/ready"):
        async with http.get(path) as answer:
            assert answer.status == 503
    assert (await channel.set(make_route(name, state="stopping")))["report"]["refused"] == 0
    await infer(http, name)
    async with http.get(f"/proxy/default/{name}/x") as answer:
        assert answer.status == 503
    assert (await channel.set(make_route(name, state="stopping")))["report"]["refused"] == 2


async def test_requests_cut_by_a_kill_are_counted_as_cut(http, channel, new_worker, name, make_route):
    worker = new_worker()
    await channel.set(make_route(name, worker))
    slow = [asyncio.create_task(infer(http, name, sleep=30)) for _ in range(2)]
    await worker.until_count(waiting=2)
    await channel.set(make_route(name, state="stopping"), worker.id)
    drained = asyncio.create_task(channel.ask("drained", uid=f"u-{name}", instances=[worker.id]))
    worker.kill()
    for task in slow:
        status, problem = await task
        assert (status, problem["code"]) == (503, "instance_lost")
    assert (await drained)["report"] == {"finished": 0, "refused": 0, "cut": 2}


async def test_a_replaced_instance_gets_nothing_new_and_is_reported_when_drained(
    http, channel, new_worker, name, make_route
):
    old, new = new_worker(), new_worker()
    await channel.set(make_route(name, old))
    slow = asyncio.create_task(infer(http, name, sleep=1.0))
    await old.until_count(waiting=1)
    told = await channel.set(make_route(name, new, state="updating"), old.id, new.id)
    # An instance that serves is no drained one, so nothing is said of it.
    assert told["in_flight"] == {old.id: 1}
    assert {(await infer(http, name, echo=1))[1]["worker"] for _ in range(4)} == {new.id}
    await channel.ask("drained", uid=f"u-{name}", instances=[old.id])
    assert slow.done() or (await slow)[0] == 200
    assert (await channel.set(make_route(name, new), old.id))["in_flight"] == {old.id: 0}


async def test_a_removed_model_is_not_found_and_its_successor_of_the_same_name_is(
    http, channel, worker, name, make_route
):
    await channel.set(make_route(name, worker))
    await channel.set(make_route(name, worker, uid="successor"))
    await channel.ask("remove_route", uid=f"u-{name}")
    assert (await infer(http, name))[0] == 200
    await channel.ask("remove_route", uid="successor")
    status, problem = await infer(http, name)
    assert (status, problem["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "change",
    [
        {"state": "odd"}, {"name": "Not A Name"}, {"instances": {"a": {"address": "ftp://x", "generation": 1}}},
        {"uid": "../x"}, {"instances": {"a": "http://127.0.0.1:1"}}, {"request_timeout": 0}, {"max_queue": "many"},
    ],
)  # fmt: skip
async def test_a_route_that_is_none_is_refused_and_changes_nothing(http, channel, worker, name, make_route, change):
    await channel.set(make_route(name, worker))
    with pytest.raises(AssertionError, match="invalid_request"):
        await channel.set(make_route(name, worker) | change)
    assert (await infer(http, name))[0] == 200


async def test_a_new_gateway_serves_from_the_route_files_and_leaves_broken_ones_out(
    own_gateway, new_worker, make_route, auth
):
    worker = new_worker()
    folder = own_gateway.settings.routes_dir
    (folder / "u-good.json").write_text(json.dumps(make_route("good", worker)))
    (folder / "u-half.json").write_text(json.dumps(make_route("half", worker))[:50])
    (folder / "u-still.json").write_text(json.dumps(make_route("still", state="stopped")))
    (folder / ".u-tmp.new").write_text("{")
    own_gateway.start()
    for _ in range(2):
        async with aiohttp.ClientSession(own_gateway.url, headers=auth) as http:
            assert (await infer(http, "good"))[0] == 200
            assert (await infer(http, "half"))[0] == 404
            assert (await infer(http, "still"))[1]["state"] == "stopped"
        own_gateway.end(signal.SIGKILL)
        own_gateway.start()
    assert "u-half.json is left out" in own_gateway.log.read_text()


async def test_sigterm_finishes_what_is_in_flight(own_gateway, new_worker, make_route, auth):
    worker = new_worker()
    (own_gateway.settings.routes_dir / "u-m.json").write_text(json.dumps(make_route("m", worker)))
    own_gateway.start()
    async with aiohttp.ClientSession(own_gateway.url, headers=auth) as http:
        slow = asyncio.create_task(infer(http, "m", sleep=1.0))
        await worker.until_count(waiting=1)
        own_gateway.process.send_signal(signal.SIGTERM)
        assert (await slow)[0] == 200
    assert own_gateway.process.wait(timeout=5) == 0
