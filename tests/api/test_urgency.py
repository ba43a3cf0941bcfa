"""What goes before everything else, by requests of the application itself."""

from __future__ import annotations

import asyncio

import pytest

from modelyard.api import urgency
from modelyard.api.urgency import Precedence
from tests.api.conftest import Api


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
