"""Queries of the tables ``webhooks`` and ``deliveries``: who is told of alerts, and the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.alert_ports import DeliveryQuery
from modelyard.control.ports import Page
from modelyard.domain.alerts import INSTALLATION
from modelyard.domain.errors import EtagMismatch, NotFound, Refused, VersionConflict
from modelyard.domain.webhooks import GIVE_UP_AFTER, Delivery, DeliveryEvent, DeliveryState, Webhook
from modelyard.store import namespaces as spaces
from modelyard.store.codec import decode_alert, decode_webhook, encode
from modelyard.store.pages import check_page_size, page, read_token
from modelyard.store.tables import deliveries, webhooks

_KEPT: Final = timedelta(days=7)
_DEAD_KEPT: Final = timedelta(days=30)
# Whoever sends gives up before that.
_SURELY: Final = timedelta(hours=2)
_LEFT: Final = "nobody was there to send it: its webhook, or the site that was to send it, is gone"
_OF: Final = (webhooks.c.namespace == sa.bindparam("in_namespace")) & (webhooks.c.name == sa.bindparam("named"))
# As a literal, as in the partial indexes.
_PENDING: Final = deliveries.c.state == sa.literal("pending", literal_execute=True)
_earlier: Final = deliveries.alias("earlier")
_FIRST_IN_LINE: Final = ~sa.exists().where(
    _earlier.c.namespace == deliveries.c.namespace,
    _earlier.c.webhook == deliveries.c.webhook,
    _earlier.c.line == deliveries.c.line,
    _earlier.c.place < deliveries.c.place,
    _earlier.c.state == sa.literal("pending", literal_execute=True),
)
_OWN: Final = ("namespace", "name", "version", "created_at", "updated_at", "sealed")


# ------------------------------------------------------------------------------------------- webhooks


def list_webhooks(connection: sa.Connection, namespace: str | None) -> Sequence[Webhook]:
    statement = sa.select(webhooks).order_by(webhooks.c.namespace, webhooks.c.name)
    if namespace is not None:
        statement = statement.where(webhooks.c.namespace == namespace)
    return [_webhook(row) for row in connection.execute(statement)]


def get_webhook(connection: sa.Connection, namespace: str, name: str) -> Webhook:
    row = connection.execute(sa.select(webhooks).where(_OF), {"in_namespace": namespace, "named": name}).first()
    if row is None:
        raise NotFound(f"There is no webhook {name!r}.")
    return _webhook(row)


def put_webhook(connection: sa.Connection, webhook: Webhook, before: int | None) -> Webhook:
    if webhook.namespace != INSTALLATION:
        spaces.hold(connection, webhook.namespace)
    of = {"in_namespace": webhook.namespace, "named": webhook.name}
    stored = connection.scalar(sa.select(webhooks.c.version).where(_OF), of)
    if stored != before:
        raise VersionConflict(f"The webhook {webhook.name} was changed in between. Read it again.")
    after = replace(webhook, version=(stored or 0) + 1)
    values = {
        "version": after.version,
        "created_at": after.created_at,
        "updated_at": after.updated_at,
        "webhook": encode({k: v for k, v in asdict(after).items() if k not in _OWN}),
        "sealed": after.sealed,
    }
    if stored is None:
        connection.execute(sa.insert(webhooks), {"namespace": webhook.namespace, "name": webhook.name, **values})
    else:
        connection.execute(sa.update(webhooks).where(_OF), {**of, **values})
    return after


def delete_webhook(connection: sa.Connection, namespace: str, name: str, if_match: int | None) -> None:
    version = get_webhook(connection, namespace, name).version
    if if_match is not None and if_match != version:
        raise EtagMismatch(f"The webhook {name} is at version {version}, If-Match names {if_match}: get it again.")
    connection.execute(sa.delete(deliveries).where(deliveries.c.namespace == namespace, deliveries.c.webhook == name))
    connection.execute(sa.delete(webhooks).where(_OF), {"in_namespace": namespace, "named": name})


def _webhook(row: Any) -> Webhook:
    own = {name: getattr(row, name) for name in _OWN}
    stored = decode_webhook(row.webhook)
    return Webhook(**{name: getattr(stored, name) for name in stored.__struct_fields__}, **own)


# ------------------------------------------------------------------------------------------- deliveries


def add(connection: sa.Connection, new: Sequence[Delivery]) -> None:
    for delivery in new:
        connection.execute(sa.insert(deliveries), _values(delivery))


def get(connection: sa.Connection, namespace: str, delivery_id: str) -> Delivery:
    found = connection.execute(
        sa.select(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.namespace == namespace)
    ).first()
    if found is None:
        raise NotFound(f"There is no delivery {delivery_id!r}.")
    return _delivery(found)


def list_page(connection: sa.Connection, query: DeliveryQuery) -> Page[Delivery]:
    check_page_size(query)
    after = read_token(query, datetime.fromisoformat, str)
    order = (deliveries.c.created_at, deliveries.c.id)
    statement = sa.select(deliveries).order_by(*(column.desc() for column in order)).limit(query.page_size + 1)
    statement = statement.where(deliveries.c.namespace == query.namespace)
    if query.webhook is not None:
        statement = statement.where(deliveries.c.webhook == query.webhook)
    if query.state is not None:
        statement = statement.where(deliveries.c.state == query.state)
    if after is not None:
        there = [sa.literal(value, column.type) for value, column in zip(after, order, strict=True)]
        statement = statement.where(sa.tuple_(*order) < sa.tuple_(*there))
    rows = connection.execute(statement).all()
    return page(rows, query, _delivery, lambda row: (row.created_at.isoformat(), row.id))


def due(
    connection: sa.Connection, site: str, webhook: tuple[str, str], now: datetime, limit: int
) -> Sequence[Delivery]:
    statement = (
        sa.select(deliveries)
        .where(deliveries.c.namespace == webhook[0], deliveries.c.webhook == webhook[1])
        .where(deliveries.c.site == site, _PENDING, deliveries.c.next_at <= now, _FIRST_IN_LINE)
        .order_by(deliveries.c.next_at, deliveries.c.id)
        .limit(limit)
    )
    return [_delivery(row) for row in connection.execute(statement)]


def next_due(connection: sa.Connection, site: str) -> dict[tuple[str, str], datetime]:
    to = deliveries.c.namespace, deliveries.c.webhook
    statement = sa.select(*to, sa.func.min(deliveries.c.next_at)).group_by(*to)
    statement = statement.where(deliveries.c.site == site, _PENDING, _FIRST_IN_LINE)
    return {(namespace, webhook): at for namespace, webhook, at in connection.execute(statement)}


def count(connection: sa.Connection) -> dict[tuple[str, str, str], int]:
    by = deliveries.c.namespace, deliveries.c.webhook, deliveries.c.state
    statement = sa.select(*by, sa.func.count()).where(deliveries.c.state != DeliveryState.DELIVERED).group_by(*by)
    return {(namespace, webhook, state): found for namespace, webhook, state, found in connection.execute(statement)}


def write(connection: sa.Connection, before: Delivery, after: Delivery) -> bool:
    unchanged = sa.and_(
        deliveries.c.id == before.id, deliveries.c.state == before.state, deliveries.c.attempts == before.attempts
    )
    return bool(connection.execute(sa.update(deliveries).where(unchanged).values(_values(after))).rowcount)


def drop(connection: sa.Connection, namespace: str, delivery_id: str) -> None:
    found = get(connection, namespace, delivery_id)
    if found.state is not DeliveryState.DEAD:
        raise Refused("not_dead", f"The delivery {delivery_id} is {found.state}: only what was given up is dropped.")
    connection.execute(sa.delete(deliveries).where(deliveries.c.id == delivery_id))


def tidy(connection: sa.Connection, now: datetime) -> int:
    """Forget what was delivered a week ago and what was given up 30 days ago, and give up what nobody was there to
    send: its webhook, or its site, is gone. How many."""
    left = sa.update(deliveries).where(_PENDING, deliveries.c.since < now - GIVE_UP_AFTER - _SURELY)
    given_up = connection.execute(left.values(state=DeliveryState.DEAD, error=_LEFT)).rowcount
    old = sa.or_(
        sa.and_(deliveries.c.state == DeliveryState.DELIVERED, deliveries.c.created_at < now - _KEPT),
        sa.and_(deliveries.c.state == DeliveryState.DEAD, deliveries.c.created_at < now - _DEAD_KEPT),
    )
    return given_up + connection.execute(sa.delete(deliveries).where(old)).rowcount


def _values(delivery: Delivery) -> dict[str, Any]:
    line, place = delivery.order
    return {
        "id": delivery.id,
        "site": delivery.site,
        "namespace": delivery.namespace,
        "webhook": delivery.webhook,
        "event": delivery.event,
        "line": line,
        "place": place,
        "alert": None if delivery.alert is None else encode(delivery.alert),
        "state": delivery.state,
        "created_at": delivery.created_at,
        "since": delivery.since,
        "next_at": delivery.next_at,
        "attempts": delivery.attempts,
        "last_at": delivery.last_at,
        "status": delivery.status,
        "error": delivery.error,
    }


def _delivery(row: Any) -> Delivery:
    return Delivery(
        id=row.id, site=row.site, namespace=row.namespace, webhook=row.webhook, event=DeliveryEvent(row.event),
        alert=None if row.alert is None else decode_alert(row.alert), state=DeliveryState(row.state),
        created_at=row.created_at, since=row.since, next_at=row.next_at, attempts=row.attempts, last_at=row.last_at,
        status=row.status, error=row.error,
    )  # fmt: skip
