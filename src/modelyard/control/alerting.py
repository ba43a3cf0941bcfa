"""The loop that finds out what fires: woken by events, and by time only while there is something to look at.

What it finds is written with what is to be sent of it, in one transaction, together with how far it has read the
events: a process that begins where another was killed neither says anything twice nor forgets an end.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta

from modelyard import tasks
from modelyard.control.alert_ports import AlertStore, Recorded, Silence
from modelyard.control.answers import AnswerBook
from modelyard.control.changes import ChangeFeed
from modelyard.control.pace import Pace
from modelyard.control.ports import EventQuery, Fence, LeaseLost, Store
from modelyard.control.traffic import TrafficBook
from modelyard.control.troubles import LOOKED_AT, Happenings, Known, Rules, Seen, facts, seen
from modelyard.domain.alerts import (
    KINDS,
    MAX_WINDOW,
    Alert,
    AlertKind,
    AlertState,
    Outcome,
    evaluate,
    with_built_in,
)
from modelyard.domain.errors import ModelyardError
from modelyard.domain.model import Event, Model, ModelRef
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
        self._rules = Rules()
        self._models: dict[str, Seen] = {}
        # Of them those that wait for capacity, and those that have a limit of memory and instances.
        self._waiting: set[str] = set()
        self._limited: set[str] = set()
        self._open: Mapping[str, Alert] = {}
        self._cursor = 0
        self._heard = 0
        self._recorded = 0
        self._events: list[Event] = []
        # What is to be looked at next, besides what is measured: all, or these.
        self._all = True
        self._changed: set[str] = set()
        self._woken = asyncio.Event()
        self._anew = True
        self._synced_at = 0.0
        self._measured_at = 0.0

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
        pace = Pace()
        for model in await self._store.models_of(self._site):
            self._know(model)
            await pace.step()
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
        ticks = self._open or not LOOKED_AT.isdisjoint(self._rules.kinds)
        due = min(self._measured_at + (TICK if ticks else RESYNC), self._synced_at + RESYNC)
        try:
            async with asyncio.timeout(max(due - asyncio.get_running_loop().time(), _TOGETHER)):
                await self._woken.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_TOGETHER)

    # ---------------------------------------------------------------- one look

    async def look(self) -> None:
        """Find out what has changed, and write it. Raises what the store does; then nothing is lost.

        An event has its model looked at and no other; what is measured, and what fires, is looked at every TICK."""
        self._woken.clear()
        events, now, time = list(self._events), self._clock(), asyncio.get_running_loop().time()
        happened = {event.model_uid for event in events if self._happenings.add(event)}
        self._changed.update(event.model_uid for event in events)
        anew, self._anew = self._anew, False
        syncs = anew or time - self._synced_at >= RESYNC
        measures = syncs or time - self._measured_at >= TICK
        try:
            if syncs:
                await self._sync(now)
            await self._read()
            asked = await self._asked(measures=measures)
            outcome, others = await self._evaluate(asked, now)
            touched = [a for a in outcome.alerts.values() if a.model_uid in happened and KINDS[a.kind].happens]
            recorded = await self._to_record(outcome, touched, now)
            cursor = max((event.id for event in events), default=self._cursor)
            if recorded.alerts or (syncs and cursor != self._recorded):
                await self._alerts.record(self._site, replace(recorded, cursor=cursor), self._fence)
                self._recorded = cursor
        except BaseException:
            self._anew = True
            raise
        told = {a.fingerprint: a for a in recorded.alerts if a.ends_at is None}
        self._open = {**others, **outcome.alerts, **told}
        self._cursor = cursor
        del self._events[: len(events)]
        self._all = False
        self._changed.clear()
        if syncs:
            self._synced_at = time
        if measures:
            self._measured_at = time
        if recorded.deliveries:
            self._written()

    async def _sync(self, now: datetime) -> None:
        """Read the rules again, and find the models that have changed or are gone, whatever was told of them."""
        rules = Rules(with_built_in(await self._alerts.rules()))
        if rules.by_key != self._rules.by_key:
            self._rules, self._all = rules, True
        await self._recall()
        self._happenings.forget_before(now - timedelta(seconds=MAX_WINDOW))
        versions = await self._store.model_versions(self._site)
        # In a thread, as there may be very many.
        self._changed |= await asyncio.to_thread(_differing, versions, self._models)

    async def _read(self) -> None:
        for uid in self._changed:
            model = await self._store.get_model_by_uid(uid)
            if model is None or model.site != self._site:
                self._forget(uid)
            else:
                self._know(model)

    def _know(self, model: Model) -> None:
        uid, now = model.uid, seen(model)
        before, self._models[uid] = self._models.get(uid), now
        if before is not None and before.runs and not now.runs:
            self._answers.begin_anew(uid)
        _keep(self._waiting, uid, now.waiting_since is not None)
        _keep(self._limited, uid, now.memory is not None and bool(now.instances))

    def _forget(self, uid: str) -> None:
        self._models.pop(uid, None)
        self._answers.begin_anew(uid)
        self._happenings.forget(uid)
        self._waiting.discard(uid)
        self._limited.discard(uid)

    async def _asked(self, *, measures: bool) -> Set[str]:
        """The models that are to be looked at, gone ones among them."""
        asked = set(self._changed)
        if measures:
            await self._answers.look(self._rules.longest)
            asked.update(self._answers.active(), (alert.model_uid for alert in self._open.values()))
            for kind, uids in ((AlertKind.QUEUE_TIME, self._waiting), (AlertKind.MEMORY, self._limited)):
                if kind in self._rules.kinds:
                    asked |= uids
        return asked.union(self._models) if self._all else asked

    async def _evaluate(self, asked: Set[str], now: datetime) -> tuple[Outcome, Mapping[str, Alert]]:
        """What fires now of the models asked for, in short turns; and what fires of others."""
        usage = await self._usage() if AlertKind.MEMORY in self._rules.kinds and asked & self._limited else {}
        known = Known(answers=self._answers, happenings=self._happenings, usage=usage, now=now)
        earlier: dict[str, dict[str, Alert]] = {}
        others: dict[str, Alert] = {}
        for print_, alert in self._open.items():
            if alert.model_uid in asked:
                earlier.setdefault(alert.model_uid, {})[print_] = alert
            else:
                others[print_] = alert
        alerts: dict[str, Alert] = {}
        changes: list[Alert] = []
        pace = Pace()
        for uid in asked:
            model = self._models.get(uid)
            there = {} if model is None else {uid: model.subject}
            told = () if model is None else facts([model], self._rules, known)
            found = evaluate(self._rules.by_key, there, told, earlier.get(uid, {}), now)
            alerts |= found.alerts
            changes += found.changes
            await pace.step()
        return Outcome(alerts=alerts, changes=tuple(changes)), others

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
                event, tells = DeliveryEvent.RESOLVED, alert.notified
                to = [w for w in webhooks if tells and w.awaits_end(alert)]
            else:
                event, tells = DeliveryEvent.FIRING, not _silent(silences.get(alert.fingerprint), now)
                to = [w for w in webhooks if tells and w.wants(alert)]
                alert = replace(alert, notified=tells, told=tuple(w.identity for w in to))
            if tells or alert.id in begun:
                alerts[alert.id] = alert
            deliveries += [delivery(self._site, webhook, event, alert, now) for webhook in to]
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


def _differing(versions: Mapping[ModelRef, int], known: Mapping[str, Seen]) -> set[str]:
    """Models of other versions than those known, new ones, and those that are gone."""
    there = {ref.uid for ref in versions}
    changed = {
        ref.uid for ref, version in versions.items() if ref.uid not in known or known[ref.uid].version != version
    }
    return changed.union(uid for uid in known if uid not in there)


def _keep(uids: set[str], uid: str, belongs: bool) -> None:
    (uids.add if belongs else uids.discard)(uid)
