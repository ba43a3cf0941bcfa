"""Members, keys and groups."""

from __future__ import annotations

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Filled in with the feature."""
