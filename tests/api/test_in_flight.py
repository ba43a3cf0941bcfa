"""How many requests are in a model now: asked for once, and followed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from modelyard.control.ports import Load, Loads
from tests.api.conftest import Api
from tests.api.test_tenants import caller


def _told(uid: str, requests: int, instances: Mapping[str, int], gateway: str = "g1") -> Loads:
    load = Load(
        uid=uid, requests=9, busy=1.0, in_flight=requests, waiting=0, quiet=0.0, instances=instances
    )  # fmt: skip
    return Loads(gateway=gateway, at=1.0, models=(load,))


async def test_what_is_in_flight_is_that_of_the_gateway_there_is(api: Api) -> None:
    await api.deploy("m")
    model, book = await api.get("/models/m"), api.services.traffic
    nothing = {"counted": False, "requests": 0, "waiting": 0, "instances": {}}
    assert await api.get("/models/m/in-flight") == nothing
    book.take(_told(model["uid"], 3, {"a": 1, "b": 2}))
    told = {"counted": True, "requests": 3, "waiting": 0, "instances": {"a": 1, "b": 2}}
    assert await api.get("/models/m/in-flight") == told
    book.take(_told("another", 1, {}, gateway="g2"))
    assert await api.get("/models/m/in-flight") == nothing


async def test_a_follower_is_sent_each_change_until_it_may_no_longer_read(api: Api) -> None:
    await api.deploy("m")
    model, book, reader = await api.get("/models/m"), api.services.traffic, await caller(api, "viewer")
    following = asyncio.create_task(
        api.http.get(
            "/api/v1/models/m/in-flight?follow=true", headers={"Authorization": f"Bearer {reader.secret}"}, timeout=20
        )
    )
    for count in (2, 1, 0):
        await asyncio.sleep(0.2)
        book.take(_told(model["uid"], count, {"a": count}))
    await asyncio.sleep(0.2)
    await api.http.delete(f"/api/v1/namespaces/default/keys/{reader.id}")
    book.take(_told(model["uid"], 7, {"a": 7}))
    sent = [line[6:] for line in (await following).text.splitlines() if line.startswith("data: ")]
    assert [json.loads(data)["requests"] for data in sent] == [0, 2, 1, 0]
