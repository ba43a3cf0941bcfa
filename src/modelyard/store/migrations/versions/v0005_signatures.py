"""Signatures of versions, the keys that namespaces trust, and which namespaces serve signed versions only."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)
_TRUSTED = sa.text("revoked_at IS NULL")


def upgrade() -> None:
    op.add_column("namespaces", sa.Column("require_signature", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "trusted_keys",
        _column("namespace", _TEXT),
        _column("fingerprint", _TEXT),
        _column("name", _TEXT),
        _column("kind", _TEXT),
        _column("public_key", _TEXT),
        _column("trusted_at", _TIME),
        _column("trusted_by", _TEXT),
        _column("reason", _TEXT),
        _column("revoked_at", _TIME, null=True),
        _column("revoked_by", _TEXT),
        _column("revoked_for", _TEXT),
        # Revoked ones stay, so that none is trusted again.
        sa.PrimaryKeyConstraint("namespace", "fingerprint", name="pk_trusted_keys"),
        sa.ForeignKeyConstraint(
            ["namespace"], ["namespaces.name"], name="fk_trusted_keys_namespace", ondelete="CASCADE"
        ),
        sa.CheckConstraint("kind IN ('openssf', 'hmac')", name="ck_trusted_keys_kind"),
        sa.CheckConstraint("length(fingerprint) = 64", name="ck_trusted_keys_fingerprint"),
        # Of a secret nothing is kept but its fingerprint.
        sa.CheckConstraint("(kind = 'openssf') = (public_key <> '')", name="ck_trusted_keys_public_key"),
    )
    op.create_index(
        "uq_trusted_keys_name", "trusted_keys", ["namespace", "name"], unique=True, sqlite_where=_TRUSTED,
        postgresql_where=_TRUSTED,
    )  # fmt: skip
    op.create_table(
        "version_signatures",
        _column("model_uid", _TEXT),
        _column("version", _TEXT),
        _column("fingerprint", _TEXT),
        _column("kind", _TEXT),
        _column("manifest", _TEXT),
        _column("bundle", _TEXT),
        _column("checked_at", _TIME),
        _column("added_at", _TIME),
        _column("added_by", _TEXT),
        _column("reason", _TEXT),
        sa.PrimaryKeyConstraint("model_uid", "version", "fingerprint", name="pk_version_signatures"),
        sa.ForeignKeyConstraint(
            ["model_uid", "version"], ["registered_versions.model_uid", "registered_versions.version"],
            name="fk_version_signatures_version", ondelete="CASCADE",
        ),
        sa.CheckConstraint("kind IN ('openssf', 'hmac')", name="ck_version_signatures_kind"),
        sa.CheckConstraint("length(bundle) <= 1048576", name="ck_version_signatures_bundle"),
    )  # fmt: skip


def _column(name: str, type_: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=null)
