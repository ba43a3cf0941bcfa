"""Schedules carried out over both databases, in a time that the tests set."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from datetime import time as wall

import pytest
import pytest_asyncio

from modelyard.control import holidays
from modelyard.control.ports import Idempotency, OperationQuery
from modelyard.domain.commands import Change
from modelyard.domain.errors import EtagMismatch, InvalidRequest, NotFound, Refused
from modelyard.domain.model import ModelRef, StopMode
from modelyard.domain.policies import Caps, Policy, Rules
from modelyard.domain.schedules import DayException, HolidayCalendar, ScheduledAction, Weekday, Window
from modelyard.domain.scheduling import Health, Outcome
from modelyard.domain.states import RunState, State
from modelyard.domain.windows import Shutdown, ShutdownWindow
from modelyard.store import SqlStore
from modelyard.tasks import spawn, stop
from tests.store.scheduled import ALICE, MONDAY, OFFICE, Yard
from tests.store.templates import prepare


@pytest_asyncio.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[SqlStore]:
    """For what is decided the same over either database."""
    prepare(sqlite_url)
    opened = await SqlStore.open(sqlite_url)
    yield opened
    await opened.close()


async def test_a_window_starts_and_stops_the_model_and_says_why(store: SqlStore) -> None:
    yard = Yard(store)
    model = await yard.model()
    await yard.save()
    await yard.at(7, 59)
    assert await yard.done_by_schedule() == []
    await yard.at(8)
    assert await yard.done_by_schedule() == [("start", "01-07 08:00")]
    assert (await yard.kept()).last is not None
    assert (await yard.kept()).pending is not None, "the start is under way"
    await yard.come_to_rest()
    await yard.at(8, 1)
    last = (await yard.kept()).last
    assert last is not None
    assert (last.outcome, last.missed, last.occurrence.at) == (Outcome.SUCCEEDED, 0, MONDAY.replace(hour=8))
    await yard.at(20)
    assert await yard.state() is State.STOPPING, "it drains like a manual stop"
    stopping = await store.get_model_by_uid(model.uid)
    assert stopping is not None
    assert stopping.status.stop is not None
    assert (stopping.status.stop.mode, stopping.status.stop.timeout) == ("drain", 30.0)
    assert stopping.status.transition.actor == "schedule"
    assert stopping.status.transition.reason == (
        "Schedule: stop at 20:00 UTC on Monday 2030-01-07, window 08:00 to 20:00"
    )
    await yard.come_to_rest()
    await yard.at(23)
    assert await yard.done_by_schedule() == [("start", "01-07 08:00"), ("stop", "01-07 20:00")]
    assert (await yard.kept()).health is Health.ACTIVE


async def test_saving_extending_and_removing_neither_start_nor_stop(sqlite: SqlStore) -> None:
    yard = Yard(sqlite, MONDAY.replace(hour=12))
    await yard.model()
    await yard.save()
    await yard.at(12, 30)
    assert await yard.state() is State.STOPPED, "in the middle of its window"
    await yard.start()
    await yard.service.switch("default", "m", ALICE, on=False)
    await yard.at(21)
    assert await yard.state() is State.RUNNING, "disabled"
    await yard.service.switch("default", "m", ALICE, on=True)
    await yard.at(22)
    assert await yard.state() is State.RUNNING, "what has gone by stays undone"
    await yard.service.remove("default", "m", ALICE)
    await yard.at(20, days=1)
    assert await yard.done_by_schedule() == []
    with pytest.raises(NotFound, match="has no schedule"):
        await yard.kept()


async def test_a_manual_command_holds_until_the_next_occurrence(store: SqlStore) -> None:
    yard = Yard(store)
    await yard.model()
    await yard.save()
    await yard.at(8)
    await yard.come_to_rest()
    await yard.at(12)
    await yard.stop()
    await yard.at(19, 59)
    assert await yard.state() is State.STOPPED
    await yard.at(20)
    await yard.come_to_rest()
    await yard.at(21)
    await yard.start()
    await yard.at(7, 59, days=1)
    assert await yard.state() is State.RUNNING
    await yard.at(20, days=1)
    assert await yard.state() is State.STOPPING


async def test_a_manual_command_that_came_after_the_time_and_before_the_schedule_wins(store: SqlStore) -> None:
    yard = Yard(store)
    await yard.model(desired=RunState.RUNNING)
    await yard.save()
    yard.now = MONDAY.replace(hour=20, minute=10)  # the control plane was down until a moment ago
    await yard.stop()
    await yard.start()
    yard.restart()
    await yard.at(20, 11)
    assert await yard.state() is State.RUNNING
    last = (await yard.kept()).last
    assert last is not None
    assert (last.outcome, last.occurrence.action) == (Outcome.OVERRIDDEN, ScheduledAction.STOP)
    assert await yard.done_by_schedule() == []


async def test_of_what_was_missed_the_latest_is_caught_up_and_all_is_reported(store: SqlStore) -> None:
    yard = Yard(store)
    await yard.model(desired=RunState.RUNNING)
    await yard.save()
    yard.restart()
    await yard.at(21, 30, days=2)
    assert await yard.done_by_schedule() == [("stop", "01-09 21:30")]
    last = (await yard.kept()).last
    assert last is not None
    assert last.missed == 6
    (event,) = await yard.events("ScheduleCaughtUp")
    assert (
        event.message == "The stop of 2030-01-09 20:00 was missed: it is caught up now, and 5 before it are left out."
    )
    assert (event.data["missed"], event.actor) == (6, "schedule")
    yard.restart()
    await yard.at(21, 31, days=2)
    assert len(await yard.done_by_schedule()) == 1


async def test_what_is_as_wanted_already_needs_no_command(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model(desired=RunState.RUNNING)
    await yard.save()
    await yard.at(8)
    last = (await yard.kept()).last
    assert last is not None
    assert (last.outcome, last.message, last.operation) == (Outcome.SUCCEEDED, "The model ran already.", None)
    assert await yard.done_by_schedule() == []


async def test_a_refused_action_is_a_failure_that_is_retried_less_and_less_often(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model()
    await yard.save()
    yard.models.refusal = Refused("policy", "The policy weekend holds it.")
    tried: list[str] = []
    await yard.at(8)
    for _ in range(5):
        failure = (await yard.kept()).failure
        assert failure is not None
        assert (failure.code, failure.message) == ("policy", "The policy weekend holds it.")
        tried.append(f"{failure.retries} {failure.retry_at:%H:%M}")
        yard.now = failure.retry_at - timedelta(seconds=1)
        await yard.scheduler.settle()
        assert (await yard.kept()).failure == failure, "not before its time"
        yard.now = failure.retry_at
        if len(tried) == 3:
            refusal, service = yard.models.refusal, yard.models
            yard.restart()
            assert yard.models is not service
            yard.models.refusal = refusal
        await yard.scheduler.settle()
    assert tried == ["0 08:01", "1 08:06", "2 08:21", "3 08:36", "4 08:51"]
    assert (await yard.kept()).health is Health.FAILED
    assert len(await yard.events("ScheduleFailed")) == 1, "once, not with every retry"
    yard.models.refusal = None
    await yard.at(9, 6)
    assert (await yard.kept()).health is Health.FAILED, "until it has succeeded"
    await yard.come_to_rest()
    await yard.scheduler.settle()
    kept = await yard.kept()
    assert (kept.health, kept.failure) == (Health.ACTIVE, None)
    assert kept.last is not None
    assert kept.last.outcome is Outcome.SUCCEEDED
    assert len(await yard.events("ScheduleRecovered")) == 1


async def test_a_failure_that_lasts_is_told_of_twice_a_day(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model()
    await yard.save(replace(OFFICE, recurring=Window(wall(6, 30), wall(23))))
    yard.models.refusal = Refused("policy", "The policy weekend holds it.")
    await yard.at(6, 30)
    while yard.now < MONDAY.replace(hour=22):
        failure = (await yard.kept()).failure
        assert failure is not None
        yard.now = failure.retry_at
        await yard.scheduler.settle()
    assert [f"{event.at:%H:%M}" for event in await yard.events("ScheduleFailed")] == ["06:30", "18:36"]


async def test_an_operation_that_fails_is_a_failure_of_the_schedule(store: SqlStore) -> None:
    yard = Yard(store)
    await yard.model()
    await yard.save()
    await yard.at(8)
    await yard.come_to_rest(fail=True)
    await yard.scheduler.settle()
    failure = (await yard.kept()).failure
    assert failure is not None
    assert (failure.code, failure.message, failure.retries) == ("load_failed", "It does not load.", 0)
    await yard.at(8, 1)
    assert await yard.done_by_schedule() == [("start", "01-07 08:00"), ("start", "01-07 08:01")]
    await yard.come_to_rest(fail=True)
    await yard.scheduler.settle()
    failure = (await yard.kept()).failure
    assert failure is not None
    assert failure.retries == 1


async def test_a_manual_command_ends_a_failure_at_once(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model(desired=RunState.RUNNING)
    await yard.save()
    await yard.stop()
    yard.models.refusal = Refused("policy", "Not now.")
    await yard.at(8)
    assert (await yard.kept()).health is Health.FAILED
    await yard.stop()
    await yard.at(8, 0)
    kept = await yard.kept()
    assert kept.health is Health.ACTIVE
    assert kept.last is not None
    assert kept.last.outcome is Outcome.OVERRIDDEN
    yard.models.refusal = None
    await yard.at(12)
    assert await yard.state() is State.STOPPED


async def test_the_next_occurrence_ends_the_retries_of_the_one_before(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model()
    await yard.save()
    yard.models.refusal = Refused("policy", "Not now.")
    await yard.at(8)
    await yard.at(20)
    kept = await yard.kept()
    assert kept.health is Health.ACTIVE
    assert kept.last is not None
    assert kept.last.occurrence.action is ScheduledAction.STOP


async def test_an_extension_puts_the_stop_off_once(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model()
    await yard.save()
    await yard.at(8)
    await yard.come_to_rest()
    await yard.at(19)
    ten = MONDAY.replace(hour=22)
    await yard.service.extend("default", "m", lambda schedule, now: ten, "Demo", ALICE)
    await yard.at(21)
    assert await yard.state() is State.RUNNING
    await yard.at(22)
    assert await yard.done_by_schedule() == [("start", "01-07 08:00"), ("stop", "01-07 22:00")]
    await yard.come_to_rest()
    await yard.at(8, days=1)
    await yard.come_to_rest()
    await yard.at(20, days=1)
    assert (await yard.done_by_schedule())[-1] == ("stop", "01-08 20:00")


async def test_days_off_leave_the_model_alone(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model(desired=RunState.RUNNING)
    monday = MONDAY.date()
    off = DayException(first=monday, last=monday, note="Inventory")
    await yard.save(replace(OFFICE, exceptions=(off,), holidays=HolidayCalendar("DE", "BE")))
    await yard.at(23)
    assert await yard.done_by_schedule() == []
    yard.now = MONDAY
    coming = await yard.service.coming(await yard.kept(), 90)
    assert coming.days_off[0] == (monday, "Inventory")
    assert (monday.replace(month=3, day=8), "Women's Day") in coming.days_off
    await yard.at(20, days=1)
    assert await yard.done_by_schedule() == [("stop", "01-08 20:00")]


async def test_of_a_country_the_first_question_is_asked_beside_the_event_loop(
    sqlite: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard = Yard(sqlite)
    await yard.model()
    await yard.scheduler.settle()
    await yard.save(replace(OFFICE, holidays=HolidayCalendar("DE", "BE")))
    asked, year = list[int](), holidays._year

    def slow(country: str, subdivision: str, number: int) -> Mapping[date, str]:
        asked.append(threading.get_ident())
        return year(country, subdivision, number)

    monkeypatch.setattr(holidays, "_year", slow)
    await yard.at(8)
    assert asked[0] != threading.get_ident()


async def test_a_clock_that_was_set_far_ahead_and_back_silences_no_schedule(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model(desired=RunState.RUNNING)
    await yard.save()
    await yard.at(21, days=400)
    assert len(await yard.done_by_schedule()) == 1
    await yard.come_to_rest()
    await yard.at(7)
    await yard.at(8)
    yard.restart()
    await yard.at(8, 0)
    assert (await yard.done_by_schedule()).count(("start", "01-07 08:00")) == 1


async def test_a_clock_that_is_put_right_takes_nothing_from_the_days_in_between(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model(desired=RunState.RUNNING)
    await yard.save()
    await yard.at(21, days=3)
    await yard.come_to_rest()
    before = len(await yard.done_by_schedule())
    yard.scheduler.tell("nobody", True)
    for hour in (7, 8, 20):
        await yard.at(hour)  # without a restart
        await yard.come_to_rest()
    assert (await yard.done_by_schedule()).count(("start", "01-07 08:00")) == 1
    assert len(await yard.done_by_schedule()) == before + 2


async def test_a_start_that_was_worked_out_before_a_needless_stop_loses(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model()
    await yard.save()
    schedules, raced = yard.store.schedules, False
    asked = schedules.commanded_since

    async def commanded_since(model: ModelRef, at: datetime) -> bool:
        nonlocal raced
        found = await asked(model, at)
        if not raced:
            raced = True
            yard.now += timedelta(seconds=1)
            await yard.models.stop("default", "m", StopMode.FORCE, 0.0, ALICE)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedules, "commanded_since", commanded_since)
        await yard.at(8)
    assert raced
    assert await yard.state() is State.STOPPED
    assert await yard.done_by_schedule() == []
    last = (await yard.kept()).last
    assert last is not None
    assert last.outcome is Outcome.OVERRIDDEN


async def test_a_schedule_goes_with_its_model(store: SqlStore) -> None:
    yard = Yard(store)
    model = await yard.model()
    await yard.save()
    await store.commit(Change(before=await store.get_model_by_uid(model.uid), after=None))
    assert await store.schedules.get(model.uid) is None
    await yard.at(8)
    assert await yard.done_by_schedule() == []


async def test_what_another_process_saves_is_carried_out(store: SqlStore, other: SqlStore) -> None:
    yard = Yard(store, shared=True)
    await yard.model()
    await yard.at(7)
    await Yard(other, yard.now).save()
    yard.scheduler.tell(None, True)  # the connection by which news come was lost
    await yard.at(8)
    assert await yard.done_by_schedule() == [("start", "01-07 08:00")]


async def test_two_who_think_that_they_drive_act_once(store: SqlStore, other: SqlStore) -> None:
    one, two = Yard(store), Yard(other)
    names = [f"m{number}" for number in range(4)]
    for name in names:
        await one.model(name)
        await one.save(name=name)
    await asyncio.gather(one.at(7), two.at(7))
    await asyncio.gather(one.at(8), two.at(8))
    assert await one.done_by_schedule() == [("start", "01-07 08:00")] * 4


async def test_one_who_does_not_drive_does_nothing(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model()
    await yard.save()
    yard.driving = False
    await yard.at(8)
    assert await yard.done_by_schedule() == []
    assert not yard.scheduler._told, "nor does it keep what it is told"
    yard.driving = True
    await yard.at(8, 1)
    assert await yard.done_by_schedule() == [("start", "01-07 08:01")]


async def test_a_start_in_the_window_of_a_policy_is_skipped_and_made_up_at_its_end(store: SqlStore) -> None:
    yard = Yard(store)
    await yard.model()
    await yard.save()
    night = ShutdownWindow(days=(Weekday.MONDAY,), start=wall(0), stop=wall(9, 30))
    rules = Rules(shutdown=Shutdown(timezone="UTC", windows=(night,)))
    await yard.policies.put(Policy(name="nights", rules=rules), ALICE)
    await yard.at(8)
    kept = await yard.kept()
    assert kept.health is Health.ACTIVE
    assert kept.last is not None
    assert (kept.last.outcome, kept.last.message) == (Outcome.SKIPPED, "policy:nights until 2030-01-07 09:30 UTC")
    assert await yard.events("ScheduleFailed") == []
    await yard.at(9, 29)
    assert await yard.done_by_schedule() == []
    yard.restart()
    await yard.at(9, 30)
    assert await yard.done_by_schedule() == [("start", "01-07 09:30")]


async def test_a_start_that_was_skipped_is_not_made_up_over_what_is_newer(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    until_late = replace(OFFICE, recurring=Window(wall(8), wall(23)))
    weekend = ShutdownWindow(days=(Weekday.MONDAY,), start=wall(0), stop=wall(21))
    rules = Rules(shutdown=Shutdown(timezone="UTC", windows=(weekend,)))
    await yard.policies.put(Policy(name="monday", rules=rules), ALICE)
    for name in ("m", "by-hand", "edited"):
        await yard.model(name)
        await yard.save(name=name, schedule=OFFICE if name == "m" else until_late)
    await yard.at(8)
    for name in ("m", "by-hand", "edited"):
        last = (await yard.kept(name)).last
        assert last is not None
        assert last.outcome is Outcome.SKIPPED
    await yard.stop("by-hand")
    await yard.save(name="edited", schedule=replace(until_late, recurring=Window(wall(8), wall(22))))
    await yard.at(21)
    assert [kind for kind, _ in await yard.done_by_schedule()] == ["stop"], "the stop of 20:00, and no start"
    assert await yard.events("ScheduleFailed") == []


async def test_a_start_that_a_policy_refuses_for_good_is_a_failure(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    await yard.model()
    await yard.save()
    window = ShutdownWindow(days=(Weekday.MONDAY,), start=wall(0), stop=wall(9, 30))
    rules = Rules(shutdown=Shutdown(timezone="UTC", windows=(window,)), caps=Caps(cpu=0.5))
    await yard.policies.put(Policy(name="small", rules=rules), ALICE)
    await yard.at(8)
    failure = (await yard.kept()).failure
    assert failure is not None
    assert failure.code == "policy"


async def test_a_change_is_guarded_by_etag_and_idempotency_key(store: SqlStore) -> None:
    yard = Yard(store)
    await yard.model()
    with pytest.raises(EtagMismatch, match="there is none"):
        await yard.service.save("default", "m", OFFICE, replace(ALICE, if_match=1))
    first = await yard.save()
    await yard.at(8)
    assert (await yard.kept()).edits == first.edits, "what it does itself is no change of it"
    key = Idempotency(scope="s", key="k", fingerprint="f")
    caller = replace(ALICE, if_match=first.edits, idempotency=key)
    later = replace(OFFICE, enabled=False)
    assert (await yard.service.save("default", "m", later, caller)).edits == first.edits + 1
    assert (await yard.service.save("default", "m", later, caller)).edits == first.edits + 1, "repeated"
    with pytest.raises(EtagMismatch, match=f"version {first.edits + 1}"):
        await yard.service.save("default", "m", OFFICE, replace(ALICE, if_match=first.edits))
    await yard.service.remove("default", "m", ALICE)
    await yard.at(8, 1)
    await yard.save()
    with pytest.raises(EtagMismatch):
        await yard.service.save("default", "m", later, replace(ALICE, if_match=first.edits))
    with pytest.raises(InvalidRequest) as refused:
        await yard.save(replace(OFFICE, timezone="Mars/Base", recurring=None))
    assert {problem.path for problem in refused.value.problems} == {"timezone", "recurring"}


async def test_the_loop_wakes_by_itself_when_the_time_has_come(sqlite: SqlStore) -> None:
    yard = Yard(sqlite)
    model = await yard.model()
    await yard.save()
    fired = asyncio.Event()
    yard.feed.watchers.append(lambda uid, _: fired.set() if uid == model.uid else None)
    yard.now, yard.ticks_since = MONDAY.replace(hour=8) - timedelta(seconds=0.3), time.monotonic()
    running = spawn(yard.scheduler.run(), "schedules")
    try:
        async with asyncio.timeout(20):
            await fired.wait()
    finally:
        await stop(running)
    page = await sqlite.list_operations(OperationQuery())
    (start,) = [operation for operation in page.items if operation.actor == "schedule"]
    assert start.created_at >= MONDAY.replace(hour=8), "not before its minute"
