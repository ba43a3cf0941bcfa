"""The loop that finds out what fires: woken by events, and by time only while there is something to look at.

What it finds is written with what is to be sent of it, in one transaction, together with how far it has read the
events: a process that begins where another was killed neither says anything twice nor forgets an end.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from modelyard import tasks
from modelyard.control.alert_ports import AlertStore, Recorded, Silence
from modelyard.control.answers import AnswerBook
from modelyard.control.changes import ChangeFeed
from modelyard.control.ports import EventQuery, Fence, LeaseLost, Store
from modelyard.control.traffic import TrafficBook
from modelyard.control.troubles import LOOKED_AT, Happenings, Known, Seen, facts, seen
from modelyard.domain.alerts import (
    KINDS,
    MAX_WINDOW,
    Alert,
    AlertKind,
    AlertRule,
    AlertState,
    Outcome,
    evaluate,
    with_built_in,
)
from modelyard.domain.errors import ModelyardError
from modelyard.domain.model import Event
from modelyard.domain.webhooks import Delivery, DeliveryEvent, DeliveryState, Webhook

log = logging.getLogger(__name__)

# Seconds: between two looks at what changes without being told, between two at whether anything was missed, and
# for which what happens together is waited for.
TICK = 15.0
RESYNC = 60.0
_TOGETHER = 0.2
_AGAIN = 2.0

Usage = Callable[[], Awaitable[Mapping[str, int]]]


class Alerting:
    """The alerts of one site's models, in one tenure."""

    def __init__(
        self,
        store: Store,
        alerts: AlertStore,
        feed: ChangeFeed,
        traffic: TrafficBook,
        usage: Usage,
        clock: Callable[[], datetime],
        *,
        site: str = "",
        fence: Fence | None = None,
        written: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._alerts = alerts
        self._feed = feed
        self._usage = usage
        self._clock = clock
        self._site = site
        self._fence = fence
        self._written = written
        self._answers = AnswerBook(traffic, lambda: asyncio.get_running_loop().time())
        self._happenings = Happenings()
        self._rules: Sequence[AlertRule] = ()
        self._models: dict[str, Seen] = {}
        self._open: Mapping[str, Alert] = {}
        self._cursor = 0
        self._heard = 0
        self._recorded = 0
        self._events: list[Event] = []
        self._woken = asyncio.Event()
        self._anew = True
        self._synced_at = 0.0

    def tell(self) -> None:
        """Rules, silences or webhooks have changed."""
        self._anew = True
        self._woken.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._keep_trying(self._begin)
        listening = tasks.spawn(self._keep_trying(self._listen), "hear of what happens to models")
        try:
            while True:
                await self._keep_trying(self.look)
                await self._wait()
        finally:
            await tasks.stop(listening)

    async def _keep_trying(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await work()
            except LeaseLost:
                # The tenure is being ended.
                await asyncio.sleep(_AGAIN)
            except ModelyardError as error:
                log.warning("Alerts could not be looked after: %s", error)
                await asyncio.sleep(_AGAIN)
            except Exception:
                log.exception("Looking after alerts failed")
                await asyncio.sleep(_AGAIN)

    async def _begin(self) -> None:
        self._models = {model.uid: seen(model) for model in await self._store.models_of(self._site)}
        await self._recall()
        cursor = await self._alerts.cursor(self._site)
        self._cursor = self._recorded = await self._store.last_event_id() if cursor is None else cursor
        self._heard = self._cursor
        self._synced_at = asyncio.get_running_loop().time()

    async def _recall(self) -> None:
        """Take up what fires and is not known here yet: what this site has written, and of models that it has now."""
        found = {
            alert.fingerprint: alert
            for site, alert in await self._alerts.firing()
            if site == self._site or alert.model_uid in self._models
        }
        for print_, alert in found.items():
            if print_ not in self._open:
                self._happenings.recall(alert)
        self._open = found | dict(self._open)

    async def _listen(self) -> None:
        async for event in self._feed.follow(EventQuery(after=self._heard), heartbeat=3600.0):
            if event is not None:
                self._events.append(event)
                self._heard = event.id
                self._woken.set()

    async def _wait(self) -> None:
        ticks = self._open or any(rule.enabled and rule.kind in LOOKED_AT for rule in self._rules)
        try:
            async with asyncio.timeout(TICK if ticks else RESYNC):
                await self._woken.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_TOGETHER)

    # ---------------------------------------------------------------- one look

    async def look(self) -> None:
        """Find out what has changed, and write it. Raises what the store does; then nothing is lost."""
        self._woken.clear()
        events, now, time = list(self._events), self._clock(), asyncio.get_running_loop().time()
        happened = {event.model_uid for event in events if self._happenings.add(event)}
        changed = {event.model_uid for event in events}
        anew, self._anew = self._anew, False
        syncs = anew or time - self._synced_at >= RESYNC
        try:
            outcome = await self._evaluate(changed | (await self._sync() if syncs else set()), now, anew=anew)
            touched = [a for a in outcome.alerts.values() if a.model_uid in happened and KINDS[a.kind].happens]
            recorded = await self._to_record(outcome, touched, now)
            cursor = max((event.id for event in events), default=self._cursor)
            if recorded.alerts or (syncs and cursor != self._recorded):
                await self._alerts.record(self._site, replace(recorded, cursor=cursor), self._fence)
                self._recorded = cursor
        except BaseException:
            self._anew = True
            raise
        self._open = {**outcome.alerts, **{a.fingerprint: a for a in recorded.alerts if a.ends_at is None}}
        self._cursor = cursor
        del self._events[: len(events)]
        if syncs:
            self._synced_at = time
        if recorded.deliveries:
            self._written()

    async def _sync(self) -> set[str]:
        """Read the rules again; the uids of models that have changed or are gone, whatever was told of them."""
        self._rules = with_built_in(await self._alerts.rules())
        await self._recall()
        versions = {ref.uid: version for ref, version in (await self._store.model_versions(self._site)).items()}
        known = {uid: model.version for uid, model in self._models.items()}
        return {uid for uid in known.keys() | versions.keys() if known.get(uid) != versions.get(uid)}

    async def _evaluate(self, changed: set[str], now: datetime, *, anew: bool) -> Outcome:
        for uid in changed:
            model = await self._store.get_model_by_uid(uid)
            if model is None or model.site != self._site:
                self._models.pop(uid, None)
            else:
                self._models[uid] = seen(model)
        self._happenings.forget(self._models, now - timedelta(seconds=MAX_WINDOW))
        watched = self._watched()
        only = None if anew else changed | watched | {alert.model_uid for alert in self._open.values()}
        known = Known(
            answers=self._answers, happenings=self._happenings, usage=await self._usage_of(watched), now=now
        )  # fmt: skip
        asked = self._models.values() if only is None else [self._models[u] for u in only if u in self._models]
        subjects = {uid: model.subject for uid, model in self._models.items()}
        return evaluate(self._rules, subjects, facts(asked, self._rules, known), self._open, now, only)

    def _watched(self) -> set[str]:
        """The models that are looked at from time to time; how their requests were answered is taken down."""
        rules = [rule for rule in self._rules if rule.enabled and rule.kind in LOOKED_AT]
        found = {uid for uid, model in self._models.items() if any(rule.means(model.subject) for rule in rules)}
        longest = max((rule.window for rule in rules), default=0.0)
        self._answers.look([uid for uid in found if self._models[uid].runs], longest)
        return found

    async def _usage_of(self, watched: set[str]) -> Mapping[str, int]:
        rules = [rule for rule in self._rules if rule.enabled and rule.kind is AlertKind.MEMORY]
        limited = any(self._models[uid].memory is not None for uid in watched)
        return await self._usage() if rules and limited else {}

    # ---------------------------------------------------------------- who is told

    async def _to_record(self, outcome: Outcome, touched: Sequence[Alert], now: datetime) -> Recorded:
        begun = {alert.id for alert in outcome.changes}
        quiet = [
            alert for alert in outcome.alerts.values()
            if alert.state is AlertState.FIRING and not alert.notified and alert.id not in begun
        ]  # fmt: skip
        if not (outcome.changes or touched or quiet):
            return Recorded()
        silences, webhooks = await self._alerts.silences(), await self._alerts.webhooks()
        alerts: dict[str, Alert] = {a.id: a for a in touched if a.state is AlertState.FIRING}
        deliveries: list[Delivery] = []
        for alert in [*outcome.changes, *quiet]:
            if alert.state is AlertState.RESOLVED:
                told, event = alert.notified, DeliveryEvent.RESOLVED
            else:
                told, event = not _silent(silences.get(alert.fingerprint), now), DeliveryEvent.FIRING
                alert = replace(alert, notified=told)
            if told or alert.id in begun:
                alerts[alert.id] = alert
            if told:
                deliveries += [delivery(self._site, w, event, alert, now) for w in webhooks if w.wants(alert)]
        # An end is written before what fires next under the same fingerprint.
        ordered = sorted(alerts.values(), key=lambda alert: (alert.ends_at is None, alert.id))
        return Recorded(alerts=tuple(ordered), deliveries=tuple(deliveries))


def delivery(site: str, webhook: Webhook, event: DeliveryEvent, alert: Alert | None, now: datetime) -> Delivery:
    """A new one, to be sent at once."""
    return Delivery(
        id=f"dl-{secrets.token_hex(8)}", site=site, namespace=webhook.namespace, webhook=webhook.name, event=event,
        alert=alert, state=DeliveryState.PENDING, created_at=now, since=now, next_at=now,
    )  # fmt: skip


def _silent(silence: Silence | None, now: datetime) -> bool:
    return silence is not None and silence.until > now
