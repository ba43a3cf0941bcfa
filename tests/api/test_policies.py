"""Policies over HTTP: set, explained, previewed, overridden, and in the way of commands and of callers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.api.conftest import Api, serving

API = "/api/v1"


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as found:
        yield found


async def put(api: Api, path: str, body: dict[str, Any], **headers: str) -> Any:
    return await api.http.put(f"{API}{path}", json=body, headers=headers)


def closed_now() -> dict[str, Any]:
    """A window that holds now, whatever the day."""
    today = datetime.now(UTC)
    day, until = f"{today:%A}".lower(), f"{datetime.fromtimestamp(today.timestamp() + 86400, UTC):%A}".lower()
    return {"timezone": "UTC", "windows": [{"from": f"{day} 00:00", "to": f"{until} 24:00"}]}


async def test_a_window_stops_what_runs_and_says_so_to_whoever_starts_or_calls_it(api: Api) -> None:
    await api.deploy("digits")
    set_ = await put(api, "/policies/maintenance", {"rules": {"shutdown": closed_now()}, "reason": "costs"})
    assert set_.status_code == 201, set_.text
    assert set_.headers["etag"] == f'"{set_.json()["version"]}"'
    stopped = await api.until("digits", lambda s: s["state"] == "stopped", "the window stops it")
    assert stopped["last_transition"]["actor"] == "policy:maintenance"
    ready = next(c for c in stopped["conditions"] if c["type"] == "Ready")
    assert ready["message"].startswith("The model is stopped: Shut down by policy maintenance until ")

    refused = await api.post("/models/digits/start")
    assert (refused.status_code, refused.json()["code"]) == (409, "policy")
    assert refused.json()["policies"] == ["maintenance"]
    dry = await api.http.post(f"{API}/models/digits/start", params={"dry_run": True})
    assert dry.json()["detail"] == refused.json()["detail"]
    deployed = await api.post("/models", {"name": "other", "spec": {"engine": "mock"}})
    assert [(e["path"], e["code"]) for e in deployed.json()["errors"]] == [("desired", "policy")]

    explained = await api.get("/models/digits/policies")
    assert [(r["rule"], r["standing"]) for r in explained["rulings"]] == [("shutdown", "in_force")]
    assert explained["closed_until"] is not None

    made = await put(api, "/models/digits/overrides/maintenance", {"reason": "a demonstration", "expires": "4h"})
    assert made.status_code == 200, made.text
    await api.wait(await api.post("/models/digits/start"))
    assert (await api.get("/models/digits/policies"))["rulings"][0]["override"]["by"] == "admin"
    assert (await api.http.delete(f"{API}/models/digits/overrides/maintenance")).status_code == 204
    await api.until("digits", lambda s: s["state"] == "stopped", "the override is over")


async def test_policies_of_a_namespace_are_kept_with_their_versions(api: Api) -> None:
    path = "/namespaces/default/policies/caps"
    body = {"rules": {"caps": {"gpus": 1, "memory": "2Gi"}, "idle_after": "30m"}, "mode": "warn"}
    made = await put(api, path, body)
    assert made.json()["rules"]["caps"] == {"gpus": 1, "memory": "2Gi", "cpu": None}
    assert made.json()["rules"]["idle_after"] == "1800s"
    round_trip = {k: made.json()[k] for k in ("description", "selector", "mode", "rules")}
    again = await put(api, path, round_trip)
    assert (again.status_code, again.json()["version"]) == (200, made.json()["version"]), (
        "what is shown can be sent back"
    )
    stale = await put(api, path, {**body, "mode": "enforce"}, **{"If-Match": '"7"'})
    assert stale.status_code == 412
    taken = await put(api, "/policies/caps", body)
    assert (taken.status_code, taken.json()["code"]) == (409, "policy_exists")
    assert [p["name"] for p in (await api.get("/namespaces/default/policies"))["items"]] == ["caps"]
    assert (await api.get("/policies"))["items"] == []
    assert (await api.http.delete(f"{API}{path}")).status_code == 204
    assert (await api.http.get(f"{API}{path}")).status_code == 404


async def test_what_is_let_pass_is_told_with_the_operation(api: Api) -> None:
    await put(api, "/policies/small", {"mode": "warn", "rules": {"caps": {"cpu": 0.5}}})
    wish = {"name": "digits", "spec": {"engine": "mock"}, "desired": "stopped"}
    forecast = await api.post("/models?dry_run=true", wish)
    made = await api.post("/models", wish)
    (warning,) = made.json()["warnings"]
    assert forecast.json()["warnings"] == [warning]
    assert "Policy small of the installation allows a model 0.5 core(s)" in warning
    events = (await api.get("/models/digits/events"))["items"]
    assert "PolicyWarning" in {event["type"] for event in events}
    await put(api, "/policies/small", {"mode": "enforce", "rules": {"caps": {"cpu": 0.5}}})
    refused = await api.post("/models", {"name": "two", "spec": {"engine": "mock"}, "desired": "stopped"})
    assert [(e["path"], e["code"]) for e in refused.json()["errors"]] == [("spec.resources.cpu", "policy")]


async def test_a_signature_is_demanded_by_the_same_check_as_a_namespace_demands_it(api: Api) -> None:
    await put(api, "/policies/signed", {"rules": {"require_signature": True}})
    refused = await api.post("/models", {"name": "x", "spec": {"engine": "command", "options": {"command": ["true"]}}})
    (found,) = [e for e in refused.json()["errors"] if e["path"] == "spec.engine"]
    assert found["code"] == "policy"
    assert found["message"].startswith("Policy signed of the installation requires signatures: A command is nothing")


async def test_a_protected_model_is_stopped_with_an_override_and_a_reason(api: Api) -> None:
    await api.deploy("digits")
    await put(api, "/policies/keep", {"rules": {"protected": True}})
    refused = await api.post("/models/digits/stop")
    assert (refused.status_code, refused.json()["code"]) == (409, "policy")
    many = await api.post("/models/stop", {"all": True})
    assert many.json()["items"][0]["error"]["code"] == "policy"
    assert (await api.http.delete(f"{API}/models/digits")).status_code == 409
    unsaid = await api.post("/models/digits/stop", {"override": True})
    assert unsaid.status_code == 422
    await api.wait(await api.post("/models/digits/stop", {"override": True, "reason": "it leaks"}))
    deleted = await api.http.delete(f"{API}/models/digits", params={"override": True, "reason": "it leaks"})
    await api.wait(deleted)


async def test_only_who_may_override_a_policy_relabels_a_model_out_of_it(api: Api) -> None:
    spec = {"engine": "mock", "labels": {"team": "a"}}
    await api.deploy("digits", spec, desired="stopped")
    batch = {"engine": "mock", "labels": {"team": "a", "tier": "batch"}}
    await api.wait(await api.patch("/models/digits", {"spec": batch}))
    await put(api, "/policies/batch", {"selector": {"labels": {"tier": "batch"}}, "rules": {"max_run_time": "12h"}})
    key = (await api.post("/namespaces/default/keys", {"name": "k", "role": "editor"})).json()["secret"]
    editor = {"Authorization": f"Bearer {key}"}
    path = f"{API}/models/digits"
    relabel = {"spec": {"labels": {"tier": None}}}
    for ask in (
        api.http.patch(path, json=relabel, headers=editor),
        api.http.patch(path, json=relabel, headers=editor, params={"dry_run": True}),
        api.http.put(path, json={"spec": spec}, headers=editor),
        api.http.post(f"{path}/rollback", json={"generation": 1}, headers=editor),
    ):
        refused = await ask
        assert refused.status_code == 422, refused.text
        assert [(e["path"], e["code"]) for e in refused.json()["errors"]] == [("spec.labels", "policy")]
        assert "Policy batch of the installation is for digits by its labels" in refused.text
    many = {"action": "label", "models": ["digits"], "labels": {"tier": None}}
    forecast = await api.http.post(f"{API}/bulk", json={**many, "dry_run": True}, headers=editor)
    taken = await api.wait(await api.http.post(f"{API}/bulk", json=many, headers=editor))
    for item in (*forecast.json()["items"], *taken["items"]):
        assert item["error"]["code"] == "invalid_request"
        assert "Policy batch of the installation is for digits by its labels" in item["error"]["detail"]
    other = await api.http.patch(path, json={"spec": {"labels": {"team": "b"}}}, headers=editor)
    assert other.status_code in (200, 202), "labels that it does not select by are free"

    await put(api, "/models/digits/overrides/batch", {"reason": "it moves", "expires": "1h"})
    assert (await api.http.patch(path, json=relabel, headers=editor, params={"dry_run": True})).status_code == 200
    await api.http.delete(f"{path}/overrides/batch")
    assert (await api.patch("/models/digits", relabel)).status_code in (200, 202), "an administrator's own change"
    events = (await api.get("/models/digits/events"))["items"]
    (told,) = [event for event in events if event["type"] == "PolicyOverridden"]
    assert told["message"] == "Policy batch is no longer for it: its labels were changed."


async def test_to_cancel_the_start_of_a_protected_model_is_to_stop_it(api: Api) -> None:
    await put(api, "/policies/keep", {"rules": {"protected": True}})
    spec = {"engine": "mock", "options": {"load_ms": 30000}}
    taken = await api.post("/models", {"name": "slow", "spec": spec})
    key = (await api.post("/namespaces/default/keys", {"name": "k", "role": "operator"})).json()["secret"]
    bearer = {"Authorization": f"Bearer {key}"}
    refused = await api.http.post(f"{API}/operations/{taken.json()['id']}/cancel", headers=bearer)
    assert (refused.status_code, refused.json()["code"]) == (409, "policy"), refused.text
    assert (await api.http.delete(f"{API}/policies/keep")).status_code == 204
    assert (await api.post(f"/operations/{taken.json()['id']}/cancel")).status_code == 200


async def test_an_update_that_a_policy_would_refuse_by_now_is_cancelled(api: Api) -> None:
    await api.deploy("digits")
    updated = await api.patch("/models/digits", {"spec": {"options": {"load_ms": 30000}, "resources": {"cpu": 1}}})
    assert updated.status_code == 202, updated.text
    await put(api, "/policies/small", {"rules": {"caps": {"cpu": 0.1}}})
    cancelled = await api.post(f"/operations/{updated.json()['id']}/cancel")
    assert cancelled.status_code == 200, cancelled.text


async def test_the_policies_of_a_namespace_go_with_it(api: Api) -> None:
    for _ in range(2):
        assert (await api.post("/namespaces", {"name": "team"})).status_code == 201
        assert (await api.get("/namespaces/team/policies"))["items"] == []
        assert (await put(api, "/namespaces/team/policies/keep", {"rules": {"protected": True}})).status_code == 201
        assert len((await api.get("/namespaces/team/policies"))["items"]) == 1
        assert (await api.http.delete(f"{API}/namespaces/team")).status_code == 204


async def test_a_preview_says_whom_a_policy_would_touch_and_changes_nothing(api: Api) -> None:
    for name in ("cat", "dog"):
        await api.deploy(name)
    body = {
        "name": "nights",
        "selector": {"models": ["c*"]},
        "rules": {"shutdown": closed_now(), "max_run_time": "1h", "caps": {"cpu": 0.5}},
    }
    answer = await api.post("/policies/preview", body)
    (cat,) = answer.json()["items"]
    assert cat["name"] == "cat"
    assert {r["rule"] for r in cat["rulings"]} == {"shutdown", "max_run_time", "caps.cpu"}
    assert cat["closed_until"] is not None
    assert cat["stops_at"] is not None
    assert next(r["value"] for r in cat["rulings"] if r["rule"] == "max_run_time") == "1h"
    assert cat["stops_because"].startswith("Shut down by policy nights until")
    assert [f["rule"] for f in cat["findings"]] == ["caps.cpu"]
    assert (await api.get("/policies"))["items"] == []
    assert await api.state("cat") == "running"


async def test_all_that_is_wrong_with_a_policy_is_told_at_once_where_it_was_written(api: Api) -> None:
    body = {
        "selector": {"models": [""]},
        "rules": {
            "idle_after": "1s",
            "shutdown": {"timezone": "Mars/Olympus", "windows": [{"from": "someday", "to": "monday 25:00"}, {}]},
        },
    }
    refused = await put(api, "/policies/odd", body)
    assert refused.status_code == 422
    assert {e["path"] for e in refused.json()["errors"]} == {
        "rules.shutdown.windows[0].from", "rules.shutdown.windows[0].to", "rules.shutdown.windows[1].days",
        "rules.shutdown.timezone", "rules.idle_after", "selector.models[0]",
    }  # fmt: skip


async def test_a_window_is_shown_as_it_was_written(api: Api) -> None:
    windows = [{"from": "friday 20:00", "to": "monday 06:00"}, {"days": ["tuesday"], "start": "08:00", "stop": "24:00"}]
    body = {"rules": {"shutdown": {"timezone": "Europe/Berlin", "windows": windows, "resume": True}}}
    made = await put(api, "/policies/weekend", body)
    shown = made.json()["rules"]["shutdown"]
    assert [{k: v for k, v in w.items() if v} for w in shown["windows"]] == windows
    assert shown["resume"] is True
