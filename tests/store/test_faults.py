"""A database that fails says what to do, keeps what it had, and goes on once it can."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from modelyard.control.ports import EventQuery
from modelyard.domain import commands
from modelyard.domain.errors import InvalidRequest, Unavailable
from modelyard.domain.model import Namespace
from modelyard.store import SqlStore, engine, sqlite
from tests.store.changes import EPOCH, SPEC, after, asked, created, creation


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 4 MiB (needs root, and the right to mount)."""
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"cannot mount: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'state.db'}"


# -------------------------------------------------------------------------------------------- a full disk


async def test_a_full_disk_refuses_writes_keeps_reads_and_recovers(small_disk: Path) -> None:
    store = await SqlStore.open(url_of(small_disk))
    model = await created(store)
    ballast = small_disk / "ballast"
    fill(ballast)
    with pytest.raises(Unavailable, match=r"disk that holds .*state\.db is full.*Free some space"):
        await store.commit(commands.restart(model, asked()))
    assert await store.get_model("default", "m") == model
    assert await store.last_event_id() == model.version

    ballast.unlink()
    model = after(await store.commit(commands.restart(model, asked())))
    assert await store.get_model("default", "m") == model
    assert len((await store.list_events(EventQuery(page_size=1000))).items) == model.version
    await store.close()


async def test_a_full_disk_from_the_start_is_said_so(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"x" * (2**22 - 8192))
    with pytest.raises(Unavailable, match=r"state\.db"):
        await SqlStore.open(url_of(small_disk))
    (small_disk / "ballast").unlink()
    await (await SqlStore.open(url_of(small_disk))).close()


def test_files_that_may_not_grow_are_as_good_as_a_full_disk(home: Path, pytestconfig: pytest.Config) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.full_disk", str(home / "state.db")],
        cwd=pytestconfig.rootpath, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing was written" in done.stdout


# -------------------------------------------------------------------------------------------- no right to write


async def test_a_read_only_file_system_is_said_so(small_disk: Path) -> None:
    for made in (False, True):
        if made:
            await (await SqlStore.open(url_of(small_disk))).close()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        with pytest.raises(Unavailable, match=r"state\.db cannot be .*writable"):
            await SqlStore.open(url_of(small_disk))
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


async def test_a_folder_without_the_right_to_write_is_said_so(home: Path) -> None:
    for made in (False, True):
        if made:
            await (await SqlStore.open(url_of(home))).close()
            (home / "state.db").chmod(0o400)
        home.chmod(0o500)
        if os.access(home, os.W_OK):
            pytest.skip("root may write anywhere")
        with pytest.raises(Unavailable, match=r"state\.db cannot be .*writable"):
            await SqlStore.open(url_of(home))
        home.chmod(0o700)


@pytest.mark.parametrize("path", ["/nowhere/at/all/state.db", "/proc/state.db", "/tmp"])
async def test_a_place_that_cannot_hold_a_file_is_said_so(path: str) -> None:
    with pytest.raises(Unavailable, match=r"cannot be (created|opened).* folder must exist"):
        await SqlStore.open(f"sqlite:///{path}")


async def test_the_file_is_its_owners_alone(home: Path) -> None:
    store = await SqlStore.open(url_of(home))
    await created(store)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in home.iterdir()}
    await store.close()
    assert modes == dict.fromkeys(["state.db", "state.db-wal", "state.db-shm"], "0o600")


# -------------------------------------------------------------------------------------------- damage


async def test_a_file_that_is_no_database_is_left_alone(home: Path) -> None:
    (home / "state.db").write_bytes(b"not a database at all" * 1000)
    with pytest.raises(Unavailable, match="is not an SQLite database"):
        await SqlStore.open(url_of(home))
    assert (home / "state.db").read_bytes().startswith(b"not a database")


async def test_a_damaged_file_is_said_so(home: Path) -> None:
    store = await SqlStore.open(url_of(home))
    for i in range(50):
        await created(store, f"m{i}", replace(SPEC, description="x" * 2000))
    await store.close()
    content = bytearray((home / "state.db").read_bytes())
    start = 4096 * 2
    content[start:] = b"\xa5" * (len(content) - start)
    (home / "state.db").write_bytes(content)
    with pytest.raises(Unavailable, match=r"is damaged.*restore the file from a backup"):
        store = await SqlStore.open(url_of(home))


# -------------------------------------------------------------------------------------------- in the way


