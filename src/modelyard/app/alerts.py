"""Alerts: what looks after their rules, and what tells of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from modelyard.access.secrets import SecretBox
from modelyard.app.clock import utc_now
from modelyard.app.metrics import usage_of
from modelyard.backends.port import Backend
from modelyard.control.alert_desk import AlertDesk
from modelyard.control.alerting import Alerting
from modelyard.control.changes import ChangeFeed
from modelyard.control.outbox import Outbox, Tally
from modelyard.control.ports import Fence
from modelyard.control.traffic import TrafficBook
from modelyard.domain.spec import BackendName
from modelyard.observe.webhooks import WebhookSender, check
from modelyard.registry.admitting import Hosts
from modelyard.settings import Settings
from modelyard.store.store import SqlStore


def alert_parts(
    settings: Settings,
    store: SqlStore,
    feed: ChangeFeed,
    backends: Mapping[BackendName, Backend],
    sealer: SecretBox,
    site: str,
) -> tuple[AlertDesk, Callable[[TrafficBook, Fence], Mapping[str, Coroutine[Any, Any, None]]], Tally]:
    """What callers do with alerts, what runs beside a tenure, and what is counted of it."""
    hosts, tally = Hosts(named=settings.webhook_names), Tally()
    desk = AlertDesk(store.alerts, sealer, partial(check, hosts=hosts), utc_now, site=site)

    def beside(traffic: TrafficBook, fence: Fence) -> Mapping[str, Coroutine[Any, Any, None]]:
        outbox = Outbox(
            store.alerts, WebhookSender(hosts), sealer, utc_now, site=site, url=settings.address, tally=tally
        )  # fmt: skip
        usage = partial(usage_of, backends)
        alerting = Alerting(
            store, store.alerts, feed, traffic, usage, utc_now, site=site, fence=fence, written=outbox.tell
        )  # fmt: skip
        desk.told[:] = [alerting.tell, outbox.tell]
        return {"look after alerts": alerting.run(), "tell of alerts": outbox.run()}

    return desk, beside, tally
