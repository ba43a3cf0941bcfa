"""What fires, and is over, as models change: over both databases."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from modelyard import tasks
from modelyard.client import webhooks as receivers
from modelyard.control.alert_ports import AlertQuery
from modelyard.control.ports import Answered, EventQuery, Load, Loads
from modelyard.control.troubles import MENDED
from modelyard.domain.alerts import AlertKind, AlertState, rule_of
from modelyard.domain.commands import Change
from modelyard.domain.errors import Unavailable
from modelyard.domain.model import Event, Instance, InstancePhase, Waiting
from modelyard.domain.spec import Resources
from modelyard.domain.states import State
from modelyard.domain.webhooks import DeliveryState
from modelyard.store import SqlStore
from tests.store.alerting.house import House, house
from tests.store.changes import SPEC, created, event
from tests.store.receiver import receiving


async def test_a_failed_start_is_told_signed_once_and_so_is_its_end(yard: House) -> None:
    model = await created(yard.store)
    async with receiving() as receiver:
        secret = await yard.hook("on-call", f"{receiver.url}/a?b=c")
        await yard.breaks(model)
        await yard.look()
        await yard.look()
        alert = (await yard.firing())["/start-failed"]
        assert (alert.namespace, alert.model, alert.message) == ("default", "m", "It broke.")
        [first] = await receiver.until(1)
        # By hand, and by what is shipped to receivers.
        fields = dict(part.split("=", 1) for part in first.headers["x-modelyard-signature"].split(","))
        signed = hmac.new(secret.encode(), fields["t"].encode() + b"." + first.body, hashlib.sha256)
        assert fields["v1"] == signed.hexdigest()
        told = receivers.verify(
            secret, first.headers["x-modelyard-signature"], first.body, now=yard.clock().timestamp()
        )  # fmt: skip
        assert (told["event"], told["alert"]["fingerprint"]) == ("alert.firing", alert.fingerprint)
        assert first.headers["x-modelyard-delivery"] == told["delivery"]
        await yard.mends(model)
        await yard.look()
        assert not await yard.firing()
        _, second = await receiver.until(2)
        assert (second.told["event"], second.told["alert"]["id"]) == ("alert.resolved", alert.id)
        assert second.told["delivery"] != told["delivery"]
        assert [d.state for d in await yard.settled("on-call")] == [DeliveryState.DELIVERED] * 2
        assert len(receiver.requests) == 2


async def test_crash_loops_queue_times_and_memory_fire_by_what_statuses_and_usage_say(yard: House) -> None:
    model = await created(yard.store, spec=replace(SPEC, resources=Resources(memory=1000)))
    for kind in (AlertKind.QUEUE_TIME, AlertKind.MEMORY):
        await yard.desk.set_rule(replace(rule_of(kind, kind.replace("_", "-")), lasting=0.0, keep=0.0), None)
    await yard.breaks(model, failures=5)
    await yard.look()
    assert (await yard.firing()).keys() == {"/start-failed", "/crash-loop"}
    running = Instance(
        id="i1", target=model.status.target, phase=InstancePhase.READY, address="unix:/x", since=yard.clock()
    )  # fmt: skip
    await yard.change(model, state=State.RUNNING, failures=0, failure=None, instances=(running,))
    yard.usage["i1"] = 950
    await yard.look()
    assert (await yard.firing()).keys() == {"/memory"}
    yard.usage["i1"] = 100
    waiting = Waiting(since=yard.clock(), reason="no_memory", message="no memory is free")
    await yard.change(model, state=State.QUEUED, instances=(), waiting=waiting)
    await yard.look()
    assert not await yard.firing()
    yard.clock.later(seconds=301)
    await yard.look()
    assert (await yard.firing()).keys() == {"/queue-time"}


async def test_a_start_that_is_tried_again_is_no_end_before_it_works(yard: House) -> None:
    model = await created(yard.store)
    await yard.breaks(model)
    await yard.look()
    for state in (State.QUEUED, State.STARTING):
        await yard.change(model, state=state, failures=0, failure=None)
        await yard.look()
        assert "/start-failed" in await yard.firing()
    await yard.mends(model)
    await yard.look()
    assert not await yard.firing()


async def test_what_happens_to_one_model_has_no_other_measured_before_it_is_time(
    yard: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.control.alerting.TICK", 30.0)
    models = []
    for number in range(2):
        model = await created(yard.store, f"m{number}", spec=replace(SPEC, resources=Resources(memory=1000)))
        ready = Instance(
            id=f"i{number}", target=model.status.target, phase=InstancePhase.READY, address="unix:/x",
            since=yard.clock(),
        )  # fmt: skip
        models.append(await yard.change(model, state=State.RUNNING, instances=(ready,)))
    await yard.desk.set_rule(replace(rule_of(AlertKind.MEMORY, "memory"), lasting=0.0), None)
    await yard.look()
    yard.usage.update(i0=990, i1=990)
    yard.alerting._events.append(replace(event(models[0]), id=1))
    await yard.alerting.look()
    assert [alert.model for alert in (await yard.firing()).values()] == ["m0"]
    loop = asyncio.get_running_loop()
    original = loop.time
    monkeypatch.setattr(loop, "time", lambda: original() + 31)
    await yard.alerting.look()
    assert {alert.model for _, alert in await yard.store.alerts.firing()} == {"m0", "m1"}


async def test_error_rates_and_latencies_fire_by_what_the_gateway_has_counted_of_late(yard: House) -> None:
    model = await created(yard.store)
    await yard.desk.set_rule(replace(rule_of(AlertKind.ERROR_RATE, "errors"), keep=0.0), None)
    await yard.desk.set_rule(replace(rule_of(AlertKind.LATENCY, "slow"), keep=0.0, threshold=2.0), None)
    times, loop = itertools.count(1), asyncio.get_running_loop()

    async def told(answers: int, errors: int, slow: int) -> set[str]:
        buckets = [0] * 17
        buckets[4], buckets[13] = answers - slow, slow
        answered = Answered(answers=answers, errors=errors, buckets=tuple(buckets))
        load = Load(
            uid=model.uid, requests=answers, busy=0.0, in_flight=0, waiting=0, quiet=0.0, answered=answered
        )  # fmt: skip
        yard.traffic.take(Loads(gateway="g", at=float(next(times)), models=(load,)))
        await yard.look()
        return set(await yard.firing())

    assert await told(1000, 900, 900) == set()  # before anybody listened
    assert await told(1019, 919, 900) == set()  # too few to judge by
    assert await told(1100, 920, 900) == {"/errors"}
    assert await told(1400, 920, 1000) == {"/errors", "/slow"}
    # Nothing more for a window's length: it is well again, and only what is new counts then.
    shift = 400.0
    original = loop.time
    loop.time = lambda: original() + shift  # type: ignore[method-assign]
    try:
        assert await told(1400, 920, 1000) == set()
    finally:
        loop.time = original  # type: ignore[method-assign]


async def test_failed_schedules_and_policies_fire_by_their_events_until_it_was_long_enough_ago(yard: House) -> None:
    model = await created(yard.store)
    await yard.desk.set_rule(rule_of(AlertKind.POLICY_ACTION, "policies"), None)
    listening = tasks.spawn(yard.alerting._listen(), "listen")
    try:
        for kind in ("ScheduleFailed", "PolicyWarning"):
            stored = await yard.store.get_model_by_uid(model.uid)
            told = replace(event(model, kind), at=yard.clock(), message=f"{kind}!")
            await yard.store.commit(Change(before=stored, after=stored, events=(told,)))
        async with asyncio.timeout(10):
            while len(await yard.firing()) < 2:
                await yard.look()
                await asyncio.sleep(0.02)
        assert (await yard.firing())["/schedule-failed"].message == "ScheduleFailed!"
        yard.clock.later(seconds=901)
        await yard.look()
        assert set(await yard.firing()) == {"/schedule-failed"}
        # Another process goes on where this one was killed.
        async with house(yard.store, yard.home, yard.clock) as next_:
            await next_.look()
            assert set(await next_.firing()) == {"/schedule-failed"}
            yard.clock.later(days=1)
            await next_.look()
            assert not await next_.firing()
    finally:
        await tasks.stop(listening)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_database_that_was_away_for_a_moment_makes_nobody_deaf(
    yard: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.control.alerting._AGAIN", 0.01)
    model = await created(yard.store)
    follows, away = yard.alerting._feed.follow, 2

    async def follow(query: EventQuery, *, heartbeat: float) -> AsyncIterator[Event | None]:
        nonlocal away
        async for found in follows(query, heartbeat=heartbeat):
            yield found
            if away:
                away -= 1
                raise Unavailable("The database is away.")

    monkeypatch.setattr(yard.alerting._feed, "follow", follow)
    running = tasks.spawn(yard.alerting.run(), "alerting")
    try:
        async with asyncio.timeout(10):
            while not yard.alerting._feed._listeners:
                await asyncio.sleep(0.01)
        for kind in ("Told", "Told", "ScheduleFailed"):
            stored = await yard.store.get_model_by_uid(model.uid)
            told = replace(event(model, kind), at=yard.clock())
            await yard.store.commit(Change(before=stored, after=stored, events=(told,)))
        async with asyncio.timeout(10):
            while "/schedule-failed" not in await yard.firing():
                await asyncio.sleep(0.02)
        assert not away
    finally:
        await tasks.stop(running)


def test_what_saves_or_switches_a_schedule_ends_its_failure() -> None:
    ends = ("ScheduleRecovered", "ScheduleSaved", "ScheduleEnabled", "ScheduleDisabled", "ScheduleRemoved")
    assert [MENDED.get(kind) for kind in ends] == [AlertKind.SCHEDULE_FAILED] * 5


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
async def test_a_process_that_begins_again_says_nothing_twice_and_forgets_no_end(store: SqlStore, home: Path) -> None:
    model = await created(store)
    async with receiving() as receiver:
        async with house(store, home, sends=False) as first:
            await first.hook("on-call", receiver.url)
            await first.breaks(model)
            # Killed between what is written and what is sent.
            await first.look()
            assert not receiver.requests
        async with house(store, home) as second:
            await second.look()
            await receiver.until(1)
            await second.settled("on-call")
            # It ended while nobody looked.
            await second.mends(model)
        async with house(store, home) as third:
            await third.look()
            await receiver.until(2)
        assert [r.told["event"] for r in receiver.requests] == ["alert.firing", "alert.resolved"]


async def test_the_alerts_of_a_deleted_model_are_over(yard: House) -> None:
    model = await created(yard.store)
    await yard.breaks(model)
    await yard.look()
    before = await yard.store.get_model_by_uid(model.uid)
    await yard.store.commit(Change(before=before, after=None, events=(event(model, "Deleted"),)))
    yard.alerting.tell()
    await yard.look()
    assert not await yard.firing()
    [alert] = (await yard.store.alerts.list_alerts(AlertQuery())).items
    assert alert.state is AlertState.RESOLVED


async def test_of_a_silenced_alert_nobody_is_told_until_the_silence_is_over(yard: House) -> None:
    model = await created(yard.store)
    async with receiving() as receiver:
        await yard.hook("on-call", receiver.url)
        await yard.breaks(model)
        await yard.look()
        print_ = (await yard.firing())["/start-failed"].fingerprint
        await receiver.until(1)
        await yard.desk.silence(print_, yard.clock() + timedelta(hours=1), "me", "known")
        await yard.mends(model)
        await yard.look()
        await receiver.until(2)  # they were told that it fires
        yard.clock.later(minutes=1)
        await yard.breaks(model)
        await yard.look()
        assert not (await yard.firing())["/start-failed"].notified
        yard.clock.later(hours=1)
        await yard.look()
        assert (await receiver.until(3))[-1].told["event"] == "alert.firing"
