"""A database is brought up to date when it is opened, by one opener however many there are."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from modelyard.control.ports import ModelQuery, OperationQuery
from modelyard.domain import commands
from modelyard.domain.commands import Change
from modelyard.domain.errors import Unavailable
from modelyard.domain.model import Failure, Quota
from modelyard.domain.operations import OperationKind
from modelyard.domain.spec import Engine
from modelyard.store import SqlStore, migrations, tables
from modelyard.store.engine import parse_url
from modelyard.store.migrate import HEAD, VERSION_TABLE
from tests.store.changes import asked, created


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


# -------------------------------------------------------------------------------------------- from one step to the next

_AT = datetime(2029, 5, 1, tzinfo=UTC)
_OLD_SPEC = {"engine": "mock", "resources": {"cpu": 1.0, "memory": 1 << 30, "gpus": 0}, "description": "né\u0000"}
_OLD_STATUS = {
    "state": "running", "target": {"generation": 1, "epoch": 0},
    "transition": {
        "before": None, "after": "running", "at": "2029-05-01T00:00:00Z", "actor": "a", "reason": "", "message": "",
    },
}  # fmt: skip


def first_version(url: str, models: int) -> None:
    """A database as the first version has left it."""
    config = Config()
    config.set_main_option("script_location", str(migrations.__path__[0]))
    config.set_main_option("path_separator", "os")
    engine = sa.create_engine(parse_url(url), json_serializer=lambda text: text)
    old = sa.MetaData()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        old.reflect(connection)
        for number in range(models):
            uid, spec = f"uid-{number:04}", dict(_OLD_SPEC)
            if number == 1:
                spec["resources"] = {"cpu": 2.0, "memory": None, "gpus": 0}
            common = {"created_at": _AT, "spec": json.dumps(spec)}
            connection.execute(old.tables["models"].insert().values(
                uid=uid, namespace="default", name=f"m{number}", engine="mock", desired="running", state="running",
                generation=1, target_generation=1, version=3, updated_at=_AT, status=json.dumps(_OLD_STATUS), **common,
            ))  # fmt: skip
            connection.execute(
                old.tables["revisions"].insert().values(model_uid=uid, generation=1, actor="a", reason="r", **common)
            )
            connection.execute(old.tables["operations"].insert().values(
                id=f"op-{number}", kind="deploy", state="running" if number == 0 else "succeeded", namespace="default",
                model=f"m{number}", model_uid=uid, actor="a", reason="", created_at=_AT, updated_at=_AT, steps="[]",
            ))  # fmt: skip
    engine.dispose()


async def test_what_the_first_version_wrote_is_taken_over(url: str) -> None:
    first_version(url, 1203)
    store = await SqlStore.open(url)
    model = await store.get_model("default", "m0")
    assert model is not None
    assert (model.site, model.version, model.spec.engine, model.spec.description) == ("", 3, Engine.MOCK, "né\x00")
    assert (model.spec.resources.cpu, model.spec.resources.memory) == (None, 1 << 30), "the silent default is gone"
    other = await store.get_model("default", "m1")
    assert other is not None
    assert other.spec.resources.cpu == 2.0, "what was asked for stays"
    for number in (2, 600, 1202):
        spec = await store.get_revision_spec(f"uid-{number:04}", 1)
        assert spec is not None
        assert spec.resources.cpu is None
    (revision,) = await store.list_revisions(model.uid)
    assert (revision.spec, revision.failure) == (model.spec, None)
    assert (await store.list_namespaces())[0].quota == Quota()
    assert [o.id for o in await store.running_operations(model.uid)] == ["op-0"]
    assert len((await store.list_models(ModelQuery(page_size=1000))).items) == 1000
    await store.close()


async def test_after_that_it_takes_what_is_new(url: str) -> None:
    first_version(url, 1)
    store = await SqlStore.open(url)
    await store.adopt_models("here")
    (model,) = await store.models_of("here")
    change = commands.restart(model, asked())
    operation = replace(change.operations[0], kind=OperationKind.ROLLBACK)
    failure = Failure(code="crashed", message="It ended.")
    await store.commit(replace(change, operations=(operation,), given_up=((1, failure),)))
    assert [o.kind for o in (await store.list_operations(OperationQuery(model="m0"))).items] == ["rollback", "deploy"]
    assert (await store.list_revisions(model.uid))[0].failure == failure
    quota = Quota(cpu=2.5, gpus=1)
    assert (await store.change_namespace("default", lambda n: replace(n, quota=quota))).quota == quota
    found = await store.get_namespace("default")
    assert found is not None
    assert found.quota == quota
    dance = replace(operation, id="op-x", kind="dance")  # type: ignore[arg-type]
    current = (await store.models_of("here"))[0]
    with pytest.raises(sa.exc.IntegrityError):
        await store.commit(Change(before=current, after=current, operations=(dance,)))
    await store.close()
