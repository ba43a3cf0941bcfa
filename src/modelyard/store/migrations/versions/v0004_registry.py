"""The registry's catalog: registered models, versions, aliases and their moves."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)
# What can be restored says until when.
_DELETED = "(deleted_at IS NULL) = (purge_at IS NULL)"


def upgrade() -> None:
    _models()
    _versions()
    _aliases()
    op.create_table(
        "buried_versions",
        _column("namespace", _TEXT),
        _column("name", _TEXT),
        _column("version", _TEXT),
        _column("manifest", _TEXT),
        _column("buried_at", _TIME),
        # By the name, not by the model: it outlives that, and whoever registers the name again finds it.
        sa.PrimaryKeyConstraint("namespace", "name", "version", name="pk_buried_versions"),
        sa.ForeignKeyConstraint(
            ["namespace"], ["namespaces.name"], name="fk_buried_versions_namespace", ondelete="CASCADE"
        ),
    )


def _column(name: str, type_: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=null)


def _models() -> None:
    op.create_table(
        "registered_models",
        _column("uid", _TEXT),
        _column("namespace", _TEXT),
        _column("name", _TEXT),
        _column("series", _TEXT),
        _column("version", sa.BigInteger),
        _column("created_at", _TIME),
        _column("updated_at", _TIME),
        _column("deleted_at", _TIME, null=True),
        _column("purge_at", _TIME, null=True),
        _column("searched", _TEXT),
        _column("about", sa.JSON()),
        sa.PrimaryKeyConstraint("uid", name="pk_registered_models"),
        sa.UniqueConstraint("namespace", "name", name="uq_registered_models_namespace_name"),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_registered_models_namespace"),
        sa.CheckConstraint("version >= 1", name="ck_registered_models_version"),
        sa.CheckConstraint(_DELETED, name="ck_registered_models_deleted"),
    )
    # Every order in which they are listed is one of an index, within a namespace and across all.
    for column in ("name", "created_at", "updated_at"):
        op.create_index(f"ix_registered_models_{column}", "registered_models", [column, "uid"])
    for column in ("created_at", "updated_at"):
        op.create_index(f"ix_registered_models_namespace_{column}", "registered_models", ["namespace", column, "uid"])
    _to_purge("registered_models")
    op.create_table(
        "registered_model_labels",
        _column("model_uid", _TEXT),
        _column("key", _TEXT),
        _column("value", _TEXT),
        sa.PrimaryKeyConstraint("model_uid", "key", name="pk_registered_model_labels"),
        sa.ForeignKeyConstraint(
            ["model_uid"], ["registered_models.uid"], name="fk_registered_model_labels_model", ondelete="CASCADE"
        ),
    )


def _versions() -> None:
    op.create_table(
        "registered_versions",
        _column("model_uid", _TEXT),
        _column("version", _TEXT),
        # Sorts as versions do: a number is its length (three digits) and its digits; a release ends in "~", a
        # pre-release has its identifiers there, "0" before a number and "1" before any other, "!" after each. So
        # 1.4.2 is "0011.0014.0012~" and comes after 1.4.2-rc.1, "0011.0014.00121rc!00011!".
        _column("precedence", _TEXT),
        _column("prerelease", sa.Boolean),
        _column("framework", _TEXT),
        _column("manifest", _TEXT),
        _column("edits", sa.BigInteger),
        _column("published_at", _TIME),
        _column("published_by", _TEXT),
        _column("reason", _TEXT),
        _column("deleted_at", _TIME, null=True),
        _column("purge_at", _TIME, null=True),
        _column("identity", sa.JSON()),
        _column("notes", sa.JSON()),
        _column("card", _TEXT),
        sa.PrimaryKeyConstraint("model_uid", "version", name="pk_registered_versions"),
        sa.UniqueConstraint("model_uid", "precedence", name="uq_registered_versions_precedence"),
        sa.ForeignKeyConstraint(
            ["model_uid"], ["registered_models.uid"], name="fk_registered_versions_model", ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "substr(manifest, 1, 7) = 'sha256:' AND length(manifest) = 71", name="ck_registered_versions_manifest"
        ),
        sa.CheckConstraint(
            "prerelease = (substr(precedence, length(precedence)) <> '~')", name="ck_registered_versions_prerelease"
        ),
        sa.CheckConstraint("edits >= 0", name="ck_registered_versions_edits"),
        sa.CheckConstraint(_DELETED, name="ck_registered_versions_deleted"),
    )
    op.create_index("ix_registered_versions_framework", "registered_versions", ["model_uid", "framework"])
    op.create_index("ix_registered_versions_manifest", "registered_versions", ["manifest"])
    _to_purge("registered_versions")


def _to_purge(table: str) -> None:
    deleted = sa.text("purge_at IS NOT NULL")
    op.create_index(f"ix_{table}_purge_at", table, ["purge_at"], sqlite_where=deleted, postgresql_where=deleted)


def _aliases() -> None:
    op.create_table(
        "alias_moves",
        _column("model_uid", _TEXT),
        _column("alias", _TEXT),
        _column("number", sa.BigInteger),
        _column("kind", _TEXT),
        _column("before", _TEXT, null=True),
        _column("after", _TEXT, null=True),
        _column("at", _TIME),
        _column("actor", _TEXT),
        _column("reason", _TEXT),
        sa.PrimaryKeyConstraint("model_uid", "alias", "number", name="pk_alias_moves"),
        sa.ForeignKeyConstraint(
            ["model_uid"], ["registered_models.uid"], name="fk_alias_moves_model", ondelete="CASCADE"
        ),
        sa.CheckConstraint("number >= 1", name="ck_alias_moves_number"),
        sa.CheckConstraint("kind IN ('move', 'rollback', 'remove')", name="ck_alias_moves_kind"),
        sa.CheckConstraint("(kind = 'remove') = (after IS NULL)", name="ck_alias_moves_removed"),
        sa.CheckConstraint("before IS NOT NULL OR after IS NOT NULL", name="ck_alias_moves_somewhere"),
    )
    op.create_table(
        "version_aliases",
        _column("model_uid", _TEXT),
        _column("alias", _TEXT),
        _column("version", _TEXT),
        _column("moves", sa.BigInteger),
        sa.PrimaryKeyConstraint("model_uid", "alias", name="pk_version_aliases"),
        sa.ForeignKeyConstraint(
            ["model_uid"], ["registered_models.uid"], name="fk_version_aliases_model", ondelete="CASCADE"
        ),
        # A version that an alias points at stays, whoever wants to remove it; with its model both go.
        sa.ForeignKeyConstraint(
            ["model_uid", "version"], ["registered_versions.model_uid", "registered_versions.version"],
            name="fk_version_aliases_version",
        ),
        sa.ForeignKeyConstraint(
            ["model_uid", "alias", "moves"], ["alias_moves.model_uid", "alias_moves.alias", "alias_moves.number"],
            name="fk_version_aliases_move",
        ),
    )  # fmt: skip
    op.create_index("ix_version_aliases_version", "version_aliases", ["model_uid", "version"])
