"""What followers of changes are sent, and what they are not; the table of the life cycle."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from modelyard.domain.states import Command, State
from tests.api.conftest import Api
from tests.api.test_tenants import Caller, caller, put


async def _followed(api: Api, path: str, reader: Caller, *names: str) -> list[tuple[str, Any]]:
    """What ``reader`` is sent from now on until its key is revoked, after models of ``names`` were put; those with a
    dash are of a group."""
    last = (await api.get("/events"))["items"][:1]
    headers = {"Authorization": f"Bearer {reader.secret}", "Last-Event-ID": str(last[0]["id"] if last else 0)}
    answer = asyncio.create_task(api.http.get(f"/api/v1{path}", headers=headers))
    for name in names:
        await put(api, name, ["red"] if "-" in name else None)
    await asyncio.sleep(0.5)
    await api.http.delete(f"/api/v1/namespaces/default/keys/{reader.id}")
    # A stream looks whether its reader may still have it with each thing that it would send.
    await put(api, "last")
    return _parsed((await answer).text)


def _parsed(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if fields.get("data"):
            found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest.mark.parametrize("path", ["/events?follow=true", "/changes"])
async def test_a_follower_is_told_only_of_models_that_are_there_for_it(api: Api, path: str) -> None:
    outsider = await caller(api, "viewer")
    told = await _followed(api, path, outsider, "open", "for-red")
    assert {data["model"] for event, data in told if event == "change"} == {"open"}
    assert {data["name"] for event, data in told if event == "model"} <= {"open"}


async def test_changes_bring_each_model_as_it_is_now_once_for_many_changes(api: Api) -> None:
    reader = await caller(api, "viewer")
    told = await _followed(api, "/changes", reader, "a", "b")
    assert [data["name"] for event, data in told if event == "model"].count("a") < 3
    newest = {data["name"]: data for event, data in told if event == "model"}
    assert newest["b"]["status"]["state"] == "stopped"
    assert newest["b"] == await api.get("/models/b")
    kinds = [event for event, _ in told]
    assert kinds.index("change") < kinds.index("model")


async def test_changes_tell_what_is_gone(api: Api) -> None:
    await put(api, "short")
    uid = (await api.get("/models/short"))["uid"]
    reader = await caller(api, "viewer")
    last = (await api.get("/events"))["items"][0]["id"]
    await api.wait(await api.http.delete("/api/v1/models/short"))
    headers = {"Authorization": f"Bearer {reader.secret}", "Last-Event-ID": str(last)}
    answer = asyncio.create_task(api.http.get("/api/v1/changes", headers=headers))
    await asyncio.sleep(0.3)
    await api.http.delete(f"/api/v1/namespaces/default/keys/{reader.id}")
    await put(api, "last")
    told = _parsed((await answer).text)
    assert ("gone", {"uid": uid, "namespace": "default", "name": "short"}) in told


async def test_the_table_of_the_life_cycle_says_what_comes_of_each_command_in_each_state(api: Api) -> None:
    table = (await api.get("/lifecycle"))["states"]
    assert set(table) == set(State)
    assert all(set(row) == set(Command) for row in table.values())
    assert table["stopped"]["start"] == {"to": "starting", "code": None, "message": None}
    await put(api, "m")
    refused = await api.post("/models/m/restart")
    assert table["stopped"]["restart"]["message"] == refused.json()["detail"]


async def test_a_follower_is_told_of_an_instance_more_that_is_ready_though_that_is_no_event(api: Api) -> None:
    await api.deploy("pair", {"engine": "mock", "replicas": {"min": 2, "max": 2}})
    reader = await caller(api, "viewer")
    headers = {"Authorization": f"Bearer {reader.secret}"}
    answer = asyncio.create_task(api.http.get("/api/v1/changes", headers=headers))
    first, *_ = (await api.get("/models/pair/status"))["instances"]
    await asyncio.sleep(0.2)
    ended = await api.http.delete(f"/api/v1/models/pair/instances/{first['id']}", params={"force": True})
    await api.wait(ended)
    await asyncio.sleep(0.5)
    await api.http.delete(f"/api/v1/namespaces/default/keys/{reader.id}")
    await put(api, "last")
    told = [data for event, data in _parsed((await answer).text) if event == "model" and data["name"] == "pair"]
    assert told[-1]["status"]["instances_ready"] == 2
    newest = told[-1]["status"]["instances"]
    assert [instance["phase"] for instance in newest] == ["ready", "ready"]
    assert first["id"] not in [instance["id"] for instance in newest]
