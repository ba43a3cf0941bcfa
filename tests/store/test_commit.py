"""One change, one transaction: versions, conflicts, what is written together and what is not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from modelyard.control.ports import EventQuery, OperationQuery
from modelyard.domain import commands
from modelyard.domain.commands import Change
from modelyard.domain.errors import AlreadyExists, NotFound, VersionConflict
from modelyard.domain.model import StopMode, Target
from modelyard.domain.operations import OperationState, cancel, succeed
from modelyard.domain.spec import Replicas
from modelyard.domain.states import State
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, SPEC, after, asked, created, creation, event, stop


async def test_a_new_model_is_read_back_as_it_was_written(store: SqlStore) -> None:
    change = creation(spec=replace(SPEC, labels={"team": "a"}))
    written = await store.commit(change)
    model = after(written)
    assert model == replace(after(change), version=1)
    assert await store.get_model("default", "m") == model
    assert await store.get_model_by_uid(model.uid) == model
    assert await store.list_revisions(model.uid) == [change.revision]
    assert await store.get_operation(change.operations[0].id) == change.operations[0]
    assert (await store.list_events(EventQuery())).items == written.events
    assert written.events[0].id == await store.last_event_id() == 1


async def test_what_is_not_there_is_none(store: SqlStore) -> None:
    assert await store.get_model("default", "m") is None
    assert await store.get_model_by_uid("m") is None
    assert await store.get_operation("o") is None
    assert await store.get_revision_spec("m", 1) is None
    assert await store.get_revision_spec("m", 2**70) is None
    assert await store.get_namespace("nobody") is None
    assert await store.last_event_id() == 0
    assert await store.count_models() == {}
    assert await store.model_versions() == {}


async def test_every_write_raises_the_version(store: SqlStore) -> None:
    model = await created(store)
    stopping = after(await store.commit(stop(model)))
    assert (model.version, stopping.version) == (1, 2)
    assert await store.get_model("default", "m") == stopping
    assert stopping.status.state is State.STOPPING


async def test_a_change_worked_out_from_an_old_version_writes_nothing(store: SqlStore) -> None:
    old = await created(store)
    new = after(await store.commit(stop(old)))
    late = commands.update(old, replace(SPEC, options={"latency_ms": 1}), asked())
    with pytest.raises(VersionConflict, match="after version 1"):
        await store.commit(late)
    assert await store.get_model("default", "m") == new
    assert len(await store.list_revisions(old.uid)) == 1
    assert await store.get_operation(late.operations[0].id) is None
    assert await store.last_event_id() == 2


async def test_a_taken_name_writes_nothing(store: SqlStore) -> None:
    model = await created(store)
    second = creation()
    with pytest.raises(AlreadyExists, match="default/m"):
        await store.commit(second)
    assert await store.get_model("default", "m") == model
    assert await store.get_operation(second.operations[0].id) is None


async def test_a_missing_namespace_is_not_found(store: SqlStore) -> None:
    with pytest.raises(NotFound, match="nobody"):
        await store.commit(creation(namespace="nobody"))
    assert await store.model_versions() == {}


async def test_an_equal_model_keeps_its_version_but_its_operation_is_recorded(store: SqlStore) -> None:
    model = await created(store, desired="stopped")
    change = replace(stop(model), after=model)
    written = await store.commit(change)
    assert written.after == model == await store.get_model("default", "m")
    assert await store.get_operation(change.operations[0].id) == change.operations[0]


async def test_an_equal_model_must_still_be_the_stored_one(store: SqlStore) -> None:
    stopped = await created(store, desired="stopped")
    no_op = stop(stopped)
    await store.commit(commands.start(stopped, asked()))
    with pytest.raises(VersionConflict):
        await store.commit(no_op)


async def test_a_deleted_model_leaves_its_history(store: SqlStore) -> None:
    model = await created(store, spec=replace(SPEC, labels={"a": "b"}))
    deletion = commands.delete(model, StopMode.FORCE, 0, None, asked())
    deleting = after(await store.commit(deletion))
    done = succeed(deletion.operations[0], EPOCH, {"deleted": True})
    await store.commit(Change(before=deleting, after=None, operations=(done,), events=(event(model, "Deleted"),)))

    assert await store.get_model("default", "m") is None
    assert await store.list_revisions(model.uid) == []
    assert await store.get_operation(done.id) == done
    history = (await store.list_events(EventQuery(model_uid=model.uid))).items
    assert [e.type for e in history] == ["Deleted", "DeleteRequested", "Created"]
    with pytest.raises(VersionConflict):
        await store.commit(stop(model))
    again = await created(store)
    assert again.uid != model.uid


async def test_the_spec_of_the_target_comes_with_the_model(store: SqlStore) -> None:
    model = await created(store)
    better = replace(SPEC, options={"latency_ms": 5}, labels={"a": "b"})
    updated = after(await store.commit(commands.update(model, better, asked())))
    assert (updated.spec, updated.target_spec, updated.generation) == (better, better, 2)

    # As the plan goes back: it sets the target; whose spec that is, the store knows.
    back = replace(updated, status=replace(updated.status, target=Target(1)))
    written = after(await store.commit(Change(before=updated, after=back)))
    assert (written.spec, written.target_spec) == (better, SPEC)
    assert await store.get_model("default", "m") == written
    assert await store.get_revision_spec(model.uid, 2) == better

    replicas = replace(better, replicas=Replicas(min=2, max=2))
    beside = replace(written, spec=replicas, generation=3)
    change = commands.update(written, replicas, asked())
    written = after(await store.commit(replace(change, after=beside)))
    assert (written.spec, written.target_spec) == (replicas, SPEC)
    assert await store.get_model("default", "m") == written


async def test_an_operation_that_has_ended_stays_as_it_is(store: SqlStore) -> None:
    change = creation()
    model = after(await store.commit(change))
    done = succeed(change.operations[0], EPOCH, {"state": "running"})
    await store.commit(Change(before=model, after=model, operations=(done,)))
    late = cancel(change.operations[0], EPOCH, "Too late.")
    with pytest.raises(VersionConflict, match=done.id):
        await store.commit(Change(before=model, after=model, operations=(late,), events=(event(model),)))
    assert await store.get_operation(done.id) == done
    assert await store.last_event_id() == 1


async def test_a_second_delete_waits_for_the_first_or_takes_its_place(store: SqlStore) -> None:
    model = await created(store)
    first = commands.delete(model, StopMode.DRAIN, 60, None, asked())
    deleting = after(await store.commit(first))
    second = commands.delete(deleting, StopMode.FORCE, 0, None, asked())
    with pytest.raises(AlreadyExists, match=first.operations[0].id):
        await store.commit(second)
    superseded = cancel(first.operations[0], EPOCH, "Superseded.")
    await store.commit(replace(second, operations=(*second.operations, superseded)))
    running = await store.running_operations(model.uid)
    assert [o.id for o in running if o.kind == "delete"] == [second.operations[0].id]


async def test_running_operations_are_the_oldest_first_and_only_of_the_model(store: SqlStore) -> None:
    model = await created(store)
    await created(store, "other")
    model = after(await store.commit(commands.restart(model, asked())))
    model = after(await store.commit(commands.restart(model, asked())))
    running = await store.running_operations(model.uid)
    assert [o.kind for o in running] == ["deploy", "restart", "restart"]
    assert running == sorted(running, key=lambda o: o.created_at)
    done = succeed(running[0], EPOCH, {})
    await store.commit(Change(before=model, after=model, operations=(done,)))
    assert await store.running_operations(model.uid) == running[1:]
    listed = (await store.list_operations(OperationQuery(done=True))).items
    assert [(o.id, o.state) for o in listed] == [(done.id, OperationState.SUCCEEDED)]


async def test_of_all_who_change_one_version_one_wins(store: SqlStore, other: SqlStore) -> None:
    model = await created(store)
    changes = [commands.restart(model, asked()) for _ in range(10)]
    outcomes = await asyncio.gather(
        *((store, other)[i % 2].commit(change) for i, change in enumerate(changes)), return_exceptions=True
    )
    won = [change for change, outcome in zip(changes, outcomes, strict=True) if isinstance(outcome, Change)]
    assert len(won) == 1
    assert all(isinstance(o, (Change, VersionConflict)) for o in outcomes)
    running = await store.running_operations(model.uid)
    assert [o.id for o in running[1:]] == [won[0].operations[0].id]


async def test_no_update_is_lost_between_two_stores(store: SqlStore, other: SqlStore) -> None:
    model = await created(store)

    async def restart_often(mine: SqlStore) -> None:
        for _ in range(10):
            while True:
                now = await mine.get_model_by_uid(model.uid)
                assert now is not None
                try:
                    await mine.commit(commands.restart(now, asked()))
                    break
                except VersionConflict:
                    continue

    await asyncio.gather(*(restart_often(s) for s in (store, other, store, other)))
    last = await store.get_model_by_uid(model.uid)
    assert last is not None
    assert (last.status.target.epoch, last.version) == (40, 41)


async def test_of_all_who_create_one_name_one_wins(store: SqlStore, other: SqlStore) -> None:
    outcomes = await asyncio.gather(
        *((store, other)[i % 2].commit(creation()) for i in range(8)), return_exceptions=True
    )
    assert sorted(type(o).__name__ for o in outcomes) == ["AlreadyExists"] * 7 + ["Change"]
    assert len(await store.model_versions()) == 1


async def test_a_namespace_is_not_deleted_under_a_model_that_is_being_created(store: SqlStore, other: SqlStore) -> None:
    from modelyard.domain.model import Namespace

    for round_ in range(5):
        name = f"ns{round_}"
        await store.create_namespace(Namespace(name=name, created_at=EPOCH))
        outcomes = await asyncio.gather(
            store.commit(creation(namespace=name)), other.delete_namespace(name), return_exceptions=True
        )
        assert sum(isinstance(o, Exception) for o in outcomes) == 1, outcomes
