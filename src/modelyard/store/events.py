"""Queries of the table ``events``: append-only, numbered in the order in which readers see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.ports import EventQuery, Page
from modelyard.domain.model import Event
from modelyard.store.codec import decode_mapping, encode
from modelyard.store.dialects import is_postgresql
from modelyard.store.pages import check_page_size, page, read_token
from modelyard.store.recording import note_events
from modelyard.store.sight import narrowed
from modelyard.store.tables import MAX_BIGINT, events

_SELECT: Final = sa.select(events)
_INSERT: Final = sa.insert(events).returning(events.c.id)
# Any number serves, as long as nothing else in the database locks by it.
_LOCK: Final = sa.select(sa.func.pg_advisory_xact_lock(0x6D6F64656C_02))


def append(connection: sa.Connection, new: Sequence[Event]) -> tuple[Event, ...]:
    """Number the events and write them; call it last in the transaction.

    A reader that asks for what came ``after`` the last id it saw must never miss an id. A PostgreSQL
    sequence alone does not give that: a transaction may take 7, another take 8 and commit first, and
    a reader that has seen 8 never looks for 7. So whoever numbers events holds a lock until its
    transaction has ended (PostgreSQL releases locks only after the commit is visible), which makes
    the order of ids the order of commits. Last in the transaction: nobody waits for a lock while
    holding this one, so there is no deadlock, and it is held for little more than the commit itself.
    SQLite has one writer at a time anyway.
    """
    if new and is_postgresql(connection):
        connection.execute(_LOCK)
    note_events(connection, new)
    return tuple(replace(event, id=connection.execute(_INSERT, _values(event)).scalar_one()) for event in new)


def list_page(connection: sa.Connection, query: EventQuery) -> Page[Event]:
    """Newest first, or oldest first with ``after``. Raises InvalidRequest for a page size or token that is none."""
    check_page_size(query)
    position = read_token(query, int)
    statement = narrowed(_SELECT, query.sight, events.c.namespace, events.c.model, events.c.model_uid)
    if query.namespace is not None:
        statement = statement.where(events.c.namespace == query.namespace)
    if query.model is not None:
        statement = statement.where(events.c.model == query.model)
    if query.model_uid is not None:
        statement = statement.where(events.c.model_uid == query.model_uid)
    if query.after is not None:
        # The id may come from a client's header: any whole number is a place in the order.
        after = position[0] if position else max(min(query.after, MAX_BIGINT), -1)
        statement = statement.where(events.c.id > after).order_by(events.c.id)
    else:
        if position:
            statement = statement.where(events.c.id < position[0])
        statement = statement.order_by(events.c.id.desc())
    rows = connection.execute(statement.limit(query.page_size + 1)).all()
    return page(rows, query, event_of, lambda row: (str(row.id),))


def last_id(connection: sa.Connection) -> int:
    return connection.scalar(sa.select(sa.func.max(events.c.id))) or 0


def _values(event: Event) -> dict[str, Any]:
    return {
        "at": event.at,
        "namespace": event.namespace,
        "model": event.model,
        "model_uid": event.model_uid,
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
        "actor": event.actor,
        "data": encode(event.data),
    }


def event_of(row: Any) -> Event:
    return Event(
        id=row.id,
        at=row.at,
        namespace=row.namespace,
        model=row.model,
        model_uid=row.model_uid,
        type=row.type,
        reason=row.reason,
        message=row.message,
        actor=row.actor,
        data=decode_mapping(row.data),
    )
