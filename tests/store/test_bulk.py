"""Work on many models over real databases: what is chosen, begun once, cancelled, overtaken by a stop, and counted.
What the reconciler would make of the models, the tests write."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from datetime import time as clock

import pytest

from modelyard.backends.port import Backend
from modelyard.control.bulk import BulkService
from modelyard.control.bulk_carrying import BulkCarrier
from modelyard.control.caller import Caller
from modelyard.control.capacity import CapacityViews
from modelyard.control.changes import ChangeFeed
from modelyard.control.checks import SpecChecks
from modelyard.control.forecasts import Forecasts
from modelyard.control.ports import EventQuery, Fence, Idempotency, OperationQuery, Place
from modelyard.control.schedule_service import ScheduleService
from modelyard.control.service import ModelService
from modelyard.control.stop_many import StopMany
from modelyard.domain import commands
from modelyard.domain.access import Grant, Principal, PrincipalKind, Role
from modelyard.domain.bulk import Bulk, BulkAction, Item, ItemState, OnError, Order, ScheduleEdit, Selection
from modelyard.domain.capacity import Inventory
from modelyard.domain.commands import Asked, Change
from modelyard.domain.errors import InvalidRequest, NotFound, Refused, Unavailable
from modelyard.domain.model import Failure, Namespace, StopMode, Transition
from modelyard.domain.operations import Operation, OperationState, settle
from modelyard.domain.schedules import HolidayCalendar, Schedule, ScheduleKind, Window
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import RunState, State
from modelyard.store import SqlStore
from modelyard.tasks import spawn, stop
from tests.store.changes import EPOCH

ADMIN = Caller(actor="admin", reason="test")
EVERY = Selection(all=True)
OFFICE_HOURS = Schedule(kind=ScheduleKind.RECURRING, timezone="Europe/Berlin", recurring=Window(clock(8), clock(20)))


async def _inventories() -> Mapping[str, Inventory]:
    return {}


class Sloppy(SqlStore):
    """May be away for some commits, and may die: then nothing that it is asked to commit ever comes back."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__(store._database)
        self.away = 0
        self.dies_after: int | None = None
        self.dead = asyncio.Event()

    async def commit(
        self, change: Change, idempotency: Idempotency | Place | None = None, fence: Fence | None = None
    ) -> Change:
        if self.away:
            self.away -= 1
            raise Unavailable("The database is away.")
        if self.dies_after is not None:
            if not self.dies_after:
                self.dead.set()
                await asyncio.Event().wait()
            self.dies_after -= 1
        return await super().commit(change, idempotency, fence)


