"""From a URL to an open database."""

from __future__ import annotations

import asyncio

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.store.database import Database
from modelyard.store.sqlite import SqliteDatabase


async def connect(url: str) -> Database:
    """Open the database at ``url`` (``sqlite:///path`` or ``postgresql://…``) and bring it up to date.

    Raises:
        InvalidRequest: the URL is none.
        Unavailable: the database cannot be opened; the sentence says why and what to do.
    """
    parsed = parse_url(url)
    if parsed.drivername == "sqlite":
        assert parsed.database is not None
        return await asyncio.to_thread(SqliteDatabase, parsed.database)
    # Imported late: a control process on SQLite does without the driver.
    from modelyard.store import postgres

    await asyncio.to_thread(postgres.migrate_postgres, parsed)
    return postgres.PostgresDatabase(parsed)


def parse_url(url: str) -> URL:
    """The URL with its driver's name normalised: ``sqlite`` or ``postgresql+psycopg``."""
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        # The reason quotes the URL, and with it the password.
        raise _invalid_url("it is not a URL") from None
    kind = parsed.drivername.split("+")[0]
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise _invalid_url(f"{kind} is not supported")
    if parsed.database in (None, "", ":memory:"):
        raise _invalid_url("it names no file")
    return parsed.set(drivername="sqlite")


def _invalid_url(reason: str) -> InvalidRequest:
    message = f"The database URL is not usable: {reason}. Write sqlite:////path/to/file or postgresql://user@host/name."
    return InvalidRequest([Problem("database_url", "invalid_url", message)], message)
