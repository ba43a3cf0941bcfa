"""Alerts from the change of a model to whoever is told, over both databases and a real receiver."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import pytest_asyncio

from modelyard import tasks
from modelyard.access.secrets import box_of
from modelyard.client import webhooks as receivers
from modelyard.control.alert_desk import AlertDesk, Set
from modelyard.control.alert_ports import AlertQuery, DeliveryQuery
from modelyard.control.alerting import Alerting
from modelyard.control.changes import ChangeFeed
from modelyard.control.outbox import Outbox
from modelyard.control.ports import Answered, EventQuery, Load, Loads
from modelyard.control.traffic import TrafficBook
from modelyard.control.troubles import MENDED
from modelyard.domain.alerts import Alert, AlertKind, AlertState, Severity, rule_of
from modelyard.domain.commands import Change
from modelyard.domain.errors import InvalidRequest, Unavailable
from modelyard.domain.model import Event, Failure, Instance, InstancePhase, Model, Namespace, Waiting
from modelyard.domain.spec import Resources
from modelyard.domain.states import State
from modelyard.domain.webhooks import Delivery, DeliveryState, Webhook, WebhookFormat
from modelyard.observe.webhooks import WebhookSender, check
from modelyard.registry.admitting import Hosts
from modelyard.store import SqlStore
from tests.store.changes import SPEC, created, event
from tests.store.receiver import Receiver, receiving

HERE = Hosts(named=frozenset({"127.0.0.1"}))


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def later(self, **more: float) -> None:
        self.now += timedelta(**more)


@dataclass
class House:
    """One site's alerting on a store, looked after by hand, and its outbox, which runs."""

    store: SqlStore
    home: Path
    clock: Clock
    traffic: TrafficBook
    usage: dict[str, int]
    alerting: Alerting
    desk: AlertDesk
    outbox: Outbox

    async def hook(self, name: str, url: str, namespace: str = "", **more: Any) -> str:
        """A webhook; its secret."""
        now = self.clock()
        webhook = Webhook(namespace=namespace, name=name, url=url, created_at=now, updated_at=now, **more)
        _, secret = await self.desk.set_webhook(Set(webhook=webhook), None)
        assert secret is not None
        return secret

    async def look(self) -> None:
        await asyncio.wait_for(self.alerting.look(), 10)

    async def firing(self) -> dict[str, Alert]:
        return {alert.rule: alert for _, alert in await self.store.alerts.firing()}

    async def deliveries(self, name: str, namespace: str = "") -> list[Delivery]:
        page = await self.desk.deliveries(DeliveryQuery(namespace=namespace, webhook=name))
        return list(page.items)

    async def settled(self, name: str, *, attempts: int = 1) -> list[Delivery]:
        """The deliveries once each was tried that often."""
        async with asyncio.timeout(15):
            while True:
                found = await self.deliveries(name)
                if found and all(d.attempts >= attempts for d in found):
                    return found
                await asyncio.sleep(0.01)

    async def change(self, model: Model, **status: Any) -> Model:
        """Write its status, as the reconciler would."""
        before = await self.store.get_model_by_uid(model.uid)
        assert before is not None
        after = replace(before, status=replace(before.status, **status))
        written = await self.store.commit(Change(before=before, after=after, events=(event(before),)))
        assert written.after is not None
        self.alerting.tell()
        return written.after

    async def breaks(self, model: Model, failures: int = 1) -> Model:
        failure = Failure(code="boom", message="It broke.", permanent=True)
        return await self.change(model, state=State.ERROR, failures=failures, failure=failure)

    async def mends(self, model: Model) -> Model:
        return await self.change(model, state=State.RUNNING, failures=0, failure=None)


@asynccontextmanager
async def house(
    store: SqlStore, home: Path, clock: Clock | None = None, hosts: Hosts = HERE, *, sends: bool = True
) -> AsyncIterator[House]:
    clock = clock or Clock()
    traffic, usage = TrafficBook(), dict[str, int]()
    sealer = box_of(home / "secrets.key")
    desk = AlertDesk(store.alerts, sealer, lambda url: check(url, hosts), clock)
    sender = WebhookSender(hosts, patience=1.0)
    outbox = Outbox(store.alerts, sender, sealer, clock, url="http://yard", chance=lambda: 1)

    async def used() -> Mapping[str, int]:
        return usage

    alerting = Alerting(store, store.alerts, ChangeFeed(store), traffic, used, clock, written=outbox.tell)
    await alerting._begin()
    desk.told = [alerting.tell, outbox.tell]
    sending = tasks.spawn(outbox.run(), "outbox") if sends else None
    try:
        yield House(store, home, clock, traffic, usage, alerting, desk, outbox)
    finally:
        await tasks.stop(sending)


@pytest_asyncio.fixture
async def yard(store: SqlStore, home: Path) -> AsyncIterator[House]:
    async with house(store, home) as made:
        yield made


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """SQLite, where a test does not ask for both."""
    found: str = request.getfixturevalue(
        f"{'postgres' if getattr(request, 'param', '') == 'postgresql' else 'sqlite'}_url"
    )
    return found


# ------------------------------------------------------------------------------------------- what fires


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


# ------------------------------------------------------------------------------------------- who is told


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