class Yard:
    """A control process, and the tests' hands in place of its reconciler."""

    def __init__(self, store: SqlStore, site: str = "here") -> None:
        self.store = Sloppy(store)
        self.site = site
        self.feed = ChangeFeed(self.store)
        backends: dict[str, Backend] = {}
        checks = SpecChecks(self.store, backends)  # type: ignore[arg-type]
        self.models = ModelService(self.store, self.feed, checks, self.now)
        self.stop_many = StopMany(self.store, self.feed, self.models, self.store.bulks, self.now)
        views = CapacityViews(self.store, _inventories)
        forecasts = Forecasts(self.store, self.models, checks, views, self.now, site=site)
        self.bulk = BulkService(self.store, self.store.bulks, self.models, forecasts, self.now, site=site)
        self.schedules = ScheduleService(self.store.schedules, self.models, self.feed, self.now)
        self.driving = True

    _seconds = 0

    def now(self) -> datetime:
        Yard._seconds += 1
        return EPOCH + timedelta(seconds=Yard._seconds)

    @asynccontextmanager
    async def carrying(self) -> AsyncIterator[None]:
        carrier = BulkCarrier(
            self.store, self.store.bulks, self.feed, self.models, self.now, site=self.site,
            driving=lambda: self.driving, sites=self.store, timetables=self.schedules,
        )  # fmt: skip
        self.bulk.on_change = carrier.tell
        task = spawn(carrier.run(), "carrier")
        try:
            yield
        finally:
            await stop(task)

    async def create(self, count: int, *, namespace: str = "default", running: bool = False, team: str = "m") -> None:
        changes = []
        for number in range(count):
            name = f"{team}{number:03}"
            asked = Asked(actor="a", reason="", at=self.now(), operation_id=f"op-{namespace}-{name}")
            desired = RunState.RUNNING if running else RunState.STOPPED
            spec = Spec(engine=Engine.MOCK, labels={"team": team})
            changes.append(commands.create(f"{namespace}-{name}", namespace, name, spec, desired, asked, self.site))
        await asyncio.gather(*(self.store.commit(change) for change in changes))

    async def becomes(self, name: str, state: State, failure: Failure | None = None) -> None:
        """As the reconciler would write it."""
        model = await self.store.get_model("default", name)
        assert model is not None
        at = self.now()
        transition = Transition(
            before=model.status.state, after=state, at=at, actor="controller", reason="test", message="Test."
        )
        status = replace(model.status, state=state, transition=transition, failure=failure)
        after = replace(model, status=status)
        running = await self.store.running_operations(model.uid)
        ended = tuple(new for old in running if (new := settle(old, after, at)) != old)
        await self.feed.commit(Change(before=model, after=after, operations=ended), wake=False)

    async def take(self, action: BulkAction, selection: Selection, **more: object) -> str:
        order = Order(action=action, selection=selection, **more)  # type: ignore[arg-type]
        return (await self.bulk.take(order, None, ADMIN)).id

    async def ended(self, operation_id: str) -> Operation:
        found = await self.feed.wait_operation(operation_id, 10)
        assert found.done, (found, await self.store.bulks.items(operation_id))
        return found

    async def items(self, operation_id: str) -> dict[str, Item]:
        return {item.model.name: item for item in await self.store.bulks.items(operation_id)}

    async def until(self, operation_id: str, holds: Callable[[Counter[ItemState]], bool]) -> Counter[ItemState]:
        """The counts once they are so."""
        async with asyncio.timeout(10):
            while True:
                counts = Counter(item.state for item in await self.store.bulks.items(operation_id))
                if holds(counts):
                    return counts
                await asyncio.sleep(0.01)

    async def requested(self, kind: str = "StartRequested") -> list[str]:
        page = await self.store.list_events(EventQuery(page_size=1000))
        return sorted(event.model for event in page.items if event.type == kind)


@pytest.fixture(autouse=True)
def _short_lulls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.control.bulk_carrying._LULL", 0.05)


@pytest.fixture
def yard(store: SqlStore) -> Yard:
    return Yard(store)


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
    yard: Yard, order: Order, paths: set[str]
) -> None:
    await yard.create(1)
    with pytest.raises(InvalidRequest) as error:
        await yard.bulk.take(order, None, ADMIN)
    assert {problem.path for problem in error.value.problems} == paths
    assert await yard.store.bulks.active() == []


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


async def test_a_key_leads_to_the_request_that_it_came_with(yard: Yard) -> None:
    await yard.create(1)
    caller = replace(ADMIN, idempotency=Idempotency(scope="admin", key="k", fingerprint="f"))
    order = Order(action=BulkAction.STOP, selection=EVERY)
    found = await asyncio.gather(*(yard.bulk.take(order, None, caller) for _ in range(3)))
    assert len({operation.id for operation in found}) == 1
    assert len(await yard.store.bulks.active()) == 1


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


async def test_what_is_so_already_is_no_failure(yard: Yard) -> None:
    await yard.create(3)
    await yard.models.start("default", "m000", ADMIN)
    await yard.becomes("m000", State.RUNNING)
    await yard.models.start("default", "m001", ADMIN)
    async with yard.carrying():
        taken = await yard.take(BulkAction.START, EVERY)
        await yard.until(taken, lambda c: c[ItemState.RUNNING] == 2)
        await yard.becomes("m002", State.RUNNING)
        await yard.becomes("m001", State.ERROR, Failure(code="crashed", message="It ended."))
        await yard.ended(taken)
    items = await yard.items(taken)
    assert {name: item.state for name, item in items.items()} == {
        "m000": ItemState.SUCCEEDED, "m001": ItemState.FAILED, "m002": ItemState.SUCCEEDED,
    }  # fmt: skip
    assert "running" in items["m000"].message
    assert len(await yard.requested()) == 3


