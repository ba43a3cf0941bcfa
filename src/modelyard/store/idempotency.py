"""Queries of the table ``idempotency_keys``: which operation, transfer or schedule a caller's key led to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import sqlalchemy as sa

from modelyard.control import attempts
from modelyard.control.ports import Idempotency
from modelyard.domain.errors import IdempotencyMismatch, VersionConflict
from modelyard.domain.operations import Operation
from modelyard.store import operations
from modelyard.store.dialects import insert_new
from modelyard.store.tables import idempotency_keys as keys

# How long a caller may repeat a request under the same key.
KEPT: Final = timedelta(hours=24)


class Made(Protocol):
    """What a key leads to."""

    @property
    def id(self) -> str: ...

    @property
    def created_at(self) -> datetime: ...


def recall(connection: sa.Connection, idempotency: Idempotency) -> Operation | None:
    """The operation that the key led to, as it is now. Raises IdempotencyMismatch."""
    known = find(connection, idempotency)
    return None if known is None else operations.get(connection, known)


def find(connection: sa.Connection, idempotency: Idempotency) -> str | None:
    """The id of what the key led to. Raises IdempotencyMismatch."""
    row = _find(connection, idempotency)
    if row is None:
        return None
    attempts.repeated()
    return str(row.operation_id)


def remember(connection: sa.Connection, idempotency: Idempotency, made: Made) -> None:
    """Write the key; first in the transaction, so that of two requests with one key that come at once
    the second fails by its key and not by what the first has just made.

    Raises:
        VersionConflict: the key was written meanwhile; :func:`recall` finds what it led to now.
        IdempotencyMismatch: the same, by another request.
    """
    values = {
        "scope": idempotency.scope,
        "key": idempotency.key,
        "fingerprint": idempotency.fingerprint,
        "operation_id": made.id,
        "created_at": made.created_at,
    }
    if connection.execute(insert_new(connection, keys, "scope", "key"), values).first() is None:
        _find(connection, idempotency)
        raise VersionConflict("A request with the same Idempotency-Key came at the same time and was first.")


def tidy(connection: sa.Connection, now: datetime) -> int:
    """Forget keys older than 24 hours; how many."""
    return connection.execute(sa.delete(keys).where(keys.c.created_at < now - KEPT)).rowcount


def _find(connection: sa.Connection, idempotency: Idempotency) -> Any | None:
    key = (keys.c.scope == idempotency.scope) & (keys.c.key == idempotency.key)
    row = connection.execute(sa.select(keys.c.fingerprint, keys.c.operation_id).where(key)).first()
    if row is not None and not idempotency.may_be(row.fingerprint):
        raise IdempotencyMismatch(
            "This Idempotency-Key came with another request before. Use a new key for a new request."
        )
    return row
