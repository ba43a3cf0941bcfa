"""Members, keys, features, and who sees what: the answers to callers who hold less than everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from modelyard.access.callers import Snapshot
from modelyard.api import context
from modelyard.app.clock import utc_now
from modelyard.backends.port import LogLine
from modelyard.domain.spec import BackendName
from tests.access.issuer import AUDIENCE, Issuer
from tests.api.conftest import Api, in_a_home

STOPPED = {"desired": "stopped"}


@dataclass
class Caller:
    """Somebody with a key."""

    api: Api
    secret: str
    id: str = ""

    async def ask(self, method: str, path: str, body: Any = None, **params: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.secret}"}
        return await self.api.http.request(method, f"/api/v1{path}", json=body, headers=headers, params=params)

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.ask("GET", path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def names(self, path: str, **params: Any) -> list[str]:
        return [item["name"] for item in (await self.get(path, **params))["items"]]


async def caller(api: Api, role: str, *, namespace: str = "default", name: str = "k", **more: Any) -> Caller:
    scope = "" if namespace == "*" else f"/namespaces/{namespace}"
    made = await api.post(f"{scope}/keys", {"name": name, "role": role, **more})
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    return Caller(api, made.json()["secret"], made.json()["id"])


async def put(api: Api, name: str, groups: list[str] | None = None, namespace: str = "default", **spec: Any) -> None:
    body = {"name": name, "spec": {"engine": "mock", "groups": groups or [], **spec}, **STOPPED}
    await api.wait(await api.post(f"/namespaces/{namespace}/models", body))


async def test_a_model_of_a_group_is_there_for_its_members_only(api: Api) -> None:
    await put(api, "open")
    await put(api, "secret", ["red"])
    outsider = await caller(api, "operator", name="outsider")
    member = await caller(api, "operator", name="member", groups=["red"])
    assert await outsider.names("/models") == ["open"]
    assert await member.names("/models") == ["open", "secret"]
    missing = await outsider.ask("GET", "/models/ghost")
    for method, path, body in (
        ("GET", "", None), ("GET", "/status", None), ("GET", "/events", None), ("GET", "/logs", None),
        ("GET", "/revisions", None), ("GET", "/traffic", None), ("POST", "/start", {}), ("POST", "/stop", {}),
        ("POST", "/rollback", {}), ("POST", "/start?dry_run=true", {}), ("POST", "/rollout/pause", {}),
        ("GET", "/schedule", None), ("GET", "/policies", None),
    ):  # fmt: skip
        answer = await outsider.ask(method, f"/models/secret{path}", body)
        assert answer.status_code == 404, (path, answer.text)
        assert answer.json()["detail"] == missing.json()["detail"].replace("ghost", "secret"), path
    assert (await member.ask("GET", "/models/secret")).status_code == 200
    stopped = (await outsider.ask("POST", "/models/stop", {"names": ["secret", "open"]})).json()["items"]
    assert {one["name"]: one["error"]["code"] for one in stopped if one["error"]} == {"secret": "not_found"}
    assert {one["name"] for one in (await outsider.ask("POST", "/models/stop", {"all": True})).json()["items"]} == {
        "open"
    }
    for path in ("/events", "/operations"):
        assert {item["model"] for item in (await outsider.get(path))["items"]} == {"open"}, path
        assert {item["model"] for item in (await member.get(path))["items"]} == {"open", "secret"}, path
    (hidden, *_) = (await api.get("/operations?model=secret"))["items"]
    for method, path in (("GET", ""), ("GET", "/wait"), ("POST", "/cancel")):
        answer = await outsider.ask(method, f"/operations/{hidden['id']}{path}")
        assert (answer.status_code, hidden["id"] in answer.json()["detail"]) == (404, True), path
    health = await api.http.get("/health", headers={"Authorization": f"Bearer {outsider.secret}"})
    assert health.json()["ml_models"]["models"] == {"stopped": 1}
    await api.wait(await api.http.delete("/api/v1/models/secret"))
    assert {o["model"] for o in (await outsider.get("/operations"))["items"]} == {"open"}, "its past stays hidden"


async def test_nothing_of_a_namespace_of_others_is_there(api: Api) -> None:
    await api.post("/namespaces", {"name": "vision"})
    await put(api, "theirs", namespace="vision")
    await put(api, "ours")
    await api.post("/namespaces/vision/registry/models", {"name": "registered"})
    ours = await caller(api, "administrator")
    for path in ("/models/theirs", "/models", "/registry/models", "/members", "/keys", ""):
        answer = await ours.ask("GET", f"/namespaces/vision{path}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is no namespace 'vision'."), path
    assert await ours.names("/namespaces") == ["default"]
    assert await ours.names("/models", all_namespaces=True) == ["ours"]
    assert await ours.names("/registry/models", all_namespaces=True) == []
    assert [e["model"] for e in (await ours.get("/events", namespace="vision"))["items"]] == []
    theirs = await caller(api, "viewer", namespace="vision")
    assert (await theirs.ask("GET", "/models")).status_code == 404
    assert await theirs.names("/models", all_namespaces=True) == ["theirs"]


async def test_a_key_for_some_models_reaches_no_others(api: Api) -> None:
    for name in ("wine-red", "wine-white", "digits"):
        await put(api, name)
    key = await caller(api, "editor", models=["wine-*"])
    assert await key.names("/models") == ["wine-red", "wine-white"]
    assert (await key.ask("GET", "/models/digits")).status_code == 404
    body = {"spec": {"engine": "mock"}, **STOPPED}
    assert (await key.ask("POST", "/models", {"name": "wine-rose", **body})).status_code == 200
    taken, free = [await key.ask("POST", "/models", {"name": name, **body}) for name in ("digits", "letters")]
    assert (taken.status_code, free.status_code) == (404, 404), "nobody learns which names are taken"
    pages = [await key.get("/models", page_size=2)]
    pages.append(await key.get("/models", page_size=2, page_token=pages[0]["next_page_token"]))
    assert [len(page["items"]) for page in pages] == [2, 1]


async def test_a_key_for_some_models_has_no_others_answer_in_their_place(api: Api) -> None:
    for name in ("wine-red", "secret"):
        await put(api, name)
    key = await caller(api, "editor", models=["wine-*"])
    for kind, share in (("split", "weight"), ("shadow", "percent")):
        for arm in ("secret", "nobody"):
            spec = {"engine": "mock", "traffic": {kind: [{"model": arm, share: 100}]}}
            for dry_run in ("true", "false"):
                body = {"name": "wine-x", "spec": spec, **STOPPED}
                made = await key.ask("POST", "/models", body, dry_run=dry_run)
                put_ = await key.ask("PUT", "/models/wine-red", {"spec": spec}, dry_run=dry_run)
                for answer in (made, put_):
                    assert answer.status_code == 422, answer.text
                    (found,) = answer.json()["errors"]
                    assert found["path"] == f"spec.traffic.{kind}[0].model"
                    assert found["message"] == f"There is no model {arm!r} in namespace 'default'."
    traffic = {"split": [{"model": "secret", "weight": 1}]}
    assert (await api.patch("/models/wine-red", {"spec": {"traffic": traffic}})).status_code in (200, 202)
    traffic["split"].append({"model": "wine-x", "weight": 1})
    kept = await key.ask("PATCH", "/models/wine-red", {"spec": {"traffic": traffic}})
    assert kept.status_code in (200, 202), "what somebody else has allowed stays"


async def test_a_key_for_some_models_serves_no_other_registered_ones(api: Api) -> None:
    made = await api.post("/registry/models", {"name": "secret"})
    assert made.status_code == 201, made.text
    key = await caller(api, "editor", models=["wine-*"])
    told = []
    for source in ("secret@1.0.0", "nobody@1.0.0"):
        body = {"name": "wine-x", "spec": {"source": source}, **STOPPED}
        answer = await key.ask("POST", "/models", body)
        assert answer.status_code == 422, answer.text
        (found,) = [e for e in answer.json()["errors"] if e["path"] == "spec.source"]
        assert found["code"] == "not_found"
        told.append(found["message"].replace(source.partition("@")[0], "it"))
    assert told == ["There is no registered model 'it' in namespace 'default'."] * 2


async def test_of_a_request_on_many_models_its_author_sees_and_counts_only_what_is_there_for_it(api: Api) -> None:
    for name in ("red", "white"):
        await put(api, name)
    key = await caller(api, "operator")
    taken = await key.ask("POST", "/namespaces/default/bulk", {"action": "stop", "models": ["red", "white"]})
    await api.wait(taken)
    assert (await api.patch("/models/white", {"spec": {"groups": ["hidden"]}})).status_code in (200, 202)
    whole = await key.get(f"/operations/{taken.json()['id']}")
    assert [item["model"] for item in whole["items"]] == ["red"]
    (listed,) = [o for o in (await key.get("/operations"))["items"] if o["kind"] == "bulk"]
    assert listed["counts"] == whole["counts"]


async def test_who_holds_what_a_model_waits_for_is_told_to_those_who_may_know(gpus: Api) -> None:
    await gpus.post("/namespaces", {"name": "vision"})
    two = {"engine": "mock", "resources": {"gpus": 2}}
    await gpus.wait(await gpus.post("/namespaces/vision/models", {"name": "holder", "spec": two}))
    await gpus.post("/models", {"name": "waiter", "spec": two})
    ours = await caller(gpus, "operator")
    status = await ours.get("/models/waiter/status")
    assert (status["state"], status["waiting"]["holders"], status["waiting"]["others"]) == ("queued", [], 1)
    (site,) = (await ours.get("/capacity"))["items"]
    assert (site["holdings"], site["other_holdings"], [q["model"] for q in site["queue"]]) == ([], 1, ["waiter"])
    assert [(d["held"], d["holder"]) for d in site["inventory"]["devices"]] == [(True, None)] * 2
    for text in (status, site, await ours.get("/models/waiter/events"), await ours.get("/operations")):
        assert "holder'" not in str(text).replace("'holders'", "").replace("'holder'", ""), text
        assert "vision" not in str(text), text
    everything = await gpus.get("/models/waiter/status")
    assert everything["waiting"]["holders"] == [{"namespace": "vision", "name": "holder"}]


async def test_a_key_works_until_it_is_revoked_and_is_rotated_with_an_overlap(api: Api) -> None:
    key = await caller(api, "viewer")
    assert (await key.get("/me"))["grants"] == [
        {"namespace": "default", "role": "viewer", "permissions": ["read"], "models": []}
    ]
    rotated = (await api.post(f"/namespaces/default/keys/{key.id}/rotate", {"overlap": "1h"})).json()
    fresh = Caller(api, rotated["secret"])
    assert {(await one.ask("GET", "/me")).status_code for one in (key, fresh)} == {200}
    again = Caller(api, (await api.post(f"/namespaces/default/keys/{key.id}/rotate", {"overlap": 0})).json()["secret"])
    assert [(await one.ask("GET", "/me")).status_code for one in (key, fresh, again)] == [401, 401, 200]
    listed = await api.get("/namespaces/default/keys")
    for secret in (key.secret, fresh.secret, again.secret):
        assert secret not in str(listed)
        assert secret not in str(await api.get("/events"))
    await api.http.delete(f"/api/v1/namespaces/default/keys/{key.id}")
    refused = await again.ask("GET", "/me")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "revoked" in refused.json()["detail"]
    assert again.secret not in refused.text
    assert (await api.post(f"/namespaces/default/keys/{key.id}/rotate", {})).json()["code"] == "key_ended"


async def test_nobody_hands_out_more_than_they_hold(api: Api) -> None:
    await api.post("/namespaces", {"name": "vision"})
    end = utc_now() + timedelta(hours=1)
    local = await caller(api, "administrator", name="local", expires_at=end.isoformat())
    wanted = {"name": "x", "role": "viewer"}
    assert (await local.ask("POST", "/keys", wanted)).status_code == 403
    assert (await local.ask("PUT", "/members/group:x", {"role": "viewer"})).status_code == 403
    assert (await local.ask("POST", "/namespaces/vision/keys", wanted)).status_code == 404
    assert (await local.ask("POST", "/namespaces/*/keys", wanted)).status_code == 404
    longer = await local.ask("POST", "/namespaces/default/keys", wanted)
    assert [e["path"] for e in longer.json()["errors"]] == ["expires_at"]
    assert (
        await local.ask("POST", "/namespaces/default/keys", {**wanted, "expires_at": end.isoformat()})
    ).status_code == 201
    editor = await caller(api, "editor", name="editor")
    assert (await editor.ask("POST", "/namespaces/default/keys", wanted)).status_code == 403
    some = await caller(api, "administrator", name="some", models=["wine-*"])
    assert (await some.ask("POST", "/namespaces/default/keys", wanted)).status_code == 403


async def test_members_are_put_listed_and_taken_out(api: Api) -> None:
    path = "/api/v1/namespaces/default/members"
    made = await api.http.put(f"{path}/Alice@example.com", json={"role": "editor", "reason": "hired"})
    assert (made.status_code, made.json()["member"]) == (201, "alice@example.com")
    changed = await api.http.put(f"{path}/alice@example.com", json={"role": "viewer", "models": ["wine-*"]})
    assert changed.status_code == 200
    await api.http.put(f"{path}/group:data%2Fscience", json={"role": "operator"})
    listed = await api.get("/namespaces/default/members")
    assert {m["member"]: m["role"] for m in listed["items"]} == {
        "alice@example.com": "viewer", "group:data/science": "operator",
    }  # fmt: skip
    wrong = await api.http.put(f"{path}/bob@example.com", json={"role": "viewer", "models": ["Bad[1]"]})
    assert [e["path"] for e in wrong.json()["errors"]] == ["models[0]"]
    assert (await api.http.delete(f"{path}/alice@example.com")).status_code == 204
    assert (await api.http.delete(f"{path}/alice@example.com")).status_code == 404


async def test_what_a_namespace_may_not_use_is_refused_at_deploy_and_at_the_next_start(api: Api) -> None:
    await put(api, "before", public=True)
    bad = await api.patch("/namespaces/default", {"features": {"python": "no", "magic": True}})
    assert {e["path"] for e in bad.json()["errors"]} == {"features.python", "features.magic"}
    changed = await api.patch("/namespaces/default", {"features": {"public": False}, "description": "ours"})
    assert (changed.json()["features"]["public"], changed.json()["description"]) == (False, "ours")
    refused = await api.post("/models", {"name": "m", "spec": {"engine": "mock", "public": True}})
    assert {e["path"]: e["code"] for e in refused.json()["errors"]} == {"spec.public": "feature_off"}
    start = await api.post("/models/before/start")
    assert (start.status_code, start.json()["code"]) == (409, "feature_off")
    await api.patch("/namespaces/default", {"features": {"public": None}})
    assert (await api.post("/models/before/start")).status_code == 202


async def test_repeating_another_callers_key_does_not_give_its_operation(api: Api) -> None:
    await put(api, "m")
    first, second = [await caller(api, "operator", name=name) for name in ("one", "two")]
    ids = set()
    for one in (first, second):
        headers = {"Authorization": f"Bearer {one.secret}", "Idempotency-Key": "same"}
        answer = await api.http.post("/api/v1/models/m/stop", json={}, headers=headers)
        assert answer.json()["actor"] in ("key:default/one", "key:default/two")
        ids.add(answer.json()["id"])
    assert len(ids) == 2


async def test_gateways_are_told_of_no_key_that_has_ended(api: Api) -> None:
    told: list[Snapshot] = []

    async def hear(snapshot: Snapshot) -> None:
        told.append(snapshot)

    api.services.tenants._directory.listeners.append(hear)
    key, other = await caller(api, "viewer", name="one"), await caller(api, "viewer", name="other")
    assert {one.id for one in told[-1].keys} == {key.id, other.id}
    await api.http.delete(f"/api/v1/namespaces/default/keys/{key.id}")
    assert {one.id for one in told[-1].keys} == {other.id}


async def test_who_follows_a_log_sees_no_more_of_it_when_the_model_is_of_other_groups(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(api, "m", ["red"])
    reader = await caller(api, "viewer", groups=["red"])

    async def lines(*_: Any, **__: Any) -> AsyncIterator[LogLine]:
        yield LogLine(instance="i", text="before")
        changed = await api.patch("/models/m", {"spec": {"groups": ["blue"]}})
        assert changed.status_code in (200, 202), changed.text
        yield LogLine(instance="i", text="after")

    monkeypatch.setattr(context, "LOOK_EVERY", 0)
    monkeypatch.setattr(api.services.backends[BackendName.LOCAL], "logs", lines)
    followed = await reader.ask("GET", "/models/m/logs", follow=True)
    assert "before" in followed.text
    assert "after" not in followed.text


async def test_health_is_told_while_the_identity_provider_is_away() -> None:
    issuer = Issuer()
    issuer.down = True
    try:
        async with in_a_home(oidc_issuer=issuer.url, oidc_audience=AUDIENCE) as api:
            somebody = {"Authorization": f"Bearer {issuer.token()}"}
            assert (await api.http.get("/api/v1/me", headers=somebody)).json()["code"] == "issuer_unavailable"
            health = await api.http.get("/health", headers=somebody)
            assert (health.status_code, health.json()) == (200, {"status": "healthy"})
    finally:
        issuer.close()