async def test_labels_are_set_and_removed_without_touching_what_runs(yard: Yard) -> None:
    await yard.create(2, running=True)
    async with yard.carrying():
        taken = await yard.take(BulkAction.LABEL, EVERY, labels={"tier": "gold", "team": None})
        assert (await yard.ended(taken)).state is OperationState.SUCCEEDED
    for name in ("m000", "m001"):
        model = await yard.store.get_model("default", name)
        assert model is not None
        assert model.spec.labels == {"tier": "gold"}
        assert model.status.target.generation == 1


async def test_schedules_are_changed_model_by_model(yard: Yard) -> None:
    await yard.create(3)

    async def kept() -> list[bool | None]:
        """Of each model, whether its schedule is enabled; None: it has none."""
        found = [await yard.store.schedules.get(f"default-m00{number}") for number in range(3)]
        return [None if one is None else one.schedule.enabled for one in found]

    async with yard.carrying():
        for edit, selection, outcome, codes, left in (
            (ScheduleEdit.SET, EVERY, "succeeded", {""}, [True, True, True]),
            (ScheduleEdit.DISABLE, EVERY, "succeeded", {""}, [False, False, False]),
            (ScheduleEdit.REMOVE, Selection(names=("default/m001",)), "succeeded", {""}, [False, None, False]),
            (ScheduleEdit.REMOVE, Selection(names=("default/m001",)), "succeeded", {""}, [False, None, False]),
            (ScheduleEdit.ENABLE, EVERY, "failed", {"", "not_found"}, [True, None, True]),
        ):
            schedule = OFFICE_HOURS if edit is ScheduleEdit.SET else None
            taken = await yard.take(BulkAction.SCHEDULE, selection, schedule_edit=edit, schedule=schedule)
            assert (await yard.ended(taken)).state == outcome
            assert {item.code for item in (await yard.items(taken)).values()} == codes
            assert await kept() == left


async def test_a_schedule_that_cannot_be_is_refused_as_a_whole(yard: Yard) -> None:
    await yard.create(1)
    for schedule, path in (
        (replace(OFFICE_HOURS, recurring=Window(clock(8), clock(9))), "schedule.recurring.stop"),
        (replace(OFFICE_HOURS, holidays=HolidayCalendar("XX")), "schedule.holidays.country"),
    ):
        with pytest.raises(InvalidRequest) as error:
            await yard.take(BulkAction.SCHEDULE, EVERY, schedule_edit=ScheduleEdit.SET, schedule=schedule)
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


async def test_a_forecast_changes_nothing_and_says_what_would_happen(yard: Yard) -> None:
    await yard.create(2)
    await yard.create(1, team="r", running=True)
    await yard.becomes("r000", State.RUNNING)
    for action, does in (
        (BulkAction.STOP, {"r000"}),
        (BulkAction.RESTART, {"r000"}),
        (BulkAction.START, {"m000", "m001"}),
    ):
        found = await yard.bulk.forecast(Order(action=action, selection=EVERY), None, ADMIN)
        assert {one.model.name for one in found if one.does} == does
        assert all((one.error is None) != (action is BulkAction.RESTART and not one.does) for one in found)
    assert await yard.requested() == []
    assert not (await yard.store.list_operations(OperationQuery(done=False, model=""))).items


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


# ------------------------------------------------------------------------------------------- stops that are newer


