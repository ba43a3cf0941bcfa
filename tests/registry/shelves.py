"""A catalog whose clock a test turns, and what tests publish in it."""

from __future__ import annotations

import zlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from modelyard.control.ports import EventQuery
from modelyard.domain.model import Event, Model
from modelyard.domain.registry import About, Content, Identity, Notes, RegisteredModel, Version
from modelyard.domain.spec import Artifact
from modelyard.registry.catalog import By, Catalog
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, SPEC, created

ME = By(actor="tester", reason="a test")


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def content(number: int = 1, **more: int) -> Content:
    return Content(manifest=digest(number), **{"size": 1000, "files": 2, **more})


class Shelves:
    """A catalog, and the words that its tests are written in."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.now = EPOCH
        self.told = 0
        self.catalog = Catalog(store.catalog, self.clock, self._tell)

    def clock(self) -> datetime:
        """A second later with every look."""
        self.now += timedelta(seconds=1)
        return self.now

    def _tell(self) -> None:
        self.told += 1

    async def register(self, name: str = "pat", namespace: str = "default", **about: Any) -> RegisteredModel:
        return await self.catalog.register(namespace, name, About(**about), ME)

    async def publish(self, *numbers: str, name: str = "pat", manifest: int | None = None, **identity: Any) -> Version:
        """Each with bytes of its own, unless ``manifest`` says which. The last one."""
        for number in numbers:
            bytes_ = content(zlib.crc32(number.encode()) if manifest is None else manifest)
            made = Identity(content=bytes_, **identity)
            version, _ = await self.catalog.publish("default", name, number, made, Notes(), ME)
        return version

    async def latest(self, name: str = "pat") -> str | None:
        return (await self.catalog.get("default", name)).latest

    async def move(self, alias: str, number: str, **more: Any) -> str:
        return (await self.catalog.move_alias("default", "pat", alias, number, ME, **more)).version

    async def resolve(self, pick: str, name: str = "pat") -> str:
        return (await self.catalog.resolve("default", name, pick)).version

    async def serve(self, name: str, source: str, version: str | None = None) -> Model:
        """A served model of the namespace with this source, which was resolved to ``version``."""
        artifact = Artifact(version=version, manifest=digest(1), entry="") if version else None
        return await created(self.store, name, replace(SPEC, source=source, artifact=artifact))

    async def events(self) -> list[Event]:
        """Those of the catalog, oldest first."""
        page = await self.store.list_events(EventQuery(after=0, page_size=1000))
        return [event for event in page.items if event.type != "Created"]
