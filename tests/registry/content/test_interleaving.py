"""Touching and removing objects of a bucket, in every order in which the requests of several can reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import greenlet
import pytest

from modelyard.registry.content.buckets import Bucket
from tests.registry.content.bucketing import Watched

GRACE = 1000.0
NAME = "objects/ab/abcd"


class World:
    """A bucket with one old object, what is published, and what time it is; each actor is one process, which stops
    before each of its requests until it is told to go on."""

    def __init__(self, kind: type[Bucket], actors: Sequence[Actor], condemned: float | None) -> None:
        self.now, self.published, self.lost = 0.0, False, False
        self.store = Watched(self._stop, lambda: self.now)
        self.bucket = kind(self.store, "memory://test", clock=lambda: self.now)  # type: ignore[arg-type]
        # When each has touched the object.
        self.marked: dict[object, float] = {}
        self.said: list[list[object]] = [[] for _ in actors]
        self._main = greenlet.getcurrent()
        self.key = self.bucket.write(NAME, [b"content"])
        if condemned is not None:
            self.now = condemned
            self.store.put(f"condemned/{self.key}", b"")
        self.now = 10 * GRACE
        self._actors = [greenlet.greenlet(lambda actor=actor: actor(self), self._main) for actor in actors]
        for number in range(len(actors)):
            self.go_on(number)

    def _stop(self, what: str, path: str) -> None:
        if greenlet.getcurrent() is not self._main:
            self._main.switch(f"{what} {path.replace(self.key, 'K')}")
            if path.startswith("touched/") and what == "put":
                self.marked[greenlet.getcurrent()] = self.now

    def go_on(self, number: int) -> None:
        self.said[number].append(self._actors[number].switch())

    def going(self) -> list[int]:
        return [number for number, actor in enumerate(self._actors) if not actor.dead]

    def state(self) -> object:
        """All on which it depends what happens from here on."""
        paths = {path.replace(self.key, "K"): time for path, time in self.store.paths().items()}
        marked = tuple(self.marked.get(actor) for actor in self._actors)
        return self.now, self.published, marked, tuple(sorted(paths.items())), tuple(map(tuple, self.said))

    def is_there(self) -> bool:
        return self.key in self.store.paths()


Actor = Callable[[World], object]


def pushes(world: World) -> object:
    """Shares the object with what is in the store, and publishes within a grace of having touched it."""
    kept = world.bucket.touch(world.key)
    if kept and world.now - world.marked[greenlet.getcurrent()] < GRACE:
        world.published = True
    return kept


def collects(world: World) -> object:
    world.store.watch("begin", "")
    in_use, now = world.published, world.now
    return "in use" if in_use else world.bucket.remove(world.key, now - GRACE)


def collects_twice(world: World) -> object:
    return collects(world), collects(world)


def tidies(world: World) -> object:
    return world.bucket.tidy(world.now - GRACE)


def time_goes_by(world: World) -> None:
    for _ in range(2):
        world.store.watch("tick", "")
        world.now += 1.1 * GRACE


def explored(
    kind: type[Bucket], actors: Sequence[Actor], condemned: float | None = None
) -> Iterator[tuple[World, Sequence[int]]]:
    """Every state that can be reached, with the order that leads there. A process that is killed is one that never goes
    on, and so in here."""
    seen: set[object] = set()
    left: list[tuple[int, ...]] = [()]
    while left:
        order = left.pop()
        world = World(kind, actors, condemned)
        for number in order:
            world.go_on(number)
        state = world.state()
        if state not in seen:
            seen.add(state)
            yield world, order
            left += [(*order, number) for number in world.going()]


SCENES: Sequence[Sequence[Actor]] = [
    (pushes, collects_twice, time_goes_by),
    (pushes, collects, collects, time_goes_by),
    (pushes, pushes, collects, time_goes_by),
    (pushes, collects, tidies, time_goes_by),
]
# Not condemned; less than a grace ago; long ago.
CONDEMNED = [None, 9.5 * GRACE, GRACE]


@pytest.mark.parametrize("condemned", CONDEMNED)
@pytest.mark.parametrize("actors", SCENES)
def test_what_was_touched_and_published_is_there_in_whatever_order_requests_arrive(
    actors: Sequence[Actor], condemned: float | None
) -> None:
    kept = removed = False
    for world, order in explored(Bucket, actors, condemned):
        assert world.is_there() or not world.published, order
        kept, removed = kept or world.published, removed or not world.is_there()
    assert kept == (condemned is None)
    assert removed or condemned != GRACE


class LooksOnce(Bucket):
    """Does not look whether the object was condemned while it was touched."""

    def touch(self, key: str) -> bool:
        if self._head(f"condemned/{key}") is not None:
            return False
        self._store.put(f"touched/{key}", b"")
        return self._head(key) is not None


class LooksTheOtherWayRound(Bucket):
    """Sees the object, and then no condemnation, as that went with it."""

    def touch(self, key: str) -> bool:
        self._store.put(f"touched/{key}", b"")
        return self._head(key) is not None and self._head(f"condemned/{key}") is None


@pytest.mark.parametrize(
    ("kind", "actors", "condemned"),
    [
        (LooksOnce, (pushes, collects_twice, time_goes_by), None),
        (LooksTheOtherWayRound, (pushes, collects), GRACE),
    ],
)
def test_each_look_is_needed(kind: type[Bucket], actors: Sequence[Actor], condemned: float | None) -> None:
    found = explored(kind, actors, condemned)
    assert any(world.published and not world.is_there() for world, _ in found)


def test_a_removal_that_was_killed_anywhere_is_finished_by_the_next() -> None:
    for world, order in explored(Bucket, (collects_twice, time_goes_by)):
        # From here on nobody else is there.
        for _ in range(3):
            world.now += 2 * GRACE
            world.bucket.remove(world.key, world.now - GRACE)
            world.bucket.tidy(world.now - GRACE)
        assert world.store.paths().keys() == {"clock"}, order
