"""One site's alerting on a store, looked after by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from modelyard import tasks
from modelyard.access.secrets import box_of
from modelyard.control.alert_desk import AlertDesk, Set
from modelyard.control.alert_ports import DeliveryQuery
from modelyard.control.alerting import Alerting
from modelyard.control.changes import ChangeFeed
from modelyard.control.outbox import Outbox
from modelyard.control.traffic import TrafficBook
from modelyard.domain.alerts import Alert
from modelyard.domain.commands import Change
from modelyard.domain.model import Failure, Model
from modelyard.domain.states import State
from modelyard.domain.webhooks import Delivery, Webhook
from modelyard.observe.webhooks import WebhookSender, check
from modelyard.registry.admitting import Hosts
from modelyard.store import SqlStore
from tests.store.changes import event

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
        webhook = Webhook(namespace=namespace, name=name, url="", created_at=now, updated_at=now, **more)
        _, secret = await self.desk.set_webhook(Set(webhook=webhook, url=url), None)
        assert secret is not None
        return secret

    async def look(self) -> None:
        """At everything, as if it were time to."""
        self.alerting.tell()
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
