"""Arms of a model's traffic: which one a request goes to, what callers see of it, and what is counted."""

import asyncio
import io
import random
from collections import Counter

import pytest

from modelyard.domain.significance import BOUNDS
from modelyard.domain.states import State
from modelyard.gateway.arms import REVISION, Arms
from modelyard.gateway.dividing import chosen
from modelyard.gateway.routes import Canary, Route
from modelyard.gateway.shadows import LIMIT, MAX_BODY

JSON = {"Content-Type": "application/json"}


async def infer(http, name, headers=None, **parameters):
    async with http.post(
        f"/v2/models/{name}/infer", json={"parameters": parameters or {"echo": 1}}, headers=headers
    ) as answer:
        return answer.status, answer.headers, await answer.json()


async def arms_of(channel, name):
    """By kind and name."""
    return {(arm["kind"], arm["name"]): arm for arm in (await channel.load(name)).get("arms", [])}


async def until_requests(channel, name, kind, arm, count):
    async with asyncio.timeout(10):
        while (found := (await arms_of(channel, name))[kind, arm])["requests"] != count:
            await asyncio.sleep(0.01)
        return found


def on_canary(make_route, name, old, new, percent, mark=1, **changes):
    instances = {old.id: {"address": old.address, "generation": 2}, new.id: {"address": new.address, "generation": 3}}
    canary = {"before": 2, "after": 3, "percent": percent, "mark": mark}
    return make_route(name, state="updating", instances=instances, canary=canary, **changes)


# ---------------------------------------------------------------- who goes where


def shares(weights, keys=20_000):
    return {key: chosen("salt", weights, b"user-%d" % key) for key in range(keys)}


def test_keys_are_shared_by_weight_and_always_alike():
    weights = [("front", 70.0), ("b", 20.0), ("c", 10.0), ("off", 0.0)]
    found = shares(weights)
    assert found == shares(weights)
    counts = Counter(found.values())
    for name, weight in weights:
        assert counts[name] / 20_000 == pytest.approx(weight / 100, abs=0.015)
    assert shares([(name, weight) for name, weight in reversed(weights)]) == found


def test_a_weight_that_changes_between_two_arms_moves_only_those_that_must():
    before, after = shares([("front", 80.0), ("b", 20.0)]), shares([("front", 70.0), ("b", 30.0)])
    moved = [(before[key], after[key]) for key in before if before[key] != after[key]]
    assert set(moved) == {("front", "b")}
    assert len(moved) / 20_000 == pytest.approx(0.10, abs=0.01)


def test_a_weight_that_changes_among_three_arms_moves_few_more():
    before = shares([("front", 70.0), ("b", 20.0), ("c", 10.0)])
    after = shares([("front", 60.0), ("b", 30.0), ("c", 10.0)])
    assert sum(before[key] != after[key] for key in before) / 20_000 < 0.13


def test_without_a_key_it_is_drawn_by_weight():
    random.seed(1)
    counts = Counter(chosen("salt", [("front", 75.0), ("b", 25.0)], None) for _ in range(8000))
    assert counts["b"] / 8000 == pytest.approx(0.25, abs=0.02)


def test_other_salts_share_the_same_keys_otherwise():
    weights = [("front", 50.0), ("b", 50.0)]
    same = sum(chosen("one", weights, b"%d" % k) == chosen("two", weights, b"%d" % k) for k in range(4000))
    assert same / 4000 == pytest.approx(0.5, abs=0.05)


