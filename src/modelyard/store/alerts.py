"""Alert rules and alerts, silences, and how far a site has looked: each method of the port is one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.alert_ports import AlertQuery, AlertStore, DeliveryQuery, Recorded, Silence
from modelyard.control.ports import Fence, Page
from modelyard.domain.alerts import (
    INSTALLATION,
    Alert,
    AlertKind,
    AlertRule,
    AlertState,
    Severity,
)
from modelyard.domain.errors import EtagMismatch, NotFound
from modelyard.domain.webhooks import Delivery, Webhook
from modelyard.store import deliveries as outbox
from modelyard.store import namespaces as spaces
from modelyard.store import sites
from modelyard.store.codec import decode_alert_rule, decode_texts, encode
from modelyard.store.database import Database
from modelyard.store.pages import check_page_size, page, read_token
from modelyard.store.tables import alert_cursors, alert_rules, alert_silences, alerts

# How long it can be seen what fired.
_KEPT: Final = timedelta(days=30)
_ALERT_FIELDS: Final = (
    "fingerprint", "rule", "kind", "severity", "namespace", "model", "model_uid", "state", "starts_at", "bad_at",
    "ends_at", "value", "threshold", "message", "notified", "told",
)  # fmt: skip
# As a literal, as in the partial index.
_FIRING: Final = alerts.c.state == sa.literal("firing", literal_execute=True)
_RULE: Final = (alert_rules.c.namespace == sa.bindparam("in_namespace")) & (alert_rules.c.name == sa.bindparam("named"))


class SqlAlerts(AlertStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.alerts`. Besides what each method says it raises, all raise
    Unavailable when the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---------------------------------------------------------------- rules

    async def rules(self, namespace: str | None = None) -> Sequence[AlertRule]:
        statement = sa.select(alert_rules).order_by(alert_rules.c.namespace, alert_rules.c.name)
        if namespace is not None:
            statement = statement.where(alert_rules.c.namespace == namespace)
        return await self._database.read(lambda c: [_rule(row) for row in c.execute(statement)])

    async def put_rule(self, rule: AlertRule, if_match: int | None) -> AlertRule:
        return await self._database.write(lambda c: _put_rule(c, rule, if_match))

    async def delete_rule(self, namespace: str, name: str, if_match: int | None) -> None:
        await self._database.write(lambda c: _delete_rule(c, namespace, name, if_match))

    # ---------------------------------------------------------------- webhooks and the outbox

    async def webhooks(self, namespace: str | None = None) -> Sequence[Webhook]:
        return await self._database.read(lambda c: outbox.list_webhooks(c, namespace))

    async def webhook(self, namespace: str, name: str) -> Webhook:
        return await self._database.look(lambda c: outbox.get_webhook(c, namespace, name))

    async def put_webhook(self, webhook: Webhook, before: int | None) -> Webhook:
        return await self._database.write(lambda c: outbox.put_webhook(c, webhook, before))

    async def delete_webhook(self, namespace: str, name: str, if_match: int | None) -> None:
        await self._database.write(lambda c: outbox.delete_webhook(c, namespace, name, if_match))

    async def list_deliveries(self, query: DeliveryQuery) -> Page[Delivery]:
        return await self._database.read(lambda c: outbox.list_page(c, query))

    async def delivery(self, namespace: str, delivery_id: str) -> Delivery:
        return await self._database.look(lambda c: outbox.get(c, namespace, delivery_id))

    async def add_delivery(self, delivery: Delivery) -> None:
        await self._database.write(lambda c: outbox.add(c, [delivery]))

    async def due(self, site: str, webhook: tuple[str, str], now: datetime, limit: int) -> Sequence[Delivery]:
        return await self._database.read(lambda c: outbox.due(c, site, webhook, now, limit))

    async def next_due(self, site: str) -> dict[tuple[str, str], datetime]:
        return await self._database.look(lambda c: outbox.next_due(c, site))

    async def write_delivery(self, before: Delivery, after: Delivery) -> bool:
        return await self._database.write(lambda c: outbox.write(c, before, after))

    async def drop_delivery(self, namespace: str, delivery_id: str) -> None:
        await self._database.write(lambda c: outbox.drop(c, namespace, delivery_id))

    # ---------------------------------------------------------------- alerts

    async def list_alerts(self, query: AlertQuery) -> Page[Alert]:
        return await self._database.read(lambda c: _list(c, query))

    async def delivery_counts(self) -> Mapping[tuple[str, str, str], int]:
        return await self._database.read(outbox.count)

    async def alert_counts(self) -> Mapping[tuple[str, str], int]:
        statement = (
            sa.select(alerts.c.kind, alerts.c.severity, sa.func.count())
            .where(_FIRING)
            .group_by(alerts.c.kind, alerts.c.severity)
        )
        return await self._database.read(
            lambda c: {(kind, severity): count for kind, severity, count in c.execute(statement)}
        )

    async def firing(self) -> Sequence[tuple[str, Alert]]:
        statement = sa.select(alerts).where(_FIRING).order_by(alerts.c.fingerprint)
        return await self._database.read(lambda c: [(row.site, _alert(row)) for row in c.execute(statement)])

    async def record(self, site: str, recorded: Recorded, fence: Fence | None = None) -> None:
        await self._database.write(lambda c: _record(c, site, recorded, fence))

    async def cursor(self, site: str) -> int | None:
        statement = sa.select(alert_cursors.c.event_id).where(alert_cursors.c.site == site)
        found: int | None = await self._database.look(lambda c: c.scalar(statement))
        return found

    async def silences(self) -> Mapping[str, Silence]:
        return await self._database.read(
            lambda c: {row.fingerprint: _silence(row) for row in c.execute(sa.select(alert_silences))}
        )

    async def silence(self, silence: Silence) -> None:
        await self._database.write(lambda c: _put_silence(c, silence))

    async def end_silence(self, fingerprint: str) -> None:
        statement = sa.delete(alert_silences).where(alert_silences.c.fingerprint == fingerprint)
        if not await self._database.write(lambda c: c.execute(statement).rowcount):
            raise NotFound(f"The alert {fingerprint} is not silenced.")


def tidy(connection: sa.Connection, now: datetime) -> int:
    """Forget alerts that were over 30 days ago, silences that are over, and old deliveries; how many."""
    gone = connection.execute(
        sa.delete(alerts).where(alerts.c.state == AlertState.RESOLVED, alerts.c.ends_at < now - _KEPT)
    ).rowcount
    gone += connection.execute(sa.delete(alert_silences).where(alert_silences.c.until < now)).rowcount
    return gone + outbox.tidy(connection, now)


def check_etag(what: str, version: int, if_match: int | None) -> None:
    """Raises EtagMismatch."""
    if if_match is not None and if_match != version:
        raise EtagMismatch(
            f"{what} is at version {version}, If-Match names {if_match}: get it again and repeat the change on what "
            "it is now."
        )


def _put_rule(connection: sa.Connection, rule: AlertRule, if_match: int | None) -> AlertRule:
    if rule.namespace != INSTALLATION:
        spaces.hold(connection, rule.namespace)
    of = {"in_namespace": rule.namespace, "named": rule.name}
    stored = connection.scalar(sa.select(alert_rules.c.version).where(_RULE), of)
    check_etag(f"The rule {rule.name}", stored or 0, if_match)
    after = replace(rule, version=(stored or 0) + 1)
    values = {"version": after.version, "rule": encode(after)}
    if stored is None:
        connection.execute(sa.insert(alert_rules), {"namespace": rule.namespace, "name": rule.name, **values})
    else:
        connection.execute(sa.update(alert_rules).where(_RULE), {**of, **values})
    return after


def _delete_rule(connection: sa.Connection, namespace: str, name: str, if_match: int | None) -> None:
    of = {"in_namespace": namespace, "named": name}
    stored = connection.scalar(sa.select(alert_rules.c.version).where(_RULE), of)
    if stored is None:
        raise NotFound(f"There is no alert rule {name!r} of its own to delete.")
    check_etag(f"The rule {name}", stored, if_match)
    connection.execute(sa.delete(alert_rules).where(_RULE), of)


def _rule(row: Any) -> AlertRule:
    return decode_alert_rule(row.rule)


def _list(connection: sa.Connection, query: AlertQuery) -> Page[Alert]:
    check_page_size(query)
    after = read_token(query, datetime.fromisoformat, str)
    order = (alerts.c.starts_at, alerts.c.id)
    statement = sa.select(alerts).order_by(*(column.desc() for column in order)).limit(query.page_size + 1)
    if query.namespaces is not None:
        statement = statement.where(alerts.c.namespace.in_(query.namespaces))
    for column, wanted in (
        (alerts.c.model, query.model),
        (alerts.c.kind, query.kind),
        (alerts.c.severity, query.severity),
        (alerts.c.state, query.state),
        (alerts.c.fingerprint, query.fingerprint),
    ):
        if wanted is not None:
            statement = statement.where(column == wanted)
    if after is not None:
        there = [sa.literal(value, column.type) for value, column in zip(after, order, strict=True)]
        statement = statement.where(sa.tuple_(*order) < sa.tuple_(*there))
    rows = connection.execute(statement).all()
    return page(rows, query, _alert, lambda row: (row.starts_at.isoformat(), row.id))


def _record(connection: sa.Connection, site: str, recorded: Recorded, fence: Fence | None) -> None:
    if fence is not None:
        sites.check(connection, fence)
    for alert in recorded.alerts:
        values = {name: getattr(alert, name) for name in _ALERT_FIELDS} | {"site": site, "told": encode(alert.told)}
        # Those whose end is written first make room for the next of the same fingerprint.
        if not connection.execute(sa.update(alerts).where(alerts.c.id == alert.id).values(values)).rowcount:
            connection.execute(sa.insert(alerts), {"id": alert.id, **values})
    outbox.add(connection, recorded.deliveries)
    if recorded.cursor is not None:
        values = {"event_id": recorded.cursor}
        if not connection.execute(sa.update(alert_cursors).where(alert_cursors.c.site == site).values(values)).rowcount:
            connection.execute(sa.insert(alert_cursors), {"site": site, **values})


def _alert(row: Any) -> Alert:
    values = {name: getattr(row, name) for name in _ALERT_FIELDS}
    values |= {"kind": AlertKind(row.kind), "severity": Severity(row.severity), "state": AlertState(row.state)}
    values["told"] = decode_texts(row.told)
    return Alert(id=row.id, **values)


def _put_silence(connection: sa.Connection, silence: Silence) -> None:
    of = alert_silences.c.fingerprint == silence.fingerprint
    values = {"until": silence.until, "at": silence.at, "actor": silence.actor, "reason": silence.reason}
    if not connection.execute(sa.update(alert_silences).where(of).values(values)).rowcount:
        connection.execute(sa.insert(alert_silences), {"fingerprint": silence.fingerprint, **values})


def _silence(row: Any) -> Silence:
    return Silence(fingerprint=row.fingerprint, until=row.until, at=row.at, actor=row.actor, reason=row.reason)
