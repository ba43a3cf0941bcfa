"""Every order in which models are listed is one of an index, within a namespace and across all."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.drop_index("ix_models_state", "models")
    op.create_index("ix_models_state", "models", ["state", "uid"])
    op.create_index("ix_models_updated_at", "models", ["updated_at", "uid"])
    for column in ("state", "created_at", "updated_at"):
        op.create_index(f"ix_models_namespace_{column}", "models", ["namespace", column, "uid"])
