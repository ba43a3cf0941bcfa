"""Alerts, rules and webhooks through the API and both clients, over a model that really cannot start."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest_asyncio

from modelyard.client import AsyncModelyard, webhooks
from tests.api.conftest import TOKEN, Api, serving
from tests.store.receiver import receiving

PATIENCE = 15.0


@pytest_asyncio.fixture
async def told() -> AsyncIterator[Api]:
    """A control plane that may send webhooks to this machine."""
    home = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    try:
        async with serving(home, webhook_hosts="127.0.0.1") as found:
            yield found
    finally:
        shutil.rmtree(home)


async def deploy_broken(api: Api) -> None:
    """A model whose instances fail, of which one failure is enough."""
    rule = {"kind": "crash_loop", "threshold": 1}
    assert (await api.http.put("/api/v1/alert-rules/crash-loop", json=rule)).status_code == 200
    folder = api.home / "broken"
    folder.mkdir()
    (folder / "model.py").write_text("raise RuntimeError('no such luck')\n")
    answer = await api.post("/models", {"name": "bad", "spec": {"engine": "python", "source": f"file://{folder}"}})
    assert answer.status_code == 202, answer.text


async def until(api: Api, path: str, holds: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(PATIENCE):
        while not holds(found := await api.get(path)):
            await asyncio.sleep(0.05)
    return found


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_model_that_cannot_start_is_told_of_and_so_is_its_end(told: Api) -> None:
    async with receiving() as receiver:
        made = await told.http.put("/api/v1/webhooks/on-call", json={"url": receiver.url})
        assert made.status_code == 201, made.text
        secret = made.json()["secret"]
        await deploy_broken(told)
        [alert] = (await until(told, "/alerts?state=firing", lambda page: page["items"]))["items"]
        assert (alert["kind"], alert["model"], alert["severity"]) == ("crash_loop", "bad", "critical")
        assert "no such luck" in alert["annotations"]["description"]
        assert (await told.get(f"/alerts/{alert['fingerprint']}"))["id"] == alert["id"]
        [request] = await receiver.until(1)
        body = webhooks.verify(secret, request.headers["x-modelyard-signature"], request.body)
        shared = {key: alert[key] for key in ("id", "fingerprint", "labels", "kind", "threshold")}
        assert shared.items() <= body["alert"].items()
        metrics = (await told.http.get("/internal/metrics")).text
        assert 'modelyard_alerts_firing{kind="crash_loop",severity="critical"} 1.0' in metrics
        assert 'modelyard_webhook_requests_total{namespace="",outcome="taken",webhook="on-call"} 1.0' in metrics
        assert (await told.post("/models/bad/stop", {"graceful": False})).status_code in (200, 202)
        await until(told, f"/alerts/{alert['fingerprint']}", lambda found: found["state"] == "resolved")
        assert (await receiver.until(2))[1].told["event"] == "alert.resolved"
        listed = await until(
            told, "/webhooks/on-call/deliveries", lambda p: all(d["state"] == "delivered" for d in p["items"])
        )  # fmt: skip
        assert [item["event"] for item in listed["items"]] == ["resolved", "firing"]
        assert secret not in str(listed) + str(await told.get("/webhooks"))


async def test_a_start_that_fails_is_told_of_until_the_model_starts(told: Api) -> None:
    folder, away = told.home / "model", told.home / "away"
    folder.mkdir()
    (folder / "model.py").write_text(
        "class Model:\n    def load(self, folder): pass\n    def predict(self, inputs): return inputs\n"
    )
    await told.deploy("pat", {"engine": "python", "source": f"file://{folder}"})
    await told.wait(await told.post("/models/pat/stop"))
    folder.rename(away)
    await told.wait(await told.post("/models/pat/start"))
    [alert] = (await until(told, "/alerts?state=firing", lambda page: page["items"]))["items"]
    assert (alert["kind"], alert["model"]) == ("start_failed", "pat")
    assert "modelyard logs pat -n default" in alert["annotations"]["action"]
    # Another that fails is no end and no news.
    await told.wait(await told.post("/models/pat/start"))
    away.rename(folder)
    await told.wait(await told.post("/models/pat/start"))
    await until(told, f"/alerts/{alert['fingerprint']}", lambda found: found["state"] == "resolved")
    assert [each["id"] for each in (await told.get("/alerts"))["items"]] == [alert["id"]]


async def test_memory_queue_time_and_what_policies_do_are_told_of_as_they_really_are(gpus: Api) -> None:
    http, rules = gpus.http, "/api/v1/alert-rules"
    own = {"resources": {"gpus": 2, "memory": "1Gi"}, "engine": "mock"}
    await gpus.deploy("holder", own)
    await gpus.post("/models", {"name": "waiter", "spec": own})
    await http.put(f"{rules}/policies", json={"kind": "policy_action", "names": ["late"]})
    policy = {"rules": {"caps": {"gpus": 1}}, "mode": "warn"}
    assert (await http.put("/api/v1/policies/small", json=policy)).status_code == 201
    await gpus.post("/models", {"name": "late", "spec": own})
    usual = {"memory": {"threshold": 0.001, "lasting": "0s", "keep": "0s", "names": ["holder"]},
             "queue_time": {"threshold": 0.01, "names": ["waiter"]}}  # fmt: skip
    wanted = {("memory", "holder"), ("queue_time", "waiter"), ("policy_action", "late")}
    async with asyncio.timeout(PATIENCE):
        while wanted != {(a["kind"], a["model"]) for a in (await gpus.get("/alerts?state=firing"))["items"]}:
            # A rule that is set has it looked at: nobody waits for the next time.
            for kind, more in usual.items():
                await http.put(f"{rules}/{kind.replace('_', '-')}", json={"kind": kind, **more})
            await asyncio.sleep(0.05)
    await gpus.post("/models/holder/stop")
    await until(gpus, "/alerts?state=firing", lambda page: [a["kind"] for a in page["items"]] == ["policy_action"])


async def test_the_path_of_a_webhooks_url_is_nowhere_to_be_read(told: Api) -> None:
    http, url = told.http, "/api/v1/webhooks/chat"
    made = await http.put(url, json={"url": "http://127.0.0.1:9/services/pathsecret", "kinds": ["latency"]})
    assert made.json()["url"] == "http://127.0.0.1:9/(hidden)"
    refused = [
        await http.put(url, json={"url": f"http://169.254.169.254/{'pathsecret' * many}"}) for many in (1, 500)
    ]  # fmt: skip
    # What was got is set as it is, with the URL as it was shown, or without.
    kinds = [await http.put(url, json={"url": made.json()["url"]}), await http.put(url, json={"kinds": ["memory"]})]
    assert [(answer.status_code, answer.json()["kinds"]) for answer in kinds] == [(200, []), (200, ["memory"])]
    new = await http.put("/api/v1/webhooks/other", json={})
    assert [(e["path"], e["code"]) for e in new.json()["errors"]] == [("url", "required")]
    await told.post("/webhooks/chat/test")
    tried = await until(told, "/webhooks/chat/deliveries", lambda page: page["items"][0]["attempts"])
    entries = await told.get("/audit?page_size=100")
    assert "webhooks" in str(entries)
    said = [made.text, *(answer.text for answer in (*refused, *kinds)), tried, entries, await told.get("/webhooks")]
    assert "pathsecret" not in str(said)


async def test_both_clients_set_rules_webhooks_and_silences(told: Api) -> None:
    transport = told.http._transport
    async with AsyncModelyard("http://test", token=TOKEN, transport=transport) as yard:
        rule = await yard.alerts.set_rule("errors", {"kind": "error_rate", "threshold": 0.2, "window": "10m"})
        assert (rule.threshold, rule.window, rule.lasting, rule.version) == (0.2, "600s", "0s", 1)
        assert [r.name for r in await yard.alerts.rules()] == [
            "crash-loop",
            "errors",
            "schedule-failed",
            "start-failed",
        ]
        off = await yard.alerts.set_rule("start-failed", {"kind": "start_failed", "enabled": False})
        assert not off.built_in
        await yard.alerts.delete_rule("start-failed", version=off.version)
        assert (await yard.alerts.rule("start-failed")).built_in
        mine = await yard.alerts.set_rule("loops", {"kind": "crash_loop"}, namespace="default")
        assert mine.namespace == "default"
        hook = await yard.webhooks.set("mine", {"url": "http://127.0.0.1:9/"}, namespace="default")
        assert hook.secret
        same = await yard.webhooks.set("mine", {"url": "http://127.0.0.1:9/x"}, namespace="default", version=1)
        assert (same.secret, same.version) == (None, 2)
        sent = await yard.webhooks.test("mine", namespace="default")
        async with asyncio.timeout(PATIENCE):
            while not [d async for d in yard.webhooks.deliveries("mine", namespace="default") if d.attempts]:
                await asyncio.sleep(0.05)
        [failed] = [d async for d in yard.webhooks.deliveries("mine", namespace="default")]
        assert (failed.id, failed.state, failed.status) == (sent.id, "pending", None)
        assert [d async for d in yard.webhooks.dead_letters(namespace="default")] == []
        assert [h.name for h in await yard.webhooks.list(namespace="default")] == ["mine"]
        await yard.webhooks.delete("mine", namespace="default")
        await deploy_broken(told)
        [alert] = (await until(told, "/alerts", lambda page: page["items"]))["items"]
        later = datetime.now(UTC) + timedelta(hours=1)
        silenced = await yard.alerts.silence(alert["fingerprint"], later, reason="known")
        assert silenced.silence is not None
        assert silenced.silence.reason == "known"
        await yard.alerts.end_silence(alert["fingerprint"])
        assert [a.silence async for a in yard.alerts.list(namespace="default")] == [None]


async def test_what_is_wrong_is_said_at_once_and_of_old_versions_nothing_is_written(told: Api) -> None:
    http = told.http
    bad = await http.put(
        "/api/v1/alert-rules/Bad!", json={"kind": "error_rate", "threshold": 5, "window": "1s", "quantile": 2}
    )  # fmt: skip
    assert {e["path"] for e in bad.json()["errors"]} == {"name", "threshold", "window", "quantile"}
    assert code(await http.delete("/api/v1/alert-rules/start-failed")) == (409, "built_in")
    assert (await http.put("/api/v1/alert-rules/e", json={"kind": "latency"})).headers["etag"] == '"1"'
    stale = await http.put("/api/v1/alert-rules/e", json={"kind": "latency"}, headers={"If-Match": '"7"'})
    assert code(stale) == (412, "etag_mismatch")
    for url, what in (
        ("ftp://x/", "invalid_url"), ("https://me:pw@x.example/", "invalid_url"),
        ("http://169.254.169.254/", "host_refused"),
    ):  # fmt: skip
        refused = await http.put("/api/v1/webhooks/h", json={"url": url})
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, what)
    headers = await http.put(
        "/api/v1/webhooks/h", json={"url": "http://127.0.0.1:9/", "headers": {"Host": "x", "A": "b\r\nc"}}
    )  # fmt: skip
    assert {e["path"] for e in headers.json()["errors"]} == {"headers.Host", "headers.A"}
    for path in ("/webhooks/none", "/alerts/none", "/alert-rules/none", "/webhooks/none/deliveries"):
        assert (await http.get(f"/api/v1{path}")).status_code == 404
    for path in ("/dead-letters/none/retry", "/webhooks/none/test"):
        assert (await http.post(f"/api/v1{path}")).status_code == 404
    nowhere = await http.put("/api/v1/namespaces/none/alert-rules/r", json={"kind": "latency"})
    assert nowhere.status_code == 404
    past = await http.put("/api/v1/alerts/none/silence", json={"until": "2020-01-01T00:00:00Z"})
    assert past.status_code == 404