def test_a_new_step_counts_anew_for_the_control_process_and_on_for_the_metrics():
    def route(canary):
        return Route(
            uid="u", namespace="n", name="m", state=State.UPDATING, generation=3, request_timeout=1.0, max_body=1,
            max_queue=1, canary=canary,
        )  # fmt: skip

    arms = Arms()
    arms.agree(route(Canary(2, 3, 5, mark=1)))
    arm = arms[REVISION, "3"]
    arm.count(200, 0.01, error=False)
    arm.count(500, 0.02, error=True)
    assert (arm.read()["requests"], arm.read()["errors"], sum(arm.read()["buckets"])) == (2, 1, 2)
    arms.agree(route(Canary(2, 3, 5, mark=1)))
    assert arm.read()["requests"] == 2
    arms.agree(route(Canary(2, 3, 25, mark=2)))
    assert arms[REVISION, "3"] is arm
    assert (arm.read()["requests"], arm.read()["errors"], sum(arm.read()["buckets"])) == (0, 0, 0)
    assert arm.stats.codes == {200: 1, 500: 1}
    arms.agree(route(None))
    assert arms == {}


# ---------------------------------------------------------------- a canary


async def test_a_canary_gets_its_share_and_both_revisions_are_counted(http, channel, new_worker, name, make_route):
    old, new = new_worker(), new_worker()
    await channel.set(on_canary(make_route, name, old, new, 30))
    answers = [await infer(http, name) for _ in range(300)]
    seen = Counter(body["worker"] for _, _, body in answers)
    assert seen[new.id] / 300 == pytest.approx(0.3, abs=0.12)
    for _, headers, body in answers:
        assert headers["X-Modelyard-Revision"] == ("3" if body["worker"] == new.id else "2")
        assert "X-Modelyard-Model" not in headers
    arms = await arms_of(channel, name)
    assert {key: arm["requests"] for key, arm in arms.items()} == {
        ("revision", "2"): seen[old.id], ("revision", "3"): seen[new.id],
    }  # fmt: skip
    for arm in arms.values():
        assert (arm["errors"], arm["mark"], len(arm["buckets"])) == (0, 1, len(BOUNDS) + 1)
        assert sum(arm["buckets"]) == arm["requests"]
        assert 0 < arm["seconds"] < 30


async def test_before_its_share_is_set_a_canary_gets_nothing_and_afterwards_no_arm_is_left(
    http, channel, new_worker, name, make_route
):
    old, new = new_worker(), new_worker()
    await channel.set(on_canary(make_route, name, old, new, 0, mark=0))
    assert {(await infer(http, name))[2]["worker"] for _ in range(40)} == {old.id}
    await channel.set(make_route(name, new))
    _, headers, _ = await infer(http, name)
    assert "X-Modelyard-Revision" not in headers
    assert await arms_of(channel, name) == {}


async def test_errors_timeouts_and_lost_instances_are_the_arms(http, channel, new_worker, name, make_route):
    old, new = new_worker(), new_worker()
    await channel.set(on_canary(make_route, name, old, new, 100, request_timeout=0.3))
    assert (await infer(http, name, status=500))[0] == 500
    assert (await infer(http, name, sleep=5))[0] == 504
    assert (await infer(http, name, status=422))[0] == 422
    found = await until_requests(channel, name, "revision", "3", 3)
    assert found["errors"] == 2
    assert (await infer(http, name, die=True))[0] == 503
    found = await until_requests(channel, name, "revision", "3", 4)
    assert found["errors"] == 3
    # Its instance is gone: the other revision answers, and nobody sees an error.
    assert (await infer(http, name))[2]["worker"] == old.id


async def test_callers_who_are_told_apart_stay_on_the_canary_while_it_grows(
    http, channel, new_worker, name, make_route
):
    old, new = new_worker(), new_worker()
    traffic = {"by": "header", "name": "X-User-ID"}
    seen = []
    for mark, percent in enumerate((20, 20, 60), start=1):
        await channel.set(on_canary(make_route, name, old, new, percent, mark, traffic=traffic))
        answers = [await infer(http, name, {"x-user-id": f"user-{i}"}) for i in range(60)]
        seen.append({i for i, (_, _, body) in enumerate(answers) if body["worker"] == new.id})
    assert seen[0] == seen[1]
    assert seen[0] < seen[2]
    assert 0 < len(seen[0]) < 25


