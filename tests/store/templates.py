"""New databases at the cost of a copy: the migrations run once in each process, and what they have made is made again
from that. For tests that are not about how a database comes to be."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import sqlalchemy as sa

from modelyard.store.engine import parse_url
from modelyard.store.postgres import migrate_postgres
from modelyard.store.sqlite import SqliteDatabase

# How the statements begin that change anything; the others of the migrations only look.
_CHANGES = ("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")
_scripts: list[str] = []


def prepare(url: str) -> None:
    """Bring the database at ``url``, which is empty or not there yet, to where opening it would bring it."""
    parsed = parse_url(url)
    if parsed.drivername == "sqlite":
        assert parsed.database is not None
        file = Path(parsed.database)
        file.touch(mode=0o600)
        file.write_bytes(_file())
    elif _scripts:
        with psycopg.connect(url, autocommit=True) as connection:
            # All at once, so in one transaction.
            connection.execute(cast(LiteralString, _scripts[0]))
    else:
        _scripts.append(_migrated(url))


@functools.cache
def _file() -> bytes:
    with tempfile.TemporaryDirectory(prefix="my-", dir="/tmp") as folder:
        file = Path(folder) / "state.db"
        SqliteDatabase(str(file))._close()
        return file.read_bytes()


def _migrated(url: str) -> str:
    """Migrate the database; the statements that did it."""
    statements: list[str] = []
    with psycopg.connect(url) as connection:
        quoting = psycopg.ClientCursor(connection)

        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            if statement.lstrip().upper().startswith(_CHANGES):
                text = cast(LiteralString, statement)
                statements.append(quoting.mogrify(text, parameters) if parameters else text)

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            migrate_postgres(parse_url(url))
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return ";\n".join(statements)
