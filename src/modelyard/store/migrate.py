"""Brings a database to this version of the tables, or says why it cannot."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from modelyard.domain.errors import Unavailable
from modelyard.store.tables import metadata

# Not alembic's own default, so that a database shared by mistake is told apart from an old one of ours.
VERSION_TABLE: Final = "modelyard_schema"
# The newest step; a test holds it against migrations/versions. Kept here so that the usual start, on a
# database that is up to date, does without importing alembic (some 100 ms and 10 MiB).
HEAD: Final = "0016"

# alembic keeps the running migration in module globals.
_alembic = threading.Lock()


def migrate(connection: sa.Connection, database: str) -> None:
    """Run the steps that are missing. ``connection`` is in a transaction that holds the database's
    write lock, so of several processes that open a new database at once one does the work.

    Raises:
        Unavailable: the database is newer than this code, or somebody else's.
    """
    current = _current(connection)
    if current == HEAD:
        return
    if current is None:
        foreign = sorted(set(metadata.tables) & set(sa.inspect(connection).get_table_names()))
        if foreign:
            raise Unavailable(
                f"{database} holds tables that are not Modelyard's ({', '.join(foreign)}): "
                "give Modelyard a database of its own."
            )
    with _alembic:
        _upgrade(connection, current, database)


def _current(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version = sa.table(VERSION_TABLE, sa.column("version_num", sa.Text))
    return connection.scalar(sa.select(version.c.version_num))


def _upgrade(connection: sa.Connection, current: str | None, database: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise Unavailable(
            f"{database} was written by a newer Modelyard (schema {current}; this one knows up to {HEAD}). "
            "Upgrade Modelyard, or use another database."
        )
    command.upgrade(config, "head")