async def test_for_a_day_after_a_rotation_both_secrets_sign(yard: House) -> None:
    async with receiving() as receiver:
        old = await yard.hook("on-call", receiver.url)
        hook = await yard.desk.webhook("", "on-call")
        _, new = await yard.desk.set_webhook(Set(webhook=hook, rotate=True), hook.version)
        assert new not in (None, old)
        assert new is not None
        for secret, hours in ((old, 0), (new, 0), (new, 25)):
            yard.clock.later(hours=hours)
            count = len(receiver.requests)
            await yard.desk.test("", "on-call")
            request = (await receiver.until(count + 1))[-1]
            signature, now = request.headers["x-modelyard-signature"], yard.clock().timestamp()
            receivers.verify(secret, signature, request.body, now=now)
        with pytest.raises(receivers.NotGenuine):
            receivers.verify(old, signature, request.body, now=now)
        with pytest.raises(receivers.NotGenuine, match="ago"):
            receivers.verify(new, signature, request.body, now=now + 301)
        with pytest.raises(receivers.NotGenuine):
            receivers.verify(new, signature, request.body + b" ", now=now)


async def test_headers_that_are_stored_go_to_no_other_host(yard: House) -> None:
    now, headers = yard.clock(), {"Authorization": "Bearer tops3cret"}
    webhook = Webhook(namespace="", name="on-call", url="http://127.0.0.1/a", created_at=now, updated_at=now)
    await yard.desk.set_webhook(Set(webhook=webhook, headers=headers), None)
    for elsewhere in ("http://127.0.0.1:81/a", "https://127.0.0.1/a", "http://127.0.0.2/a"):
        with pytest.raises(InvalidRequest) as refused:
            await yard.desk.set_webhook(Set(webhook=replace(webhook, url=elsewhere)), None)
        assert [problem.path for problem in refused.value.problems] == ["headers"]
    kept, _ = await yard.desk.set_webhook(Set(webhook=replace(webhook, url="http://127.0.0.1:80/b")), None)
    assert kept.header_names == ("Authorization",)
    moved, _ = await yard.desk.set_webhook(Set(webhook=replace(webhook, url="http://127.0.0.1:81/a"), headers={}), None)
    assert moved.header_names == ()


async def test_secrets_and_headers_are_nowhere_in_the_database(yard: House) -> None:
    async with receiving() as receiver:
        now = yard.clock()
        webhook = Webhook(namespace="", name="on-call", url=receiver.url, created_at=now, updated_at=now)
        wanted = Set(webhook=webhook, headers={"Authorization": "Bearer tops3cret"})
        _, secret = await yard.desk.set_webhook(wanted, None)
        await yard.desk.test("", "on-call")
        assert (await receiver.until(1))[0].headers["authorization"] == "Bearer tops3cret"
        await yard.settled("on-call")
    assert secret is not None
    stored = b"".join(path.read_bytes() for path in yard.home.glob("state.db*"))
    assert b"on-call" in stored
    assert b"tops3cret" not in stored
    assert secret.encode() not in stored
    assert (yard.home / "secrets.key").stat().st_mode & 0o777 == 0o600


async def test_nothing_is_sent_to_this_machine_unless_its_administrator_allows_it(store: SqlStore, home: Path) -> None:
    async with receiving() as receiver, house(store, home, hosts=Hosts()) as yard:
        for url in (receiver.url, "http://169.254.169.254/latest", "http://[::1]:1/", "http://localhost:1/"):
            with pytest.raises(InvalidRequest) as refused:
                await yard.hook("on-call", url)
            assert refused.value.problems[0].code == "host_refused"
        # Of a name that meant another address when it was set.
        attempt = await WebhookSender(Hosts()).send(f"{receiver.url}/", {}, b"{}")
        assert "MODELYARD_WEBHOOK_HOSTS" in attempt.error
        assert not receiver.requests


# ------------------------------------------------------------------------------------------- Alertmanager


class PostableAlert(msgspec.Struct, forbid_unknown_fields=True):
    """``postableAlert`` of Alertmanager's api/v2/openapi.yaml: ``labels`` are required, label sets are texts by name,
    times are RFC 3339's date-times and the URL is one."""

    labels: Annotated[dict[str, str], msgspec.Meta(min_length=1)]
    annotations: dict[str, str] = {}
    startsAt: Annotated[datetime, msgspec.Meta(tz=True)] | None = None  # noqa: N815 - its name there
    endsAt: Annotated[datetime, msgspec.Meta(tz=True)] | None = None  # noqa: N815 - its name there
    generatorURL: Annotated[str, msgspec.Meta(pattern="^https?://[^ ]+$")] = ""  # noqa: N815 - its name there


def check_postable(receiver: Receiver, now: datetime) -> list[tuple[str, bool]]:
    """Which alerts an Alertmanager would now hold, by what it was told last, and whether each fires."""
    held: dict[str, bool] = {}
    for request in receiver.requests:
        for alert in msgspec.json.decode(request.body, type=list[PostableAlert]):
            assert alert.startsAt is not None
            assert alert.endsAt is not None
            assert alert.startsAt <= alert.endsAt
            held[alert.labels["alertname"]] = alert.endsAt > now
    return sorted(held.items())


async def test_an_alertmanager_is_told_in_its_own_words_and_again_before_it_forgets(yard: House) -> None:
    model = await created(yard.store)
    async with receiving() as receiver:
        await yard.hook("am", f"{receiver.url}/api/v2/alerts", format=WebhookFormat.ALERTMANAGER)
        await yard.breaks(model)
        await yard.look()
        await receiver.until(1)
        assert check_postable(receiver, yard.clock()) == [("ModelStartFailed", True)]
        yard.clock.later(minutes=3)
        count = len(receiver.requests)
        yard.outbox._refreshed.clear()
        yard.outbox.tell()
        await receiver.until(count + 1)
        yard.clock.later(minutes=2)
        assert check_postable(receiver, yard.clock()) == [("ModelStartFailed", True)]
        await yard.mends(model)
        await yard.look()
        # It may be told once more that it fires, on the way.
        await receiver.until_so(lambda: check_postable(receiver, yard.clock()) == [("ModelStartFailed", False)])
