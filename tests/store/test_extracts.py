"""The few fields that are read of very many models say the same as the whole models do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelyard.control.capacity import CapacityViews
from modelyard.domain.capacity import Inventory
from modelyard.domain.model import (
    Amount,
    Instance,
    InstancePhase,
    Model,
    ModelRef,
    Namespace,
    Preempted,
    Rollout,
    Target,
    Waiting,
)
from modelyard.domain.spec import Strategy
from modelyard.domain.states import State
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, SPEC, after, creation

_SITES = ("here", "there")


async def inventories() -> dict[str, Inventory]:
    return {site: Inventory(cpu=8) for site in _SITES}


async def stored(store: SqlStore, name: str, number: int = 0, *, namespace: str = "default", **status: Any) -> Model:
    """Of a site by turns, with ``status`` as given."""
    change = creation(name, replace(SPEC, priority=number % 3), namespace=namespace)
    made = after(change)
    made = replace(made, site=_SITES[number % 2], status=replace(made.status, **status))
    return after(await store.commit(replace(change, after=made)))


def queued(number: int) -> dict[str, Any]:
    since = EPOCH - timedelta(seconds=number % 4)
    status: dict[str, Any] = {
        "state": State.QUEUED,
        "waiting": Waiting(since=since, reason="InsufficientCapacity", message="1 GPU needed.", kinds=("devices",)),
    }
    if number % 5 == 0:
        status["preempted"] = Preempted(by=ModelRef("u", "default", "other"), at=EPOCH)
    if number % 7 == 0:
        status["rollout"] = Rollout(
            before=Target(1), after=Target(2), strategy=Strategy.REPLACE, began_at=EPOCH, progressed_at=EPOCH
        )
    if number % 4 == 0:
        status["admitted"] = 1
    return status


async def test_places_are_those_of_the_queue(store: SqlStore) -> None:
    for number in range(24):
        await stored(store, f"m{number}", number, **queued(number))
    await stored(store, "running", state=State.RUNNING)
    await stored(store, "unplanned", state=State.QUEUED)
    views = CapacityViews(store, inventories)
    shown = {one.ref.uid: one.place for site in await views.view() for one in site.queue}
    assert len(shown) == 24
    assert await views.places() == shown


async def test_a_place_that_is_not_known_yet_is_looked_for_at_once(store: SqlStore) -> None:
    views = CapacityViews(store, inventories)
    first = await stored(store, "first", **queued(1))
    assert await views.places([first.uid]) == {first.uid: 1}
    second = await stored(store, "second", **queued(1))
    assert await views.places([first.uid]) == {first.uid: 1}, "what was found a moment ago is good enough"
    assert await views.places([second.uid]) == {first.uid: 1, second.uid: 2}


async def test_many_who_ask_at_once_cost_one_look(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    queue = store.queue

    async def counted() -> object:
        nonlocal looks
        looks += 1
        return await queue()

    monkeypatch.setattr(store, "queue", counted)
    views = CapacityViews(store, inventories)
    await asyncio.gather(*(views.places(["unknown"]) for _ in range(20)))
    assert looks <= 2


async def test_what_namespaces_hold_is_what_their_instances_do(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.store.store._NARROW_CHUNK", 2)
    await store.create_namespace(Namespace(name="vision", created_at=EPOCH))
    for number in range(5):
        held = Amount(cpu=1.5, memory=2**30, devices=1) if number else Amount()
        instance = Instance(
            id=f"i{number}", target=Target(1), phase=InstancePhase.READY, address="", since=EPOCH, held=held
        )
        namespace = "vision" if number == 4 else "default"
        await stored(store, f"m{number}", number, namespace=namespace, state=State.RUNNING, instances=(instance,) * 2)
    found = await CapacityViews(store, inventories).held()
    assert found == {
        "default": Amount(cpu=9.0, memory=6 * 2**30, devices=6),
        "vision": Amount(cpu=3.0, memory=2 * 2**30, devices=2),
    }
