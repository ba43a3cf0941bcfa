"""What others write while a pass is under way is not forgotten when the pass ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from modelyard.control.ports import Fence, Idempotency
from modelyard.domain import commands
from modelyard.domain.commands import Asked, Change
from modelyard.domain.model import Model, StopMode
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import State
from tests.control import plane
from tests.control.yard import Yard

MOCK = Spec(engine=Engine.MOCK)


def public(value: bool) -> Callable[[Model, Asked], Change]:
    def decide(model: Model, asked: Asked) -> Change:
        return commands.update(model, replace(model.spec, public=value), asked)

    return decide


def test_a_second_change_that_comes_while_the_first_is_told_to_the_gateway_is_told_too() -> None:
    yard = Yard()
    yard.deploy("a", MOCK)
    yard.advance(5)
    uid = yard.uid("a")
    yard.command("a", public(True))
    assert yard.plane is not None
    yard.plane.step(uid, 3)
    yard.command("a", public(False))
    under_way = yard.plane.models[uid].under_way
    assert under_way is not None
    under_way.points = None
    yard.settle()
    assert not yard.gateway.routes[uid].public


def test_a_stop_that_another_process_writes_before_our_commit_is_answered_is_begun_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    yard = Yard()
    yard.deploy("a", MOCK)
    uid = yard.uid("a")
    original = plane._Store.commit
    stopped: list[bool] = []

    async def commit(
        self: plane._Store, change: Change, key: Idempotency | None = None, fence: Fence | None = None
    ) -> Change:
        written = await original(self, change, key, fence)
        if fence is not None and written.after and written.after.status.state is State.RUNNING and not stopped:
            stopped.append(True)
            model = yard.database.models[uid]
            yard.database.commit(commands.stop(model, StopMode.FORCE, 0, yard._asked()))
            assert yard.plane is not None
            yard.plane.heard(uid)
        return written

    monkeypatch.setattr(plane._Store, "commit", commit)
    yard.advance(10)
    assert stopped
    assert yard.state("a") is State.STOPPED
