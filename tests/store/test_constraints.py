"""The database itself refuses states that the domain rules out, whoever writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import sqlalchemy as sa

from modelyard.store import SqlStore
from modelyard.store.engine import parse_url
from tests.store.changes import created

MODEL = {
    "uid": "u", "namespace": "default", "name": "n", "engine": "mock", "desired": "running", "state": "running",
    "generation": 1, "target_generation": 1, "version": 1, "created_at": "2030-01-01 00:00:00",
    "updated_at": "2030-01-01 00:00:00", "spec": "{}", "status": "{}",
}  # fmt: skip
OPERATION = {
    "id": "o", "kind": "delete", "state": "running", "namespace": "default", "model": "n", "model_uid": "u",
    "actor": "", "reason": "", "created_at": "2030-01-01 00:00:00", "updated_at": "2030-01-01 00:00:00", "steps": "[]",
}  # fmt: skip


@pytest.fixture
def raw(url: str, store: SqlStore) -> Iterator[sa.Connection]:
    """A connection that knows nothing of the store."""
    engine = sa.create_engine(parse_url(url))
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        yield connection
    engine.dispose()


def insert(connection: sa.Connection, table: str, base: Mapping[str, object], **other: object) -> None:
    row = {**base, **other}
    # Literals, not parameters: PostgreSQL then reads each as its column's type.
    values = ", ".join(str(v) if isinstance(v, int) else f"'{v}'" for v in row.values())
    connection.exec_driver_sql(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})")


def test_a_model_that_cannot_be_is_refused(raw: sa.Connection) -> None:
    for wrong in (
        {"state": "sleeping"},
        {"state": ""},
        {"desired": "maybe"},
        {"desired": "stopped"},
        {"desired": "stopped", "state": "starting"},
        {"state": "stopped"},
        {"state": "stopping"},
        {"state": "deleting"},
        {"generation": 0, "target_generation": 0},
        {"target_generation": 0},
        {"target_generation": 2},
        {"version": 0},
        {"namespace": "nobody"},
    ):
        with pytest.raises(sa.exc.IntegrityError):
            insert(raw, "models", MODEL, **wrong)
        raw.rollback()
    insert(raw, "models", MODEL)


def test_every_state_has_its_desired_run_state(raw: sa.Connection) -> None:
    off, on = ("stopped", "stopping", "deleting"), ("queued", "starting", "running", "updating", "idle", "error")
    for state in (*off, *on):
        insert(
            raw, "models", MODEL, uid=state, name=state, state=state, desired="stopped" if state in off else "running"
        )


def test_names_are_unique_in_a_namespace_and_namespaces_with_models_stay(raw: sa.Connection) -> None:
    insert(raw, "models", MODEL)
    raw.commit()
    for statement in (
        lambda: insert(raw, "models", MODEL, uid="other"),
        lambda: insert(raw, "models", MODEL, name="other"),
        lambda: raw.exec_driver_sql("DELETE FROM namespaces"),
    ):
        with pytest.raises(sa.exc.IntegrityError):
            statement()
        raw.rollback()


def test_revisions_and_labels_go_with_their_model(raw: sa.Connection) -> None:
    insert(raw, "models", MODEL)
    revision = {"model_uid": "u", "generation": 1, "created_at": "2030-01-01", "actor": "", "reason": "", "spec": "{}"}
    insert(raw, "revisions", revision)
    insert(raw, "model_labels", {"model_uid": "u", "key": "k", "value": "v"})
    raw.commit()
    for wrong in ({}, {"generation": 0}, {"model_uid": "nobody"}):
        with pytest.raises(sa.exc.IntegrityError):
            insert(raw, "revisions", revision, **wrong)
        raw.rollback()
    raw.exec_driver_sql("DELETE FROM models")
    for table in ("revisions", "model_labels"):
        assert raw.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0


def test_operations_are_of_known_kinds_and_one_delete_of_a_model_runs(raw: sa.Connection) -> None:
    insert(raw, "operations", OPERATION)
    insert(raw, "operations", OPERATION, id="p", model_uid="v")
    insert(raw, "operations", OPERATION, id="q", state="succeeded")
    insert(raw, "operations", OPERATION, id="r", kind="stop")
    raw.commit()
    for wrong in ({"id": "x"}, {"id": "x", "kind": "dance"}, {"id": "x", "state": "lost", "kind": "stop"}):
        with pytest.raises(sa.exc.IntegrityError):
            insert(raw, "operations", OPERATION, **wrong)
        raw.rollback()


async def test_events_are_never_changed_nor_removed(raw: sa.Connection, store: SqlStore) -> None:
    await created(store)
    statements = ["UPDATE events SET message = 'x'", "DELETE FROM events"]
    if raw.dialect.name == "postgresql":
        statements.append("TRUNCATE events")
    for statement in statements:
        with pytest.raises(sa.exc.IntegrityError, match="append-only"):
            raw.exec_driver_sql(statement)
        raw.rollback()
    assert raw.exec_driver_sql("SELECT count(*) FROM events").scalar() == 1


def test_a_key_stands_once_in_its_scope(raw: sa.Connection) -> None:
    key = {"scope": "s", "key": "k", "fingerprint": "f", "operation_id": "o", "created_at": "2030-01-01"}
    insert(raw, "idempotency_keys", key)
    insert(raw, "idempotency_keys", key, scope="t")
    with pytest.raises(sa.exc.IntegrityError):
        insert(raw, "idempotency_keys", key, fingerprint="g")
