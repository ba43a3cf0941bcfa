"""Members and keys of namespaces, their features, and the groups of models beside their specs."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)
_ROLES = "role IN ('viewer', 'user', 'operator', 'editor', 'administrator')"
_IN_USE = "revoked_at IS NULL"


def upgrade() -> None:
    op.add_column("namespaces", sa.Column("features", sa.JSON(), nullable=False, server_default="{}"))
    # No foreign key: what a model's groups were decides who sees what is kept of it.
    op.create_table(
        "model_groups",
        _column("model_uid", _TEXT),
        _column("group", _TEXT),
        sa.PrimaryKeyConstraint("model_uid", "group", name="pk_model_groups"),
    )
    _fill_groups()
    # A namespace here may be *, which is none: no foreign keys. What belongs to one goes with it in the same
    # transaction.
    op.create_table(
        "members",
        _column("namespace", _TEXT),
        _column("kind", _TEXT),
        _column("value", _TEXT),
        _column("role", _TEXT),
        _column("models", sa.JSON()),
        _column("added_at", _TIME),
        _column("added_by", _TEXT),
        _column("reason", _TEXT),
        sa.PrimaryKeyConstraint("namespace", "kind", "value", name="pk_members"),
        sa.CheckConstraint("kind IN ('subject', 'email', 'group')", name="ck_members_kind"),
        sa.CheckConstraint(_ROLES, name="ck_members_role"),
    )
    op.create_table(
        "api_keys",
        _column("id", _TEXT),
        _column("namespace", _TEXT),
        _column("name", _TEXT),
        # Never the secret itself.
        _column("digest", _TEXT),
        _column("role", _TEXT),
        _column("models", sa.JSON()),
        _column("groups", sa.JSON()),
        _column("rate", sa.JSON(), null=True),
        _column("created_at", _TIME),
        _column("created_by", _TEXT),
        _column("expires_at", _TIME, null=True),
        _column("revoked_at", _TIME, null=True),
        _column("last_used_at", _TIME, null=True),
        _column("previous_digest", _TEXT),
        _column("previous_until", _TIME, null=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.CheckConstraint(_ROLES, name="ck_api_keys_role"),
        sa.CheckConstraint("length(digest) = 64", name="ck_api_keys_digest"),
        sa.CheckConstraint("(previous_digest = '') = (previous_until IS NULL)", name="ck_api_keys_previous"),
    )
    # The name is who did it in all records: two that work at the same time cannot share it.
    op.create_index(
        "uq_api_keys_name", "api_keys", ["namespace", "name"], unique=True, sqlite_where=sa.text(_IN_USE),
        postgresql_where=sa.text(_IN_USE),
    )  # fmt: skip


def _column(name: str, type_: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=null)


def _fill_groups() -> None:
    connection = op.get_bind()
    for uid, spec in connection.execute(sa.text("SELECT uid, spec FROM models")).all():
        document = json.loads(spec) if isinstance(spec, (str, bytes)) else spec
        for group in dict.fromkeys(document.get("groups") or ()):
            statement = sa.text('INSERT INTO model_groups (model_uid, "group") VALUES (:uid, :name)')
            connection.execute(statement, {"uid": uid, "name": group})
