"""A server with a port of its own never has two instances, whatever its rollout is at."""

from __future__ import annotations

from dataclasses import replace

from modelyard.domain import steering
from modelyard.domain.states import State
from tests.control.test_yard_machine import server
from tests.control.yard import MOCK, Yard


def test_what_crashes_in_a_paused_rollout_to_another_kind_is_replaced_once_it_has_ended() -> None:
    yard = Yard()
    yard.deploy("a", server("x", 0))
    yard.advance(3)
    yard.update("a", replace(MOCK, options={"latency_ms": 1}))
    yard.command("a", steering.pause_rollout)
    yard.settle()
    (old,) = yard.processes("a")
    yard.machine.immortal.add(old.id)
    yard.machine.crash(old.id)
    yard.advance(3)
    assert [p.id for p in yard.processes("a")] == [old.id], "it holds the port still"
    yard.machine.immortal.clear()
    yard.advance(3)
    (fresh,) = yard.processes("a")
    assert fresh.target == old.target, "the rollout is paused"
    yard.command("a", steering.resume_rollout)
    yard.advance(10)
    assert yard.state("a") is State.RUNNING
    (newest,) = yard.processes("a")
    assert newest.target.generation == 2
