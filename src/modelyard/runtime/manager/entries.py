"""One registered model: how it is to be loaded, what is loaded of it, what went wrong, who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from modelyard.domain.keeping import Thing, Use
from modelyard.runtime.errors import LoadFailure, RequestError
from modelyard.runtime.manager.loaders import Loader, Made
from modelyard.runtime.manager.memory import SizeFrom
from modelyard.runtime.manager.schedule import Load

if TYPE_CHECKING:
    from modelyard.runtime.dataplane import DataPlane


class State(StrEnum):
    UNLOADED = "unloaded"  # it is loaded when somebody asks for it
    WAITING = "waiting"  # for a slot, or for room
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    OUT = "out"  # unloaded by request: it stays so until it is loaded by request


class ModelUnavailable(RequestError):
    """A model that cannot be had now; a protocol answers it with 503. ``retry_after`` in seconds, None: trying again
    changes nothing."""

    def __init__(self, code: str, message: str, *, model: str, retry_after: float | None = None) -> None:
        extra: dict[str, object] = {"model": model}
        if retry_after is not None:
            extra["retry_after"] = round(retry_after, 3)
        super().__init__(503, code, message, extra=extra)
        self.model = model
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Failed:
    """The last load's failure. ``count`` in a row; ``retry_at`` by the loop's clock, None: only by request."""

    failure: LoadFailure
    count: int
    retry_at: float | None


@dataclass(slots=True, kw_only=True, eq=False)
class Loaded:
    """A model in memory. ``uses``: by how many it is in use; it is freed when it is ``retired`` and none is left.
    ``used_at`` by the loop's clock, 0: not used yet. ``holds``: what it depends on."""

    name: str
    loader: Loader
    value: Any
    plane: DataPlane | None
    size: int
    size_from: SizeFrom
    seconds: float
    holds: tuple[Loaded, ...] = ()
    uses: int = 0
    used_at: float = 0.0
    retired: bool = False
    freed: asyncio.Event = field(default_factory=asyncio.Event)


def with_holds(loaded: Iterable[Loaded]) -> Iterator[Loaded]:
    """These, and all that they depend on."""
    for one in loaded:
        yield one
        yield from with_holds(one.holds)


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One load, waiting or under way. ``wanted``: whether or not somebody waits; ``eligible``: what it depends on is
    there."""

    entry: Entry
    number: int
    wanted: bool
    need: int | None
    eligible: bool = True
    started: bool = False
    overdue: bool = False
    holds: tuple[Loaded, ...] = ()
    waiters: list[asyncio.Future[Loaded]] = field(default_factory=list)

    @property
    def asked(self) -> bool:
        return any(not waiter.done() for waiter in self.waiters)

    @property
    def load(self) -> Load:
        entry = self.entry
        return Load(
            name=entry.name,
            number=self.number,
            critical=entry.critical,
            asked=self.asked,
            overdue=self.overdue,
            priority=entry.priority,
            need=self.need,
            holds=frozenset(one.name for one in with_holds(self.holds)),
        )


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """``memory``: bytes, None: measured; ``settled``: it was loaded once, or there was no room to load it ahead."""

    name: str
    loader: Loader
    critical: bool
    preload: bool
    priority: int
    pin: bool
    memory: int | None
    depends_on: tuple[str, ...] = ()
    loaded: Loaded | None = None
    job: Job | None = None
    failed: Failed | None = None
    retry: asyncio.TimerHandle | None = None
    out: bool = False
    settled: bool = False
    known_size: int | None = None
    loads: int = 0
    evictions: int = 0

    @property
    def state(self) -> State:
        if self.loaded is not None:
            return State.READY
        if self.job is not None:
            return State.LOADING if self.job.started else State.WAITING
        if self.out:
            return State.OUT
        return State.UNLOADED if self.failed is None else State.FAILED

    @property
    def need(self) -> int | None:
        """Bytes that a load of it has to have free: given, of an earlier load, or of its files."""
        if self.memory is not None:
            return self.memory
        return self.known_size if self.known_size is not None else self.loader.estimate()

    def size_of(self, made: Made, *, alone: bool) -> tuple[int, SizeFrom]:
        """Bytes that what was loaded takes; ``alone``: nothing else was loaded or freed meanwhile."""
        if self.memory is not None:
            return self.memory, SizeFrom.GIVEN
        if alone:
            return made.grown, SizeFrom.MEASURED
        estimate = self.known_size or self.loader.estimate()
        return (0, SizeFrom.UNKNOWN) if estimate is None else (estimate, SizeFrom.ESTIMATED)

    def thing(self) -> Thing[Loaded]:
        """As the rule of what makes room sees it."""
        loaded = self.loaded
        assert loaded is not None
        # What is to be replaced serves until then.
        used_at = None if loaded.uses or self.job is not None else loaded.used_at
        use = Use(used_at=used_at, pinned=self.pin, rank=self.priority)
        pieces = {id(one): one.size for one in with_holds([loaded])}
        return Thing(what=loaded, name=self.name, use=use, pieces=pieces)
