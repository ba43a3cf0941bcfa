"""Every request that may change something is on record once, with what it changed and without what is secret."""

from __future__ import annotations

import json
import re
import secrets
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from modelyard.api import auditing
from modelyard.api.app import create_app
from modelyard.control.auditing import AuditQuery
from modelyard.domain.audit import AuditEntry, Mark, verify
from modelyard.domain.masking import is_secret_name
from tests.api.conftest import Api

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
        tag = operation["tags"][0].removesuffix(" by namespace").replace(" ", "_")
        if tag == "registry_objects" and answer.status_code < 400:
            assert found[number] == [], said
            continue
        assert len(found[number]) == 1, said
        (record,) = found[number]
        assert (str(record.outcome) == "done") == (answer.status_code < 400), said
        assert record.action.startswith(f"{tag}."), said
        assert record.action == operation["operationId"].replace("_by_namespace_", "_").replace(f"{tag}_", f"{tag}.", 1)
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
        "actor": "admin", "actor_kind": "administrator", "action": "models.patch", "namespace": "default",
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


async def test_reads_and_dry_runs_leave_no_entry_and_a_repeated_request_one_of_its_own(yard: Api) -> None:
    before = len(await entries(yard))
    await yard.get("/models")
    await yard.get("/audit")
    await yard.get("/audit/verify")
    spec = {"spec": {"description": "dry"}}
    assert (await yard.patch("/models/there", spec, dry_run="true")).status_code == 200
    assert len(await entries(yard)) == before
    for _ in range(2):
        answer, number = await send(yard, "POST", "/api/v1/models/there/redeploy", {}, **{"Idempotency-Key": "k"})
        assert answer.status_code == 200
        assert len(await entries(yard, request=number)) == 1


async def test_stopping_many_leaves_an_entry_for_each(yard: Api) -> None:
    await yard.deploy("other", desired="stopped")
    answer, number = await send(yard, "POST", "/api/v1/models/stop", {"all": True, "reason": "Fire drill"})
    assert answer.status_code == 202
    found = [(e.record.name, e.record.reason) for e in await entries(yard, request=number)]
    assert sorted(found) == [("other", "Fire drill"), ("there", "Fire drill")]


async def test_the_record_is_read_exported_and_verified_over_http(yard: Api) -> None:
    await yard.http.delete("/api/v1/models/nowhere", params={"reason": "A mistake"})
    page = await yard.get("/audit?outcome=refused&search=mistake")
    assert [(one["action"], one["code"]) for one in page["items"]] == [("models.delete", "not_found")]
    assert await yard.get(f"/audit/{page['items'][0]['number']}") == page["items"][0]
    assert (await yard.get("/namespaces/default/audit?page_size=1"))["next_page_token"]
    assert [e["name"] for e in (await yard.get("/namespaces/default/audit?action=registry.create"))["items"]] == [
        "there"
    ]
    exported = await yard.http.get("/api/v1/audit/export", params={"action": "models.delete"})
    assert [json.loads(line)["name"] for line in exported.text.splitlines()] == ["nowhere"]
    answer = await yard.http.get("/api/v1/audit/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    said = await yard.get("/audit/verify")
    assert (said["whole"], said["broken"], said["entries"]) == (True, None, said["head"]["number"])
    assert verify(lines, Mark(), Mark(number=lines[-1]["number"], hash=lines[-1]["hash"])) is None
    assert [e.record.action for e in await entries(yard)][-2:] == ["audit.export_audit", "audit.export_audit"]
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
