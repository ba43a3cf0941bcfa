"""kill -9 at any moment: what was confirmed is there, and nothing is there by half."""

from __future__ import annotations

import asyncio
import random
import sys

import psycopg
import pytest
import sqlalchemy as sa

from modelyard.control.ports import EventQuery
from modelyard.domain import commands
from modelyard.store import SqlStore
from modelyard.store.engine import parse_url
from tests.store.changes import asked, created


async def until_alone(url: str) -> None:
    """Wait until the server has noticed that its client is gone: it may still be writing its last commit."""
    async with asyncio.timeout(30), await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while (await (await connection.execute(others)).fetchone()) != (0,):
            await asyncio.sleep(0.01)


async def test_a_killed_process_leaves_status_event_operation_and_audit_entry_of_the_same_commit(
    url: str, pytestconfig: pytest.Config
) -> None:
    store = await SqlStore.open(url)
    uid = (await created(store)).uid
    await store.close()

    for _ in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.store.committer", url,
            stdout=asyncio.subprocess.PIPE, cwd=pytestconfig.rootpath,
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(30):
            for _ in range(random.randint(3, 60)):
                confirmed = int(await process.stdout.readline())
        # Somewhere between two confirmations.
        await asyncio.sleep(random.random() * 0.005)
        process.kill()
        lines = (await process.stdout.read()).split()
        confirmed = int(lines[-1]) if lines else confirmed
        await process.wait()
        if url.startswith("postgresql"):
            await until_alone(url)

        store = await SqlStore.open(url)
        model = await store.get_model_by_uid(uid)
        assert model is not None
        assert confirmed <= model.version <= confirmed + 1
        newest = (await store.list_events(EventQuery(model_uid=uid, page_size=1))).items[0]
        assert newest.data == {"version": model.version}
        assert newest.id == await store.last_event_id()
        assert model.status.target.epoch == model.version - 1
        assert len(await store.running_operations(uid)) == model.version
        verdict = await store.audit.verify()
        assert (verdict.broken, verdict.entries) == (None, model.version)
        await store.close()

    if url.startswith("sqlite"):
        engine = sa.create_engine(parse_url(url))
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        engine.dispose()


async def test_a_cancelled_commit_is_whole_or_absent(store: SqlStore) -> None:
    model = await created(store)
    for round_ in range(20):
        commit = asyncio.create_task(store.commit(commands.restart(model, asked())))
        await asyncio.sleep(round_ * 0.0003)
        commit.cancel()
        await asyncio.gather(commit, return_exceptions=True)
        # Any next write waits for the one that was given up, if that still goes on.
        await store.tidy()
        found = await store.get_model_by_uid(model.uid)
        assert found is not None
        assert found.version - model.version in (0, 1)
        assert len((await store.list_events(EventQuery(page_size=1000))).items) == found.version
        assert len(await store.running_operations(model.uid)) == found.version
        model = found
