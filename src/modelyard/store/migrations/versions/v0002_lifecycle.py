"""Sites and their leases, quotas, failed revisions, and cores that are reserved only when asked for."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)
_KINDS = "'deploy', 'start', 'stop', 'restart', 'update', 'rollback', 'redeploy', 'terminate', 'delete'"
_KIND_CHECK = f"kind IN ({_KINDS})"
# Rows that are read and rewritten at a time.
_BATCH = 500


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    op.add_column("models", sa.Column("site", _TEXT, nullable=False, server_default=""))
    # On SQLite all that tells which models have changed is in the index: the column is behind the documents.
    columns = ["site"] if on_postgresql else ["site", "uid", "namespace", "name", "version"]
    op.create_index("ix_models_site", "models", columns)
    op.add_column("namespaces", sa.Column("quota", sa.JSON(), nullable=True))
    op.add_column("revisions", sa.Column("failure", sa.JSON(), nullable=True))
    _sites()
    if on_postgresql:
        op.drop_constraint("ck_operations_kind", "operations", type_="check")
        op.create_check_constraint("ck_operations_kind", "operations", _KIND_CHECK)
    else:
        _rebuild_operations()
    _forget_the_default_core("models", ["uid"])
    _forget_the_default_core("revisions", ["model_uid", "generation"])


def _column(name: str, type_: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=null)


def _sites() -> None:
    op.create_table(
        "sites",
        _column("id", _TEXT),
        _column("machine", _TEXT),
        _column("home", _TEXT),
        _column("url", _TEXT),
        _column("inventory", sa.JSON(), null=True),
        _column("holder", sa.JSON(), null=True),
        _column("token", sa.BigInteger),
        _column("expires_at", _TIME, null=True),
        _column("down", sa.Boolean),
        _column("seen_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_sites"),
        sa.CheckConstraint("token >= 0", name="ck_sites_token"),
    )


def _rebuild_operations() -> None:
    """SQLite cannot change a check: a new table takes the rows over."""
    op.create_table(
        "operations_new",
        _column("id", _TEXT),
        _column("kind", _TEXT),
        _column("state", _TEXT),
        _column("namespace", _TEXT),
        _column("model", _TEXT),
        _column("model_uid", _TEXT),
        _column("actor", _TEXT),
        _column("reason", _TEXT),
        _column("created_at", _TIME),
        _column("updated_at", _TIME),
        _column("target", sa.JSON(), null=True),
        _column("steps", sa.JSON()),
        _column("result", sa.JSON(), null=True),
        _column("error", sa.JSON(), null=True),
        sa.PrimaryKeyConstraint("id", name="pk_operations"),
        sa.CheckConstraint(_KIND_CHECK, name="ck_operations_kind"),
        sa.CheckConstraint("state IN ('running', 'succeeded', 'failed', 'cancelled')", name="ck_operations_state"),
    )
    op.execute("INSERT INTO operations_new SELECT * FROM operations")
    op.drop_table("operations")
    op.rename_table("operations_new", "operations")
    op.create_index("ix_operations_created_at", "operations", ["created_at", "id"])
    op.create_index("ix_operations_model", "operations", ["namespace", "model", "created_at", "id"])
    running = sa.text("state = 'running'")
    op.create_index("ix_operations_running", "operations", ["model_uid"], sqlite_where=running)
    deleting = sa.text("state = 'running' AND kind = 'delete'")
    op.create_index("uq_operations_running_delete", "operations", ["model_uid"], unique=True, sqlite_where=deleting)


def _forget_the_default_core(name: str, key: list[str]) -> None:
    """One core was what a spec got without being asked; now it would be reserved."""
    keys: list[sa.ColumnClause[Any]] = [sa.column(part) for part in key]
    spec = sa.column("spec", sa.JSON())
    table = sa.table(name, *keys, spec)
    position = sa.tuple_(*keys)
    after: tuple[Any, ...] | None = None
    while True:
        statement = sa.select(*keys, spec).order_by(*keys).limit(_BATCH)
        if after is not None:
            statement = statement.where(position > sa.tuple_(*(sa.literal(value) for value in after)))
        rows = op.get_bind().execute(statement).all()
        for row in rows:
            document = json.loads(row.spec)
            resources = document.get("resources")
            if not isinstance(resources, dict) or resources.get("cpu") != 1:
                continue
            resources["cpu"] = None
            same = sa.and_(*(column == row[index] for index, column in enumerate(keys)))
            op.execute(table.update().where(same).values(spec=json.dumps(document, ensure_ascii=False)))
        if len(rows) < _BATCH:
            return
        after = tuple(rows[-1][: len(key)])