async def test_a_stop_makes_the_starts_void_that_were_asked_for_before_it(yard: Yard) -> None:
    await yard.create(4)
    async with yard.carrying():
        taken = await yard.take(BulkAction.START, EVERY, concurrency=1)
        await yard.until(taken, lambda c: c[ItemState.RUNNING] == 1)
        for name in ("m000", "m002"):
            await yard.models.stop("default", name, StopMode.DRAIN, 30, ADMIN)
        await yard.becomes("m000", State.STOPPED)
        await yard.until(taken, lambda c: c[ItemState.CANCELLED] == 2 and c[ItemState.RUNNING] == 1)
        await yard.becomes("m001", State.RUNNING)
        await yard.until(taken, lambda c: c[ItemState.SUCCEEDED] == 1 and c[ItemState.RUNNING] == 1)
        await yard.becomes("m003", State.RUNNING)
        ended = await yard.ended(taken)
    items = await yard.items(taken)
    assert (items["m002"].state, items["m002"].code) == (ItemState.CANCELLED, "superseded")
    assert ended.state is OperationState.FAILED
    assert await yard.requested() == ["m000", "m001", "m003"]


async def test_a_start_that_was_asked_for_after_a_stop_stands(yard: Yard) -> None:
    await yard.create(1)
    await yard.models.start("default", "m000", ADMIN)
    await yard.models.stop("default", "m000", StopMode.FORCE, 0, ADMIN)
    taken = await yard.take(BulkAction.START, EVERY)
    # The end of the stop is written after the request, and is no stop after it.
    await yard.becomes("m000", State.STOPPED)
    async with yard.carrying():
        await yard.until(taken, lambda c: c[ItemState.RUNNING] == 1)


async def test_the_emergency_stop_goes_before_all_that_was_to_be_started(yard: Yard) -> None:
    await yard.create(300)
    taken = await yard.take(BulkAction.START, EVERY, concurrency=0)
    stops = await yard.take(BulkAction.STOP, Selection(search="m00"))
    async with yard.carrying():
        while not await yard.requested():
            await asyncio.sleep(0)
        found = await yard.stop_many.stop(None, [], {}, StopMode.FORCE, 0, ADMIN)
        assert [one.error for one in found] == [None] * 300
        begun = await yard.requested()
        await yard.until(taken, lambda c: not c[ItemState.WAITING])
        await yard.until(stops, lambda c: not c[ItemState.WAITING])
    assert await yard.requested() == begun, "nothing is started after it"
    page = await yard.store.models_of("here")
    assert all(model.desired is RunState.STOPPED for model in page)


# ------------------------------------------------------------------------------------------- crashes


@pytest.mark.parametrize("commits", [0, 1, 5, 12, 13])
async def test_a_process_that_dies_leaves_nothing_undone_and_nothing_done_twice(store: SqlStore, commits: int) -> None:
    """``commits`` items are begun before it dies: none, some, all, and before the end is written."""
    first = Yard(store)
    await first.create(12)
    first.store.dies_after = commits
    async with first.carrying():
        taken = await first.take(BulkAction.STOP, EVERY)
        if commits < 13:
            await asyncio.wait_for(first.store.dead.wait(), 10)
        else:
            await first.ended(taken)
    second = Yard(store)
    async with second.carrying():
        assert (await second.ended(taken)).state is OperationState.SUCCEEDED
    page = await store.list_operations(OperationQuery(page_size=1000))
    stops = Counter(operation.model for operation in page.items if operation.kind == "stop")
    assert stops == {f"m{number:03}": 1 for number in range(12)}


async def test_a_schedule_that_was_being_set_when_the_process_died_is_set_after_all(store: SqlStore) -> None:
    yard = Yard(store)
    await yard.create(2)
    taken = await yard.take(BulkAction.SCHEDULE, EVERY, schedule_edit=ScheduleEdit.SET, schedule=OFFICE_HOURS)
    assert await store.bulks.begin(Place(bulk=taken, position=0, uid="default-m000"))
    async with yard.carrying():
        assert (await yard.ended(taken)).state is OperationState.SUCCEEDED
    for name in ("m000", "m001"):
        kept = await yard.store.schedules.get(f"default-{name}")
        assert kept is not None
        assert kept.schedule == OFFICE_HOURS