async def test_a_pinned_revision_is_none_of_the_canarys_requests(http, channel, new_worker, name, make_route):
    old, new = new_worker(), new_worker()
    await channel.set(on_canary(make_route, name, old, new, 0))
    async with http.post(f"/v2/models/{name}/versions/3/infer", json={"parameters": {"echo": 1}}) as answer:
        assert (await answer.json())["worker"] == new.id
    assert all(arm["requests"] == 0 for arm in (await arms_of(channel, name)).values())


# ---------------------------------------------------------------- a split


async def test_a_split_shares_requests_among_models_and_says_which_answered(
    http, channel, new_worker, name, make_route, metrics
):
    front, other = new_worker(), new_worker()
    await channel.set(make_route(f"{name}-b", other))
    await channel.set(make_route(name, front, traffic={"split": {f"{name}-b": 40}}))
    answers = [await infer(http, name) for _ in range(200)]
    seen = Counter(headers["X-Modelyard-Model"] for _, headers, _ in answers)
    assert seen[f"{name}-b"] / 200 == pytest.approx(0.4, abs=0.15)
    for _, headers, body in answers:
        assert body["worker"] == (other.id if headers["X-Modelyard-Model"] == f"{name}-b" else front.id)
    arms = await arms_of(channel, name)
    assert {key[1]: arm["requests"] for key, arm in arms.items()} == dict(seen)
    assert await metrics.codes(f"{name}-b") == {"200": seen[f"{name}-b"]}
    async with http.get("/metrics") as answer:
        text = await answer.text()
    line = f'model_arm_inference_total{{arm="{name}-b",code="200",kind="model",model="{name}",namespace="default"}}'
    assert f"{line} {float(seen[f'{name}-b'])}" in text
    assert f'model_arm_latency_seconds_count{{arm="{name}",kind="model",model="{name}",namespace="default"}}' in text


async def test_the_same_caller_always_finds_the_same_arm(http, channel, new_worker, name, make_route):
    front, other = new_worker(), new_worker()
    await channel.set(make_route(f"{name}-b", other))
    for traffic, headers in (
        ({"by": "header", "name": "X-User-ID"}, lambda i: {"X-User-ID": f"u{i}"}),
        ({"by": "cookie", "name": "session"}, lambda i: {"Cookie": f"other=1; session=u{i}"}),
    ):
        await channel.set(make_route(name, front, traffic={"split": {f"{name}-b": 50}, **traffic}))
        rounds = [[(await infer(http, name, headers(i)))[2]["worker"] for i in range(20)] for _ in range(3)]
        assert rounds[0] == rounds[1] == rounds[2]
        assert set(rounds[0]) == {front.id, other.id}


async def test_a_caller_without_a_cookie_is_given_one_and_keeps_its_arm(http, channel, new_worker, name, make_route):
    front, other = new_worker(), new_worker()
    await channel.set(make_route(f"{name}-b", other))
    traffic = {"split": {f"{name}-b": 50}, "by": "cookie", "name": "arm", "set_cookie": True}
    await channel.set(make_route(name, front, traffic=traffic))
    for _ in range(10):
        _, headers, body = await infer(http, name)
        given = headers["Set-Cookie"].partition(";")[0]
        assert "HttpOnly; SameSite=Lax" in headers["Set-Cookie"]
        _, headers, again = await infer(http, name, {"Cookie": given})
        assert again["worker"] == body["worker"]
        assert "Set-Cookie" not in headers


