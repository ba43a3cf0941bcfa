"""A carrier of transfers over a real store, catalog and folder, with sources that a test holds in its hand."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from modelyard import tasks
from modelyard.domain.registry import Content, Identity, Notes
from modelyard.domain.transfers import Order, Transfer, TransferKind
from modelyard.registry.carrying import Carrier
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.cutting import Progress
from modelyard.registry.content.storage import Folder
from modelyard.registry.contents import Contents
from modelyard.registry.imports import Imports
from modelyard.registry.sources.picking import Picking
from modelyard.registry.transfers import Transfers
from modelyard.store import SqlStore
from tests.registry.shelves import ME, Shelves

SITE = "here"
SOURCE = "https://host.invalid/files"
NO_CONTENT = Content(manifest="", size=0, files=0)


def order(
    version: str | None = "1.0.0", *, trust: tuple[str, ...] = (), notes: Notes | None = None, **more: Any
) -> Order:
    identity = Identity(content=NO_CONTENT, trust=trust)
    return Order(version=version, identity=identity, notes=notes or Notes(), **more)


@dataclass
class Origin:
    """A source: its files, in pieces of ``piece`` bytes, each of which takes ``pause`` seconds. What is there is not
    given again. ``given`` counts the bytes, ``errors`` are raised one a fetch, first of all."""

    files: dict[str, bytes] = field(default_factory=lambda: {"model.txt": b"weights" * 1000})
    piece: int = 1000
    pause: float = 0.0
    given: int = 0
    fetches: int = 0
    errors: list[Exception] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(self, source: str, to: Path, *, picking: Picking, progress: Progress | None) -> str:
        assert progress is not None
        self.fetches += 1
        if self.errors:
            raise self.errors.pop(0)
        wanted = {path: data for path, data in self.files.items() if picking.wants(path)}
        total, done = sum(map(len, wanted.values())), 0
        for path, data in wanted.items():
            target = to / path
            target.parent.mkdir(parents=True, exist_ok=True)
            there = target.stat().st_size if target.exists() else 0
            with target.open("ab") as file:
                for at in range(there, len(data), self.piece):
                    self.reached.set()
                    while not self.gate.wait(0.01):
                        progress(done + at, total)
                    file.write(data[at : at + self.piece])
                    file.flush()
                    self.given += len(data[at : at + self.piece])
                    time.sleep(self.pause)
                    progress(done + at, total)
            done += len(data)
        progress(done, total)
        return source


@dataclass
class _Office:
    store: Any
    transfers: Transfers
    clock: Callable[[], datetime]
    seconds: Callable[[], float] = time.monotonic


class Slow(Folder):
    """A store that takes its time with every object."""

    pause = 0.0

    def write(self, name: str, pieces: Any) -> str:
        time.sleep(self.pause)
        return super().write(name, pieces)


class House:
    """What carries transfers out, as one control process has it. :meth:`other` is another process of the same home."""

    def __init__(self, store: SqlStore, home: Path, origin: Origin) -> None:
        self.store, self.home, self.origin = store, home, origin
        self.shelves = Shelves(store)
        self.storage = Slow(home / "registry")
        self.storage.identity()
        self.is_driving = True
        catalog, clock = self.shelves.catalog, self.shelves.clock
        contents = Contents(self.storage, Cache(home / "cache", self.storage), "file:///x", store.catalog, clock)
        self.transfers = Transfers(
            store.transfers, catalog, store.get_namespace, clock, site=SITE, admit=lambda source: source
        )
        self.imports = Imports(catalog, contents, self.storage, origin, lambda source: source)
        self.office = _Office(store.transfers, self.transfers, clock)
        self.carrier = Carrier(
            self.office,  # type: ignore[arg-type] - a test may exchange what is in it
            {TransferKind.IMPORT: self.imports.carry}, site=SITE, folder=home / "transfers",
            driving=lambda: self.is_driving, pause=0.02,
        )  # fmt: skip
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = tasks.spawn(self.carrier.run(), "carry")

    async def stop(self) -> None:
        await tasks.stop(self._task)

    async def begin(
        self, name: str = "pat", made: Order | None = None, namespace: str = "default", **more: Any
    ) -> Transfer:
        return await self.transfers.begin_import(namespace, name, SOURCE, made or order(), ME, **more)

    async def over(self, transfer: Transfer) -> Transfer:
        found = await self.transfers.wait(transfer.id, 20)
        assert found.is_over, found
        await self.until(lambda: not self.staged, "the staging folder is gone")
        return found

    @property
    def staged(self) -> list[str]:
        folder = self.home / "transfers"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    async def get(self, transfer: Transfer) -> Transfer:
        return await self.transfers.get(transfer.id)

    async def reaches(self, transfer: Transfer, holds: Callable[[Transfer], bool], what: str) -> Transfer:
        deadline = time.monotonic() + 10
        while not holds(found := await self.get(transfer)):
            assert time.monotonic() < deadline, f"not within 10 s: {what}; {found}"
            await asyncio.sleep(0.005)
        return found

    async def until(self, holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < deadline, f"not within 10 s: {what}"
            await asyncio.sleep(0.005)

    def close(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
