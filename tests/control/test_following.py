"""Models that follow their source: rolled when it means another version, and never against a rollback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from modelyard.control import following
from modelyard.control.caller import Caller
from modelyard.control.following import ACTOR, Follower
from modelyard.control.ports import EventQuery, Page, Resolved
from modelyard.domain import commands
from modelyard.domain.errors import InvalidRequest, ModelyardError, Problem, Refused, Unavailable
from modelyard.domain.model import Event, Model, Revision
from modelyard.domain.names import Registered
from modelyard.domain.spec import Artifact, Engine, Follow, Spec
from tests.domain.world import World
from tests.registry.stored import digest

PAT = Spec(
    engine=Engine.ONNX, source="pat@stable", follow=Follow.AUTO,
    artifact=Artifact(version="1.0.0", manifest=digest(1), entry="model.onnx"),
)  # fmt: skip


def model(name: str, spec: Spec = PAT) -> Model:
    world = World()
    world.create(spec)
    assert world.model is not None
    return replace(world.model, uid=f"uid of {name}", name=name, site="here")


@dataclass
class Fleet:
    """The store, the service and the registry, as a follower sees them."""

    models: dict[str, Model] = field(default_factory=dict)
    means: str | None = "1.0.0"
    refuse: set[str] = field(default_factory=set)
    refusal: ModelyardError = field(default_factory=lambda: Refused("deleting", "It is being deleted."))
    looks: int = 0
    unavailable: bool = False
    callers: list[Caller] = field(default_factory=list)
    laid_out_ahead: set[tuple[str, str]] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)

    def add(self, *models: Model) -> None:
        self.models.update({m.uid: m for m in models})

    async def following(self, site: str) -> Sequence[str]:
        self.looks += 1
        if self.unavailable:
            raise Unavailable
        return [m.uid for m in self.models.values() if m.site == site and m.spec.follow is Follow.AUTO]

    async def get_model_by_uid(self, uid: str) -> Model | None:
        return self.models.get(uid)

    async def version(self, namespace: str, source: Registered) -> str | None:
        return self.means

    async def resolve(self, namespace: str, source: Registered, engine: Engine | None) -> Resolved:
        assert self.means is not None
        assert engine is not None
        return Resolved(engine=engine, artifact=Artifact(version=self.means, manifest=digest(2), entry="model.onnx"))

    async def coming(self, namespace: str, source: Registered) -> bool:
        return (namespace, str(source)) in self.laid_out_ahead

    async def update(
        self, namespace: str, name: str, revise: Callable[[Model], Awaitable[Spec]], caller: Caller, **_: Any
    ) -> None:
        if name in self.refuse:
            raise self.refusal
        now = next(m for m in self.models.values() if m.name == name)
        self.models[now.uid] = replace(now, spec=await revise(now))
        self.callers.append(caller)

    async def list_events(self, query: EventQuery) -> Page[Event]:
        return Page(tuple(e for e in reversed(self.events) if e.model_uid == query.model_uid))

    async def tell_stuck(self, model: Model, version: str, why: str, caller: Caller) -> None:
        asked = replace(World().asked(), actor=caller.actor)
        self.events += commands.cannot_follow(model, version, why, asked).events

    def made_of(self, name: str) -> str:
        found = next(m for m in self.models.values() if m.name == name).spec.artifact
        assert found is not None
        return found.version

    def follower(self, driving: bool = True) -> Follower:
        return Follower(self, self, self, "here", lambda: driving, self.coming)  # type: ignore[arg-type]


async def test_a_model_is_rolled_to_what_its_source_means_now_and_it_is_said_why() -> None:
    fleet = Fleet(means="1.1.0")
    fleet.add(model("a"))
    await fleet.follower().look()
    assert fleet.made_of("a") == "1.1.0"
    (caller,) = fleet.callers
    assert (caller.actor, caller.reason) == (ACTOR, "pat@stable means 1.1.0 now, no longer 1.0.0")
    await fleet.follower().look()
    assert len(fleet.callers) == 1, "it is there"


async def test_nobody_is_rolled_to_what_is_being_laid_out_ahead_before_it_is_there() -> None:
    fleet = Fleet(means="1.1.0", laid_out_ahead={("default", "pat@stable")})
    fleet.add(model("a"))
    await fleet.follower().look()
    assert fleet.callers == []
    fleet.laid_out_ahead.clear()
    await fleet.follower().look()
    assert fleet.made_of("a") == "1.1.0"


async def test_one_that_cannot_be_rolled_holds_up_no_other_and_is_tried_again() -> None:
    fleet = Fleet(means="1.1.0", refuse={"a"})
    fleet.add(model("a"), model("b"))
    await fleet.follower().look()
    assert (fleet.made_of("a"), fleet.made_of("b")) == ("1.0.0", "1.1.0")
    fleet.refuse.clear()
    await fleet.follower().look()
    assert fleet.made_of("a") == "1.1.0"


async def test_an_event_says_once_why_a_model_cannot_follow() -> None:
    missing = InvalidRequest([Problem("spec.source", "no_entry", "pat@stable has no .onnx file.")])
    fleet = Fleet(means="2.0.0", refuse={"a"}, refusal=missing)
    fleet.add(model("a"))
    follower = fleet.follower()
    await follower.look()
    await follower.look()
    await fleet.follower().look()  # a later process
    (event,) = fleet.events
    assert (event.type, event.actor, event.data) == ("CannotFollow", ACTOR, {"version": "2.0.0"})
    assert event.message == "pat@stable means 2.0.0 now, and the model cannot follow: pat@stable has no .onnx file."
    fleet.refusal = Refused("unsigned", "2.0.0 is not signed.")
    await follower.look()
    fleet.means = "2.0.1"
    await follower.look()
    assert [e.data["version"] for e in fleet.events] == ["2.0.0", "2.0.0", "2.0.1"], "another reason, another version"


async def test_what_passes_by_itself_is_no_event() -> None:
    fleet = Fleet(means="2.0.0", refuse={"a"}, refusal=Unavailable())
    fleet.add(model("a"))
    await fleet.follower().look()
    assert fleet.events == []


async def test_others_sites_those_that_are_only_offered_and_removed_aliases_are_left_alone() -> None:
    fleet = Fleet(means="1.1.0")
    fleet.add(replace(model("elsewhere"), site="there"), model("offered", replace(PAT, follow=Follow.OFFER)))
    await fleet.follower().look()
    fleet.add(model("a"))
    fleet.means = None
    await fleet.follower().look()
    assert fleet.callers == []


async def test_a_source_that_was_changed_in_between_is_its_users() -> None:
    fleet = Fleet(means="1.1.0")
    fleet.add(model("a"))
    update = fleet.update

    async def raced(namespace: str, name: str, revise: Any, caller: Caller, **more: Any) -> None:
        (now,) = fleet.models.values()
        fleet.models[now.uid] = replace(now, spec=replace(now.spec, source="pat@1.0.0"))
        await update(namespace, name, revise, caller, **more)

    fleet.update = raced  # type: ignore[method-assign]
    await fleet.follower().look()
    assert fleet.made_of("a") == "1.0.0"


def test_what_was_rolled_back_stays_so() -> None:
    world = World()
    world.create(PAT)
    assert world.model is not None
    newer = replace(PAT, artifact=Artifact(version="1.1.0", manifest=digest(2), entry="model.onnx"))
    world.apply(commands.update(world.model, newer, world.asked()))
    first = Revision(
        model_uid=world.model.uid, generation=1, spec=PAT, created_at=world.now, actor="tester", reason=""
    )  # fmt: skip
    world.apply(commands.rollback(world.model, first, world.asked()))
    assert (world.model.spec.artifact, world.model.spec.follow) == (PAT.artifact, Follow.OFFER)


@pytest.mark.parametrize("driving", [True, False])
async def test_it_looks_when_it_is_told_to_and_by_itself_and_outlives_a_failure(
    monkeypatch: pytest.MonkeyPatch, driving: bool
) -> None:
    monkeypatch.setattr(following, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(following, "_LULL", 0.0)
    fleet = Fleet(means="1.1.0", unavailable=True)
    fleet.add(model("a"))
    follower = fleet.follower(driving)
    running = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(10):
            while fleet.looks < 3 and driving:
                await asyncio.sleep(0)
            fleet.unavailable = False
            follower.tell()
            while fleet.made_of("a") != "1.1.0" and driving:
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
    finally:
        running.cancel()
    assert fleet.made_of("a") == ("1.1.0" if driving else "1.0.0")
    assert bool(fleet.looks) is driving