async def test_a_file_that_another_process_keeps_locked_is_said_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY", 0.1)
    store = await SqlStore.open(url_of(home))
    other = sqlite3.connect(home / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    change = creation()
    with pytest.raises(Unavailable, match="locked by another process"):
        await store.commit(change)
    assert await store.model_versions() == {}
    other.execute("ROLLBACK")
    other.close()
    await store.commit(change)
    await store.close()


async def test_reads_go_on_while_a_write_waits(home: Path) -> None:
    store = await SqlStore.open(url_of(home))
    model = await created(store)
    other = sqlite3.connect(home / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    write = asyncio.create_task(store.commit(commands.restart(model, asked())))
    for _ in range(20):
        assert await store.get_model("default", "m") == model
    assert not write.done()
    other.execute("ROLLBACK")
    other.close()
    assert after(await write).version == 2
    await store.close()


# -------------------------------------------------------------------------------------------- PostgreSQL


async def test_connections_that_the_server_ended_are_replaced(postgres_url: str) -> None:
    store = await SqlStore.open(postgres_url)
    model = await created(store)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await store.get_model("default", "m") == model
    await store.commit(commands.restart(model, asked()))
    await store.close()


async def test_a_read_only_server_is_said_so(postgres_url: str) -> None:
    store = await SqlStore.open(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    await store.close()
    store = await SqlStore.open(postgres_url)
    with pytest.raises(Unavailable, match="is read-only"):
        await store.commit(creation())
    await store.close()


async def test_a_user_without_rights_is_told_what_to_grant(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN")
    with pytest.raises(Unavailable, match="GRANT"):
        await SqlStore.open(postgres_url.replace("//postgres:", "//guest:"))


async def test_a_server_that_is_away_or_has_no_such_database_is_said_so(postgres_url: str) -> None:
    for url, reason in (
        ("postgresql://user:s3cret@127.0.0.1:1/modelyard", "cannot be reached"),
        ("postgres://user:s3cret@/modelyard?host=/nowhere", "cannot be reached"),
        (postgres_url.replace("//postgres:", "//postgres:s3cret").replace("/postgres?", "/missing?"), "does not exist"),
    ):
        with pytest.raises(Unavailable, match=reason) as error:
            await SqlStore.open(url)
        assert "s3cret" not in str(error.value)
        assert "s3cret" not in repr(error.value.__cause__)


# -------------------------------------------------------------------------------------------- what is never said


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:s3cret@host/name",
        "postgresql://user:s3cret@host:port/name",
        "user:s3cret@host",
        "sqlite://",
        "sqlite:///:memory:",
        "",
    ],
)
async def test_a_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await SqlStore.open(url)
    assert [p.path for p in refused.value.problems] == ["database_url"]
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    ["postgres://u@h/d", "postgresql://u@h/d", "postgresql+asyncpg://u@h/d", "postgresql+psycopg://u@h/d"],
)
def test_every_spelling_of_postgresql_uses_the_one_driver(url: str) -> None:
    assert str(engine.parse_url(url)) == "postgresql+psycopg://u@h/d"


async def test_the_values_of_a_failed_statement_are_never_in_its_error(store: SqlStore) -> None:
    secret = replace(SPEC, container=replace(SPEC.container, environment={"TOKEN": "s3cret"}))
    change = creation(spec=secret)
    assert change.revision is not None
    wrong = replace(change, revision=replace(change.revision, generation=-1))
    with pytest.raises(sa.exc.IntegrityError) as error:
        await store.commit(wrong)
    assert "s3cret" not in str(error.value).replace(str(error.value.orig), "")
    assert await store.model_versions() == {}


async def test_a_write_waits_for_another_process_without_holding_up_the_loop(home: Path) -> None:
    store = await SqlStore.open(f"sqlite:///{home / 'state.db'}")
    other = sqlite3.connect(home / "state.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(store.create_namespace(Namespace(name="late", created_at=EPOCH)))
        for _ in range(5):
            # The loop turns, and reads are answered, while the write waits.
            assert await store.get_namespace("late") is None
            await asyncio.sleep(0)
        assert not writing.done()
        other.execute("COMMIT")
        await writing
        assert await store.get_namespace("late") is not None
    finally:
        other.close()
        await store.close()


async def test_only_one_control_process_uses_an_sqlite_file(sqlite_url: str) -> None:
    store = await SqlStore.open(sqlite_url)
    await store.claim()
    second = await SqlStore.open(sqlite_url)
    with pytest.raises(Unavailable, match="Another control process"):
        await second.claim()
    await second.close()
    await store.close()
    third = await SqlStore.open(sqlite_url)
    await third.claim()
    await third.close()


async def test_many_control_processes_use_a_server(postgres_url: str) -> None:
    stores = [await SqlStore.open(postgres_url) for _ in range(2)]
    for store in stores:
        assert store.shared
        await store.claim()
    for store in stores:
        await store.close()


async def test_a_write_that_cannot_even_begin_answers_everybody_who_waits(home: Path) -> None:
    store = await SqlStore.open(f"sqlite:///{home / 'state.db'}")
    await store.create_namespace(Namespace(name="first", created_at=EPOCH))
    await store.close()
    store = await SqlStore.open(f"sqlite:///{home / 'state.db'}")
    (home / "state.db").write_bytes(b"no database at all" * 1000)
    names = [Namespace(name=name, created_at=EPOCH) for name in ("a", "b")]
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*(store.create_namespace(n) for n in names), return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes), outcomes
    with suppress(Unavailable, sa.exc.SQLAlchemyError):
        await store.close()
