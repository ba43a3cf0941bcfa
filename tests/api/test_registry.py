"""Registered models, versions and aliases through the API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelyard.control.ports import EventQuery
from tests.api.conftest import Api
from tests.registry.stored import SIZE, digest, stored

PAT = "/registry/models/pat"


def version(number: str, **more: Any) -> dict[str, Any]:
    return {"version": number, "manifest": digest(1), **more}


async def registered(api: Api, *numbers: str, name: str = "pat", **about: Any) -> None:
    answer = await api.post("/registry/models", {"name": name, **about})
    assert answer.status_code == 201, answer.text
    for content in (1, 2):
        stored(api.home, content)
    for number in numbers:
        answer = await api.post(f"/registry/models/{name}/versions", version(number))
        assert answer.status_code == 201, answer.text


async def test_a_model_is_registered_looked_at_changed_deleted_and_restored(api: Api) -> None:
    about = {"description": "Reads.", "series": "pats", "task": "ocr", "licence": "MIT", "labels": {"a": "b", "c": "d"}}
    made = await api.post("/registry/models", {"name": "pat", "reason": "new", **about})
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    assert {key: made.json()[key] for key in about} == about
    assert (await api.get(PAT)) == made.json() == await api.get("/namespaces/default/registry/models/pat")
    assert (await api.post("/registry/models", {"name": "pat"})).json()["code"] == "already_exists"

    change = {"description": None, "labels": {"a": None, "e": "f"}, "task": "vision"}
    changed = await api.http.patch(f"/api/v1{PAT}", json=change, headers={"If-Match": '"1"'})
    assert changed.headers["etag"] == '"2"'
    now = changed.json()
    assert (now["description"], now["labels"], now["task"]) == ("", {"c": "d", "e": "f"}, "vision")
    stale = await api.http.patch(f"/api/v1{PAT}", json=change, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "etag_mismatch")
    assert (await api.patch(PAT, {"labels": None})).json()["labels"] == {}

    deleted = await api.http.delete(f"/api/v1{PAT}", params={"reason": "old", "grace": "1h"})
    assert deleted.status_code == 200
    assert deleted.json()["purge_at"] > deleted.json()["deleted_at"]
    assert (await api.get("/registry/models"))["items"] == []
    assert [m["name"] for m in (await api.get("/registry/models?deleted=true"))["items"]] == ["pat"]
    stored(api.home, 1)
    refused = await api.post(f"{PAT}/versions", version("1.0.0"))
    assert (refused.status_code, refused.json()["code"]) == (409, "model_deleted")
    assert refused.json()["allowed"] == ["restore"]
    assert (await api.post(f"{PAT}/restore")).json()["deleted_at"] is None
    wrong = await api.http.delete(f"/api/v1{PAT}", params={"grace": "400d"})
    assert (wrong.status_code, wrong.json()["errors"][0]["path"]) == (422, "query.grace")
    events = (await api.get("/events?model=pat"))["items"]
    assert [event["type"] for event in events] == [
        "RegisteredModelRestored", "RegisteredModelDeleted", "RegisteredModelChanged", "RegisteredModelChanged",
        "ModelRegistered",
    ]  # fmt: skip
    assert (events[1]["reason"], events[1]["actor"]) == ("old", "admin")


async def test_all_errors_come_at_once_with_their_paths_whether_of_shape_or_of_rule(api: Api) -> None:
    body = {
        "name": "Not A Name", "description": 5, "series": "A B", "licence": "a\nb", "labels": {"!": "x", "k": 7},
        "colour": "blue",
    }  # fmt: skip
    answer = await api.post("/registry/models", body)
    assert answer.status_code == 422
    assert {e["path"] for e in answer.json()["errors"]} == {
        "name", "description", "series", "licence", "labels.!", "labels.k", "colour",
    }  # fmt: skip
    await registered(api)
    tensor = {"name": "x", "datatype": "FLOAT", "shape": [-2]}
    body = {
        "version": "1.0", "manifest": "md5:1", "size": 5, "framework": {"name": "ONNX", "v": 1},
        "signature": {"inputs": [tensor], "outputs": [{"name": "y", "datatype": "FP32"}] * 2},
        "lineage": {"parent": "pat@stable", "source": "https://me:pw@host/a"}, "dependencies": ["", 3],
        "metrics": {"a b": 1, "f1": "high", "ok": True}, "card": "x" * 300_000,
    }  # fmt: skip
    answer = await api.post(f"{PAT}/versions", body)
    assert answer.status_code == 422
    assert {e["path"] for e in answer.json()["errors"]} == {
        "version", "manifest", "size", "framework.name", "framework.v", "signature.inputs[0].datatype",
        "signature.inputs[0].shape", "signature.outputs", "lineage.parent", "lineage.source", "dependencies[0]",
        "dependencies[1]", "metrics.a b", "metrics.f1", "metrics.ok", "card",
    }  # fmt: skip
    assert (await api.post(f"{PAT}/versions", {})).json()["errors"][0]["code"] == "required"


async def test_a_version_is_published_once_and_only_what_is_said_of_it_changes(api: Api) -> None:
    await registered(api, licence="MIT")
    body = version(
        "1.4.2", framework={"name": "onnx", "version": "1.17"}, metrics={"accuracy": 0.97}, card="# Pat",
        signature={"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}]}, dependencies=["numpy>=2"],
        lineage={"parent": "1.3.0", "dataset": "digits/5", "source": "hf://org/pat@0123"}, reason="better",
    )  # fmt: skip
    published = await api.post(f"{PAT}/versions", body)
    assert (published.status_code, published.headers["etag"]) == (201, '"0"')
    made = published.json()
    assert (made["size"], made["licence"], made["published_by"], made["reason"]) == (
        str(SIZE),
        "MIT",
        "admin",
        "better",
    )
    assert made["signature"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}]
    assert (made["lineage"]["dataset"], made["lineage"]["source"]) == ("digits/5", "hf://org/pat@0123")
    again = await api.post(f"{PAT}/versions", body)
    assert (again.status_code, again.json()) == (200, made)
    other = await api.post(f"{PAT}/versions", {**body, "manifest": digest(2)})
    assert (other.status_code, other.json()["code"]) == (409, "version_exists")

    path = f"{PAT}/versions/1.4.2"
    assert await api.get(path) == made
    change = {"metrics": {"f1": 0.9, "accuracy": None}, "card": None, "description": "Fine."}
    changed = await api.http.patch(f"/api/v1{path}", json=change, headers={"If-Match": '"0"'})
    now = changed.json()
    assert (now["metrics"], now["card"], now["description"], now["edits"]) == ({"f1": 0.9}, "", "Fine.", 1)
    stale = await api.http.patch(f"/api/v1{path}", json={"card": "x"}, headers={"If-Match": '"0"'})
    assert stale.status_code == 412
    refused = await api.patch(path, {"manifest": digest(2), "licence": "GPL"})
    assert {(e["path"], e["code"]) for e in refused.json()["errors"]} == {
        ("manifest", "unknown_field"), ("licence", "unknown_field"),
    }  # fmt: skip
    assert (await api.get(PAT))["latest"] == "1.4.2"


async def test_versions_are_listed_resolved_deleted_and_restored(api: Api) -> None:
    await registered(api, "1.3.0", "1.4.0", "1.10.0", "2.0.0-rc.1")
    listed = await api.get(f"{PAT}/versions?page_size=3")
    assert [v["version"] for v in listed["items"]] == ["2.0.0-rc.1", "1.10.0", "1.4.0"]
    assert "card" not in listed["items"][0]
    rest = await api.get(f"{PAT}/versions?page_size=3&page_token={listed['next_page_token']}")
    assert [v["version"] for v in rest["items"]] == ["1.3.0"]
    ranged = await api.http.get(f"/api/v1{PAT}/versions", params={"range": ">=1.3 <1.5 || 2.0.0-rc.1"})
    assert [v["version"] for v in ranged.json()["items"]] == ["2.0.0-rc.1", "1.4.0", "1.3.0"]
    wrong = await api.http.get(f"/api/v1{PAT}/versions", params={"range": "newest"})
    assert (wrong.status_code, wrong.json()["errors"][0]["path"]) == (422, "query.range")

    async def resolved(pick: str) -> Any:
        answer = await api.http.get(f"/api/v1{PAT}/resolve", params={"pick": pick})
        body = answer.json()
        return body["version"] if answer.status_code == 200 else (answer.status_code, body["code"])

    assert await resolved("^1.4") == await resolved("latest") == await resolved("1") == "1.10.0"
    assert await resolved("1.4") == await resolved("1.4.0") == "1.4.0"
    assert await resolved("3.x") == await resolved("stable") == (404, "not_found")
    assert await resolved("A B") == (422, "invalid_request")
    deleted = await api.http.delete(f"/api/v1{PAT}/versions/1.10.0", params={"grace": 60})
    assert deleted.json()["deleted_at"] is not None
    assert await resolved("latest") == "1.4.0"
    assert await resolved("1.10.0") == (404, "not_found")
    assert [v["version"] for v in (await api.get(f"{PAT}/versions?deleted=true"))["items"]] == ["1.10.0"]
    assert (await api.post(f"{PAT}/versions/1.10.0/restore", {"reason": "oops"})).json()["deleted_at"] is None
    assert await resolved("latest") == "1.10.0"


async def test_two_versions_are_compared_field_by_field(api: Api) -> None:
    await registered(api)
    await api.post(
        f"{PAT}/versions", version("1.0.0", metrics={"f1": 0.5}, labels={"a": "b"}, framework={"name": "onnx"})
    )
    more = {"manifest": digest(2), "metrics": {"f1": 0.75, "auc": 1}, "framework": {"name": "onnx", "version": "2"}}
    await api.post(f"{PAT}/versions", version("1.1.0", **more, card="# New"))
    diff = await api.get(f"{PAT}/diff?from=1.0.0")
    assert (diff["from"], diff["to"]) == ("1.0.0", "1.1.0")
    changes = {change["path"]: (change["before"], change["after"]) for change in diff["changes"]}
    assert changes == {
        "manifest": (digest(1), digest(2)), "framework.version": ("", "2"), "metrics.f1": (0.5, 0.75),
        "metrics.auc": (None, 1.0), "labels.a": ("b", None), "card": ("", "# New"),
    }  # fmt: skip
    assert (await api.get(f"{PAT}/diff?from=latest&to=1.1"))["changes"] == []
    for query, status in (("", 422), ("?from=A", 422), ("?from=3.0.0", 404)):
        assert (await api.http.get(f"/api/v1{PAT}/diff{query}")).status_code == status


async def test_an_alias_is_moved_guarded_rolled_back_and_removed(api: Api) -> None:
    await registered(api, "1.0.0", "1.1.0")
    path = f"{PAT}/aliases/stable"

    async def put(number: str, alias: str = path, headers: dict[str, str] | None = None, **more: Any) -> Any:
        return await api.http.put(f"/api/v1{alias}", json={"version": number, **more}, headers=headers)

    first = await put("1.0.0", reason="it works", expected=None)
    assert (first.status_code, first.headers["etag"]) == (200, '"1"')
    assert (first.json()["version"], first.json()["moved_by"], first.json()["reason"]) == ("1.0.0", "admin", "it works")
    assert (await put("1.1.0", expected=None)).status_code == 412
    assert (await put("1.1.0", expected="1.1.0")).status_code == 412
    assert (await put("1.1.0", headers={"If-Match": '"7"'})).status_code == 412
    assert (await put("1.1.0", expected="1.0.0", headers={"If-Match": '"1"'})).status_code == 200
    in_use = await api.http.delete(f"/api/v1{PAT}/versions/1.1.0")
    assert (in_use.status_code, in_use.json()["code"]) == (409, "in_use")
    assert "stable" in in_use.json()["detail"]
    assert (await api.post(f"{path}/rollback", {"reason": "it lies"})).json()["version"] == "1.0.0"
    assert (await api.get(path))["moves"] == 3
    history = (await api.get(f"{path}/history"))["items"]
    assert [(move["kind"], move["from"], move["to"], move["reason"]) for move in history] == [
        ("rollback", "1.1.0", "1.0.0", "it lies"), ("move", "1.0.0", "1.1.0", ""), ("move", None, "1.0.0", "it works"),
    ]  # fmt: skip
    assert [a["alias"] for a in (await api.get(f"{PAT}/aliases"))["items"]] == ["latest", "stable"]
    assert (await api.http.delete(f"/api/v1{path}", params={"reason": "no more"})).status_code == 204
    assert (await api.http.get(f"/api/v1{path}")).status_code == 404
    assert (await api.get(f"{path}/history"))["items"][0]["reason"] == "no more"

    for answer in (
        await put("1.0.0", f"{PAT}/aliases/latest"),
        await api.http.delete(f"/api/v1{PAT}/aliases/latest"),
        await api.post(f"{PAT}/aliases/latest/rollback"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "alias_reserved")
    assert (await put("1.0.0", f"{PAT}/aliases/1.x")).json()["errors"][0]["path"] == "alias"
    assert (await put("^1")).json()["errors"][0]["path"] == "version"
    assert (await put("3.0.0")).status_code == 404


async def test_a_version_that_loses_too_much_gets_an_alias_by_force_alone(api: Api) -> None:
    await registered(api, "1.0.0")
    marked = {"metrics": {"accuracy_drop": 0.2, "accuracy_drop_limit": 0.1}}
    await api.http.patch(f"/api/v1{PAT}/versions/1.0.0", json=marked)

    async def put(**more: Any) -> Any:
        return await api.http.put(f"/api/v1{PAT}/aliases/stable", json={"version": "1.0.0", **more})

    answer = await put(reason="it is small")
    assert (answer.status_code, answer.json()["code"]) == (409, "accuracy_drop")
    answer = await put(force=True)
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "reason")
    answer = await put(force=True, reason="it is small")
    assert (answer.status_code, answer.json()["reason"]) == (200, "it is small")


async def test_registered_models_are_listed_by_filter_and_page(api: Api) -> None:
    await api.post("/namespaces", {"name": "team"})
    await registered(api, "1.0.0", name="digits", series="mnist", labels={"team": "a"})
    await registered(api, name="letters", description="Reads LETTERS")
    assert (await api.post("/namespaces/team/registry/models", {"name": "wine"})).status_code == 201

    async def names(query: str = "", prefix: str = "") -> list[str]:
        return [m["name"] for m in (await api.get(f"{prefix}/registry/models{query}"))["items"]]

    assert await names() == ["digits", "letters"]
    assert await names(prefix="/namespaces/team") == ["wine"]
    assert await names("?all_namespaces=true&sort=-name") == ["wine", "letters", "digits"]
    assert await names("?search=letters") == ["letters"]
    assert await names("?series=mnist") == await names("?label=team=a") == ["digits"]
    assert await names("?framework=onnx") == []
    first = await api.get("/registry/models?page_size=1")
    assert await names(f"?page_size=1&page_token={first['next_page_token']}") == ["letters"]
    for query, path in (("?sort=size", "sort"), ("?label=a", "query.label"), ("?page_token=x", "page_token")):
        answer = await api.http.get(f"/api/v1/registry/models{query}")
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, path)
    assert (await api.http.get("/api/v1/namespaces/nobody/registry/models")).status_code == 404
    refused = await api.http.delete("/api/v1/namespaces/team")
    assert refused.json()["code"] == "not_empty"


@pytest.mark.parametrize("path", ["", "/versions", "/versions/1.0.0", "/resolve", "/aliases", "/aliases/a/history"])
async def test_what_is_not_registered_is_not_found(api: Api, path: str) -> None:
    answer = await api.http.get(f"/api/v1{PAT}{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "no registered model 'pat'" in answer.json()["detail"]


async def test_whoever_follows_events_hears_of_the_registrys(api: Api) -> None:
    await registered(api)
    following = api.services.feed.follow(EventQuery(model="pat"), heartbeat=60)
    next_one = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    await api.post(f"{PAT}/versions", version("1.0.0"))
    async with asyncio.timeout(10):
        event = await next_one
    assert event is not None
    assert (event.type, event.data["version"]) == ("VersionPublished", "1.0.0")
    await following.aclose()  # type: ignore[attr-defined]
