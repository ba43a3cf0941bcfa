"""A model's life through the API, with real worker processes behind it."""

from __future__ import annotations

import os

import pytest

from tests.api.conftest import Api


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_model_is_deployed_stopped_and_started_and_keeps_its_set_up(api: Api) -> None:
    operation = await api.deploy("m", {"engine": "mock", "labels": {"team": "vision"}})
    assert (operation["kind"], operation["state"]) == ("deploy", "succeeded")
    before = await api.get("/models/m")
    pid = before["status"]["instances"][0]["pid"]

    stopped = await api.wait(await api.post("/models/m/stop", {"graceful": True, "timeout": "5s", "reason": "weekend"}))
    assert stopped["state"] == "succeeded"
    assert stopped["result"]["released"]["instances"] == 1
    assert gone(pid), "stopped is verified: the process is no more"
    status = await api.get("/models/m/status")
    assert status["state"] == "stopped"
    assert status["instances"] == []
    assert status["last_transition"]["actor"] == "admin"
    assert status["last_transition"]["reason"] == "weekend"
    assert status["released"]["processes"] >= 1
    assert status["endpoints"] == before["status"]["endpoints"]

    started = await api.wait(await api.post("/models/m/start", {"restore_autoscaling": True}))
    assert started["state"] == "succeeded"
    after = await api.get("/models/m")
    assert (after["generation"], after["spec"]) == (before["generation"], before["spec"])
    assert after["status"]["instances"][0]["pid"] != pid


async def test_both_path_forms_are_the_same_model(api: Api) -> None:
    await api.deploy("m", desired="stopped")
    assert await api.get("/models/m") == await api.get("/namespaces/default/models/m")
    assert (
        await api.post("/namespaces/default/models/m/stop", {"graceful": True, "timeout": "30s"})
    ).status_code == 200


async def test_a_command_that_the_state_does_not_allow_says_what_is_allowed(api: Api) -> None:
    await api.deploy("m", desired="stopped")
    answer = await api.post("/models/m/restart")
    assert answer.status_code == 409
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["code"] == "not_running"
    assert body["allowed"] == ["start", "stop", "update", "redeploy", "delete"]
    assert "Use start" in body["detail"]


async def test_an_update_makes_a_revision_and_replaces_the_instance(api: Api) -> None:
    await api.deploy("m")
    old = (await api.get("/models/m/instances"))["items"][0]["pid"]
    operation = await api.wait(await api.http.patch("/api/v1/models/m", json={"spec": {"options": {"latency_ms": 1}}}))
    assert operation["state"] == "succeeded"
    model = await api.get("/models/m")
    assert model["generation"] == 2
    assert model["status"]["state"] == "running"
    assert [i["generation"] for i in model["status"]["instances"]] == [2]
    assert gone(old)
    revisions = (await api.get("/models/m/revisions"))["items"]
    assert [r["generation"] for r in revisions] == [2, 1]
    assert (await api.get("/models/m/revisions/1"))["spec"]["options"] == {}


async def test_a_merge_patch_removes_what_is_null(api: Api) -> None:
    await api.deploy("m", {"engine": "mock", "container": {"environment": {"A": "1", "B": "2"}}}, desired="stopped")
    await api.http.patch("/api/v1/models/m", json={"spec": {"container": {"environment": {"A": None}}}})
    assert (await api.get("/models/m"))["spec"]["container"]["environment"] == {"B": "2"}


async def test_an_update_that_cannot_load_goes_back_and_says_why(api: Api) -> None:
    folder = api.home / "good"
    folder.mkdir()
    (folder / "model.py").write_text(
        "class Model:\n    def load(self, folder): pass\n    def predict(self, inputs): return inputs\n"
    )
    bad = api.home / "bad"
    bad.mkdir()
    (bad / "model.py").write_text("raise RuntimeError('no such luck')\n")
    await api.deploy("m", {"engine": "python", "source": f"file://{folder}"})
    operation = await api.wait(await api.http.patch("/api/v1/models/m", json={"spec": {"source": f"file://{bad}"}}))
    assert operation["state"] == "failed"
    assert "no such luck" in operation["error"]["message"] + "".join(operation["error"]["log"])
    status = await api.get("/models/m/status")
    assert (status["state"], status["generation"], status["target_generation"]) == ("running", 2, 1)
    assert any(c["type"] == "Degraded" and c["status"] and c["reason"] == "UpdateFailed" for c in status["conditions"])


async def test_a_model_that_cannot_load_is_in_error_with_the_last_log_lines_and_can_be_stopped(api: Api) -> None:
    bad = api.home / "bad"
    bad.mkdir()
    (bad / "model.py").write_text("print('about to fail')\nraise RuntimeError('no such luck')\n")
    operation = await api.deploy("m", {"engine": "python", "source": f"file://{bad}"})
    assert operation["state"] == "failed"
    status = await api.get("/models/m/status")
    assert status["state"] == "error"
    assert "no such luck" in status["message"]
    assert any("about to fail" in line for line in status["failure"]["log"])
    assert (await api.http.get("/health")).json()["status"] == "degraded"
    await api.wait(await api.post("/models/m/stop"))
    assert await api.state("m") == "stopped"


async def test_delete_leaves_the_history(api: Api) -> None:
    await api.deploy("m")
    operation = await api.wait(await api.http.delete("/api/v1/models/m"))
    assert operation["state"] == "succeeded"
    assert (await api.http.get("/api/v1/models/m")).status_code == 404
    events = (await api.http.get("/api/v1/events", params={"model": "m"})).json()["items"]
    types = [e["type"] for e in events]
    assert types[0] == "Deleted"
    assert types[-1] == "Created"


async def test_a_second_delete_joins_the_first_and_hurries_it(api: Api) -> None:
    await api.deploy("m", {"engine": "mock", "options": {"load_ms": 60_000}}, desired="stopped")
    await api.post("/models/m/start")
    first = await api.http.delete("/api/v1/models/m", params={"timeout": "60s"})
    second = await api.http.delete("/api/v1/models/m", params={"force": True})
    assert second.status_code in (200, 202, 404)
    if second.status_code != 404:
        assert second.json()["id"] == first.json()["id"]
    assert (await api.wait(first))["state"] == "succeeded"


async def test_cancelling_a_deploy_stops_it(api: Api) -> None:
    answer = await api.http.post(
        "/api/v1/models", json={"name": "m", "spec": {"engine": "mock", "options": {"load_ms": 60_000}}}
    )
    cancelled = await api.post(f"/operations/{answer.json()['id']}/cancel")
    assert cancelled.json()["state"] == "cancelled"
    await api.wait(await api.post("/models/m/stop"))
    assert await api.state("m") == "stopped"
    again = await api.post(f"/operations/{answer.json()['id']}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "operation_done")


@pytest.mark.parametrize("graceful", [True, False])
async def test_stop_wins_over_a_start_still_in_flight(api: Api, graceful: bool) -> None:
    answer = await api.http.post(
        "/api/v1/models", json={"name": "m", "spec": {"engine": "mock", "options": {"load_ms": 60_000}}}
    )
    stopped = await api.wait(await api.post("/models/m/stop", {"graceful": graceful}))
    assert stopped["state"] == "succeeded"
    assert (await api.get(f"/operations/{answer.json()['id']}"))["state"] == "cancelled"
    assert await api.state("m") == "stopped"
