"""Traffic of a model through the API: what is taken, what is refused, what is told."""

from __future__ import annotations

from typing import Any

from tests.api.conftest import Api


async def test_traffic_is_part_of_the_spec_and_its_arms_are_told(api: Api) -> None:
    await api.deploy("front")
    assert await api.get("/models/front/traffic") == {
        "namespace": "default", "name": "front", "counted": False, "judgement": None, "arms": [],
    }  # fmt: skip
    before = (await api.get("/models/front/status"))["instances"]
    split = {
        "split": [{"model": "b", "weight": 20}],
        "shadow": [{"model": "c"}],
        "sticky": {"by": "cookie", "name": "s"},
    }
    done = await api.wait(await api.patch("/models/front", {"spec": {"traffic": split}}))
    assert done["result"]["generation"] == 2
    model = await api.get("/models/front")
    assert model["status"]["instances"][0]["id"] == before[0]["id"]
    assert model["spec"]["traffic"]["sticky"] == {"by": "cookie", "name": "s", "set_cookie": False}
    told = (await api.get("/models/front/traffic"))["arms"]
    assert [(arm["kind"], arm["name"], arm["share_wanted"], arm["serving"], arm["front"]) for arm in told] == [
        ("model", "front", 80, True, True), ("model", "b", 20, False, False), ("shadow", "c", 100, False, False),
    ]  # fmt: skip
    assert told[1]["comparison"]["verdict"] == "Not enough requests yet: 0 of the 100 that each arm needs."
    (condition,) = [c for c in model["status"]["conditions"] if c["type"] == "ArmsServing"]
    assert (condition["status"], condition["reason"]) == (False, "ArmAbsent")
    assert condition["message"] == "b and c of spec.traffic do not serve: their share stays with this model."
    await api.deploy("b")
    await api.deploy("c")
    model = await api.get("/models/front")
    assert "ArmsServing" not in [c["type"] for c in model["status"]["conditions"]]


async def test_all_that_is_wrong_with_traffic_and_a_canary_is_said_at_once(api: Api) -> None:
    spec: dict[str, Any] = {
        "engine": "mock",
        "traffic": {"split": [{"model": "wrong", "weight": 70}, {"model": "b", "weight": 70}]},
        "rollout": {"strategy": "replace", "canary": {"steps": [50, 25], "interval": "0s"}},
    }
    refused = await api.post("/models", {"name": "wrong", "spec": spec})
    assert refused.status_code == 422
    assert {error["path"] for error in refused.json()["errors"]} == {
        "spec.traffic.split[0].model", "spec.traffic.split", "spec.rollout.canary", "spec.rollout.canary.steps",
        "spec.rollout.canary.interval",
    }  # fmt: skip


async def test_a_canary_is_steered_where_there_is_one(api: Api) -> None:
    canary = {"steps": [10, 50], "interval": "1h", "max_wait": "2h"}
    await api.deploy("m", {"engine": "mock", "rollout": {"canary": canary}})
    for verb in ("promote", "abort"):
        assert (await api.post(f"/models/m/rollout/{verb}")).json()["code"] == "no_rollout"
    assert (await api.patch("/models/m", {"spec": {"options": {"latency_ms": 1}}})).status_code == 202
    begun = await api.until("m", lambda s: bool(s["rollout"] and s["rollout"]["canary"]["percent"] == 10), "it begins")
    assert begun["rollout"]["canary"]["next_percent"] == 50
    assert begun["rollout"]["canary"]["next_at"] is not None
    traffic = await api.get("/models/m/traffic")
    told = traffic["arms"]
    assert traffic["judgement"] == "waits: at least 3600s"
    assert [(arm["kind"], arm["name"], arm["share_wanted"]) for arm in told] == [
        ("revision", "1", 90),
        ("revision", "2", 10),
    ]
    wrong = await api.post("/models/m/rollout/percent", {"percent": 0})
    assert [error["path"] for error in wrong.json()["errors"]] == ["percent"]
    assert (await api.post("/models/m/rollout/percent", {"percent": 60})).status_code == 200
    now = await api.until("m", lambda s: s["rollout"]["canary"]["percent"] == 60, "it is set")
    assert now["rollout"]["canary"]["next_percent"] is None
    assert (await api.post("/models/m/rollout/promote")).status_code == 200
    await api.until("m", lambda s: s["state"] == "running" and s["serving_generation"] == 2, "it is promoted")
