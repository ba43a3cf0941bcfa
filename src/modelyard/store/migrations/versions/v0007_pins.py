"""What is to be kept in the caches of sites."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "pins",
        _column("site", _TEXT),
        _column("namespace", _TEXT),
        # As it is spelled once: whatever it names may come, go and mean something else.
        _column("reference", _TEXT),
        _column("preload", sa.Boolean),
        _column("at", sa.DateTime(timezone=True)),
        _column("actor", _TEXT),
        _column("reason", _TEXT),
        # A reference may be pinned and preloaded: each is taken back by itself.
        sa.PrimaryKeyConstraint("site", "namespace", "reference", "preload", name="pk_pins"),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_pins_namespace", ondelete="CASCADE"),
        sa.CheckConstraint("reference LIKE '%_@_%'", name="ck_pins_reference"),
    )


def _column(name: str, type_: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=False)
