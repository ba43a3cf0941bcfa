"""A database is brought up to date when it is opened, by one opener however many there are."""

from __future__ import annotations

import asyncio
import sys

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from modelyard.domain.errors import Unavailable
from modelyard.store import SqlStore, migrations, tables
from modelyard.store.engine import parse_url
from modelyard.store.migrate import HEAD, VERSION_TABLE
from tests.store.changes import created


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(parse_url(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_the_code_knows_the_newest_step() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.__path__[0]))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


async def test_a_new_database_has_the_columns_that_the_queries_use(url: str) -> None:
    await (await SqlStore.open(url)).close()
    engine = sa.create_engine(parse_url(url))
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        found = {
            name: {
                (c["name"], c["nullable"], c["type"].compile(engine.dialect).partition(" COLLATE")[0])
                for c in inspector.get_columns(name)
            }
            for name in inspector.get_table_names()
            if name != VERSION_TABLE
        }
        wanted = {
            table.name: {(c.name, c.nullable, c.type.compile(engine.dialect)) for c in table.columns}
            for table in tables.metadata.tables.values()
        }
        keys = {name: inspector.get_pk_constraint(name)["constrained_columns"] for name in found}
    engine.dispose()
    assert found == wanted
    assert keys == {t.name: [c.name for c in t.primary_key] for t in tables.metadata.tables.values()}


async def test_opening_again_changes_nothing(url: str) -> None:
    store = await SqlStore.open(url)
    model = await created(store)
    await store.close()
    for _ in range(2):
        store = await SqlStore.open(url)
        assert await store.get_model("default", "m") == model
        assert len(await store.list_namespaces()) == 1
        await store.close()


async def test_many_in_one_process_may_open_a_new_database_at_once(url: str) -> None:
    stores = await asyncio.gather(*(SqlStore.open(url) for _ in range(6)))
    for store in stores:
        assert len(await store.list_namespaces()) == 1
        await store.close()


async def test_many_processes_may_open_a_new_database_at_once(url: str) -> None:
    code = (
        "import asyncio, sys; from modelyard.store import SqlStore\n"
        "async def main():\n"
        "    store = await SqlStore.open(sys.argv[1])\n"
        "    print(len(await store.list_namespaces()))\n"
        "    await store.close()\n"
        "sys.stdin.readline()\n"  # all are loaded before the first opens
        "asyncio.run(main())"
    )
    pipe = asyncio.subprocess.PIPE
    openers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, url, stdin=pipe, stdout=pipe) for _ in range(4)
    ]
    answers = await asyncio.gather(*(opener.communicate(b"\n") for opener in openers))
    assert [out for out, _ in answers] == [b"1\n"] * 4


async def test_a_database_of_a_newer_version_is_left_alone(url: str) -> None:
    await (await SqlStore.open(url)).close()
    execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(Unavailable, match=r"newer Modelyard \(schema 9999; this one knows up to") as error:
        await SqlStore.open(url)
    assert "Upgrade Modelyard" in error.value.message


async def test_somebody_elses_tables_are_left_alone(url: str) -> None:
    execute(url, "CREATE TABLE models (x INTEGER)", "INSERT INTO models VALUES (1)")
    with pytest.raises(Unavailable, match=r"not Modelyard's \(models\)"):
        await SqlStore.open(url)
    execute(url, "DELETE FROM models WHERE x = 1", "CREATE TABLE namespaces (x INTEGER)")
