"""Bundled samples in one call."""

from __future__ import annotations

import asyncio

from tests.api.conftest import Api


async def test_a_sample_is_trained_and_deployed_once_however_often_it_is_asked_for(api: Api) -> None:
    listed = await api.get("/samples")
    assert [one["name"] for one in listed["items"]] == ["digits", "wine"]
    first, second = await asyncio.gather(api.post("/samples/wine"), api.post("/samples/wine"))
    assert {first.status_code, second.status_code} <= {200, 201}
    assert first.json()["uid"] == second.json()["uid"]
    assert (api.home / "models" / "wine" / "model.skops").is_file()
    again = await api.post("/samples/wine")
    assert (again.status_code, again.json()["generation"]) == (200, 1)


async def test_a_sample_takes_no_other_models_place(api: Api) -> None:
    await api.deploy("digits")
    answer = await api.post("/samples/digits")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_exists")
    assert (await api.post("/samples/iris")).status_code == 404
