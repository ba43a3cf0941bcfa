"""Every request that may change something is on record once, with what it changed and without what is secret."""

from __future__ import annotations

import asyncio
import json
import random
import re
import secrets
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modelyard.api import auditing
from modelyard.api.actions import ACTIONS, HARMLESS, UPLOADS, listed
from modelyard.api.app import create_app
from modelyard.control.auditing import AuditQuery
from modelyard.domain.audit import AuditEntry, Mark, Outcome, verify
from modelyard.domain.masking import is_secret_name
from tests.api.conftest import Api, serving

_DESCRIBED = create_app(None).openapi()
# Where each value of a path is one that there is, or could be.
_VALUES = {"namespace": "default", "name": "there", "kind": "chunks", "shard": "ab", "label": "x"}
CHANGING = [
    (method.upper(), path, operation)
    for path, item in _DESCRIBED["paths"].items()
    for method, operation in item.items()
    if method in ("post", "put", "patch", "delete") and path.startswith("/api/")
]


async def entries(api: Api, **filters: Any) -> list[AuditEntry]:
    """The oldest first."""
    return list(reversed((await api.services.audit.list(AuditQuery(page_size=1000, **filters))).items))


async def send(api: Api, method: str, path: str, body: Any = None, **headers: str) -> tuple[httpx2.Response, str]:
    """The answer, and the id of the request."""
    number = secrets.token_hex(8)
    sent = {"X-Request-ID": number, **headers}
    return await api.http.request(method, path, json=body, headers=sent), number


@pytest.fixture
async def yard(api: Api) -> Api:
    """With a model and a registered model of one name."""
    await api.deploy("there", desired="stopped")
    await api.post("/registry/models", {"name": "there"})
    return api


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda m: _VALUES.get(m[1], "nowhere"), path)


async def test_every_route_that_changes_something_writes_one_entry_whatever_it_is_sent(
    yard: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "_STRANGERS", 10_000)
    sent = []
    # Nothing that ends what the others are about: deletes come last.
    for method, path, operation in sorted(CHANGING, key=lambda one: one[0] == "DELETE"):
        for body, header in ((None, {}), ({}, {}), (example(operation), {}), ({}, {"Authorization": "Bearer wrong"})):
            sent.append(
                (method, path, operation, bool(header), *await send(yard, method, filled(path), body, **header))
            )
    found = defaultdict(list)
    async for some in yard.services.audit.export(AuditQuery()):
        for entry in some:
            found[entry.record.origin.request].append(entry.record)
    for method, path, operation, is_stranger, answer, number in sent:
        said = f"{method} {path}: {answer.status_code} {answer.text[:300]} {found[number]}"
        action = ACTIONS[operation["operationId"].replace("_by_namespace_", "_")]
        # Nobody has signed in who could sign out.
        if action in UPLOADS | HARMLESS | {"sessions.end"} and answer.status_code < 400:
            assert found[number] == [], said
            continue
        assert len(found[number]) == 1, said
        (record,) = found[number]
        assert (str(record.outcome) == "done") == (answer.status_code < 400), said
        assert record.action == action, said
        if answer.status_code >= 400:
            assert record.code == answer.json()["code"], said
        if is_stranger:
            assert (record.actor, str(record.actor_kind)) == ("", "unknown"), said
    assert (await yard.services.audit.verify()).broken is None


async def test_no_secret_that_a_request_can_carry_is_on_record(yard: Api) -> None:
    secret = f"S3cr3t{secrets.token_hex(8)}"
    for method, path, operation in sorted(CHANGING, key=lambda one: one[0] == "DELETE"):
        body = example(operation, secret)
        # A query may hold some too, and what callers say of themselves.
        where = f"{filled(path)}?token={secret}"
        await send(yard, method, where, body, Authorization=f"Bearer {secret}", **{"User-Agent": f"x token={secret}"})
        await send(yard, method, where, body, **{"User-Agent": f"curl Bearer {secret}"})
    for method, body in (
        ("PATCH", {"spec": {"container": {"environment": {"LICENCE": secret, "B": secret}}}, "reason": f"pw={secret}"}),
        ("PATCH", {"spec": {"source": f"https://me:{secret}@example.com/m.onnx?sig={secret}"}}),
        ("PUT", {"spec": {"engine": "mock", "options": {"api_key": secret}}}),
    ):
        await send(yard, method, "/api/v1/models/there", {**body, "acknowledge_restart": True})
    found = [entry async for some in yard.services.audit.export(AuditQuery()) for entry in some]
    assert len(found) > len(CHANGING)
    assert [entry.record for entry in found if secret in json.dumps(entry.document())] == []


