"""PostgreSQL: a server that several control processes may share, through psycopg's asyncio side."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import URL

from modelyard.store import audit
from modelyard.store.database import BUSY, JSON_AS_TEXT, T, Work
from modelyard.store.faults import translated
from modelyard.store.migrate import migrate
from modelyard.store.news import CHANNEL
from modelyard.store.recording import Recording
from modelyard.store.turns import Turns

log = logging.getLogger(__name__)

_POOL: Final = 8
# Any number serves, as long as nothing else in the database locks by it.
_MIGRATION_LOCK: Final = 0x6D6F64656C_01
# A session that hangs must not hold a lock for ever; times are in UTC whatever the server's zone.
_SESSION: Final = "-c timezone=UTC -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s"
# Seconds until a lost connection for news is tried again.
_LISTEN_AGAIN: Final = 0.5
# A server that is gone without a word is noticed within about 20 seconds (libpq's parameters).
_ALIVE: Final = {"keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3}


class PostgresDatabase:
    """A pool of connections. READ COMMITTED: every conflict is met by a lock or a version, not by retries."""

    shared = True

    def __init__(self, url: URL) -> None:
        # Imported late: a control process on SQLite does without asyncio support and greenlets.
        from sqlalchemy.ext.asyncio import create_async_engine

        self.name = _described(url)
        self._url = url
        engine = functools.partial(
            create_async_engine, url, connect_args=_postgres_arguments(url), pool_timeout=BUSY, pool_pre_ping=True,
            hide_parameters=True, **JSON_AS_TEXT,
        )  # fmt: skip
        self._engine = engine(pool_size=_POOL, max_overflow=0)
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        # Thousands may ask at once: the pool would turn down those whom it keeps waiting.
        self._turns = Turns(_POOL, BUSY, f"All connections to {self.name} are busy and none answers. Try again.")
        # A lease must not be lost because its renewal waits behind other work for a connection.
        self._pulse = engine(pool_size=1, max_overflow=1)

    async def look(self, work: Work[T]) -> T:
        return await self.read(work)

    async def read(self, work: Work[T]) -> T:
        with translated(self.name):
            async with self._turns.turn(), self._reader.connect() as connection:
                return await connection.run_sync(work)

    async def write(self, work: Work[T]) -> T:
        recording = Recording(work)

        def run(connection: sa.Connection) -> T:
            result = recording.run(connection)
            if recording.records:
                audit.write(connection, recording.records)
            return result

        try:
            with translated(self.name):
                async with self._turns.turn(), self._engine.begin() as connection:
                    return await connection.run_sync(run)
        except Exception:
            recording.undo()
            raise

    async def beat(self, work: Work[T]) -> T:
        with translated(self.name):
            async with self._pulse.begin() as connection:
                return await connection.run_sync(work)

    async def news(self) -> AsyncGenerator[str | None]:
        while True:
            try:
                async with await self._listener() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    # What was said before nobody heard.
                    yield None
                    async for heard in connection.notifies():
                        yield heard.payload
            except psycopg.Error as error:
                log.warning("News from %s are interrupted: %s", self.name, str(error).strip().split("\n")[0])
            await asyncio.sleep(_LISTEN_AGAIN)

    async def _listener(self) -> psycopg.AsyncConnection[Any]:
        """A connection of its own: one that listens must not go back into a pool."""
        _, arguments = self._engine.dialect.create_connect_args(self._url)
        arguments = {**_ALIVE, **arguments, **_postgres_arguments(self._url)}
        return await psycopg.AsyncConnection.connect(**arguments, autocommit=True)

    async def claim(self) -> None:
        """Nothing: here processes hold leases of sites."""

    async def close(self) -> None:
        await self._pulse.dispose()
        await self._engine.dispose()


def migrate_postgres(url: URL) -> None:
    engine = sa.create_engine(
        url, connect_args=_postgres_arguments(url), poolclass=sa.NullPool, hide_parameters=True, **JSON_AS_TEXT
    )
    with translated(_described(url)), engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        migrate(connection, _described(url))


def _postgres_arguments(url: URL) -> dict[str, Any]:
    arguments: dict[str, Any] = {"connect_timeout": BUSY, "application_name": "modelyard", "options": _SESSION}
    return {name: value for name, value in arguments.items() if name not in url.query}


@functools.cache
def _described(url: URL) -> str:
    return f"the database {url.set(query={}).render_as_string(hide_password=True)}"
