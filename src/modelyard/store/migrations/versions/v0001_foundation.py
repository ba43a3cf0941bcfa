"""Namespaces, models, revisions, operations, events and idempotency keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# The byte order of PostgreSQL's "C" collation is also SQLite's: lists sort alike on both, and a library
# upgrade of the machine never changes the order that page tokens rely on.
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)
_EVENT_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_STATES = "'stopped', 'queued', 'starting', 'running', 'updating', 'stopping', 'idle', 'error', 'deleting'"
_KINDS = "'deploy', 'start', 'stop', 'restart', 'update', 'delete'"
_OUTCOMES = "'running', 'succeeded', 'failed', 'cancelled'"
_APPEND_ONLY = "events are append-only"


def upgrade() -> None:
    _namespaces()
    _models()
    _operations()
    _events()
    op.create_table(
        "idempotency_keys",
        _column("scope", _TEXT),
        _column("key", _TEXT),
        _column("fingerprint", _TEXT),
        _column("operation_id", _TEXT),
        _column("created_at", _TIME),
        sa.PrimaryKeyConstraint("scope", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def _column(name: str, type_: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=null)


def _namespaces() -> None:
    table = op.create_table(
        "namespaces",
        _column("name", _TEXT),
        _column("description", _TEXT),
        _column("created_at", _TIME),
        sa.PrimaryKeyConstraint("name", name="pk_namespaces"),
    )
    op.bulk_insert(table, [{"name": "default", "description": "", "created_at": datetime.now(UTC)}])


def _models() -> None:
    op.create_table(
        "models",
        _column("uid", _TEXT),
        _column("namespace", _TEXT),
        _column("name", _TEXT),
        _column("engine", _TEXT),
        _column("desired", _TEXT),
        _column("state", _TEXT),
        _column("generation", sa.BigInteger),
        _column("target_generation", sa.BigInteger),
        _column("version", sa.BigInteger),
        _column("created_at", _TIME),
        _column("updated_at", _TIME),
        _column("spec", sa.JSON()),
        _column("status", sa.JSON()),
        sa.PrimaryKeyConstraint("uid", name="pk_models"),
        sa.UniqueConstraint("namespace", "name", name="uq_models_namespace_name"),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_models_namespace"),
        sa.CheckConstraint(f"state IN ({_STATES})", name="ck_models_state"),
        sa.CheckConstraint("desired IN ('running', 'stopped')", name="ck_models_desired"),
        sa.CheckConstraint(
            "(desired = 'stopped') = (state IN ('stopped', 'stopping', 'deleting'))", name="ck_models_state_desired"
        ),
        sa.CheckConstraint("generation >= 1", name="ck_models_generation"),
        sa.CheckConstraint("target_generation BETWEEN 1 AND generation", name="ck_models_target_generation"),
        sa.CheckConstraint("version >= 1", name="ck_models_version"),
    )
    op.create_index("ix_models_state", "models", ["state"])
    op.create_index("ix_models_name", "models", ["name", "uid"])
    op.create_index("ix_models_created_at", "models", ["created_at", "uid"])
    op.create_table(
        "model_labels",
        _column("model_uid", _TEXT),
        _column("key", _TEXT),
        _column("value", _TEXT),
        sa.PrimaryKeyConstraint("model_uid", "key", name="pk_model_labels"),
        sa.ForeignKeyConstraint(["model_uid"], ["models.uid"], name="fk_model_labels_model", ondelete="CASCADE"),
    )
    op.create_index("ix_model_labels_key_value", "model_labels", ["key", "value"])
    op.create_table(
        "revisions",
        _column("model_uid", _TEXT),
        _column("generation", sa.BigInteger),
        _column("created_at", _TIME),
        _column("actor", _TEXT),
        _column("reason", _TEXT),
        _column("spec", sa.JSON()),
        sa.PrimaryKeyConstraint("model_uid", "generation", name="pk_revisions"),
        sa.ForeignKeyConstraint(["model_uid"], ["models.uid"], name="fk_revisions_model", ondelete="CASCADE"),
        sa.CheckConstraint("generation >= 1", name="ck_revisions_generation"),
    )


def _operations() -> None:
    # No foreign key to models, here and in events: what was done and what happened outlive the model.
    op.create_table(
        "operations",
        _column("id", _TEXT),
        _column("kind", _TEXT),
        _column("state", _TEXT),
        _column("namespace", _TEXT),
        _column("model", _TEXT),
        _column("model_uid", _TEXT),
        _column("actor", _TEXT),
        _column("reason", _TEXT),
        _column("created_at", _TIME),
        _column("updated_at", _TIME),
        _column("target", sa.JSON(), null=True),
        _column("steps", sa.JSON()),
        _column("result", sa.JSON(), null=True),
        _column("error", sa.JSON(), null=True),
        sa.PrimaryKeyConstraint("id", name="pk_operations"),
        sa.CheckConstraint(f"kind IN ({_KINDS})", name="ck_operations_kind"),
        sa.CheckConstraint(f"state IN ({_OUTCOMES})", name="ck_operations_state"),
    )
    op.create_index("ix_operations_created_at", "operations", ["created_at", "id"])
    op.create_index("ix_operations_model", "operations", ["namespace", "model", "created_at", "id"])
    _partial_index("ix_operations_running", ["model_uid"], "state = 'running'")
    _partial_index("uq_operations_running_delete", ["model_uid"], "state = 'running' AND kind = 'delete'", unique=True)


def _partial_index(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(
        name, "operations", columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", _EVENT_ID, sa.Identity(always=True), nullable=False),
        _column("at", _TIME),
        _column("namespace", _TEXT),
        _column("model", _TEXT),
        _column("model_uid", _TEXT),
        _column("type", _TEXT),
        _column("reason", _TEXT),
        _column("message", _TEXT),
        _column("actor", _TEXT),
        _column("data", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_model", "events", ["namespace", "model", "id"])
    op.create_index("ix_events_model_uid", "events", ["model_uid", "id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION modelyard_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_APPEND_ONLY}' USING ERRCODE = 'restrict_violation'; END $$"
        )
        op.execute(
            "CREATE TRIGGER tr_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
            "FOR EACH STATEMENT EXECUTE FUNCTION modelyard_append_only()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER tr_events_no_{verb.lower()} BEFORE {verb} ON events "
            f"BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END"
        )
