"""What was changed and the entry that says so are there together or not at all, in one chain that only grows."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from modelyard.control import attempts
from modelyard.control.attempts import Attempt
from modelyard.control.auditing import AuditQuery, Verdict
from modelyard.domain import commands
from modelyard.domain.audit import ActorKind, AuditEntry, Origin, Outcome, Record
from modelyard.domain.commands import Change
from modelyard.domain.errors import NotFound, VersionConflict
from modelyard.domain.model import Namespace, Quota, Scale, Transition
from modelyard.domain.operations import fail
from modelyard.domain.states import State
from modelyard.store import SqlStore, audit
from modelyard.store.engine import parse_url
from tests.store.changes import EPOCH, after, asked, created, creation, event, stop

ASKED = Record(
    at=EPOCH, actor="alice", actor_kind=ActorKind.PERSON, action="models.stop", namespace="default", kind="model",
    name="m", reason="tests", origin=Origin(address="10.0.0.7", client="curl/8", request="r-1"),
    change={"asked": {"graceful": True}},
)  # fmt: skip


@contextmanager
def requested(**more: Any) -> Iterator[Attempt]:
    """As the API does it for each request."""
    attempt = Attempt(lambda: replace(ASKED, **more))
    token = attempts.begin(attempt)
    try:
        yield attempt
    finally:
        attempts.end(attempt, token)


async def all_of(store: SqlStore, **filters: Any) -> list[AuditEntry]:
    """The oldest first."""
    return list(reversed((await store.audit.list(AuditQuery(page_size=1000, **filters))).items))


async def whole(store: SqlStore) -> Verdict:
    verdict = await store.audit.verify()
    assert verdict.broken is None
    return verdict


@pytest.fixture
def raw(url: str, store: SqlStore) -> Iterator[sa.Connection]:
    """A connection that knows nothing of the store."""
    engine = sa.create_engine(parse_url(url))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


# ----------------------------------------------------------------------------- what is recorded


async def test_a_request_puts_its_entry_beside_its_change(store: SqlStore) -> None:
    model = await created(store)
    before = len(await all_of(store))
    change = stop(model)
    with requested() as attempt:
        await store.commit(change)
        assert attempt.targets == {("model", "default", "m")}
    (entry,) = (await all_of(store))[before:]
    assert entry.record == replace(
        ASKED,
        change={
            "asked": {"graceful": True},
            "fields": {"desired": {"before": "running", "after": "stopped"}},
            "operation": change.operations[-1].id,
        },
    )
    assert await store.audit.get(entry.number) == entry
    await whole(store)


async def test_a_request_that_changes_many_has_an_entry_for_each_and_one_for_more_of_the_same(store: SqlStore) -> None:
    models = [await created(store, f"m{n}") for n in range(3)]
    before = len(await all_of(store))
    with requested():
        written = await asyncio.gather(*(store.commit(stop(model)) for model in models))
        await store.commit(commands.delete(after(written[0]), commands.StopMode.DRAIN, 30.0, None, asked()))
        await store.create_namespace(Namespace(name="n", created_at=EPOCH))
    names = [entry.record.name for entry in (await all_of(store))[before:]]
    assert sorted(names) == ["m", "m0", "m1", "m2"], "the last is the request's own target"


async def test_what_was_refused_inside_the_transaction_leaves_no_entry_and_can_be_tried_again(store: SqlStore) -> None:
    model = await created(store)
    await store.commit(commands.restart(model, asked()))
    before = len(await all_of(store))
    with requested() as attempt:
        # With another one in the same turn of the loop, which is written all the same.
        first, second = await asyncio.gather(
            store.commit(stop(model)), store.commit(creation("other")), return_exceptions=True
        )
        assert isinstance(first, VersionConflict)
        assert isinstance(second, Change)
        assert attempt.targets == {("model", "default", "other")}
        fresh = await store.get_model("default", "m")
        assert fresh is not None
        await store.commit(stop(fresh))
    assert [e.record.name for e in (await all_of(store))[before:]] == ["other", "m"]
    await whole(store)


async def test_a_namespaces_quota_is_recorded_field_by_field(store: SqlStore) -> None:
    with requested(action="namespaces.update", kind="namespace", name="default", change={}):
        await store.change_namespace("default", lambda n: replace(n, quota=Quota(cpu=4.0, gpus=1)))
    entry = (await all_of(store))[-1]
    assert entry.record.change == {
        "fields": {"quota.cpu": {"before": None, "after": 4}, "quota.gpus": {"before": None, "after": 1}}
    }


async def test_what_finds_nothing_or_fails_is_left_to_the_request_to_record(store: SqlStore) -> None:
    before = len(await all_of(store))
    with requested() as attempt:
        with pytest.raises(NotFound):
            await store.delete_namespace("nowhere")
        assert not await store.pins.remove("s", "default", "pat@stable", preload=False)
        with attempts.aside():
            await store.create_namespace(Namespace(name="n", created_at=EPOCH))
        assert not attempt.targets
        await store.audit.record(replace(ASKED, outcome=Outcome.REFUSED, code="not_found"))
    assert [e.record.outcome for e in (await all_of(store))[before:]] == [Outcome.REFUSED]


async def test_schedules_and_policies_are_recorded_by_the_commands_that_they_give(store: SqlStore) -> None:
    model = await created(store)
    by = replace(asked(), actor="schedule", reason="Stop at 20:00 (Europe/Berlin)")
    stopped = after(await store.commit(commands.stop(model, commands.StopMode.DRAIN, 30.0, by)))
    await store.commit(
        commands.delete(
            stopped,
            commands.StopMode.DRAIN,
            30.0,
            None,
            replace(asked(), actor="policy:nights", reason="The window is over"),
        )
    )
    found = [(e.record.actor, e.record.actor_kind, e.record.action, e.record.reason) for e in await all_of(store)]
    assert found[1:] == [
        ("schedule", ActorKind.SCHEDULE, "models.stop", "Stop at 20:00 (Europe/Berlin)"),
        ("policy:nights", ActorKind.POLICY, "models.delete", "The window is over"),
    ]


async def test_what_the_house_decides_by_itself_is_recorded_and_what_merely_happens_is_not(store: SqlStore) -> None:
    model = await created(store)
    before = len(await all_of(store))

    def as_it_is(**status: Any) -> Change:
        return Change(before=model, after=replace(model, status=replace(model.status, **status)))

    async def write(change: Change) -> None:
        nonlocal model
        model = after(await store.commit(change))

    await write(as_it_is(scale=Scale(desired=3, changed_at=EPOCH, reason="12 requests wait.")))
    await write(as_it_is(scale=Scale(desired=3, changed_at=EPOCH, reason="12 requests still wait.")))
    idles = replace(event(model, "StateChanged"), reason="Unused", actor="controller", data={"to": "idle"})
    moved = Transition(
        before=State.STARTING, after=State.IDLE, at=EPOCH, actor="controller", reason="Unused", message="No request."
    )
    await write(replace(as_it_is(state=State.IDLE, transition=moved), events=(idles,)))
    happened = tuple(event(model, kind) for kind in ("InstanceFailed", "Released", "StateChanged"))
    await write(replace(as_it_is(), events=happened))
    await write(replace(as_it_is(), events=(replace(event(model, "RolledBack"), actor="controller"),)))
    (operation,) = await store.running_operations(model.uid)
    await write(replace(as_it_is(), operations=(fail(operation, EPOCH, "out_of_memory", "It was killed."),)))
    found = [(e.record.actor, e.record.action, e.record.outcome, e.record.code) for e in (await all_of(store))[before:]]
    assert found == [
        ("autoscaler", "models.scale", Outcome.DONE, ""),
        ("autoscaler", "models.idle", Outcome.DONE, ""),
        ("controller", "models.rollback", Outcome.DONE, ""),
        ("tester", "models.deploy", Outcome.FAILED, "out_of_memory"),
    ]
    await whole(store)


async def test_a_task_that_a_request_leaves_behind_acts_by_itself(store: SqlStore) -> None:
    gate = asyncio.Event()

    async def later() -> None:
        await gate.wait()
        await created(store, "later")

    with requested():
        task = asyncio.create_task(later())
    gate.set()
    await task
    assert (await all_of(store))[-1].record.actor == "tester"


# ----------------------------------------------------------------------------- finding


async def test_entries_are_found_by_all_that_they_say(store: SqlStore) -> None:
    day = timedelta(days=1)
    for number, (actor, action, name, outcome) in enumerate(
        [
            ("alice", "models.stop", "a", Outcome.DONE), ("bob", "models.stop", "b", Outcome.REFUSED),
            ("alice", "models.start", "b", Outcome.DONE), ("key:ci", "registry.publish", "p", Outcome.FAILED),
        ]
    ):  # fmt: skip
        await store.audit.record(
            replace(
                ASKED, at=EPOCH + number * day, actor=actor, action=action, name=name, outcome=outcome,
                namespace="x" if name == "p" else "default", reason=f"50%_{actor.upper()} said so",
                origin=Origin(request=f"r-{number}"),
            )
        )  # fmt: skip

    async def numbers(**filters: Any) -> list[int]:
        return [entry.number for entry in await all_of(store, **filters)]

    assert await numbers(actor="alice") == [1, 3]
    assert await numbers(action="models.stop") == [1, 2]
    assert await numbers(namespace="x") == [4]
    assert await numbers(target="b", outcome=Outcome.DONE) == [3]
    assert await numbers(since=EPOCH + day, until=EPOCH + 3 * day) == [2, 3]
    assert await numbers(search="%_ali") == [1, 3]
    assert await numbers(request="r-2") == [3]
    page = await store.audit.list(AuditQuery(page_size=3))
    assert [e.number for e in page.items] == [4, 3, 2]
    rest = await store.audit.list(AuditQuery(page_size=3, page_token=page.next_page_token))
    assert [e.number for e in rest.items] == [1]
    assert rest.next_page_token == ""
    exported = [e.number async for some in store.audit.export(AuditQuery(actor="alice")) for e in some]
    assert exported == [1, 3]


# ----------------------------------------------------------------------------- one chain


async def test_fifty_callers_of_two_processes_share_one_chain_without_a_gap(store: SqlStore, other: SqlStore) -> None:
    models = [await created(store, f"m{n}") for n in range(50)]
    before = len(await all_of(store))

    async def caller(number: int) -> None:
        model, mine = models[number], (store, other)[number % 2]
        for _ in range(4):
            with requested(actor=f"caller{number}"):
                model = after(await mine.commit(commands.restart(model, asked())))

    await asyncio.gather(*(caller(number) for number in range(50)))
    entries = await all_of(store)
    assert len(entries) == before + 200
    assert [e.number for e in entries] == list(range(1, before + 201))
    verdict = await whole(other)
    assert (verdict.entries, verdict.head) == (before + 200, entries[-1].mark)


TAMPERING = {
    "an edit": "UPDATE audit_entries SET reason = 'nothing' WHERE number = 5",
    "an edit of what was changed": "UPDATE audit_entries SET change = '{}' WHERE number = 5",
    "an edit that cannot be read": "UPDATE audit_entries SET change = '5' WHERE number = 5",
    "a deletion": "DELETE FROM audit_entries WHERE number = 5",
    "the end cut off": "DELETE FROM audit_entries WHERE number >= 5",
    "a swap": "UPDATE audit_entries SET number = CASE number WHEN 5 THEN 1006 ELSE 1005 END WHERE number IN (5, 6);"
    "UPDATE audit_entries SET number = number - 1000 WHERE number > 1000",
    "the beginning cut off": "UPDATE audit_chain SET kept_number = 4, kept_hash = "
    "(SELECT hash FROM audit_entries WHERE number = 4); DELETE FROM audit_entries WHERE number <= 4",
    "the end forged": "DELETE FROM audit_entries WHERE number >= 5; UPDATE audit_chain SET number = 4, hash = "
    "(SELECT hash FROM audit_entries WHERE number = 4)",
}


@pytest.mark.parametrize("kind", TAMPERING)
async def test_tampering_past_the_guards_is_found(sqlite_url: str, kind: str) -> None:
    store = await SqlStore.open(sqlite_url)
    for number in range(8):
        await store.audit.record(replace(ASKED, name=f"m{number}"))
    noted = (await whole(store)).head
    engine = sa.create_engine(sqlite_url)
    with engine.begin() as raw:
        drop_guards(raw)
        for statement in TAMPERING[kind].split(";"):
            raw.exec_driver_sql(statement)
    engine.dispose()
    verdict = await store.audit.verify()
    await store.close()
    if kind == "the end forged":
        # Both ends fit: only who has noted the head finds out.
        assert verdict.broken is None
        assert verdict.head != noted
        return
    assert verdict.broken is not None
    assert verdict.broken.number == (4 if kind == "the beginning cut off" else 5)


def drop_guards(raw: sa.Connection) -> None:
    if raw.dialect.name == "postgresql":
        for table in ("audit_entries", "audit_chain"):
            raw.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        return
    for (name,) in raw.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
        if "audit" in name:
            raw.exec_driver_sql(f"DROP TRIGGER {name}")


async def test_the_database_refuses_what_only_tampering_does(store: SqlStore, raw: sa.Connection) -> None:
    for _ in range(3):
        await store.audit.record(ASKED)
    statements = [
        "UPDATE audit_entries SET reason = 'x'", "DELETE FROM audit_entries", "DELETE FROM audit_chain",
        "UPDATE audit_chain SET number = 1", "UPDATE audit_chain SET kept_number = 4",
    ]  # fmt: skip
    if raw.dialect.name == "postgresql":
        statements += ["TRUNCATE audit_entries", "TRUNCATE audit_chain"]
    for statement in statements:
        with pytest.raises(sa.exc.IntegrityError, match="append-only"):
            raw.exec_driver_sql(statement)
        raw.rollback()
    assert (await whole(store)).entries == 3


# ----------------------------------------------------------------------------- retention


async def test_retention_removes_the_beginning_and_the_rest_stays_verifiable(
    store: SqlStore, raw: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_FORGOTTEN", 3)
    now = datetime(2031, 1, 1, tzinfo=UTC)
    # One of the old ones came late: it keeps nobody from going, and what is before the first young one goes.
    for age in (40, 39, 35, 38, 31, 20, 33, 1):
        await store.audit.record(replace(ASKED, at=now - timedelta(days=age)))
    assert await store.audit.retain(None, now) == 0
    assert await store.audit.retain(30, now) == 5
    verdict = await whole(store)
    assert (verdict.kept_from.number, verdict.kept_at, verdict.entries) == (5, now, 4)
    assert [e.number for e in await all_of(store)] == [6, 7, 8, 9]
    said = (await all_of(store))[-1].record
    assert (said.action, said.change["number"], said.actor) == ("audit.retain", 5, "controller")
    assert await store.audit.retain(30, now) == 0, "nothing is said where nothing is done"
    assert await store.audit.retain(0.5, now) == 3
    assert (await whole(store)).kept_from.number == 8
    assert raw.exec_driver_sql("SELECT count(*) FROM audit_entries").scalar() == 2


async def test_retention_does_not_remove_the_traces_of_tampering(store: SqlStore, raw: sa.Connection) -> None:
    now = datetime(2031, 1, 1, tzinfo=UTC)
    for age in (3, 3, 1):
        await store.audit.record(replace(ASKED, at=now - timedelta(days=age)))
    drop_guards(raw)
    raw.exec_driver_sql("DELETE FROM audit_entries WHERE number = 2")
    raw.commit()
    assert await store.audit.retain(2, now) == 0
    assert (await store.audit.verify()).broken is not None


# ----------------------------------------------------------------------------- crashes


@pytest.mark.parametrize("breaks_at", ["INSERT ON audit_entries", "UPDATE ON audit_chain", "INSERT ON events", ""])
async def test_where_a_statement_or_the_commit_fails_neither_the_change_nor_its_entry_stays(
    url: str, store: SqlStore, raw: sa.Connection, breaks_at: str
) -> None:
    model = await created(store)
    before = await whole(store)
    on_sqlite = url.startswith("sqlite")
    database: Any = store._database
    engine = database._writer if on_sqlite else database._engine.sync_engine

    def fail_commit(connection: Any) -> None:
        raise ConnectionError("the plug was pulled")

    if breaks_at:
        how = "BEGIN SELECT RAISE(ABORT, 'no'); END" if on_sqlite else "EXECUTE FUNCTION modelyard_append_only()"
        raw.exec_driver_sql(f"CREATE TRIGGER tr_fails BEFORE {breaks_at} {how}")
        raw.commit()
    else:
        sa.event.listen(engine, "commit", fail_commit)
    with requested() as attempt, pytest.raises((ConnectionError, sa.exc.IntegrityError, sqlite3.IntegrityError)):
        await store.commit(stop(model))
    assert not attempt.targets
    assert await store.get_model("default", "m") == model
    assert (await whole(store)).head == before.head
    if not breaks_at:
        sa.event.remove(engine, "commit", fail_commit)
        await store.commit(stop(model))
        assert (await whole(store)).entries == before.entries + 1
