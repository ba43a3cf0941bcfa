"""Metrics over time through the API: columns, marks, steps, and who may see them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from modelyard.control.ports import Answered, Load, Loads
from tests.api.conftest import Api


def tell(api: Api, uid: str, requests: int, errors: int = 0, rejected: int = 0) -> None:
    """As the gateway does, of which there is none here."""
    answered = Answered(answers=requests, errors=errors, rejected=rejected, buckets=(0, 0, requests, *[0] * 14))
    load = Load(uid=uid, requests=requests, busy=1.0, in_flight=0, waiting=0, quiet=0.0, answered=answered)
    api.services.traffic.take(Loads(gateway="g", at=0.0, models=(load,)))


async def until_told(api: Api, path: str, requests: int, *, held: bool = False) -> dict[str, Any]:
    """What is told once it is of so many requests, and, with ``held``, of instances too."""
    deadline = time.monotonic() + 40
    while True:
        told: dict[str, Any] = await api.get(path)
        if sum(told["requests"]) == requests and (not held or any(told["instances"])):
            return told
        assert time.monotonic() < deadline, told
        await asyncio.sleep(0.1)


async def test_the_history_of_a_model_outlives_its_stop(api: Api) -> None:
    await api.deploy("m")
    uid = (await api.get("/models/m"))["uid"]
    tell(api, uid, 10, errors=2, rejected=3)
    told = await until_told(api, "/models/m/metrics?step=1m", 10, held=True)
    assert told["step"] == 60
    assert {len(column) for key, column in told.items() if isinstance(column, list) and key != "marks"} == {
        len(told["times"])
    }
    assert (sum(told["errors"]), sum(told["rejected"])) == (2, 3)
    (p95,) = [value for value in told["p95"] if value is not None]
    assert 0.001 < p95 < 0.0025
    assert told["instances"][-1] == 1
    assert told["memory"][-1] > 0
    await api.wait(await api.post("/models/m/stop", {"graceful": False}))
    await api.wait(await api.post("/models/m/start"))
    told = await until_told(api, "/namespaces/default/models/m/metrics", 10)
    assert [mark["kind"] for mark in told["marks"]] == ["deploy", "start", "stop", "start"]
    assert sum((await until_told(api, "/metrics", 10))["errors"]) == 2
    assert sum((await api.get("/metrics?namespace=default"))["requests"]) == 10


async def test_what_cannot_be_told_is_refused_with_the_reason(api: Api) -> None:
    await api.deploy("m")
    for query, path in (
        ("from=2030-01-02T00:00:00Z&to=2030-01-01T00:00:00Z", "query.from"),
        ("from=2020-01-01T00:00:00Z&step=1h", "query.step"),
        ("step=500ms", "query.step"),
    ):
        answer = await api.http.get(f"/api/v1/models/m/metrics?{query}")
        assert (answer.status_code, [error["path"] for error in answer.json()["errors"]]) == (422, [path]), query
    assert (await api.http.get("/api/v1/models/none/metrics")).status_code == 404
    assert (await api.http.get("/api/v1/metrics?namespace=none")).status_code == 404
    # Without a step one is chosen, however long that was.
    assert (await api.get("/models/m/metrics?from=2020-01-01T00:00:00Z"))["step"] % 3600 == 0
