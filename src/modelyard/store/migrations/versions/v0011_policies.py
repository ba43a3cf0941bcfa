"""Policies, the exceptions from them, what has been done for them, and warnings of operations."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "policies",
        # Empty for those of the installation, so it is no foreign key.
        _column("namespace", _TEXT),
        _column("name", _TEXT),
        _column("version", sa.BigInteger()),
        _column("created_at", _TIME),
        _column("changed_at", _TIME),
        _column("changed_by", _TEXT),
        _column("body", sa.JSON()),
        sa.PrimaryKeyConstraint("namespace", "name", name="pk_policies"),
        sa.CheckConstraint("version >= 1", name="ck_policies_version"),
    )
    op.create_table(
        "policy_overrides",
        _column("model_uid", _TEXT),
        _column("scope", _TEXT),
        _column("policy", _TEXT),
        _column("reason", _TEXT),
        _column("created_by", _TEXT),
        _column("created_at", _TIME),
        _column("expires_at", _TIME),
        sa.PrimaryKeyConstraint("model_uid", "scope", "policy", name="pk_policy_overrides"),
        *_owners("policy_overrides"),
        sa.CheckConstraint("reason <> ''", name="ck_policy_overrides_reason"),
        sa.CheckConstraint("expires_at > created_at", name="ck_policy_overrides_expires_at"),
    )
    op.create_table(
        "policy_marks",
        _column("model_uid", _TEXT),
        _column("scope", _TEXT),
        _column("policy", _TEXT),
        _column("kind", _TEXT),
        _column("at", _TIME),
        sa.PrimaryKeyConstraint("model_uid", "scope", "policy", "kind", name="pk_policy_marks"),
        *_owners("policy_marks"),
    )
    op.add_column("operations", _column("warnings", sa.JSON(), null=True))


def _owners(table: str) -> tuple[sa.ForeignKeyConstraint, sa.ForeignKeyConstraint]:
    return (
        sa.ForeignKeyConstraint(["model_uid"], ["models.uid"], name=f"fk_{table}_model", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["scope", "policy"], ["policies.namespace", "policies.name"], name=f"fk_{table}_policy", ondelete="CASCADE"
        ),
    )


def _column(name: str, type_: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=null)
