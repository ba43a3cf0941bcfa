"""Schedules."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "schedules",
        _column("model_uid", _TEXT),
        _column("enabled", sa.Boolean),
        _column("edits", sa.BigInteger),
        _column("version", sa.BigInteger),
        _column("updated_at", _TIME),
        _column("updated_by", _TEXT),
        _column("handled_until", _TIME),
        _column("extension", sa.JSON(), null=True),
        _column("schedule", sa.JSON()),
        _column("last", sa.JSON(), null=True),
        _column("failure", sa.JSON(), null=True),
        sa.PrimaryKeyConstraint("model_uid", name="pk_schedules"),
        sa.ForeignKeyConstraint(["model_uid"], ["models.uid"], name="fk_schedules_model", ondelete="CASCADE"),
        sa.CheckConstraint("edits >= 1", name="ck_schedules_edits"),
        sa.CheckConstraint("version >= edits", name="ck_schedules_version"),
    )


def _column(name: str, type_: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=null)
