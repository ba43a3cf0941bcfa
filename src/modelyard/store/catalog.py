"""The registry's catalog: each method of its port is one transaction of the queries in the modules beside this."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import sqlalchemy as sa

from modelyard.control.ports import Page
from modelyard.domain.errors import NotFound
from modelyard.domain.names import RegisteredVersion
from modelyard.domain.registering import purged
from modelyard.domain.registry import Alias, AliasMove, RegisteredModel, Version
from modelyard.domain.shelf import Change, Shelf
from modelyard.registry.ports import CatalogStore, MoveQuery, RegisteredModelQuery, VersionQuery
from modelyard.store import events, models, registered_models, registered_versions, revisions, version_aliases
from modelyard.store.database import Database, Work
from modelyard.store.shelf import SqlShelf, write

T = TypeVar("T")

# Rows that are read in about a millisecond.
_SMALL_PAGE: Final = 100
# Manifests that are looked for at a time.
_CHUNK: Final = 500


class SqlCatalog(CatalogStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.catalog`. Besides what each method says it raises, all raise
    Unavailable when the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, change: Change) -> Change:
        return await self._database.write(lambda c: _add(c, change))

    async def change(self, namespace: str, name: str, decide: Callable[[Shelf], Change]) -> Change:
        return await self._database.write(lambda c: _change(c, namespace, name, decide))

    async def look(self, namespace: str, name: str, read: Callable[[Shelf], T]) -> T:
        return await self._database.look(lambda c: read(SqlShelf(c, registered_models.get(c, namespace, name))))

    async def list_registered(self, query: RegisteredModelQuery) -> Page[RegisteredModel]:
        # What few have may be looked for in all of them, which takes longer than the event loop should wait.
        rare = query.search or query.series or query.framework or query.labels or query.deleted
        return await self._page(query.page_size, rare=bool(rare))(lambda c: registered_models.list_page(c, query))

    async def list_versions(self, query: VersionQuery) -> Page[Version]:
        rare = query.within or query.framework or query.deleted
        return await self._page(query.page_size, rare=bool(rare))(lambda c: registered_versions.list_page(c, query))

    async def list_aliases(self, model_uid: str) -> Sequence[Alias]:
        return await self._database.look(lambda c: version_aliases.list_of(c, model_uid))

    async def list_moves(self, query: MoveQuery) -> Page[AliasMove]:
        return await self._page(query.page_size)(lambda c: version_aliases.list_moves(c, query))

    async def purge(self, now: datetime) -> Sequence[str]:
        gone: list[str] = []
        # One transaction each: whoever publishes meanwhile does not wait for all of them.
        for namespace, name in await self._database.read(lambda c: registered_models.to_purge(c, now)):
            gone += await self._database.write(partial(_purge, namespace=namespace, name=name, number=None, now=now))
        for namespace, name, number in await self._database.read(lambda c: registered_versions.to_purge(c, now)):
            gone += await self._database.write(partial(_purge, namespace=namespace, name=name, number=number, now=now))
        chunks = [gone[start : start + _CHUNK] for start in range(0, len(gone), _CHUNK)]
        unnamed = [await self._database.read(partial(registered_versions.unnamed, candidates=c)) for c in chunks]
        return list(dict.fromkeys(manifest for chunk in unnamed for manifest in chunk))

    async def manifests_in_use(self) -> frozenset[str]:
        return await self._database.read(lambda c: registered_versions.manifests(c) | revisions.manifests(c))

    async def manifests_served(self) -> frozenset[str]:
        return frozenset(await self._database.read(models.served))

    def _page(self, size: int, *, rare: bool = False) -> Callable[[Work[T]], Awaitable[T]]:
        """How to read a page of so many rows."""
        return self._database.look if size <= _SMALL_PAGE and not rare else self._database.read


def _add(connection: sa.Connection, change: Change) -> Change:
    model = registered_models.insert(connection, change.model)
    return Change(model=model, events=events.append(connection, change.events))


def _change(connection: sa.Connection, namespace: str, name: str, decide: Callable[[Shelf], Change]) -> Change:
    model = registered_models.hold(connection, namespace, name)
    return write(connection, model, decide(SqlShelf(connection, model)))


def _purge(connection: sa.Connection, *, namespace: str, name: str, number: str | None, now: datetime) -> Sequence[str]:
    """Forget the version (None: the model) if it is still to be; the manifests that were named."""
    try:
        model = registered_models.hold(connection, namespace, name)
    except NotFound:
        return []
    shelf = SqlShelf(connection, model)
    version = None if number is None else shelf.version(number)
    doomed = model if number is None else version
    if doomed is None or doomed.purge_at is None or doomed.purge_at > now:
        return []
    uses = shelf.uses()
    if uses if version is None else RegisteredVersion(name, version.version) in [use.reference for use in uses]:
        return []
    manifests = registered_versions.bury(connection, model, number, now)
    if version is None:
        registered_models.delete(connection, model)
    else:
        registered_versions.delete(connection, version)
    events.append(connection, [purged(model, number, now)])
    return manifests
