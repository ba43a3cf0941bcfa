"""Sends what the outbox holds: each webhook by itself, in order for each alert, again and again until it is taken or
given up. Alertmanagers are also told from time to time what still fires: they forget what they hear nothing of."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from modelyard import tasks
from modelyard.control.alert_ports import AlertStore, Sealer, Sender
from modelyard.domain.alerts import Alert, AlertKind, AlertState, Severity
from modelyard.domain.errors import ModelyardError, NotFound
from modelyard.domain.secrets import Secret, place_of_webhook
from modelyard.domain.webhooks import (
    DELIVERY_HEADER,
    SIGNATURE_HEADER,
    Attempt,
    Delivery,
    DeliveryState,
    Webhook,
    WebhookFormat,
    after_attempt,
    alertmanager_body,
    modelyard_body,
    signature,
)

log = logging.getLogger(__name__)

# Seconds between two looks at what others may have put there, and as long as something is due that waits its turn.
_LOOK_EVERY: Final = 15.0
_SOON: Final = 0.5
# Requests to one webhook at a time, and so many deliveries of it are read at once.
_AT_ONCE: Final = 4
_BATCH: Final = 20
# Alertmanagers hear so often what fires (seconds), and forget it after four times that, as Prometheus has it.
REFRESH: Final = 60.0
_LASTS: Final = timedelta(seconds=4 * REFRESH)

Key = tuple[str, str]


class Tally:
    """How many requests each webhook (namespace and name) was sent since this process began, by how they ended."""

    def __init__(self) -> None:
        self.sent: Counter[tuple[str, str, str]] = Counter()

    def count(self, webhook: Webhook, attempt: Attempt) -> None:
        self.sent[webhook.namespace, webhook.name, "taken" if attempt.worked else "failed"] += 1


class Outbox:
    """Sends for one site, in one tenure."""

    def __init__(
        self,
        alerts: AlertStore,
        sender: Sender,
        sealer: Sealer,
        clock: Callable[[], datetime],
        *,
        site: str = "",
        url: str = "",
        chance: Callable[[], float] = random.random,
        tally: Tally | None = None,
    ) -> None:
        self._alerts = alerts
        self._sender = sender
        self._sealer = sealer
        self._clock = clock
        self._site = site
        self._url = url
        self._chance = chance
        self._tally = tally or Tally()
        self._woken = asyncio.Event()
        self._busy: dict[Key, asyncio.Task[None]] = {}
        self._refreshed: dict[Key, float] = {}

    def tell(self) -> None:
        """There is something to send, or other webhooks."""
        self._woken.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self._woken.clear()
                pause = _LOOK_EVERY
                try:
                    pause = await self._look()
                except ModelyardError as error:
                    log.warning("Alerts could not be sent: %s", error)
                except Exception:
                    log.exception("Sending alerts failed; it goes on in %.0f s", pause)
                await self._sleep(pause)
        finally:
            await tasks.stop(*self._busy.values())
            await self._sender.close()

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _look(self) -> float:
        """Have everything sent that is due; seconds until the next look."""
        webhooks, now = await self._alerts.webhooks(), asyncio.get_running_loop().time()
        waiting = await self._alerts.next_due(self._site)
        for webhook in webhooks:
            key = webhook.namespace, webhook.name
            if key in self._busy:
                waiting.pop(key, None)
                continue
            refreshes = webhook.enabled and webhook.format is WebhookFormat.ALERTMANAGER
            refreshes = refreshes and now - self._refreshed.get(key, -REFRESH) >= REFRESH
            if refreshes or (key in waiting and waiting[key] <= self._clock()):
                waiting.pop(key, None)
                self._busy[key] = tasks.spawn(self._serve(key, refreshes=refreshes), f"send to {webhook.name}")
        self._refreshed = {k: at for k, at in self._refreshed.items() if k in {(w.namespace, w.name) for w in webhooks}}
        soonest = min(waiting.values(), default=None)
        if soonest is None:
            return _LOOK_EVERY
        return min(max((soonest - self._clock()).total_seconds(), _SOON), _LOOK_EVERY)

    # ---------------------------------------------------------------- one webhook

    async def _serve(self, key: Key, *, refreshes: bool) -> None:
        try:
            webhook = await self._alerts.webhook(*key)
            while due := await self._alerts.due(self._site, key, self._clock(), _BATCH):
                for start in range(0, len(due), _AT_ONCE):
                    await asyncio.gather(*(self._deliver(webhook, one) for one in due[start : start + _AT_ONCE]))
            if refreshes:
                await self._refresh(webhook)
            # What has come meanwhile is looked at at once.
            self._woken.set()
        except NotFound:
            return
        except ModelyardError as error:
            log.warning("Alerts could not be sent to the webhook %s: %s", key[1], error)
        finally:
            self._busy.pop(key, None)

    async def _deliver(self, webhook: Webhook, delivery: Delivery) -> None:
        if not webhook.enabled:
            later = after_attempt(delivery, Attempt(error="the webhook is switched off"), self._clock(), self._chance())
            await self._alerts.write_delivery(delivery, later)
            return
        attempt = await self._send(webhook, self._body(webhook, delivery), delivery.id)
        after = after_attempt(delivery, attempt, self._clock(), self._chance())
        await self._alerts.write_delivery(delivery, after)
        if after.state is DeliveryState.DEAD:
            log.warning("The webhook %s was told for a day in vain: %s", webhook.name, after.error or after.status)

    async def _refresh(self, webhook: Webhook) -> None:
        """Say once more what fires. What fails here the next one makes up for."""
        self._refreshed[webhook.namespace, webhook.name] = asyncio.get_running_loop().time()
        firing = [
            a for site, a in await self._alerts.firing() if site == self._site and a.notified and webhook.wants(a)
        ]
        if firing:
            body = alertmanager_body(firing, self._url, self._clock() + _LASTS)
            attempt = await self._send(webhook, body, "")
            if not attempt.worked:
                log.warning("The Alertmanager %s was not told what fires: %s", webhook.name, attempt)

    def _body(self, webhook: Webhook, delivery: Delivery) -> object:
        if webhook.format is WebhookFormat.MODELYARD:
            return modelyard_body(delivery, self._url)
        alert = delivery.alert or _test_alert(webhook, self._clock())
        return alertmanager_body([alert], self._url, self._clock() + _LASTS)

    async def _send(self, webhook: Webhook, body: object, delivery_id: str) -> Attempt:
        try:
            kept = opened(self._sealer, webhook, self._clock())
        except ModelyardError as error:
            return Attempt(error=str(error))
        content = json.dumps(body, separators=(",", ":")).encode()
        headers = {
            **kept.headers,
            "Content-Type": "application/json",
            SIGNATURE_HEADER: signature(kept.secrets, int(self._clock().timestamp()), content),
        }
        if delivery_id:
            headers[DELIVERY_HEADER] = delivery_id
        attempt = await self._sender.send(kept.url, headers, content)
        self._tally.count(webhook, attempt)
        return attempt


class Kept(NamedTuple):
    """What of a webhook is secret: its secrets, the newest first, its whole URL, and its headers."""

    secrets: Sequence[str]
    url: str
    headers: Mapping[str, str]


def sealed(sealer: Sealer, webhook: Webhook, kept: Kept) -> str:
    """As it is stored."""
    text = json.dumps(kept._asdict())
    return sealer.seal(webhook.namespace, place_of_webhook(webhook.name), text).sealed


def opened(sealer: Sealer, webhook: Webhook, now: datetime) -> Kept:
    """With the secrets that are in use now. Raises ModelyardError."""
    kept = Kept(**json.loads(sealer.open(webhook.namespace, place_of_webhook(webhook.name), Secret(webhook.sealed))))
    rotated = webhook.rotated_until is not None and now < webhook.rotated_until
    return kept._replace(secrets=kept.secrets[: 2 if rotated else 1])


def _test_alert(webhook: Webhook, now: datetime) -> Alert:
    """What an Alertmanager is told in a test: over at once."""
    return Alert(
        id="test", fingerprint="test", rule="/test", kind=AlertKind.POLICY_ACTION, severity=Severity.INFO,
        namespace=webhook.namespace, model="test", model_uid="", state=AlertState.RESOLVED, starts_at=now, bad_at=now,
        ends_at=now, message=f"A test of the webhook {webhook.name}.",
    )  # fmt: skip
