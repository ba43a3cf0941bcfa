"""An event loop whose time passes only while everybody waits, and loaders that take of it what they are told to."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from modelyard.runtime import ModelManager, ProgressiveLoadingConfig
from modelyard.runtime.errors import LoadFailure
from modelyard.runtime.manager.entries import Entry
from modelyard.runtime.manager.loaders import Made

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now = 0.0
        selector = _Selector(self)
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def passed(self, seconds: float) -> None:
        self._now += seconds


class _Selector(selectors.DefaultSelector):  # type: ignore[misc]
    """Does not wait: lets the loop's time pass instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for something that never comes"
            self._loop.passed(max(timeout, 0.0))
        return ready


def run(main: Coroutine[Any, Any, T]) -> T:
    """``main`` to its end, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class Thing:
    """What a fake loader makes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_there = True


@dataclass
class World:
    """What really is in memory, and what is being loaded."""

    sizes: dict[str, int] = field(default_factory=dict)
    most: int = 0
    loading: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    # Names that were being loaded beside others, with those.
    together: list[frozenset[str]] = field(default_factory=list)
    bytes: int = 0

    def take(self, size: int) -> None:
        self.bytes += size
        self.most = max(self.most, self.bytes)


@dataclass
class Fake:
    """A loader; ``failures``: the next loads fail with these."""

    world: World
    name: str
    size: int = 1
    seconds: float = 1.0
    free_seconds: float = 0.0
    failures: list[LoadFailure] = field(default_factory=list)
    known: bool = True
    threaded: bool = False

    def estimate(self) -> int | None:
        return self.size if self.known else None

    async def load(self) -> Made:
        world = self.world
        world.take(self.size)
        world.loading.append(self.name)
        world.together.append(frozenset(world.loading))
        try:
            await asyncio.sleep(self.seconds)
            if self.failures:
                raise self.failures.pop(0)
        except BaseException:
            world.take(-self.size)
            raise
        finally:
            world.loading.remove(self.name)
        world.loaded.append(self.name)
        return Made(Thing(self.name), self.size)

    async def free(self, held: list[Any]) -> None:
        (value,) = held
        assert value.is_there
        value.is_there = False
        await asyncio.sleep(self.free_seconds)
        self.world.take(-self.size)


def made(world: World, *, environment: str = "development", **config: Any) -> ModelManager:
    return ModelManager(ProgressiveLoadingConfig(environment=environment, **config))


def add(manager: ModelManager, fake: Fake, **how: Any) -> Entry:
    """Register ``fake`` as its name."""
    with suppress(KeyError):
        del manager.loading.entries[fake.name]
    manager._loader = lambda *_: fake  # type: ignore[method-assign]
    manager.register(fake.name, lambda: None, **how)
    return manager.loading.entries[fake.name]
