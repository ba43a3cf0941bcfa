"""The queue, the ledger, forecasts, quotas and bulk stops through the API, on a machine with two declared GPUs."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.settings import Settings
from tests.api.conftest import Api

ONE = {"engine": "mock", "resources": {"gpus": 1}}
TWO = {"engine": "mock", "resources": {"gpus": 2}}


async def queued(api: Api, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    await api.post("/models", {"name": name, "spec": spec})
    return await api.until(name, lambda s: s["state"] == "queued", f"{name} waits")


async def test_a_model_that_does_not_fit_waits_with_its_place_and_who_holds_what_it_needs(gpus: Api) -> None:
    await gpus.deploy("a", ONE)
    await gpus.deploy("b", ONE)
    await queued(gpus, "small", ONE)
    status = await queued(gpus, "large", {**TWO, "priority": 5})
    waiting = status["waiting"]
    assert (waiting["place"], waiting["reason"], waiting["kinds"]) == (1, "InsufficientCapacity", ["gpus"])
    assert {holder["name"] for holder in waiting["holders"]} == {"a", "b"}
    assert (await gpus.get("/models/small/status"))["waiting"]["place"] == 2
    listed = {m["name"]: m["status"]["waiting"] for m in (await gpus.get("/models"))["items"]}
    assert (listed["a"], listed["small"]["place"]) == (None, 2)

    for name in ("small", "a", "b"):
        await gpus.wait(await gpus.post(f"/models/{name}/stop"))
    status = await gpus.until("large", lambda s: s["state"] == "running", "the first of the queue runs")
    assert status["waiting"] is None
    (instance,) = status["instances"]
    assert sorted(instance["devices"]) == ["0", "1"]
    assert status["resource_allocation"]["gpus"] == 2


async def test_capacity_shows_devices_with_their_holders_and_the_queue(gpus: Api) -> None:
    await gpus.deploy("a", {"engine": "mock", "resources": {"gpus": 1, "cpu": 0.5, "memory": "512Mi"}})
    await queued(gpus, "b", TWO)
    (site,) = (await gpus.get("/capacity"))["items"]
    holders = sorted(str(device["holder"]) for device in site["inventory"]["devices"])
    assert holders == ["None", "{'namespace': 'default', 'name': 'a'}"]
    assert site["held"] == {"cpu": 0.5, "memory": "512Mi", "gpus": 1}
    assert site["free"]["gpus"] == 1
    (holding,) = site["holdings"]
    assert (holding["model"], holding["memory"], len(holding["devices"])) == ("a", "512Mi", 1)
    (first,) = site["queue"]
    assert (first["place"], first["model"], first["each"]["gpus"], first["count"]) == (1, "b", 2, 1)
    assert (await gpus.http.get("/api/v1/capacity", params={"site": site["site"]})).json()["items"] == [site]
    assert (await gpus.get("/capacity?site=elsewhere"))["items"] == []


async def test_a_dry_run_says_whether_it_would_fit_and_who_would_have_to_stop_and_changes_nothing(gpus: Api) -> None:
    await gpus.deploy("a", {**ONE, "priority": 0})
    body = {"name": "n", "spec": TWO}
    answer = await gpus.http.post("/api/v1/models", json=body, params={"dry_run": True})
    assert answer.status_code == 200
    forecast = answer.json()
    assert (forecast["fits"], forecast["count"], forecast["place"]) == (False, 1, 1)
    assert (forecast["each"]["gpus"], forecast["free"]["gpus"]) == (2, 1)
    assert forecast["waiting"]["kinds"] == ["gpus"]
    assert forecast["must_stop"] == [{"namespace": "default", "name": "a"}]
    assert forecast["would_preempt"] == []
    pushy = {"name": "n", "spec": {**TWO, "priority": 9, "preempt": "lower-priority"}}
    answer = await gpus.http.post("/api/v1/models", json=pushy, params={"dry_run": True})
    assert answer.json()["would_preempt"] == [{"namespace": "default", "name": "a"}]
    assert (await gpus.http.get("/api/v1/models/n")).status_code == 404
    await gpus.deploy("n", TWO, desired="stopped")
    started = await gpus.http.post("/api/v1/models/n/start", params={"dry_run": True})
    assert started.json()["must_stop"] == [{"namespace": "default", "name": "a"}]
    assert await gpus.state("n") == "stopped"


async def test_a_dry_run_of_what_is_wrong_or_not_allowed_says_so(gpus: Api) -> None:
    await gpus.deploy("a", ONE)
    wrong = await gpus.patch("/models/a", {"spec": {"replicas": {"min": 5}}}, dry_run=True)
    assert (wrong.status_code, wrong.json()["errors"][0]["path"]) == (422, "spec.replicas.min")
    running = await gpus.http.post("/api/v1/models/a/start", params={"dry_run": True})
    assert (running.status_code, running.json()["code"]) == (409, "already_running")


async def test_memory_that_nothing_bounds_does_not_slip_through_a_quota_of_memory(api: Api) -> None:
    await api.post("/namespaces", {"name": "team"})
    models = "/namespaces/team/models"
    for name, desired in (("runs", "running"), ("rests", "stopped")):
        await api.wait(await api.post(models, {"name": name, "spec": {"engine": "mock"}, "desired": desired}))
    await api.patch("/namespaces/team", {"quota": {"memory": "8Gi"}})
    refused = await api.post(models, {"name": "new", "spec": {"engine": "mock"}})
    assert [(e["path"], e["code"]) for e in refused.json()["errors"]] == [("spec.resources.memory", "required")]
    started = await api.post(f"{models}/rests/start")
    assert (started.status_code, started.json()["code"]) == (409, "memory_required")
    assert "set resources.memory" in started.json()["detail"]
    assert (await api.patch(f"{models}/runs", {"spec": {"labels": {"team": "a"}}})).status_code in (200, 202)
    assert (await api.get(f"{models}/runs/status"))["state"] == "running", "what runs goes on"
    await api.wait(await api.patch(f"{models}/rests", {"spec": {"resources": {"memory": "512Mi"}}}))
    assert (await api.wait(await api.post(f"{models}/rests/start")))["state"] == "succeeded"


async def test_a_quota_bounds_what_a_namespace_holds_and_is_shown_beside_it(gpus: Api) -> None:
    made = await gpus.post("/namespaces", {"name": "vision", "quota": {"gpus": 1, "memory": "8Gi"}})
    assert made.json()["quota"] == {"cpu": None, "memory": "8Gi", "gpus": 1}
    body = {"name": "a", "spec": {"engine": "mock", "resources": {"gpus": 1, "memory": "512Mi"}}}
    assert (await gpus.wait(await gpus.post("/namespaces/vision/models", body)))["state"] == "succeeded"
    shown = await gpus.get("/namespaces/vision")
    assert shown["usage"] == {"cpu": 0.0, "memory": "512Mi", "gpus": 1}
    assert [n["usage"]["gpus"] for n in (await gpus.get("/namespaces"))["items"]] == [0, 1]
    two = {"engine": "mock", "resources": {"gpus": 2, "memory": "512Mi"}}
    too_large = await gpus.post("/namespaces/vision/models", {"name": "b", "spec": two})
    assert {(e["path"], e["code"]) for e in too_large.json()["errors"]} == {("spec.resources.gpus", "exceeds_quota")}
    forecast = await gpus.http.post(
        "/api/v1/namespaces/vision/models", json={**body, "name": "c"}, params={"dry_run": True}
    )
    assert forecast.json()["waiting"]["reason"] == "QuotaExceeded"
    changed = await gpus.patch("/namespaces/vision", {"quota": {"gpus": None, "cpu": 2}})
    assert changed.json()["quota"] == {"cpu": 2.0, "memory": "8Gi", "gpus": None}
    assert (await gpus.patch("/namespaces/ghosts", {"quota": {"gpus": 1}})).status_code == 404
    assert (await gpus.patch("/namespaces/vision", {"quota": {"gpus": -1}})).status_code == 422


async def test_many_models_are_stopped_at_once_each_with_an_answer_of_its_own(gpus: Api) -> None:
    for name, team in (("a", "x"), ("b", "x"), ("c", "y")):
        await gpus.deploy(name, {"engine": "mock", "labels": {"team": team}})
    answer = await gpus.post("/models/stop", {"names": ["a", "nobody"], "reason": "night"})
    assert answer.status_code == 202
    by_name = {item["name"]: item for item in answer.json()["items"]}
    assert by_name["nobody"]["error"]["code"] == "not_found"
    assert by_name["nobody"]["operation"] is None
    assert by_name["a"]["operation"]["reason"] == "night"
    await gpus.until("a", lambda s: s["state"] == "stopped", "a is stopped")
    by_label = (await gpus.post("/namespaces/default/models/stop", {"labels": {"team": "x"}})).json()["items"]
    assert sorted(item["name"] for item in by_label) == ["a", "b"]
    rest = (await gpus.post("/models/stop?all_namespaces=true", {"all": True, "graceful": False})).json()["items"]
    assert sorted(item["name"] for item in rest) == ["a", "b", "c"]
    for name in ("b", "c"):
        await gpus.until(name, lambda s: s["state"] == "stopped", f"{name} is stopped")


@pytest.mark.parametrize("body", [{}, {"all": False}, {"names": ["m"], "all": True}, {"names": [], "labels": {}}])
async def test_a_bulk_stop_must_say_which_models_it_means(api: Api, body: dict[str, Any]) -> None:
    await api.deploy("m", desired="stopped")
    answer = await api.post("/models/stop", body)
    assert answer.status_code == 422
    assert "names, labels or all" in answer.json()["detail"]


async def test_the_doctor_finds_what_belongs_to_nothing_and_clears_only_that(api: Api) -> None:
    assert (await api.get("/doctor"))["items"] == []
    stray = Settings(home=api.home).instances_dir / "stray"
    stray.mkdir(parents=True)
    found = (await api.get("/doctor"))["items"]
    assert [finding["kind"] for finding in found] == ["folder"]
    nothing = await api.post("/doctor", {"items": [{"kind": "folder", "id": "/etc"}]})
    assert nothing.json()["items"] == []
    (cleared,) = (await api.post("/doctor")).json()["items"]
    assert (cleared["id"], cleared["cleared"], cleared["error"]) == (found[0]["id"], True, None)
    assert not stray.exists()