async def test_a_schedule_whose_end_could_not_be_written_is_set_again(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.control.bulk_carrying._POLL", 0.05)
    await yard.create(2)
    settles, away = yard.store.bulks.settle, 1

    async def settle(place: Place, state: ItemState, code: str, message: str) -> None:
        nonlocal away
        if away:
            away -= 1
            raise Unavailable("The database is away.")
        await settles(place, state, code, message)

    monkeypatch.setattr(yard.store.bulks, "settle", settle)
    async with yard.carrying():
        taken = await yard.take(BulkAction.SCHEDULE, EVERY, schedule_edit=ScheduleEdit.SET, schedule=OFFICE_HOURS)
        assert (await yard.ended(taken)).state is OperationState.SUCCEEDED
    assert not away


async def test_a_carrier_that_meets_the_unexpected_goes_on(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.control.bulk_carrying._AGAIN", 0.01)
    await yard.create(1)
    active, broken = yard.store.bulks.active, 1

    async def unexpected() -> Sequence[Bulk]:
        nonlocal broken
        if broken:
            broken -= 1
            raise KeyError("unexpected")
        return await active()

    monkeypatch.setattr(yard.store.bulks, "active", unexpected)
    taken = await yard.take(BulkAction.STOP, EVERY)
    async with yard.carrying():
        assert (await yard.ended(taken)).state is OperationState.SUCCEEDED
    assert not broken


async def test_two_processes_that_carry_one_out_at_once_begin_each_item_once(store: SqlStore, other: SqlStore) -> None:
    first, second = Yard(store), Yard(other)
    await first.create(60)
    async with first.carrying(), second.carrying():
        taken = await first.take(BulkAction.STOP, EVERY)
        second.bulk._tell()
        assert (await first.ended(taken)).state is OperationState.SUCCEEDED
    page = await store.list_operations(OperationQuery(page_size=1000))
    assert Counter(o.model for o in page.items if o.kind == "stop") == {f"m{n:03}": 1 for n in range(60)}


async def test_another_site_goes_on_with_what_nobody_carries_out(store: SqlStore) -> None:
    gone, here = Yard(store, "gone"), Yard(store)
    await here.create(2)
    taken = await gone.take(BulkAction.STOP, EVERY)
    async with here.carrying():
        assert (await here.ended(taken)).state is OperationState.SUCCEEDED


async def test_one_that_does_not_drive_leaves_it_to_those_who_do(store: SqlStore) -> None:
    yard = Yard(store)
    await yard.create(1)
    yard.driving = False
    async with yard.carrying():
        taken = await yard.take(BulkAction.STOP, EVERY)
        await asyncio.sleep(0.05)
        assert (await yard.items(taken))["m000"].state is ItemState.WAITING


async def test_what_passes_by_itself_is_tried_again(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.control.bulk_carrying._AGAIN", 0.01)
    await yard.create(3)
    taken = await yard.take(BulkAction.STOP, EVERY)
    yard.store.away = 7
    async with yard.carrying():
        assert (await yard.ended(taken)).state is OperationState.SUCCEEDED
    failing = await yard.take(BulkAction.STOP, EVERY)
    yard.store.away = 15
    async with yard.carrying():
        ended = await yard.ended(failing)
    assert ended.error is not None
    assert ended.error["code"] == "bulk_failed"
    assert {item.code for item in (await yard.items(failing)).values()} == {"unavailable"}


# ------------------------------------------------------------------------------------------- many


async def test_a_thousand_are_accepted_within_a_second(sqlite_url: str) -> None:
    store = await SqlStore.open(sqlite_url)
    yard = Yard(store)
    await yard.create(1000)
    began = time.perf_counter()
    taken = await yard.take(BulkAction.STOP, EVERY)
    took = time.perf_counter() - began
    async with yard.carrying():
        ended = await yard.ended(taken)
    assert ended.result is not None
    assert ended.result["counts"]["succeeded"] == 1000
    assert took < 1, took
    await store.close()
