"""What goes wrong with a database, in sentences that say what to do.

Only faults of the surroundings become :class:`~modelyard.domain.errors.Unavailable`; an error that
only a mistake of ours can cause (bad SQL, a constraint) stays what it is and is loud. Statements and
their parameters never enter a message: they hold environment variables, URLs hold passwords.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sqlalchemy import exc

from modelyard.domain.errors import Unavailable

# SQLite's result codes (https://www.sqlite.org/rescode.html) by the word after SQLITE_; an extended
# code such as SQLITE_READONLY_DIRECTORY counts as its primary one.
_SQLITE: Final[Mapping[str, str]] = {
    "FULL": "The disk that holds {database} is full: nothing was written. Free some space and try again.",
    "READONLY": "{database} cannot be written to: make it, its folder and its file system writable.",
    "PERM": "{database} cannot be opened: let this user read and write it and its folder.",
    "CANTOPEN": "{database} cannot be opened: its folder must exist, be writable by this user and have space left.",
    "CORRUPT": "{database} is damaged. Stop Modelyard and restore the file from a backup, or try sqlite3's .recover.",
    "NOTADB": "{database} is not an SQLite database, or is damaged. Restore it from a backup or move it away.",
    "IOERR": "The disk failed to read or write {database}: nothing was written. Check its space and health.",
    "BUSY": "{database} is locked by another process. Stop that process, or try again.",
    "LOCKED": "{database} is locked by another process. Stop that process, or try again.",
    "PROTOCOL": "{database} is locked by another process. Stop that process, or try again.",
    "NOMEM": "There is not enough memory to use {database}. Free some and try again.",
}

# PostgreSQL's SQLSTATEs (its manual, appendix A).
_POSTGRES: Final[Mapping[str, str]] = {
    "53100": "The disk of {database} is full: nothing was written. Free some space and try again.",
    "25006": "{database} is read-only (a standby?): nothing was written. Point the URL at the primary server.",
    "42501": "{database} does not give this user enough rights: GRANT it CREATE and USAGE on the schema.",
    "3F000": "{database} shows this user no schema to create tables in: GRANT it CREATE and USAGE on one.",
    "53300": "{database} has no connection left: raise max_connections or close others.",
    "28P01": "{database} refuses the user or password: correct the database URL.",
    "28000": "{database} refuses the user: correct the database URL or pg_hba.conf.",
    "3D000": "{database} does not exist: create it with CREATE DATABASE.",
    "40P01": "{database} ended a deadlock by giving this change up: nothing was written. Try again.",
    "55P03": "{database} is locked by another session for too long: nothing was written. Try again.",
}


@contextmanager
def translated(database: str) -> Iterator[None]:
    """Raise Unavailable for a fault of the database's surroundings. ``database`` names it in messages
    (without a password)."""
    try:
        yield
    except exc.TimeoutError as error:
        raise Unavailable(f"All connections to {database} are busy. Try again.") from error
    except (exc.DBAPIError, sqlite3.DatabaseError) as error:
        message = _sentence(error, database)
        if message is None:
            raise
        raise Unavailable(message) from error


def _sentence(error: exc.DBAPIError | sqlite3.DatabaseError, database: str) -> str | None:
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    name = getattr(cause, "sqlite_errorname", None)
    if name is not None:
        sentence = _SQLITE.get(name.split("_")[1])
        return sentence.format(database=database) if sentence else None
    sentence = _POSTGRES.get(getattr(cause, "sqlstate", None) or "")
    if sentence:
        return sentence.format(database=database)
    if isinstance(error, (exc.OperationalError, exc.InterfaceError)):
        reason = str(cause).strip().split("\n")[0]
        return f"{database} cannot be reached or has ended the connection: {reason}"
    return None
