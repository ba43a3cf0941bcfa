"""Work on many models, by real processes: what is answered, watched and cancelled, and the emergency stop."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.api.conftest import Api


async def _create(api: Api, count: int, *, prefix: str = "m", **more: Any) -> list[str]:
    names = [f"{prefix}{number:03}" for number in range(count)]
    spec = {"engine": "mock", **more}
    answers = await asyncio.gather(
        *(api.post("/models", {"name": name, "spec": spec, "desired": "stopped"}) for name in names)
    )
    assert {answer.status_code for answer in answers} <= {200, 202}, answers[0].text
    return names


async def test_one_operation_lists_what_became_of_each_model(api: Api) -> None:
    await _create(api, 3, labels={"team": "a"})
    await _create(api, 1, prefix="other")
    forecast = await api.post("/bulk", {"action": "start", "selector": {"labels": {"team": "a"}}, "dry_run": True})
    assert forecast.status_code == 200, forecast.text
    assert [(one["model"], one["does"]) for one in forecast.json()["items"]] == [
        ("m000", True), ("m001", True), ("m002", True),
    ]  # fmt: skip
    assert await api.state("m000") == "stopped"

    body = {"action": "start", "models": ["m000", "m001", "nobody"], "reason": "monday"}
    taken = await api.post("/namespaces/default/bulk", body)
    assert taken.status_code == 202, taken.text
    operation = await api.wait(taken)
    assert (operation["kind"], operation["state"], operation["reason"]) == ("bulk", "failed", "monday")
    assert operation["error"]["code"] == "partial_failure"
    assert {item["model"]: item["state"] for item in operation["items"]} == {
        "m000": "succeeded", "m001": "succeeded", "nobody": "failed",
    }  # fmt: skip
    assert operation["items"][2]["error"]["code"] == "not_found"
    started = await api.get(f"/operations/{operation['items'][0]['operation']}")
    assert (started["model"], started["reason"], started["actor"]) == ("m000", "monday", operation["actor"])
    listed = next(one for one in (await api.get("/operations"))["items"] if one["kind"] == "bulk")
    assert listed["counts"] == {
        "total": 3, "waiting": 0, "running": 0, "succeeded": 2, "failed": 1, "skipped": 0, "cancelled": 0,
    }  # fmt: skip
    assert listed["items"] is None
    assert (await api.state("m000"), await api.state("m002")) == ("running", "stopped")


async def test_a_dry_run_asks_the_policies_and_says_what_they_would_refuse(api: Api) -> None:
    await api.deploy("runs")
    await _create(api, 1)
    for name, rules in (("keep", {"protected": True}), ("small", {"caps": {"cpu": 0.5}})):
        assert (await api.http.put(f"/api/v1/policies/{name}", json={"rules": rules})).status_code == 201
    for action, refused in (
        ("start", {"m000": "small"}),
        ("restart", {"runs": "small"}),
        ("stop", {"runs": "keep"}),
        ("delete", {"runs": "keep", "m000": "keep"}),
    ):
        body = {"action": action, "models": list(refused)}
        forecast = (await api.post("/bulk", {**body, "dry_run": True})).json()["items"]
        items = (await api.wait(await api.post("/bulk", body)))["items"]
        assert [one["error"] for one in forecast] == [one["error"] for one in items], "as it then comes"
        for one in forecast:
            assert one["error"]["code"] == "policy"
            assert one["error"]["detail"].startswith(f"Policy {refused[one['model']]} of the installation ")
    assert (await api.state("runs"), await api.state("m000")) == ("running", "stopped")


async def test_what_waits_is_cancelled(api: Api) -> None:
    await _create(api, 3, options={"load_ms": 3000})
    taken = await api.post("/bulk", {"action": "start", "all": True, "concurrency": 1})
    await api.until("m000", lambda status: status["state"] == "starting", "the first is started")
    cancelled = await api.http.post(f"/api/v1/operations/{taken.json()['id']}/cancel", params={"running": "true"})
    assert cancelled.status_code == 200, cancelled.text
    operation = await api.wait(taken)
    assert operation["state"] == "cancelled"
    assert {item["state"] for item in operation["items"]} == {"cancelled"}
    again = await api.http.post(f"/api/v1/operations/{taken.json()['id']}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "operation_done")


async def test_a_request_that_cannot_be_is_told_where(api: Api) -> None:
    for body, path in (
        ({"action": "stop"}, "models"),
        ({"action": "stop", "selector": {"search": "nothing"}}, "selector"),
        ({"action": "label", "all": True}, "labels"),
        ({"action": "schedule", "all": True, "schedule": {"type": "recurring", "timezone": "Europe/Berlin",
          "recurring": {"start": "08:00", "stop": "9"}}}, "schedule.recurring.stop"),
    ):  # fmt: skip
        answer = await api.post("/bulk", body)
        assert answer.status_code == 422, answer.text
        assert path in {error["path"] for error in answer.json()["errors"]}, answer.text


async def test_the_emergency_stop_ends_every_start_that_is_under_way(api: Api) -> None:
    """Starts are under way, a bulk start goes on, and callers keep the API busy."""
    await _create(api, 16, options={"load_ms": 60000})
    taken = await api.post("/bulk", {"action": "start", "all": True, "concurrency": 8})
    await api.until("m004", lambda status: status["state"] == "starting", "starts are under way")
    over = asyncio.Event()

    async def call() -> None:
        while not over.is_set():
            await api.http.get("/api/v1/models/m000/status")
            # In one process nothing of a call need wait for anything.
            await asyncio.sleep(0)

    callers = [asyncio.create_task(call()) for _ in range(10)]
    try:
        await asyncio.sleep(0.3)
        stopped = await api.http.post(
            "/api/v1/models/stop", params={"all_namespaces": "true"}, json={"all": True, "graceful": False}
        )
        assert [one["error"] for one in stopped.json()["items"]] == [None] * 16
        operation = await api.wait(taken)
    finally:
        over.set()
        await asyncio.gather(*callers)
    async with asyncio.timeout(20):
        while (await api.get("/models?page_size=1&state=stopping"))["items"]:
            await asyncio.sleep(0.05)
    assert operation["state"] == "failed"
    assert {item["state"] for item in operation["items"]} == {"cancelled"}
    states = {one["status"]["state"] for one in (await api.get("/models?page_size=200"))["items"]}
    assert states == {"stopped"}