async def test_an_arm_that_is_not_there_leaves_its_share_to_the_model_and_nobody_sees_an_error(
    http, channel, new_worker, name, make_route
):
    front, other = new_worker(), new_worker()
    await channel.set(make_route(name, front, traffic={"split": {f"{name}-none": 50, f"{name}-b": 50}}))
    await channel.set(make_route(f"{name}-b", other, state="stopped"))
    for _ in range(30):
        status, headers, body = await infer(http, name)
        assert (status, body["worker"], headers["X-Modelyard-Model"]) == (200, front.id, name)
    arms = await arms_of(channel, name)
    missed = [arms["model", f"{name}-{arm}"]["missed"].get("absent", 0) for arm in ("none", "b")]
    assert sum(missed) == 30
    assert min(missed) > 0
    assert arms["model", name]["requests"] == 30


async def test_an_arms_own_split_is_not_followed(http, channel, new_worker, name, make_route):
    front, other = new_worker(), new_worker()
    await channel.set(make_route(name, front, traffic={"split": {f"{name}-b": 100}}))
    await channel.set(make_route(f"{name}-b", other, traffic={"split": {name: 100}}))
    assert (await infer(http, name))[2]["worker"] == other.id
    assert (await infer(http, f"{name}-b"))[2]["worker"] == front.id


# ---------------------------------------------------------------- shadows


async def test_a_shadow_gets_a_copy_of_each_request_and_its_answers_are_only_counted(
    http, channel, new_worker, name, make_route
):
    front, shadow = new_worker(), new_worker()
    await channel.set(make_route(f"{name}-s", shadow))
    await channel.set(make_route(name, front, traffic={"shadow": {f"{name}-s": 100}}))
    for _ in range(20):
        status, headers, body = await infer(http, name)
        assert (status, body["worker"]) == (200, front.id)
        assert "X-Modelyard-Model" not in headers
    found = await until_requests(channel, name, "shadow", f"{name}-s", 20)
    assert (found["errors"], sum(found["buckets"])) == (0, 20)
    assert (await channel.load(f"{name}-s"))["requests"] == 20


async def test_a_shadow_that_fails_hangs_or_is_gone_never_shows(http, channel, new_worker, name, make_route):
    front, shadow = new_worker(), new_worker()
    await channel.set(make_route(f"{name}-s", shadow, request_timeout=0.2))
    await channel.set(make_route(name, front, traffic={"shadow": {f"{name}-s": 100}}))
    # The echo worker does to both what the body asks for, and the front has longer to do it.
    assert (await infer(http, name, sleep=0.5))[0] == 200
    found = await until_requests(channel, name, "shadow", f"{name}-s", 1)
    assert found["errors"] == 1
    shadow.kill()
    assert (await infer(http, name))[0] == 200
    await until_requests(channel, name, "shadow", f"{name}-s", 2)
    await channel.set(make_route(f"{name}-s", state="stopped"))
    assert (await infer(http, name))[0] == 200
    assert (await arms_of(channel, name))["shadow", f"{name}-s"]["missed"] == {"absent": 1}


async def test_large_bodies_and_too_many_copies_are_not_sent_and_counted(http, channel, new_worker, name, make_route):
    front, shadow = new_worker(), new_worker()
    await channel.set(make_route(f"{name}-s", shadow, max_body=2**22, max_queue=1000))
    await channel.set(make_route(name, front, max_body=2**22, max_queue=1000, traffic={"shadow": {f"{name}-s": 100}}))
    large = b'{"parameters": {"echo": 1}, "more": "%s"}' % (b"x" * MAX_BODY)
    async with http.post(f"/v2/models/{name}/infer", data=io.BytesIO(large), headers=JSON) as answer:
        assert answer.status == 200
    assert (await arms_of(channel, name))["shadow", f"{name}-s"]["missed"] == {"too_large": 1}
    # The copies sleep as long as the requests did.
    statuses = await asyncio.gather(*(infer(http, name, sleep=0.5) for _ in range(LIMIT + 10)))
    assert {status for status, _, _ in statuses} == {200}
    found = await until_requests(channel, name, "shadow", f"{name}-s", LIMIT)
    assert found["missed"] == {"too_large": 1, "busy": 10}
