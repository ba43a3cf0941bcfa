"""What models were asked, and what their instances held, by minutes and hours."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_BUCKETS = 17


def upgrade() -> None:
    # No foreign key to models: one may be gone by the time that its last minute is written.
    op.create_table(
        "model_metrics",
        sa.Column("model_uid", _TEXT, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
        sa.Column("busy", sa.Double, nullable=False),
        *(sa.Column(f"took_{bucket}", sa.BigInteger, nullable=False) for bucket in range(_BUCKETS)),
        sa.Column("instances", sa.Integer, nullable=True),
        sa.Column("memory", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("model_uid", "length", "at", name="pk_model_metrics"),
        sa.CheckConstraint("length IN (60, 3600) AND at / length * length = at", name="ck_model_metrics_at"),
    )
    op.create_index("ix_model_metrics_at", "model_metrics", ["length", "at"])
    op.create_table(
        "metric_totals",
        sa.Column("model_uid", _TEXT, nullable=False),
        sa.Column("site", _TEXT, nullable=False),
        sa.Column("gateway", _TEXT, nullable=False),
        sa.Column("totals", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("model_uid", name="pk_metric_totals"),
    )
    op.create_index("ix_metric_totals_site", "metric_totals", ["site"])
