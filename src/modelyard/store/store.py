"""The store: each method of the port is one transaction of the queries in the modules beside this."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

import sqlalchemy as sa

from modelyard.control.ports import (
    EventQuery,
    Fence,
    Holder,
    Idempotency,
    ModelQuery,
    News,
    OperationQuery,
    Page,
    Place,
    Premises,
    Site,
    Sites,
    Store,
)
from modelyard.domain.access import Sight
from modelyard.domain.capacity import Claim, Inventory
from modelyard.domain.commands import Change
from modelyard.domain.model import Amount, Event, Model, ModelRef, Namespace, Revision
from modelyard.domain.operations import Operation
from modelyard.domain.spec import Spec
from modelyard.store import (
    access,
    bulks,
    events,
    extracts,
    handover,
    holdings,
    models,
    namespaces,
    news,
    operations,
    policies,
    revisions,
    sign_ins,
    sites,
    transfers,
)
from modelyard.store import alerts as alerting
from modelyard.store import idempotency as keys
from modelyard.store.access import SqlAccess
from modelyard.store.alerts import SqlAlerts
from modelyard.store.audit import SqlAudit
from modelyard.store.bulks import SqlBulks
from modelyard.store.catalog import SqlCatalog
from modelyard.store.commit import commit
from modelyard.store.database import Database, Work
from modelyard.store.engine import connect
from modelyard.store.history import SqlHistory
from modelyard.store.keeping import SqlPins
from modelyard.store.policies import SqlPolicies
from modelyard.store.schedules import SqlSchedules
from modelyard.store.sealed import SqlSealed
from modelyard.store.sign_ins import SqlSignIns
from modelyard.store.signatures import SqlSignatures
from modelyard.store.transfers import SqlTransfers

T = TypeVar("T")

# Rows that are read in about a millisecond.
_SMALL_PAGE: Final = 100
# Models that are read at a time when all of a site are: the event loop waits for one such piece at most.
_CHUNK: Final = 250
# The same where only a field of each is read.
_NARROW_CHUNK: Final = 1000


class SqlStore(Store, Sites):
    """Besides what each method says it raises, all raise Unavailable when the database fails: a full
    or read-only disk, a damaged file, a server that is away. Nothing is half-written then."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.shared = database.shared
        # The registry's parts of the same database.
        self.catalog = SqlCatalog(database)
        self.pins = SqlPins(database)
        self.transfers = SqlTransfers(database)
        self.signatures = SqlSignatures(database)
        self.audit = SqlAudit(database)
        self.schedules = SqlSchedules(database)
        self.policies = SqlPolicies(database)
        self.bulks = SqlBulks(database)
        self.alerts = SqlAlerts(database)
        self.history = SqlHistory(database)
        self.sign_ins = SqlSignIns(database)
        self.sealed = SqlSealed(database)
        # Tells our own news from that of others.
        self._origin = secrets.token_hex(4)
        self.access = SqlAccess(database, self._origin)

    @classmethod
    async def open(cls, url: str) -> SqlStore:
        """The store in the database at ``url``, brought up to date: ``sqlite:///path/to/file`` (made if
        it is missing) or ``postgresql://user@host/name``.

        Raises:
            InvalidRequest: the URL is none.
            Unavailable: the database cannot be opened, is newer than this code, or is somebody else's.
        """
        return cls(await connect(url))

    async def close(self) -> None:
        """Let what is under way finish, then close all connections."""
        await self._database.close()

    async def claim(self) -> None:
        """Be the one control process on this database, until :meth:`close` or the death of this process; of
        many on a ``shared`` one, each of which drives what it holds leases of, any may.

        Raises:
            Unavailable: another one is.
        """
        await self._database.claim()

    async def tidy(self) -> int:
        """Forget idempotency keys older than 24 hours, transfers and alerts that were over 30 days ago, and overrides
        and links to sign in by that have expired, and return how many; the control process calls it hourly. It removes
        nothing else (what the registry forgets, it forgets by :meth:`SqlCatalog.purge`)."""
        now = datetime.now(UTC)
        works = (keys.tidy, transfers.tidy, alerting.tidy, policies.tidy, sign_ins.tidy)
        return await self._database.write(lambda c: sum(work(c, now) for work in works))

    def _page(self, size: int) -> Callable[[Work[T]], Awaitable[T]]:
        """How to read a page of so many rows."""
        return self._database.look if size <= _SMALL_PAGE else self._database.read

    # ---------------------------------------------------------------- namespaces

    async def create_namespace(self, namespace: Namespace) -> None:
        await self._database.write(lambda c: namespaces.create(c, namespace))

    async def get_namespace(self, name: str) -> Namespace | None:
        return await self._database.look(lambda c: namespaces.get(c, name))

    async def list_namespaces(self) -> Sequence[Namespace]:
        return await self._database.read(namespaces.list_all)

    async def change_namespace(self, name: str, change: Callable[[Namespace], Namespace]) -> Namespace:
        return await self._database.write(lambda c: namespaces.change(c, name, change))

    async def delete_namespace(self, name: str) -> None:
        def work(connection: sa.Connection) -> None:
            namespaces.delete(connection, name)
            access.forget(connection, name)
            news.announce_access(connection, self._origin)

        await self._database.write(work)

    # ---------------------------------------------------------------- models

    async def get_model(self, namespace: str, name: str) -> Model | None:
        return await self._database.look(lambda c: models.get(c, namespace, name))

    async def get_model_by_uid(self, uid: str) -> Model | None:
        return await self._database.look(lambda c: models.get_by_uid(c, uid))

    async def list_models(self, query: ModelQuery) -> Page[Model]:
        return await self._page(query.page_size)(lambda c: models.list_page(c, query))

    async def model_versions(self, site: str | None = None) -> Mapping[ModelRef, int]:
        return await self._database.read(lambda c: models.versions(c, site))

    async def following(self, site: str) -> Sequence[str]:
        return await self._database.read(lambda c: models.following(c, site))

    async def models_of(self, site: str) -> Sequence[Model]:
        found: list[Model] = []
        after = ""
        while True:
            chunk = await self._database.read(partial(models.chunk_of, site=site, after=after, size=_CHUNK))
            found += chunk
            if len(chunk) < _CHUNK:
                return found
            after = chunk[-1].uid

    async def held_elsewhere(self, namespace: str, site: str) -> Amount:
        if not self.shared:
            return Amount()
        return await self._database.look(lambda c: holdings.elsewhere(c, namespace, site))

    async def queue(self) -> Sequence[tuple[str, Claim]]:
        return await self._database.read(extracts.queue)

    async def held(self) -> Mapping[str, Amount]:
        found: dict[str, Amount] = {}
        after = ""
        while True:
            chunk = await self._database.read(partial(extracts.chunk_held, after=after, size=_NARROW_CHUNK))
            for _, namespace, amount in chunk:
                if amount:
                    found[namespace] = found.get(namespace, Amount()) + amount
            if len(chunk) < _NARROW_CHUNK:
                return found
            after = chunk[-1][0]

    async def count_models(self, sight: Sight | None = None) -> Mapping[str, int]:
        return await self._database.read(lambda c: models.count(c, sight))

    async def groups_of(self, model_uid: str) -> frozenset[str]:
        return await self._database.look(lambda c: models.groups_of(c, model_uid))

    async def commit(
        self, change: Change, idempotency: Idempotency | Place | None = None, fence: Fence | None = None
    ) -> Change:
        return await self._database.write(lambda c: commit(c, change, idempotency, fence, origin=self._origin))

    async def recall(self, idempotency: Idempotency | Place) -> Operation | None:
        if isinstance(idempotency, Place):
            place = idempotency
            return await self._database.look(lambda c: bulks.recall(c, place))
        key = idempotency
        return await self._database.look(lambda c: keys.recall(c, key))

    async def get_revision_spec(self, model_uid: str, generation: int) -> Spec | None:
        return await self._database.look(lambda c: revisions.get_spec(c, model_uid, generation))

    async def list_revisions(self, model_uid: str) -> Sequence[Revision]:
        return await self._database.read(lambda c: revisions.list_of(c, model_uid))

    # ---------------------------------------------------------------- operations and events

    async def get_operation(self, operation_id: str) -> Operation | None:
        return await self._database.look(lambda c: operations.get(c, operation_id))

    async def list_operations(self, query: OperationQuery) -> Page[Operation]:
        return await self._page(query.page_size)(lambda c: operations.list_page(c, query))

    async def running_operations(self, model_uid: str) -> Sequence[Operation]:
        return await self._database.look(lambda c: operations.running(c, model_uid))

    async def list_events(self, query: EventQuery) -> Page[Event]:
        return await self._page(query.page_size)(lambda c: events.list_page(c, query))

    async def last_event_id(self) -> int:
        return await self._database.look(events.last_id)

    # ---------------------------------------------------------------- sites

    async def list_sites(self) -> Sequence[Site]:
        return await self._database.read(sites.list_all)

    async def get_site(self, site: str) -> Site | None:
        return await self._database.beat(lambda c: sites.get(c, site))

    async def take_site(
        self, premises: Premises, holder: Holder, ttl: float, *, over: int = 0, even_if_down: bool = True
    ) -> Fence | None:
        lasts = ttl if self.shared else None
        return await self._database.beat(
            lambda c: sites.take(c, premises, holder, lasts, over=over, even_if_down=even_if_down)
        )

    async def renew_site(self, fence: Fence, ttl: float) -> None:
        await self._database.beat(lambda c: sites.renew(c, fence, ttl))

    async def release_site(self, fence: Fence, *, down: bool) -> None:
        await self._database.beat(lambda c: sites.release(c, fence, down=down))

    async def set_inventory(self, fence: Fence, inventory: Inventory) -> None:
        await self._database.beat(lambda c: sites.set_inventory(c, fence, inventory))

    async def adopt_models(self, site: str) -> None:
        await self._database.write(lambda c: models.adopt(c, site, everybodys=not self.shared))

    async def count_models_of(self) -> Mapping[str, int]:
        return await self._database.read(models.count_by_site)

    async def give_models(self, site: str, to: str, unheard_for: float, tell: Callable[[Model], Event]) -> None:
        await self._database.write(lambda c: handover.give(c, site, to, unheard_for, tell))

    async def news(self) -> AsyncIterator[News | None]:
        async with aclosing(self._database.news()) as texts:
            async for text in texts:
                found = None if text is None else news.heard(text, self._origin)
                if text is None or found is not None:
                    yield found
