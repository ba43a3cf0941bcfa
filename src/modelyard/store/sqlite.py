"""SQLite: one file, used by one control process at a time.

:meth:`SqliteDatabase.look` and :meth:`SqliteDatabase.write` run on the event loop: some 50 µs and 0.5 ms. Every hop
to a thread costs more than that (aiosqlite makes a hop of every statement, fetch and close: measured, 1.0 ms for
one read and 1.9 ms for one write). Only :meth:`SqliteDatabase.read`, of many rows, runs in a thread.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL

from modelyard.control import attempts
from modelyard.domain.errors import ModelyardError, Unavailable
from modelyard.store import audit
from modelyard.store.database import BUSY, JSON_AS_TEXT, T, Work
from modelyard.store.faults import translated
from modelyard.store.migrate import migrate
from modelyard.store.recording import Recording

_Write = tuple[Recording[Any], asyncio.Future[Any]]
_Outcome = tuple[Any, Exception | None]

# Threads (and connections) that read side by side. More only wait for the interpreter's lock.
_READERS: Final = 3
# How long a write may hold up the event loop for another process that is writing, at a time, in seconds.
_BUSY_PAUSE: Final = 0.02
# One at a time of this process's threads creates a file or migrates a database (see _create_file).
_opening = threading.Lock()


class SqliteDatabase:
    """One file. Small work is done where it is asked for, large reads in threads beside it."""

    shared = False

    def __init__(self, path: str) -> None:
        self.name = path
        self._reader = self._engine(_READERS + 1, timeout=BUSY, isolation_level="AUTOCOMMIT")
        self._looker: sa.Connection | None = None
        self._scribe: sa.Connection | None = None
        self._waiting: list[_Write] = []
        self._claim: int | None = None
        self._writer = self._writing(timeout=_BUSY_PAUSE)
        event.listen(self._reader, "connect", _reader_pragmas)
        try:
            self._prepare()
        except BaseException:
            self._dispose()
            raise
        self._read_threads = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")

    def _writing(self, *, timeout: float) -> sa.Engine:
        engine = self._engine(1, timeout=timeout)
        event.listen(engine, "connect", _writer_pragmas)
        # sqlite3's own notion of when to begin is switched off in favour of this one: the write lock is
        # taken first, so no transaction fails half-way because another process wrote in between.
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine

    def _engine(self, connections: int, *, timeout: float, **options: Any) -> sa.Engine:
        return sa.create_engine(
            URL.create("sqlite", database=self.name),
            connect_args={"check_same_thread": False, "timeout": timeout},
            poolclass=sa.QueuePool,
            pool_size=connections,
            max_overflow=0,
            hide_parameters=True,
            **JSON_AS_TEXT,
            **options,
        )

    def _prepare(self) -> None:
        with translated(self.name), _opening:
            _create_file(self.name)
            _use_wal(self.name)
            # Several processes may open a new file at once: here they wait for each other.
            patient = self._writing(timeout=BUSY)
            try:
                with patient.begin() as connection:
                    migrate(connection, self.name)
            finally:
                patient.dispose()

    async def look(self, work: Work[T]) -> T:
        # Some 50 µs, less than the hop to a thread and back costs, so it runs where it is asked for.
        with translated(self.name):
            if self._looker is None:
                self._looker = self._reader.connect()
            try:
                return work(self._looker)
            except sa.exc.SQLAlchemyError:
                self._looker.close()
                self._looker = None
                raise

    async def read(self, work: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._read_threads, self._read, work)

    def _read(self, work: Work[T]) -> T:
        with translated(self.name), self._reader.connect() as connection:
            return work(connection)

    async def write(self, work: Work[T]) -> T:
        # On the event loop, fsync included: in a thread beside a busy loop each SQLite call would have to win
        # the interpreter back, and 50 callers at once waited three times as long.
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._write_waiting, loop, time.monotonic() + BUSY)
        recording = Recording(work)
        self._waiting.append((recording, future))
        try:
            return await future
        except Exception:
            recording.undo()
            raise

    def _write_waiting(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """Write all that has been asked for in this turn of the loop: one transaction and one fsync for all,
        in which each is still all or nothing, and none is answered before the disk has every one."""
        try:
            if self._scribe is None:
                self._scribe = self._writer.connect()
            transaction = self._scribe.begin()
        except Exception as error:
            # Whatever it is: those who wait must hear of it.
            self._dismiss_scribe()
            if _is_busy(error) and time.monotonic() < deadline:
                # Another process (a backup, a shell) holds the write lock; nothing has been done yet.
                loop.call_later(_BUSY_PAUSE, self._write_waiting, loop, deadline)
                return
            batch, self._waiting = self._waiting, []
            self._answer(batch, [(None, self._fault(error))] * len(batch))
            return
        batch, self._waiting = self._waiting, []
        try:
            with translated(self.name), transaction:
                outcomes = [self._attempt(self._scribe, work, alone=len(batch) == 1) for work, _ in batch]
                done = zip(batch, outcomes, strict=True)
                if records := [r for (work, _), (_, error) in done if error is None for r in work.records]:
                    audit.write(self._scribe, records)
        except Exception as error:
            if isinstance(error, Unavailable) or not isinstance(error, ModelyardError):
                self._dismiss_scribe()
            outcomes = [(None, error)] * len(batch)
        self._answer(batch, outcomes)

    def _attempt(self, connection: sa.Connection, work: Recording[Any], *, alone: bool) -> _Outcome:
        if alone:
            # What it raises undoes the transaction, which holds nothing else.
            return work.run(connection), None
        # Told to the driver itself, which takes 1 µs; SQLAlchemy's own savepoints take 40.
        driver: Any = connection.connection.driver_connection
        try:
            with translated(self.name):
                driver.execute("SAVEPOINT attempt")
                result = work.run(connection)
                driver.execute("RELEASE attempt")
            return result, None
        except Exception as error:
            if isinstance(error, Unavailable) or not driver.in_transaction:
                # The database itself fails: nothing of the batch is safe.
                raise
            driver.execute("ROLLBACK TO attempt")
            driver.execute("RELEASE attempt")
            return None, error

    def _answer(self, batch: list[_Write], outcomes: list[_Outcome]) -> None:
        for (_, future), (result, error) in zip(batch, outcomes, strict=True):
            if future.cancelled():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

    def _fault(self, error: Exception) -> Exception:
        """``error`` as its caller is to see it."""
        try:
            with translated(self.name):
                raise error
        except Exception as seen:
            return seen

    def _dismiss_scribe(self) -> None:
        """A connection on which something failed is not trusted with the next change."""
        if self._scribe is not None:
            self._scribe.close()
            self._scribe = None

    async def beat(self, work: Work[T]) -> T:
        with attempts.aside():
            return await self.write(work)

    async def news(self) -> AsyncGenerator[str | None]:
        # Nobody else writes while we hold the file.
        return
        yield None

    async def claim(self) -> None:
        self._claim = os.open(f"{self.name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _claimed(self.name) from None

    async def close(self) -> None:
        if self._waiting:
            # Last in the queue: when it is through, all others are.
            await self.write(lambda _: None)
        if self._claim is not None:
            os.close(self._claim)
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._read_threads.shutdown()
        self._dispose()

    def _dispose(self) -> None:
        if self._looker is not None:
            self._looker.close()
        self._dismiss_scribe()
        # The writer last: closing the last connection that may write moves the log into the file.
        self._reader.dispose()
        self._writer.dispose()


def _is_busy(error: Exception) -> bool:
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
    # An extended code holds its primary one in the low byte.
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _claimed(name: str) -> Unavailable:
    return Unavailable(
        f"Another control process drives the models of {name}. End it first ('modelyard down' in its home), or give "
        "this one a database of its own."
    )


def _create_file(path: str) -> None:
    """Make the file, readable by its owner only (SQLite gives its log the same mode).

    An existing file is never opened here: closing any descriptor of it would drop the locks that
    this process's other connections hold (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise Unavailable(
            f"The database {path} cannot be created ({error.strerror}): its folder must exist, be writable by "
            "this user and have space left."
        ) from error


def _use_wal(path: str) -> None:
    """Switch the file to write-ahead logging, which it then keeps. SQLite does not wait for others in
    this statement, so of several processes that open a new file at once the later ones try again."""
    deadline = time.monotonic() + BUSY
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
    try:
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    finally:
        connection.close()
    if mode != "wal":
        raise Unavailable(
            f"The file system of {path} does not support SQLite's write-ahead log (a network share?): "
            "put it on a local disk, or use PostgreSQL."
        )


def _pragmas(connection: Any, *pragmas: str) -> None:
    connection.isolation_level = None
    for pragma in ("foreign_keys=ON", "synchronous=FULL", *pragmas):
        connection.execute(f"PRAGMA {pragma}")


def _reader_pragmas(connection: Any, _record: object) -> None:
    _pragmas(connection, "query_only=ON")


def _writer_pragmas(connection: Any, _record: object) -> None:
    _pragmas(connection)
