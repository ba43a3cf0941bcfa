"""Who is told of alerts, how often, and what becomes of what is not taken: with a real receiver."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from modelyard import tasks
from modelyard.control.alert_desk import Set
from modelyard.control.alert_ports import DeliveryQuery, Recorded
from modelyard.control.alerting import delivery
from modelyard.domain.alerts import AlertKind, Severity, rule_of
from modelyard.domain.errors import NotFound
from modelyard.domain.model import Namespace
from modelyard.domain.webhooks import DeliveryEvent, DeliveryState
from modelyard.store import SqlStore
from tests.store.alerting.house import House, house
from tests.store.changes import created
from tests.store.receiver import receiving


async def test_an_outbox_that_meets_the_unexpected_goes_on(
    store: SqlStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as receiver, house(store, home, sends=False) as yard:
        await yard.hook("on-call", receiver.url)
        looks, broken = yard.outbox._look, True

        async def look() -> float:
            nonlocal broken
            if broken:
                broken = False
                yard.outbox.tell()
                raise KeyError("unexpected")
            return await looks()

        monkeypatch.setattr(yard.outbox, "_look", look)
        await yard.desk.test("", "on-call")
        sending = tasks.spawn(yard.outbox.run(), "outbox")
        try:
            await receiver.until(1)
        finally:
            await tasks.stop(sending)


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
async def test_what_is_not_taken_is_sent_again_later_and_later_then_dead_and_again_by_hand(yard: House) -> None:
    async with receiving(**{"": 500}) as receiver:
        await yard.hook("on-call", receiver.url)
        made = await yard.desk.test("", "on-call")
        [tried] = await yard.settled("on-call")
        assert (tried.status, tried.error, tried.state) == (500, "it answered 500", DeliveryState.PENDING)
        pauses = []
        while tried.state is DeliveryState.PENDING:
            pauses.append((tried.next_at - yard.clock()).total_seconds())
            yard.clock.now = tried.next_at
            yard.outbox.tell()
            [tried] = await yard.settled("on-call", attempts=tried.attempts + 1)
        assert pauses[:5] == [5, 10, 20, 40, 80]
        assert max(pauses) == 3600
        assert timedelta(hours=22) < yard.clock() - made.created_at <= timedelta(days=1)
        [dead] = (await yard.desk.deliveries(DeliveryQuery(namespace="", state=DeliveryState.DEAD))).items
        assert {r.headers["x-modelyard-delivery"] for r in receiver.requests} == {made.id} == {dead.id}
        receiver.behaviour[""] = 204
        await yard.desk.retry("", dead.id)
        [again] = await yard.settled("on-call")
        assert (again.state, again.id) == (DeliveryState.DELIVERED, made.id)


async def test_what_receivers_do_is_borne_and_never_believed(yard: House) -> None:
    async with receiving(drop="drop", slow="slow", huge="huge", redirect="redirect") as receiver:
        for name in ("drop", "slow", "huge", "redirect"):
            await yard.hook(name, f"{receiver.url}/{name}")
            await yard.desk.test("", name)
        said = {name: (await yard.settled(name))[0] for name in ("drop", "slow", "huge", "redirect")}
        assert said["drop"].error.startswith("not reached: ")
        assert said["slow"].error == "no answer within 1 seconds"
        assert said["huge"].state is DeliveryState.DELIVERED
        assert (said["redirect"].status, said["redirect"].state) == (302, DeliveryState.PENDING)
        assert not [r for r in receiver.requests if r.path == "/elsewhere"]


async def test_an_end_waits_for_the_beginning_and_others_do_not(yard: House) -> None:
    one, two = await created(yard.store, "one"), await created(yard.store, "two")
    async with receiving(**{"": 500}) as receiver:
        await yard.hook("on-call", receiver.url)
        await yard.breaks(one)
        await yard.look()
        await yard.settled("on-call")
        yard.clock.later(seconds=1)
        await yard.mends(one)
        await yard.breaks(two)
        await yard.look()
        assert [r.told["alert"]["model"] for r in await receiver.until(2)] == ["one", "two"]
        async with asyncio.timeout(15):
            while sum(d.attempts for d in await yard.deliveries("on-call")) < 2:
                await asyncio.sleep(0.01)
        receiver.behaviour[""] = 204
        yard.clock.later(seconds=30)
        yard.outbox.tell()
        found = await receiver.until(5)
        told = [(r.told["alert"]["model"], r.told["event"]) for r in found]
        assert sorted(told[2:]) == [("one", "alert.firing"), ("one", "alert.resolved"), ("two", "alert.firing")]
        assert told.index(("one", "alert.resolved")) == max(i for i, t in enumerate(told) if t[0] == "one")


async def test_one_webhook_that_hangs_keeps_no_other_waiting_and_gets_few_requests_at_a_time(yard: House) -> None:
    models = [await created(yard.store, f"m{i}") for i in range(9)]
    async with receiving(hangs="slow", other="pause") as receiver:
        await yard.hook("hangs", f"{receiver.url}/hangs", kinds=(AlertKind.START_FAILED,))
        await yard.hook("other", f"{receiver.url}/other", severities=(Severity.CRITICAL,))
        for model in models:
            await yard.breaks(model)
        await yard.look()
        async with asyncio.timeout(5):
            while not all(d.state is DeliveryState.DELIVERED for d in await yard.deliveries("other")):
                await asyncio.sleep(0.02)
        assert receiver.most <= 8
        assert sum(r.path == "/hangs" for r in receiver.requests) == 4


async def test_webhooks_are_told_of_what_they_ask_for_only(yard: House) -> None:
    model = await created(yard.store)
    async with receiving() as receiver:
        await yard.hook("all", f"{receiver.url}/all")
        await yard.hook("other-kind", f"{receiver.url}/no", kinds=(AlertKind.LATENCY,))
        await yard.hook("other-severity", f"{receiver.url}/no", severities=(Severity.INFO,))
        await yard.hook("other-namespace", f"{receiver.url}/no", namespaces=("elsewhere",))
        await yard.hook("off", f"{receiver.url}/no", enabled=False)
        await yard.hook("mine", f"{receiver.url}/mine", namespace="default")
        await yard.breaks(model)
        await yard.look()
        assert {r.path for r in await receiver.until(2)} == {"/all", "/mine"}
        for name in ("other-kind", "other-severity", "other-namespace", "off"):
            assert not await yard.deliveries(name)


async def test_a_deleted_namespace_takes_its_rules_and_webhooks_with_it(yard: House) -> None:
    space = Namespace(name="team", created_at=yard.clock())
    await yard.store.create_namespace(space)
    await yard.desk.set_rule(rule_of(AlertKind.LATENCY, "slow", "team"), None)
    async with receiving() as receiver:
        await yard.hook("on-call", receiver.url, namespace="team")
    await yard.store.delete_namespace("team")
    await yard.store.create_namespace(space)
    assert not [*await yard.desk.rules("team"), *await yard.desk.webhooks("team")]


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
async def test_what_nobody_is_there_to_send_is_a_dead_letter_after_a_day(store: SqlStore, home: Path) -> None:
    async with receiving() as receiver, house(store, home) as yard:
        await yard.hook("on-call", receiver.url)
        hook = await yard.desk.webhook("", "on-call")
        yard.clock.later(hours=-25)
        # Of a site that is gone; recorded just when its webhook was deleted; and one that is waited for still.
        lost = delivery("gone", hook, DeliveryEvent.TEST, None, yard.clock())
        orphan = delivery("", replace(hook, name="deleted"), DeliveryEvent.TEST, None, yard.clock())
        yard.clock.later(hours=-2)
        old = [replace(each, since=yard.clock()) for each in (lost, orphan)]
        yard.clock.later(hours=27)
        fresh = delivery("gone", hook, DeliveryEvent.TEST, None, yard.clock())
        await store.alerts.record("", Recorded(deliveries=(*old, fresh)))
        await store.tidy()
        dead = (await yard.desk.deliveries(DeliveryQuery(namespace="", state=DeliveryState.DEAD))).items
        assert {each.id for each in dead} == {lost.id, orphan.id}
        assert all("is gone" in each.error for each in dead)
        with pytest.raises(NotFound, match="deleted"):
            await yard.desk.retry("", orphan.id)
        await yard.desk.retry("", lost.id)
        [request] = await receiver.until(1)
        assert request.told["delivery"] == lost.id


async def test_of_an_end_only_those_are_told_who_heard_of_the_beginning(yard: House) -> None:
    model = await created(yard.store)
    async with receiving() as receiver:
        for name in ("early", "anew", "narrowed"):
            await yard.hook(name, f"{receiver.url}/{name}")
        await yard.breaks(model)
        await yard.look()
        await receiver.until(3)
        await yard.desk.delete_webhook("", "anew", None)
        yard.clock.later(seconds=1)
        for name in ("anew", "late"):
            await yard.hook(name, f"{receiver.url}/{name}")
        narrowed = await yard.desk.webhook("", "narrowed")
        await yard.desk.set_webhook(Set(webhook=replace(narrowed, kinds=(AlertKind.LATENCY,))), None)
        # Another process knows it as well.
        async with house(yard.store, yard.home, yard.clock, sends=False) as next_:
            await next_.mends(model)
            await next_.look()
        yard.outbox.tell()
        ends = (await receiver.until(5))[3:]
        assert {(r.path, r.told["event"]) for r in ends} == {
            ("/early", "alert.resolved"),
            ("/narrowed", "alert.resolved"),
        }
        for name in ("anew", "late"):
            assert not await yard.deliveries(name)
