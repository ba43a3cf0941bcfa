"""What a request on many models chooses, what comes of each, and how it is cancelled, over real databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import time as clock

import pytest

from modelyard.control.caller import Caller
from modelyard.control.ports import Idempotency, OperationQuery
from modelyard.domain import commands
from modelyard.domain.access import Grant, Principal, PrincipalKind, Role
from modelyard.domain.bulk import BulkAction, ItemState, OnError, Order, ScheduleEdit, Selection
from modelyard.domain.commands import Asked, Change
from modelyard.domain.errors import InvalidRequest, NotFound, Refused
from modelyard.domain.model import Failure, Namespace
from modelyard.domain.operations import Operation, OperationState
from modelyard.domain.schedules import HolidayCalendar, Window
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import RunState, State
from modelyard.store import SqlStore
from tests.store.bulk_yard import ADMIN, EVERY, OFFICE_HOURS, Yard


@pytest.fixture
def yard(store: SqlStore) -> Yard:
    return Yard(store)


@pytest.fixture
def light(sqlite: SqlStore) -> Yard:
    """For what is decided the same over either database."""
    return Yard(sqlite)


# ------------------------------------------------------------------------------------------- what is chosen


async def test_what_was_chosen_is_on_record_and_stays(yard: Yard) -> None:
    await yard.create(3, team="a")
    await yard.create(2, team="b")
    taken = await yard.take(BulkAction.STOP, Selection(labels={"team": "a"}))
    await yard.create(2, team="a2")
    assert list(await yard.items(taken)) == ["a000", "a001", "a002"]
    async with yard.carrying():
        assert (await yard.ended(taken)).state is OperationState.SUCCEEDED
    assert list(await yard.items(taken)) == ["a000", "a001", "a002"]


async def test_a_missing_name_fails_alone_and_the_whole_is_no_success(yard: Yard) -> None:
    await yard.create(2)
    named = Selection(names=("default/m000", "default/nobody", "nowhere/m", "default/m001", "default/m000"))
    async with yard.carrying():
        taken = await yard.take(BulkAction.STOP, named, on_error=OnError.STOP)
        ended = await yard.ended(taken)
    items = await yard.items(taken)
    assert {name: item.state for name, item in items.items()} == {
        "m000": ItemState.SUCCEEDED, "nobody": ItemState.FAILED, "m": ItemState.FAILED, "m001": ItemState.SUCCEEDED,
    }  # fmt: skip
    assert items["nobody"].code == "not_found"
    assert "nobody" in items["nobody"].message
    assert ended.state is OperationState.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "partial_failure"
    assert ended.error["message"] == "2 of 4 models succeeded: 2 failed."
    assert ended.result is not None
    assert ended.result["counts"]["failed"] == 2


@pytest.mark.parametrize(
    ("order", "paths"),
    [
        (Order(action=BulkAction.STOP, selection=Selection()), {"models"}),
        (Order(action=BulkAction.STOP, selection=Selection(all=True, search="m")), {"models"}),
        (Order(action=BulkAction.STOP, selection=Selection(search="nothing")), {"selector"}),
        (Order(action=BulkAction.STOP, selection=Selection(namespaces=("none",))), {"selector.namespaces"}),
        (Order(action=BulkAction.STOP, selection=EVERY, timeout=-1), {"timeout"}),
        (Order(action=BulkAction.LABEL, selection=EVERY), {"labels"}),
        (Order(action=BulkAction.LABEL, selection=EVERY, labels={"no label": "x"}), {"labels.no label"}),
        (Order(action=BulkAction.SCHEDULE, selection=EVERY), {"schedule"}),
    ],
)
async def test_what_is_wrong_with_a_request_is_said_before_anything_is_done(
    light: Yard, order: Order, paths: set[str]
) -> None:
    await light.create(1)
    with pytest.raises(InvalidRequest) as error:
        await light.bulk.take(order, None, ADMIN)
    assert {problem.path for problem in error.value.problems} == paths
    assert await light.store.bulks.active() == []


async def test_a_request_about_one_namespace_reaches_into_no_other(yard: Yard) -> None:
    await yard.store.create_namespace(Namespace(name="b", created_at=yard.now()))
    await yard.create(1)
    await yard.create(1, namespace="b")
    everything = Order(action=BulkAction.STOP, selection=EVERY)
    taken = await yard.bulk.take(everything, "b", ADMIN)
    assert taken.namespace == "b"
    assert [item.model.namespace for item in await yard.store.bulks.items(taken.id)] == ["b"]
    with pytest.raises(InvalidRequest, match="several"):
        await yard.bulk.take(replace(everything, selection=Selection(names=("default/m000",))), "b", ADMIN)
    wide = await yard.bulk.take(everything, None, ADMIN)
    assert {item.model.namespace for item in await yard.store.bulks.items(wide.id)} == {"b", "default"}


async def test_a_key_leads_to_the_request_that_it_came_with(light: Yard) -> None:
    await light.create(1)
    caller = replace(ADMIN, idempotency=Idempotency(scope="admin", key="k", fingerprint="f"))
    order = Order(action=BulkAction.STOP, selection=EVERY)
    found = await asyncio.gather(*(light.bulk.take(order, None, caller) for _ in range(3)))
    assert len({operation.id for operation in found}) == 1
    assert len(await light.store.bulks.active()) == 1


async def test_each_item_is_held_against_what_its_caller_may(yard: Yard) -> None:
    for name in ("b", "c"):
        await yard.store.create_namespace(Namespace(name=name, created_at=yard.now()))
        await yard.create(1, namespace=name)
    await yard.create(1)
    grants = (Grant("default", Role.OPERATOR), Grant("b", Role.VIEWER))
    someone = Principal(name="someone", kind=PrincipalKind.PERSON, grants=grants)
    caller = Caller(actor="someone", principal=someone)
    names = ("default/m000", "b/m000", "c/m000")
    async with yard.carrying():
        taken = await yard.bulk.take(Order(action=BulkAction.STOP, selection=EVERY), None, caller)
        await yard.ended(taken.id)
        named = await yard.bulk.take(Order(action=BulkAction.STOP, selection=Selection(names=names)), None, caller)
        await yard.ended(named.id)
        deleted = await yard.bulk.take(Order(action=BulkAction.DELETE, selection=EVERY), None, caller)
        await yard.ended(deleted.id)

    async def codes(of: Operation) -> dict[str, str]:
        return {item.model.namespace: item.code or str(item.state) for item in await yard.bulk.items(of, someone)}

    assert await codes(taken) == {"default": "succeeded", "b": "forbidden"}, "what it does not see is not there"
    assert await codes(named) == {"default": "succeeded", "b": "forbidden", "c": "not_found"}
    assert await codes(deleted) == {"default": "forbidden", "b": "forbidden"}
    viewer = Principal(name="other", kind=PrincipalKind.PERSON, grants=(Grant("b", Role.VIEWER),))
    assert [item.model.namespace for item in await yard.bulk.items(taken, viewer)] == ["b"]
    with pytest.raises(NotFound):
        await yard.bulk.cancel(taken.id, Caller(actor="other", principal=viewer))


# ------------------------------------------------------------------------------------------- what comes of it


async def test_so_many_are_started_at_a_time_and_those_in_the_queue_do_not_count(yard: Yard) -> None:
    await yard.create(7)
    async with yard.carrying():
        taken = await yard.take(BulkAction.START, EVERY, concurrency=2)
        await yard.until(taken, lambda c: c[ItemState.RUNNING] == 2)
        assert await yard.requested() == ["m000", "m001"]
        await yard.becomes("m000", State.RUNNING)
        await yard.until(taken, lambda c: c[ItemState.RUNNING] == 2 and c[ItemState.SUCCEEDED] == 1)
        for name in ("m001", "m002"):
            await yard.becomes(name, State.QUEUED)
        await yard.until(taken, lambda c: c[ItemState.RUNNING] == 4)
        assert await yard.requested() == ["m000", "m001", "m002", "m003", "m004"]
        started = 0
        while started < 7:
            names = await yard.requested()
            started = len(names)
            for name in names:
                model = await yard.store.get_model("default", name)
                if model is not None and model.status.state is not State.RUNNING:
                    await yard.becomes(name, State.RUNNING)
            await asyncio.sleep(0.01)
        assert (await yard.ended(taken)).state is OperationState.SUCCEEDED


async def test_a_start_that_fails_is_said_of_its_model_and_ends_the_rest_if_that_is_wanted(yard: Yard) -> None:
    await yard.create(4)
    async with yard.carrying():
        taken = await yard.take(BulkAction.START, EVERY, concurrency=2, on_error=OnError.STOP)
        await yard.until(taken, lambda c: c[ItemState.RUNNING] == 2)
        await yard.becomes("m000", State.ERROR, Failure(code="crashed", message="It ended."))
        await yard.until(taken, lambda c: c[ItemState.SKIPPED] == 2)
        assert not (operation := await yard.feed.wait_operation(taken, 0)).done, operation
        await yard.becomes("m001", State.RUNNING)
        ended = await yard.ended(taken)
    items = await yard.items(taken)
    assert (items["m000"].state, items["m000"].code) == (ItemState.FAILED, "crashed")
    assert ended.state is OperationState.FAILED
    assert ended.error is not None
    assert ended.error["message"] == "1 of 4 models succeeded: 1 failed, 2 skipped."
    assert await yard.requested() == ["m000", "m001"]


async def test_what_is_so_already_is_no_failure(light: Yard) -> None:
    await light.create(3)
    await light.models.start("default", "m000", ADMIN)
    await light.becomes("m000", State.RUNNING)
    await light.models.start("default", "m001", ADMIN)
    async with light.carrying():
        taken = await light.take(BulkAction.START, EVERY)
        await light.until(taken, lambda c: c[ItemState.RUNNING] == 2)
        await light.becomes("m002", State.RUNNING)
        await light.becomes("m001", State.ERROR, Failure(code="crashed", message="It ended."))
        await light.ended(taken)
    items = await light.items(taken)
    assert {name: item.state for name, item in items.items()} == {
        "m000": ItemState.SUCCEEDED, "m001": ItemState.FAILED, "m002": ItemState.SUCCEEDED,
    }  # fmt: skip
    assert "running" in items["m000"].message
    assert len(await light.requested()) == 3


async def test_labels_are_set_and_removed_without_touching_what_runs(light: Yard) -> None:
    await light.create(2, running=True)
    async with light.carrying():
        taken = await light.take(BulkAction.LABEL, EVERY, labels={"tier": "gold", "team": None})
        assert (await light.ended(taken)).state is OperationState.SUCCEEDED
    for name in ("m000", "m001"):
        model = await light.store.get_model("default", name)
        assert model is not None
        assert model.spec.labels == {"tier": "gold"}
        assert model.status.target.generation == 1


async def test_schedules_are_changed_model_by_model(light: Yard) -> None:
    await light.create(3)

    async def kept() -> list[bool | None]:
        """Of each model, whether its schedule is enabled; None: it has none."""
        found = [await light.store.schedules.get(f"default-m00{number}") for number in range(3)]
        return [None if one is None else one.schedule.enabled for one in found]

    async with light.carrying():
        for edit, selection, outcome, codes, left in (
            (ScheduleEdit.SET, EVERY, "succeeded", {""}, [True, True, True]),
            (ScheduleEdit.DISABLE, EVERY, "succeeded", {""}, [False, False, False]),
            (ScheduleEdit.REMOVE, Selection(names=("default/m001",)), "succeeded", {""}, [False, None, False]),
            (ScheduleEdit.REMOVE, Selection(names=("default/m001",)), "succeeded", {""}, [False, None, False]),
            (ScheduleEdit.ENABLE, EVERY, "failed", {"", "not_found"}, [True, None, True]),
        ):
            schedule = OFFICE_HOURS if edit is ScheduleEdit.SET else None
            taken = await light.take(BulkAction.SCHEDULE, selection, schedule_edit=edit, schedule=schedule)
            assert (await light.ended(taken)).state == outcome
            assert {item.code for item in (await light.items(taken)).values()} == codes
            assert await kept() == left


async def test_a_schedule_that_cannot_be_is_refused_as_a_whole(light: Yard) -> None:
    await light.create(1)
    for schedule, path in (
        (replace(OFFICE_HOURS, recurring=Window(clock(8), clock(9))), "schedule.recurring.stop"),
        (replace(OFFICE_HOURS, holidays=HolidayCalendar("XX")), "schedule.holidays.country"),
    ):
        with pytest.raises(InvalidRequest) as error:
            await light.take(BulkAction.SCHEDULE, EVERY, schedule_edit=ScheduleEdit.SET, schedule=schedule)
        assert path in {problem.path for problem in error.value.problems}


async def test_a_model_made_anew_under_the_name_is_not_the_one_that_was_meant(yard: Yard) -> None:
    await yard.create(2)
    taken = await yard.take(BulkAction.START, EVERY)
    gone = await yard.store.get_model("default", "m000")
    await yard.store.commit(Change(before=gone, after=None))
    asked = Asked(actor="a", reason="", at=yard.now(), operation_id="op-again")
    await yard.store.commit(
        commands.create("another", "default", "m000", Spec(engine=Engine.MOCK), RunState.STOPPED, asked, "here")
    )
    async with yard.carrying():
        await yard.until(taken, lambda c: c[ItemState.FAILED] == 1 and c[ItemState.RUNNING] == 1)
    assert await yard.requested() == ["m001"]


async def test_a_forecast_changes_nothing_and_says_what_would_happen(light: Yard) -> None:
    await light.create(2)
    await light.create(1, team="r", running=True)
    await light.becomes("r000", State.RUNNING)
    for action, does in (
        (BulkAction.STOP, {"r000"}),
        (BulkAction.RESTART, {"r000"}),
        (BulkAction.START, {"m000", "m001"}),
    ):
        found = await light.bulk.forecast(Order(action=action, selection=EVERY), None, ADMIN)
        assert {one.model.name for one in found if one.does} == does
        assert all((one.error is None) != (action is BulkAction.RESTART and not one.does) for one in found)
    assert await light.requested() == []
    assert not (await light.store.list_operations(OperationQuery(done=False, model=""))).items


# ------------------------------------------------------------------------------------------- cancelling


async def test_what_has_not_begun_is_cancelled_and_what_runs_goes_on(yard: Yard) -> None:
    await yard.create(5)
    async with yard.carrying():
        taken = await yard.take(BulkAction.START, EVERY, concurrency=2)
        await yard.until(taken, lambda c: c[ItemState.RUNNING] == 2)
        await yard.bulk.cancel(taken, ADMIN)
        await yard.becomes("m000", State.RUNNING)
        await yard.becomes("m001", State.RUNNING)
        ended = await yard.ended(taken)
        with pytest.raises(Refused, match="already"):
            await yard.bulk.cancel(taken, ADMIN)
    assert ended.state is OperationState.CANCELLED
    assert ended.error is not None
    assert ended.error["message"] == "Cancelled by admin. 2 of 5 models succeeded: 3 cancelled."
    assert await yard.requested() == ["m000", "m001"]


async def test_what_runs_is_cancelled_too_if_that_is_wanted(yard: Yard) -> None:
    await yard.create(3)
    async with yard.carrying():
        taken = await yard.take(BulkAction.START, EVERY, concurrency=2)
        await yard.until(taken, lambda c: c[ItemState.RUNNING] == 2)
        await yard.bulk.cancel(taken, ADMIN, running=True)
        assert (await yard.ended(taken)).state is OperationState.CANCELLED
    assert {item.state for item in (await yard.items(taken)).values()} == {ItemState.CANCELLED}
    model = await yard.store.get_model("default", "m000")
    assert model is not None
    assert model.desired is RunState.STOPPED


async def test_an_item_is_either_begun_or_cancelled(yard: Yard) -> None:
    """However a cancel falls between the starts, each model was started exactly if its item says so."""
    await yard.create(40)
    async with yard.carrying():
        taken = await yard.take(BulkAction.START, EVERY, concurrency=0)
        while not await yard.requested():
            await asyncio.sleep(0)
        await yard.bulk.cancel(taken, ADMIN)
        counts = await yard.until(taken, lambda c: not c[ItemState.WAITING])
    items = await yard.items(taken)
    assert await yard.requested() == [name for name, item in items.items() if item.state is ItemState.RUNNING]
    assert counts[ItemState.RUNNING] + counts[ItemState.CANCELLED] == 40
