"""Queries of the table ``transfers``, and its store: each method of the port is one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.ports import Idempotency, Page
from modelyard.domain.errors import AlreadyExists, VersionConflict
from modelyard.domain.transfers import ACTIVE, Phase, Transfer, TransferKind, TransferState
from modelyard.registry.ports import TransferQuery, TransferStore
from modelyard.store import idempotency as keys
from modelyard.store.codec import decode_order, decode_transfer_error, encode
from modelyard.store.database import Database
from modelyard.store.dialects import insert_new
from modelyard.store.pages import check_page_size, page, read_token
from modelyard.store.sight import narrowed
from modelyard.store.tables import transfers

# Rows that are read in about a millisecond.
_SMALL_PAGE: Final = 100

# How long it can be seen what became of one.
_KEPT: Final = timedelta(days=30)
# As a literal, as in the partial indexes: a parameter would not be known to be one of them.
_ACTIVE: Final = transfers.c.state.in_(sa.literal(str(state), literal_execute=True) for state in ACTIVE)
_SELECT: Final = sa.select(transfers)
_BY_ID: Final = _SELECT.where(transfers.c.id == sa.bindparam("of_id"))
_ACTIVE_OF: Final = _SELECT.where(transfers.c.site == sa.bindparam("of_site"), _ACTIVE).order_by(
    transfers.c.created_at, transfers.c.id
)
_TO_VERSION: Final = sa.select(transfers.c.id).where(
    transfers.c.namespace == sa.bindparam("in_namespace"),
    transfers.c.model == sa.bindparam("of_model"),
    transfers.c.version == sa.bindparam("to_version"),
    transfers.c.id != sa.bindparam("but"),
    _ACTIVE,
)


class SqlTransfers(TransferStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.transfers`. Besides what each method says it raises, all raise
    Unavailable when the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.shared = database.shared

    async def add(self, transfer: Transfer, idempotency: Idempotency | None = None) -> None:
        with _one_a_version(transfer):
            await self._database.write(lambda c: _add(c, transfer, idempotency))

    async def recall(self, idempotency: Idempotency) -> Transfer | None:
        return await self._database.look(lambda c: _recall(c, idempotency))

    async def get(self, transfer_id: str) -> Transfer | None:
        return await self._database.look(lambda c: _get(c, transfer_id))

    async def list(self, query: TransferQuery) -> Page[Transfer]:
        reading = self._database.look if query.page_size <= _SMALL_PAGE else self._database.read
        return await reading(lambda c: _list(c, query))

    async def active(self, site: str) -> Sequence[Transfer]:
        return await self._database.read(lambda c: [_transfer(row) for row in c.execute(_ACTIVE_OF, {"of_site": site})])

    async def write(self, before: Transfer, after: Transfer) -> None:
        with _one_a_version(after):
            await self._database.write(lambda c: _write(c, before, after))


@contextmanager
def _one_a_version(transfer: Transfer) -> Iterator[None]:
    """Of two that are written at the same time the database refuses the second, which saw nothing of the first."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise _under_way(transfer, "another one") from error


def _get(connection: sa.Connection, transfer_id: str) -> Transfer | None:
    row = connection.execute(_BY_ID, {"of_id": transfer_id}).first()
    return None if row is None else _transfer(row)


def tidy(connection: sa.Connection, now: datetime) -> int:
    """Forget transfers that were over 30 days ago; how many."""
    return connection.execute(sa.delete(transfers).where(~_ACTIVE, transfers.c.ended_at < now - _KEPT)).rowcount


def _recall(connection: sa.Connection, idempotency: Idempotency) -> Transfer | None:
    known = keys.find(connection, idempotency)
    return None if known is None else _get(connection, known)


def _add(connection: sa.Connection, transfer: Transfer, idempotency: Idempotency | None) -> None:
    if idempotency is not None:
        keys.remember(connection, idempotency, transfer)
    _refuse_second(connection, transfer)
    if connection.execute(insert_new(connection, transfers, "id"), {"id": transfer.id, **_values(transfer)}).first():
        return
    raise AlreadyExists(f"There is a transfer {transfer.id} already.")