def example(operation: Mapping[str, Any], secret: str | None = None) -> Any:
    """A body with every field of the operation's; with ``secret`` in all in which one may stand."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return None if content is None else _example(content["schema"], "", secret, 6)


def _example(schema: Mapping[str, Any], name: str, secret: str | None, depth: int) -> Any:
    if "$ref" in schema:
        return _example(_DESCRIBED["components"]["schemas"][schema["$ref"].split("/")[-1]], name, secret, depth)
    if any_of := schema.get("anyOf") or schema.get("oneOf"):
        return _example(any_of[0], name, secret, depth)
    kind = schema.get("type")
    if depth == 0:
        return None
    if kind == "object":
        found = {n: _example(s, n, secret, depth - 1) for n, s in schema.get("properties", {}).items()}
        if schema.get("additionalProperties"):
            found["ANY"] = secret if secret is not None and name in ("environment", "headers") else "any"
        return found
    if kind == "array":
        return [_example(schema.get("items", {}), name, secret, depth - 1)]
    if kind == "string":
        if secret is not None and is_secret_name(name):
            return secret
        return (schema.get("enum") or schema.get("examples") or ["x"])[0]
    return {"boolean": True, "null": None}.get(str(kind), 1)


async def test_an_entry_says_who_did_what_to_what_why_from_where_and_what_changed(yard: Api) -> None:
    body = {
        "spec": {"description": "new", "container": {"environment": {"KEY": "v"}}}, "reason": "For the audit",
        "acknowledge_restart": True,
    }  # fmt: skip
    answer, number = await send(
        yard, "PATCH", "/api/v1/models/there", body, **{"X-Forwarded-For": "192.0.2.7", "User-Agent": "curl/8.1"}
    )
    (entry,) = await entries(yard, request=number)
    document = entry.document()
    assert {k: document[k] for k in document if k not in ("at", "number", "previous", "hash")} == {
        "actor": "admin", "actor_kind": "administrator", "action": "models.update", "namespace": "default",
        "kind": "model", "name": "there", "reason": "For the audit", "address": "192.0.2.7", "client": "curl/8.1",
        "request": number, "outcome": "done", "code": "",
        "change": {
            "asked": {
                "spec": {"description": "new", "container": {"environment": {"KEY": "(hidden)"}}},
                "acknowledge_restart": True,
            },
            "fields": {
                "spec.description": {"before": "", "after": "new"},
                "spec.container.environment.KEY": {"before": None, "after": "(hidden)"},
            },
            "operation": answer.json()["id"], "generation": 2,
        },
    }  # fmt: skip


def test_every_action_says_what_is_done_to_what_and_is_listed_in_the_documentation() -> None:
    assert set(ACTIONS) >= {operation["operationId"].replace("_by_namespace_", "_") for *_, operation in CHANGING}
    assert [
        action for action in ACTIONS.values() if re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*", action) is None
    ] == []
    # Written by `python -m modelyard.api.actions`.
    assert listed() in (Path(__file__).parents[2] / "docs" / "administration.md").read_text()


async def test_reads_and_dry_runs_leave_no_entry_and_a_repeated_request_none_of_its_own(yard: Api) -> None:
    before = len(await entries(yard))
    await yard.get("/models")
    await yard.get("/audit")
    await yard.get("/audit/verify")
    spec = {"spec": {"description": "dry"}}
    assert (await yard.patch("/models/there", spec, dry_run="true")).status_code == 200
    every = {"action": "stop", "all": True, "dry_run": True}
    assert (await yard.post("/bulk", every)).status_code == 200
    assert len(await entries(yard)) == before
    # A flag that means nothing to a route hides nothing.
    await yard.http.get("/api/v1/audit/export", params={"dry_run": "true"})
    assert [e.record.action for e in await entries(yard)][before:] == ["audit.export"]

    schedule = {"type": "recurring", "timezone": "UTC", "recurring": {"start": "08:00", "stop": "20:00"}}
    for method, path, body in (
        ("POST", "/models/there/redeploy", {}),
        ("PUT", "/models/there/schedule", schedule),
        ("POST", "/bulk", {**every, "dry_run": False}),
    ):
        answers = [await send(yard, method, f"/api/v1{path}", body, **{"Idempotency-Key": "k"}) for _ in range(3)]
        assert len({answer.status_code for answer, _ in answers}) == 1
        assert [len(await entries(yard, request=number)) for _, number in answers] == [1, 0, 0], path
        # Under the same key another request is refused, which is on record.
        answer, number = await send(yard, method, f"/api/v1{path}?x=1", body, **{"Idempotency-Key": "k"})
        assert answer.status_code == 422
        assert [e.record.code for e in await entries(yard, request=number)] == ["idempotency_mismatch"]


async def test_what_a_request_on_many_models_stops_and_what_it_is_refused_has_an_entry_each(yard: Api) -> None:
    await yard.deploy("other", desired="stopped")
    made = await yard.post("/namespaces/default/keys", {"name": "k", "role": "operator", "models": ["there"]})
    shown = {"Authorization": f"Bearer {made.json()['secret']}"}

    async def told(path: str, body: dict[str, Any]) -> set[tuple[str, str, str, str]]:
        answer, number = await send(yard, "POST", f"/api/v1{path}", {**body, "reason": "Fire drill"}, **shown)
        assert answer.status_code == 202, answer.text
        found = [e.record for e in await entries(yard, request=number)]
        assert {(r.actor, r.reason) for r in found} == {("key:default/k", "Fire drill")}
        assert all("message" in r.change for r in found if r.code)
        return {(r.action, r.name, str(r.outcome), r.code) for r in found}

    names = ["there", "other", "gone"]
    assert await told("/models/stop", {"names": names}) == {
        ("models.stop_many", "there", "done", ""),
        ("models.stop_many", "other", "refused", "not_found"),
        ("models.stop_many", "gone", "refused", "not_found"),
    }
    assert await told("/models/stop", {"names": ["gone"]}) == {("models.stop_many", "gone", "refused", "not_found")}
    assert await told("/bulk", {"action": "restart", "models": names}) == {
        ("bulk.begin", "", "done", ""),
        ("bulk.begin", "other", "refused", "not_found"),
        ("bulk.begin", "gone", "refused", "not_found"),
    }


async def test_what_is_refused_once_its_turn_has_come_is_on_record_as_its_callers(yard: Api) -> None:
    answer = await yard.post("/bulk", {"action": "restart", "models": ["there"], "reason": "Fire drill"})
    assert (await yard.http.get(f"/api/v1/operations/{answer.json()['id']}/wait")).json()["done"]
    (record,) = [e.record for e in await entries(yard, target="there", outcome=Outcome.REFUSED)]
    assert (record.actor, record.action, record.reason) == ("admin", "models.restart", "Fire drill")
    assert record.change["operation"] == answer.json()["id"]
    assert record.code


async def test_a_members_role_and_a_keys_life_are_on_record_with_what_they_were(yard: Api) -> None:
    async def fields(method: str, path: str, body: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        answer, number = await send(yard, method, f"/api/v1/namespaces/default{path}", body)
        assert answer.status_code < 300, answer.text
        (entry,) = await entries(yard, request=number)
        answered = answer.json() if answer.content else {}
        secret = answered.get("secret", "nothing secret").rpartition("_")[2]
        assert secret not in json.dumps(entry.document())
        return answered, {**entry.record.change["fields"], "about": entry.record.change.get("key")}

    def turned(before: Any, after: Any) -> dict[str, Any]:
        return {"before": before, "after": after}

    member = "/members/alice@example.com"
    _, found = await fields("PUT", member, {"role": "viewer"})
    assert found["role"] == turned(None, "viewer")
    _, found = await fields("PUT", member, {"role": "editor", "models": ["wine-*"]})
    assert (found["role"], found["models"]) == (turned("viewer", "editor"), turned([], ["wine-*"]))
    _, found = await fields("DELETE", member)
    assert (found["role"], found["models"]) == (turned("editor", None), turned(["wine-*"], None))

    key, found = await fields("POST", "/keys", {"name": "ci", "role": "user", "expires_at": "2099-01-01T00:00:00Z"})
    assert (found["id"], found["role"]) == (turned(None, key["id"]), turned(None, "user"))
    assert found["expires_at"] == turned(None, "2099-01-01T00:00:00+00:00")
    _, found = await fields("POST", f"/keys/{key['id']}/rotate", {"overlap": "1h"})
    assert (found["about"], found["secret"]) == ("ci", turned("(hidden)", "(hidden)"))
    assert found["previous_until"]["before"] is None
    assert found["previous_until"]["after"] is not None
    _, found = await fields("DELETE", f"/keys/{key['id']}")
    assert set(found) == {"about", "revoked_at"}
    assert found["revoked_at"]["before"] is None


async def test_a_time_that_is_none_is_answered_with_how_to_write_one(yard: Api) -> None:
    for value in ("yesterday", "2030-13-01"):
        answer = await yard.http.get("/api/v1/audit", params={"since": value})
        (problem,) = answer.json()["errors"]
        assert problem["path"] == "query.since"
        assert "2030-01-01T08:00:00Z" in problem["message"]


async def test_the_record_is_read_exported_and_verified_over_http(yard: Api) -> None:
    await yard.http.delete("/api/v1/models/nowhere", params={"reason": "A mistake"})
    page = await yard.get("/audit?outcome=refused&search=mistake")
    assert [(one["action"], one["code"]) for one in page["items"]] == [("models.delete", "not_found")]
    assert await yard.get(f"/audit/{page['items'][0]['number']}") == page["items"][0]
    assert (await yard.get("/namespaces/default/audit?page_size=1"))["next_page_token"]
    assert [
        e["name"] for e in (await yard.get("/namespaces/default/audit?action=registered_models.create"))["items"]
    ] == ["there"]
    exported = await yard.http.get("/api/v1/audit/export", params={"action": "models.delete"})
    assert [json.loads(line)["name"] for line in exported.text.splitlines()] == ["nowhere"]
    answer = await yard.http.get("/api/v1/audit/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    said = await yard.get("/audit/verify")
    assert (said["whole"], said["broken"], said["entries"]) == (True, None, said["head"]["number"])
    assert verify(lines, Mark(), Mark(number=lines[-1]["number"], hash=lines[-1]["hash"])) is None
    assert [e.record.action for e in await entries(yard)][-2:] == ["audit.export", "audit.export"]
    for path, code in (("/audit/9999", 404), ("/audit?since=2030-01-01T00:00:00", 422), ("/namespaces/no/audit", 404)):
        assert (await yard.http.get(f"/api/v1{path}")).status_code == code


async def test_strangers_cannot_fill_the_record_up(yard: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing.time, "monotonic", lambda: 600.0)
    before = len(await entries(yard))
    for _ in range(auditing._STRANGERS + 7):
        await send(yard, "POST", "/api/v1/models/there/stop", {}, Authorization="Bearer wrong")
    assert len(await entries(yard)) == before + auditing._STRANGERS
    monkeypatch.setattr(auditing.time, "monotonic", lambda: 660.0)
    await send(yard, "POST", "/api/v1/models/there/stop", {}, Authorization="Bearer wrong")
    assert (await entries(yard))[-1].record.change["left_out_before"] == 7


async def test_a_request_too_many_is_on_record_as_its_callers(yard: Api) -> None:
    made = await yard.post(
        "/namespaces/default/keys", {"name": "slow", "role": "operator", "rate": {"per_second": 0.01, "burst": 1}}
    )
    shown = {"Authorization": f"Bearer {made.json()['secret']}"}
    statuses = [(await send(yard, "POST", "/api/v1/models/there/stop", {}, **shown))[0].status_code for _ in range(2)]
    assert statuses[1] == 429
    last = (await entries(yard))[-1].record
    assert (last.actor, last.code) == ("key:default/slow", "rate_limited")


async def test_a_control_process_that_is_killed_leaves_an_entry_for_every_request_that_it_has_answered(
    pytestconfig: pytest.Config,
) -> None:
    home = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.api.asker",
            str(home),
            stdout=asyncio.subprocess.PIPE,
            cwd=pytestconfig.rootpath,
        )
        assert process.stdout is not None
        async with asyncio.timeout(60):
            answered = [await process.stdout.readline() for _ in range(random.randint(20, 80))]
        process.kill()
        answered += (await process.stdout.read()).splitlines(keepends=True)
        assert await process.wait() == -signal.SIGKILL
        async with serving(home) as api:
            assert (await api.services.audit.verify()).broken is None
            noted = [e.record.origin.request for e in await entries(api, outcome=Outcome.DONE)]
            # The last line may have been cut.
            asked = [line.decode().strip() for line in answered if line.endswith(b"\n")]
            assert set(asked) <= set(noted)
            # One that was not answered any more may be on record: so many callers there were.
            assert len(set(noted) - {""}) <= len(asked) + 4
    finally:
        shutil.rmtree(home)
