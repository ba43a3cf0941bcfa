"""Transfers: what the server moves for its callers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)
_ACTIVE = "state IN ('queued', 'running')"


def upgrade() -> None:
    # No foreign keys, as for operations: what was done outlives what it was done to.
    op.create_table(
        "transfers",
        _column("id", _TEXT),
        _column("kind", _TEXT),
        _column("state", _TEXT),
        _column("phase", _TEXT, null=True),
        _column("namespace", _TEXT),
        _column("model", _TEXT),
        _column("version", _TEXT, null=True),
        _column("manifest", _TEXT),
        _column("source", _TEXT),
        _column("site", _TEXT),
        _column("actor", _TEXT),
        _column("reason", _TEXT),
        _column("attempt", sa.Integer),
        _column("claim", _TEXT),
        _column("done", sa.BigInteger),
        _column("total", sa.BigInteger, null=True),
        _column("rate", sa.Double),
        _column("created_at", _TIME),
        _column("updated_at", _TIME),
        _column("ended_at", _TIME, null=True),
        _column("order", sa.JSON()),
        _column("error", sa.JSON(), null=True),
        sa.PrimaryKeyConstraint("id", name="pk_transfers"),
        sa.CheckConstraint("kind IN ('import')", name="ck_transfers_kind"),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="ck_transfers_state"
        ),
        sa.CheckConstraint(
            "phase IS NULL OR phase IN ('fetching', 'scanning', 'pushing', 'publishing')", name="ck_transfers_phase"
        ),
        # Whoever carries one out can be told from everybody else, and nobody does once it is over.
        sa.CheckConstraint("(state = 'running') = (claim <> '')", name="ck_transfers_claim"),
        sa.CheckConstraint(f"({_ACTIVE}) = (ended_at IS NULL)", name="ck_transfers_ended"),
        sa.CheckConstraint("state NOT IN ('failed', 'cancelled') OR error IS NOT NULL", name="ck_transfers_error"),
        sa.CheckConstraint(
            "state <> 'succeeded' OR (version IS NOT NULL AND manifest <> '')", name="ck_transfers_made"
        ),
        sa.CheckConstraint("attempt >= 0 AND done >= 0", name="ck_transfers_counts"),
    )
    op.create_index("ix_transfers_created_at", "transfers", ["created_at", "id"])
    op.create_index("ix_transfers_model", "transfers", ["namespace", "model", "created_at", "id"])
    _of_active("ix_transfers_active", ["site"])
    # One transfer at a time moves bytes for a version.
    _of_active("uq_transfers_version", ["namespace", "model", "version"], unique=True)


def _column(name: str, type_: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=null)


def _of_active(name: str, columns: list[str], *, unique: bool = False) -> None:
    op.create_index(
        name, "transfers", columns, unique=unique, sqlite_where=sa.text(_ACTIVE), postgresql_where=sa.text(_ACTIVE)
    )
