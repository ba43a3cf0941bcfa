"""Which webhooks were told of an alert; the alerts of a fingerprint, the newest first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("alerts", sa.Column("told", sa.JSON(), nullable=False, server_default="[]"))
    op.create_index("ix_alerts_fingerprint", "alerts", ["fingerprint", "starts_at", "id"])
