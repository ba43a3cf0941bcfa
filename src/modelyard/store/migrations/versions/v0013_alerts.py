"""Alerts and who is told of them."""

from __future__ import annotations

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Filled in with the feature."""
