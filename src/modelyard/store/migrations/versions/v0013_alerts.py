"""Alerts and who is told of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)
_KINDS = (
    "kind IN ('start_failed', 'schedule_failed', 'crash_loop', 'error_rate', 'latency', 'memory', 'queue_time', "
    "'policy_action')"
)


def upgrade() -> None:
    # No foreign keys to models or namespaces: what fired outlives what it was about, and rules and webhooks of the
    # whole installation are of no namespace.
    op.create_table(
        "alert_rules",
        _column("namespace", _TEXT),
        _column("name", _TEXT),
        _column("version", sa.BigInteger),
        _column("rule", sa.JSON()),
        sa.PrimaryKeyConstraint("namespace", "name", name="pk_alert_rules"),
    )
    op.create_table(
        "webhooks",
        _column("namespace", _TEXT),
        _column("name", _TEXT),
        _column("version", sa.BigInteger),
        _column("created_at", _TIME),
        _column("updated_at", _TIME),
        _column("webhook", sa.JSON()),
        _column("sealed", _TEXT),
        sa.PrimaryKeyConstraint("namespace", "name", name="pk_webhooks"),
    )
    _alerts()
    op.create_table(
        "alert_silences",
        _column("fingerprint", _TEXT),
        _column("until", _TIME),
        _column("at", _TIME),
        _column("actor", _TEXT),
        _column("reason", _TEXT),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_alert_silences"),
    )
    op.create_table(
        "alert_cursors",
        _column("site", _TEXT),
        _column("event_id", sa.BigInteger),
        sa.PrimaryKeyConstraint("site", name="pk_alert_cursors"),
    )
    _deliveries()


def _alerts() -> None:
    op.create_table(
        "alerts",
        _column("id", _TEXT),
        _column("fingerprint", _TEXT),
        _column("site", _TEXT),
        _column("rule", _TEXT),
        _column("kind", _TEXT),
        _column("severity", _TEXT),
        _column("namespace", _TEXT),
        _column("model", _TEXT),
        _column("model_uid", _TEXT),
        _column("state", _TEXT),
        _column("starts_at", _TIME),
        _column("bad_at", _TIME),
        _column("ends_at", _TIME, null=True),
        _column("value", sa.Double, null=True),
        _column("threshold", sa.Double),
        _column("message", _TEXT),
        _column("notified", sa.Boolean),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.CheckConstraint(_KINDS, name="ck_alerts_kind"),
        sa.CheckConstraint("severity IN ('info', 'warning', 'critical')", name="ck_alerts_severity"),
        sa.CheckConstraint("state IN ('firing', 'resolved')", name="ck_alerts_state"),
        sa.CheckConstraint("(state = 'resolved') = (ends_at IS NOT NULL)", name="ck_alerts_ended"),
    )
    op.create_index("ix_alerts_starts_at", "alerts", ["starts_at", "id"])
    op.create_index("ix_alerts_namespace", "alerts", ["namespace", "starts_at", "id"])
    # One of a kind fires at a time, whatever becomes of the process that says so.
    _partial("uq_alerts_firing", "alerts", ["fingerprint"], "state = 'firing'", unique=True)


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        _column("id", _TEXT),
        _column("site", _TEXT),
        _column("namespace", _TEXT),
        _column("webhook", _TEXT),
        _column("event", _TEXT),
        _column("line", _TEXT),
        _column("place", sa.Integer),
        _column("alert", sa.JSON(), null=True),
        _column("state", _TEXT),
        _column("created_at", _TIME),
        _column("since", _TIME),
        _column("next_at", _TIME),
        _column("attempts", sa.Integer),
        _column("last_at", _TIME, null=True),
        _column("status", sa.Integer, null=True),
        _column("error", _TEXT),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.CheckConstraint("event IN ('firing', 'resolved', 'test')", name="ck_deliveries_event"),
        sa.CheckConstraint("(event = 'test') = (alert IS NULL)", name="ck_deliveries_alert"),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="ck_deliveries_state"),
        sa.CheckConstraint("attempts >= 0", name="ck_deliveries_attempts"),
    )
    op.create_index("ix_deliveries_webhook", "deliveries", ["namespace", "webhook", "created_at", "id"])
    op.create_index("ix_deliveries_created_at", "deliveries", ["created_at", "id"])
    _partial("ix_deliveries_pending", "deliveries", ["site", "next_at"], "state = 'pending'")
    _partial("ix_deliveries_line", "deliveries", ["namespace", "webhook", "line", "place"], "state = 'pending'")


def _column(name: str, type_: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=null)


def _partial(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
