"""Who is looked at when something has been given back: all who can have it now, and nobody for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from modelyard.domain.capacity import OVERTAKEN_AT_MOST
from modelyard.domain.model import Amount, Instance, InstancePhase, ModelRef, Quota
from modelyard.domain.spec import Preempt, Replicas
from modelyard.domain.states import State
from tests.control.test_queue_fairness import full, running
from tests.control.yard import EPOCH, Yard, gpu

AGED = OVERTAKEN_AT_MOST.total_seconds() + 5


def aged(devices: int, large: int, **holder: object) -> Yard:
    """A yard where one device is held, and a large model has waited for so long that it is saved up for."""
    yard = Yard(devices=devices)
    yard.deploy("holder", gpu(**holder))  # type: ignore[arg-type]
    yard.advance(3)
    yard.deploy("large", gpu(large))
    yard.advance(AGED)
    return yard


def test_what_could_never_run_keeps_nobody_waiting() -> None:
    yard = Yard(devices=2)
    yard.deploy("large", gpu(2), "stopped")
    yard.set_inventory(devices=1)
    yard.start("large")
    yard.advance(AGED)
    yard.deploy("small", gpu())
    yard.advance(2)
    assert running(yard) == ["small"]


@pytest.mark.parametrize("holder", [{"pin": True}, {"priority": 5}])
def test_nor_does_what_could_not_run_even_if_all_others_stopped(holder: dict[str, object]) -> None:
    yard = aged(2, 2, **holder)
    yard.deploy("small", gpu())
    yard.advance(2)
    assert running(yard) == ["holder", "small"]


def test_and_once_nothing_pinned_is_in_its_way_no_small_one_starves_it() -> None:
    yard = aged(2, 2, pin=True)
    yard.deploy("small", gpu())
    yard.advance(2)
    yard.update("holder", gpu())
    yard.deploy("later", gpu())
    yard.stop("small")
    yard.advance(3)
    assert running(yard) == ["holder"]
    yard.stop("holder")
    yard.advance(3)
    assert running(yard) == ["large"]


def test_one_that_is_pinned_frees_what_was_saved_up_at_once() -> None:
    yard = aged(2, 2)
    yard.deploy("small", gpu())
    yard.advance(2)
    assert running(yard) == ["holder"]
    yard.update("holder", gpu(pin=True))
    yard.settle()
    assert yard.state("small") is State.STARTING


def test_a_large_one_that_goes_down_in_the_queue_lets_the_next_past_at_once() -> None:
    yard = aged(2, 2)
    yard.update("large", gpu(2, priority=5))
    yard.deploy("small", gpu())
    yard.advance(2)
    assert yard.state("small") is State.QUEUED
    yard.update("large", gpu(2, priority=-5))
    yard.settle()
    assert yard.state("small") is State.STARTING


def test_so_does_one_that_wants_less_than_before() -> None:
    yard = aged(4, 4)
    yard.deploy("small", gpu(1))
    yard.advance(2)
    assert yard.state("small") is State.QUEUED
    yard.update("large", gpu(2))
    yard.settle()
    assert [yard.state(name) for name in ("large", "small")] == [State.STARTING] * 2


def test_more_devices_are_noticed_at_once() -> None:
    yard = full("a", "b", "c")
    yard.set_inventory(devices=3)
    yard.settle()
    assert yard.state("c") is State.STARTING


def test_an_instance_that_is_gone_before_it_was_ever_seen_lets_the_next_in() -> None:
    yard = Yard(devices=1)
    yard.deploy("a", gpu())
    yard.deploy("b", gpu())
    yard.machine.bad.add((yard.uid("a"), 1))
    yard.advance(5)
    assert yard.state("a") is State.ERROR
    assert running(yard) == ["b"]


def test_nobody_makes_room_for_one_that_is_gone() -> None:
    yard = Yard(devices=1)
    yard.deploy("a", gpu())
    yard.advance(5)
    plane = yard.plane
    assert plane is not None
    plane.step(yard.uid("a"), 0)
    yard.deploy("b", gpu(priority=5, preempt=Preempt.LOWER_PRIORITY))
    plane.run()
    yard.delete("b")
    plane.run()
    held = plane.models[yard.uid("a")].under_way
    assert held is not None
    held.points = None
    yard.advance(1)
    plane.post(yard.uid("a"))
    yard.advance(1)
    assert running(yard) == ["a"]
    assert yard.model("a").status.preempted is None


def test_those_who_cannot_have_it_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    yard = full("a", "b", *(f"w{n}" for n in range(6)))
    plane = yard.plane
    assert plane is not None
    looked: list[str] = []
    look = plane._look

    def noted(refs: Sequence[ModelRef]) -> None:
        looked.extend(ref.name for ref in refs)
        look(refs)

    monkeypatch.setattr(plane, "_look", noted)
    yard.stop("a")
    yard.advance(3)
    assert running(yard) == ["b", "w0"]
    assert set(looked) == {"w0"}


def test_the_quota_of_a_namespace_holds_on_all_sites_together() -> None:
    yard = Yard(devices=2)
    yard.set_quota("team", Quota(gpus=2))
    yard.deploy("there", gpu(), "stopped", namespace="team")
    yard.advance(1)
    there = yard.model("there")
    instance = Instance(
        id="x", target=there.status.target, phase=InstancePhase.READY, since=EPOCH, address="", held=Amount(devices=1)
    )
    elsewhere = replace(there, site="there", status=replace(there.status, instances=(instance,)))
    assert yard.plane is not None
    del yard.plane.models[there.uid]
    yard.database.models[there.uid] = elsewhere
    yard.deploy("here", gpu(replicas=Replicas(min=2, max=2)), namespace="team")
    yard.advance(5)
    assert len(yard.processes("here")) == 1
    waiting = yard.model("here").status.waiting
    assert waiting is not None
    assert waiting.reason == "QuotaExceeded"
    assert "other sites" in waiting.message
    yard.database.models[there.uid] = replace(elsewhere, status=there.status)
    yard.advance(6)
    assert len(yard.processes("here")) == 2


def test_a_rollout_hears_that_it_fits_now_with_what_it_gives_back_itself() -> None:
    yard = full("a", "b")
    yard.update("a", gpu(2))
    yard.advance(5)
    assert yard.state("a") is State.UPDATING
    yard.stop("b")
    yard.advance(4)
    assert [len(p.devices) for p in yard.processes("a")] == [2]