def _write(connection: sa.Connection, before: Transfer, after: Transfer) -> None:
    if after.version != before.version:
        _refuse_second(connection, after)
    unchanged = sa.and_(
        transfers.c.id == before.id,
        transfers.c.state == before.state,
        transfers.c.claim == before.claim,
        transfers.c.phase.is_(None) if before.phase is None else transfers.c.phase == before.phase,
    )
    if not connection.execute(sa.update(transfers).where(unchanged).values(_values(after))).rowcount:
        raise VersionConflict(f"The transfer {before.id} was changed in between. Read it again.")


def _refuse_second(connection: sa.Connection, transfer: Transfer) -> None:
    if transfer.version is None or transfer.is_over:
        return
    to = {"in_namespace": transfer.namespace, "of_model": transfer.model, "to_version": transfer.version}
    under_way = connection.scalar(_TO_VERSION, {**to, "but": transfer.id})
    if under_way is not None:
        raise _under_way(transfer, str(under_way))


def _under_way(transfer: Transfer, other: str) -> AlreadyExists:
    return AlreadyExists(
        f"{transfer.model}@{transfer.version} is to be published by a transfer that is under way: {other}. Wait for "
        "it, or cancel it."
    )


def _list(connection: sa.Connection, query: TransferQuery) -> Page[Transfer]:
    check_page_size(query)
    after = read_token(query, datetime.fromisoformat, str)
    order = (transfers.c.created_at, transfers.c.id)
    statement = _SELECT.order_by(*(column.desc() for column in order)).limit(query.page_size + 1)
    statement = narrowed(statement, query.sight, transfers.c.namespace, transfers.c.model)
    if query.namespace is not None:
        statement = statement.where(transfers.c.namespace == query.namespace)
    if query.model is not None:
        statement = statement.where(transfers.c.model == query.model)
    if query.done is not None:
        statement = statement.where(~_ACTIVE if query.done else _ACTIVE)
    if after is not None:
        there = [sa.literal(value, column.type) for value, column in zip(after, order, strict=True)]
        statement = statement.where(sa.tuple_(*order) < sa.tuple_(*there))
    rows = connection.execute(statement).all()
    return page(rows, query, _transfer, lambda row: (row.created_at.isoformat(), row.id))


def _values(transfer: Transfer) -> dict[str, Any]:
    return {
        "kind": transfer.kind,
        "state": transfer.state,
        "phase": transfer.phase,
        "namespace": transfer.namespace,
        "model": transfer.model,
        "version": transfer.version,
        "manifest": transfer.manifest,
        "source": transfer.source,
        "site": transfer.site,
        "actor": transfer.actor,
        "reason": transfer.reason,
        "attempt": transfer.attempt,
        "claim": transfer.claim,
        "done": transfer.done,
        "total": transfer.total,
        "rate": transfer.rate,
        "created_at": transfer.created_at,
        "updated_at": transfer.updated_at,
        "ended_at": transfer.ended_at,
        "order": encode(transfer.order),
        "error": None if transfer.error is None else encode(transfer.error),
    }


def _transfer(row: Any) -> Transfer:
    return Transfer(
        id=row.id,
        kind=TransferKind(row.kind),
        state=TransferState(row.state),
        phase=None if row.phase is None else Phase(row.phase),
        namespace=row.namespace,
        model=row.model,
        version=row.version,
        manifest=row.manifest,
        source=row.source,
        site=row.site,
        actor=row.actor,
        reason=row.reason,
        attempt=row.attempt,
        claim=row.claim,
        done=row.done,
        total=row.total,
        rate=row.rate,
        created_at=row.created_at,
        updated_at=row.updated_at,
        ended_at=row.ended_at,
        order=decode_order(row.order),
        error=None if row.error is None else decode_transfer_error(row.error),
    )
