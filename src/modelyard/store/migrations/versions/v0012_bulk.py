"""Work on many models."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)
_KINDS = "'deploy', 'start', 'stop', 'restart', 'update', 'rollback', 'redeploy', 'terminate', 'delete'"
_OLD_KIND_CHECK = f"kind IN ({_KINDS})"
_KIND_CHECK = f"kind IN ({_KINDS}, 'bulk')"
_WAITING = "state = 'waiting'"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("ck_operations_kind", "operations", type_="check")
        op.create_check_constraint("ck_operations_kind", "operations", _KIND_CHECK)
    else:
        _rebuild_operations()
    # No foreign keys, as for operations: what was done outlives what it was done to.
    op.create_table(
        "bulks",
        _column("operation_id", _TEXT),
        # Whose process carries it out.
        _column("site", _TEXT),
        _column("cancelled_by", _TEXT),
        _column("order", sa.JSON()),
        sa.PrimaryKeyConstraint("operation_id", name="pk_bulks"),
    )
    op.create_table(
        "bulk_items",
        _column("bulk_id", _TEXT),
        _column("position", sa.Integer),
        _column("namespace", _TEXT),
        _column("model", _TEXT),
        # Empty where there was no such model.
        _column("model_uid", _TEXT),
        _column("state", _TEXT),
        # The command's; what has become of an item that has one is what has become of it.
        _column("operation_id", _TEXT, null=True),
        _column("code", _TEXT),
        _column("message", _TEXT),
        # Of the request, and whether a stop of the model after that makes the item void.
        _column("asked_at", _TIME),
        _column("launches", sa.Boolean),
        sa.PrimaryKeyConstraint("bulk_id", "position", name="pk_bulk_items"),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'succeeded', 'failed', 'skipped', 'cancelled')", name="ck_bulk_items_state"
        ),
        sa.CheckConstraint(f"NOT ({_WAITING} AND operation_id IS NOT NULL)", name="ck_bulk_items_operation"),
        sa.CheckConstraint("state <> 'failed' OR code <> ''", name="ck_bulk_items_code"),
    )
    op.create_index(
        "ix_bulk_items_waiting", "bulk_items", ["model_uid"],
        sqlite_where=sa.text(_WAITING), postgresql_where=sa.text(_WAITING),
    )  # fmt: skip


def _column(name: str, type_: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=null)


def _rebuild_operations() -> None:
    """SQLite cannot change a check: a new table takes the rows over, and is in all else what the old one was."""
    connection = op.get_bind()
    there = connection.execute(sa.text("SELECT type, sql FROM sqlite_master WHERE tbl_name = 'operations'")).all()
    (table,) = (row.sql for row in there if row.type == "table")
    body = table[table.index("(") :]
    assert _OLD_KIND_CHECK in body
    op.execute(f"CREATE TABLE operations_new {body.replace(_OLD_KIND_CHECK, _KIND_CHECK)}")
    op.execute("INSERT INTO operations_new SELECT * FROM operations")
    op.drop_table("operations")
    op.rename_table("operations_new", "operations")
    for row in there:
        if row.type != "table" and row.sql is not None:
            op.execute(row.sql)
