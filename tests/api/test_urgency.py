"""What goes before everything else, by requests of the application itself."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager

import pytest

from modelyard.api import urgency
from modelyard.api.urgency import Precedence
from tests.api.conftest import Api
from tests.api.test_tenants import caller


def precedence_of(api: Api) -> Precedence:
    found = api.app.state.precedence
    assert isinstance(found, Precedence)
    return found


async def test_no_request_begins_while_something_urgent_is_under_way(api: Api) -> None:
    with precedence_of(api).first():
        waiting = [asyncio.create_task(api.http.get("/api/v1/version")) for _ in range(3)]
        # A stop of many models is asked and answered meanwhile, so they would have been.
        stopped = await api.http.post("/api/v1/models/stop", json={"all": True, "graceful": False})
        assert stopped.status_code == 202
        assert not any(task.done() for task in waiting)
    assert [(await task).status_code for task in waiting] == [200] * 3


async def test_nobody_waits_longer_than_so_long(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urgency, "LONGEST", 0.01)
    with precedence_of(api).first():
        assert (await api.http.get("/api/v1/version")).status_code == 200


async def test_who_goes_away_while_waiting_leaves_nothing_behind(api: Api) -> None:
    precedence = precedence_of(api)
    with precedence.first():
        waiting = asyncio.create_task(precedence.turn())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not precedence._waiting


async def test_only_who_stops_the_models_of_every_namespace_goes_before_others(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    precedence, noted = precedence_of(api), list[float]()
    first = precedence.first

    def note() -> AbstractContextManager[None]:
        noted.append(asyncio.get_running_loop().time())
        return first()

    monkeypatch.setattr(precedence, "first", note)
    ours = await caller(api, "operator")
    everywhere = await caller(api, "operator", namespace="*")
    for one, times in ((ours, 0), (everywhere, 1)):
        stopped = await one.ask("POST", "/models/stop", {"all": True, "graceful": False})
        assert stopped.status_code == 202, stopped.text
        assert len(noted) == times
