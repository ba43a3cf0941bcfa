"""The record of who did what."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)
_KINDS = "'administrator', 'key', 'person', 'schedule', 'policy', 'autoscaler', 'controller', 'unknown'"
_APPEND_ONLY = "the record is append-only"
# Only what retention has moved the beginning of the record past may go.
_KEPT = "OLD.number > (SELECT kept_number FROM audit_chain)"
_BACKWARDS = "NEW.number < OLD.number OR NEW.kept_number < OLD.kept_number OR NEW.kept_number > NEW.number"


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        _column("number", sa.BigInteger),
        _column("at", _TIME),
        _column("actor", _TEXT),
        _column("actor_kind", _TEXT),
        _column("action", _TEXT),
        _column("namespace", _TEXT),
        _column("kind", _TEXT),
        _column("name", _TEXT),
        _column("reason", _TEXT),
        _column("address", _TEXT),
        _column("client", _TEXT),
        _column("request", _TEXT),
        _column("outcome", _TEXT),
        _column("code", _TEXT),
        # Not JSONB, which would not keep it as it was written.
        _column("change", sa.JSON()),
        _column("previous", _TEXT),
        _column("hash", _TEXT),
        sa.PrimaryKeyConstraint("number", name="pk_audit_entries"),
        sa.CheckConstraint("number >= 1", name="ck_audit_entries_number"),
        sa.CheckConstraint(f"actor_kind IN ({_KINDS})", name="ck_audit_entries_actor_kind"),
        sa.CheckConstraint("outcome IN ('done', 'refused', 'failed')", name="ck_audit_entries_outcome"),
        sa.CheckConstraint("length(hash) = 64 AND length(previous) = 64", name="ck_audit_entries_hash"),
    )
    op.create_index("ix_audit_entries_namespace", "audit_entries", ["namespace", "number"])
    op.create_index("ix_audit_entries_at", "audit_entries", ["at"])
    # One row: where the chain ends, and after which entry it begins.
    chain = op.create_table(
        "audit_chain",
        _column("id", sa.Integer),
        _column("number", sa.BigInteger),
        _column("hash", _TEXT),
        _column("kept_number", sa.BigInteger),
        _column("kept_hash", _TEXT),
        _column("kept_at", _TIME, null=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_chain"),
        sa.CheckConstraint("id = 1", name="ck_audit_chain_one"),
        sa.CheckConstraint("kept_number BETWEEN 0 AND number", name="ck_audit_chain_kept"),
    )
    first = {"id": 1, "number": 0, "hash": "0" * 64, "kept_number": 0, "kept_hash": "0" * 64, "kept_at": None}
    op.bulk_insert(chain, [first])
    if op.get_bind().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _column(name: str, type_: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=null, autoincrement=False)


def _guard_postgresql() -> None:
    refuse = f"RAISE EXCEPTION '{_APPEND_ONLY}' USING ERRCODE = 'restrict_violation';"
    for name, when, how in (
        ("modelyard_audit_kept", f"IF {_KEPT} THEN {refuse} END IF; RETURN OLD;", "DELETE ON audit_entries"),
        ("modelyard_audit_chain", f"IF {_BACKWARDS} THEN {refuse} END IF; RETURN NEW;", "UPDATE ON audit_chain"),
    ):
        op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {when} END $$")
        op.execute(f"CREATE TRIGGER tr_{name} BEFORE {how} FOR EACH ROW EXECUTE FUNCTION {name}()")
    op.execute(
        f"CREATE FUNCTION modelyard_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {refuse} END $$"
    )
    for table, verbs in (("audit_entries", "UPDATE OR TRUNCATE"), ("audit_chain", "DELETE OR TRUNCATE")):
        op.execute(
            f"CREATE TRIGGER tr_{table}_append_only BEFORE {verbs} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION modelyard_audit_append_only()"
        )


def _guard_sqlite() -> None:
    for name, when in (
        ("tr_audit_entries_no_update BEFORE UPDATE ON audit_entries", ""),
        ("tr_audit_entries_kept BEFORE DELETE ON audit_entries", f"WHEN {_KEPT}"),
        ("tr_audit_chain_forwards BEFORE UPDATE ON audit_chain", f"WHEN {_BACKWARDS}"),
        ("tr_audit_chain_no_delete BEFORE DELETE ON audit_chain", ""),
    ):
        op.execute(f"CREATE TRIGGER {name} {when} BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END")
