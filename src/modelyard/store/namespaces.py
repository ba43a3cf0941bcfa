"""Queries of the table ``namespaces``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from modelyard.domain.errors import AlreadyExists, NotFound, Refused
from modelyard.domain.model import Namespace, Quota
from modelyard.store.codec import decode_mapping, decode_quota, encode
from modelyard.store.dialects import insert_new
from modelyard.store.recording import note_fields
from modelyard.store.tables import alert_rules, deliveries, models, namespaces, policies, registered_models, webhooks

_SELECT = sa.select(namespaces)


def create(connection: sa.Connection, namespace: Namespace) -> None:
    """Raises AlreadyExists."""
    values = {
        "name": namespace.name,
        "description": namespace.description,
        "created_at": namespace.created_at,
        "quota": encode(namespace.quota),
        "require_signature": namespace.require_signature,
        "features": encode(namespace.features),
    }
    if connection.execute(insert_new(connection, namespaces, "name"), values).first() is None:
        raise AlreadyExists(f"The namespace {namespace.name!r} exists already.")


def get(connection: sa.Connection, name: str) -> Namespace | None:
    row = connection.execute(_SELECT.where(namespaces.c.name == name)).first()
    return None if row is None else _namespace(row)


def list_all(connection: sa.Connection) -> Sequence[Namespace]:
    return [_namespace(row) for row in connection.execute(_SELECT.order_by(namespaces.c.name))]


def change(connection: sa.Connection, name: str, change: Callable[[Namespace], Namespace]) -> Namespace:
    """Write what ``change`` makes of its description, quota and features. Raises NotFound."""
    row = connection.execute(_SELECT.where(namespaces.c.name == name).with_for_update()).first()
    if row is None:
        raise missing(name)
    before = _namespace(row)
    after = change(before)
    note_fields(connection, before, after)
    values = {
        "description": after.description, "quota": encode(after.quota), "features": encode(after.features)
    }  # fmt: skip
    connection.execute(sa.update(namespaces).where(namespaces.c.name == name).values(values))
    return after


def delete(connection: sa.Connection, name: str) -> None:
    """Raises Refused (``not_empty``) while it holds models, served or registered, NotFound if there is none."""
    # The lock keeps a model from being created between the count and the delete.
    if connection.execute(_SELECT.where(namespaces.c.name == name).with_for_update()).first() is None:
        raise missing(name)
    count = connection.scalar(sa.select(sa.func.count()).where(models.c.namespace == name))
    if count:
        raise Refused("not_empty", f"The namespace {name!r} holds {count} model(s). Delete them first.")
    registered = sa.select(sa.func.count()).where(registered_models.c.namespace == name)
    if count := connection.scalar(registered):
        raise Refused(
            "not_empty",
            f"The namespace {name!r} holds {count} registered model(s), with those that were deleted and can still be "
            "restored. Delete them with a grace of 0 first.",
        )
    # Another one of this name must not tell those whom this one has told.
    for table in (policies, alert_rules, webhooks, deliveries):
        connection.execute(sa.delete(table).where(table.c.namespace == name))
    connection.execute(sa.delete(namespaces).where(namespaces.c.name == name))


def hold(connection: sa.Connection, name: str) -> None:
    """Keep the namespace from being deleted until the transaction ends. Raises NotFound."""
    lock = sa.select(namespaces.c.name).where(namespaces.c.name == name).with_for_update(read=True, key_share=True)
    if connection.execute(lock).first() is None:
        raise missing(name)


def missing(name: str) -> NotFound:
    return NotFound(f"There is no namespace {name!r}. Create it first.")


def _namespace(row: Any) -> Namespace:
    return Namespace(
        name=row.name,
        created_at=row.created_at,
        description=row.description,
        quota=Quota() if row.quota is None else decode_quota(row.quota),
        require_signature=row.require_signature,
        features=decode_mapping(row.features),
    )
