"""The loop around the plan: one task a model, woken by commands, by the backend, by the gateway and by time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime

from modelyard.backends.port import Backend
from modelyard.control.actor import ModelActor, Surroundings
from modelyard.control.admission import Admission
from modelyard.control.changes import ChangeFeed
from modelyard.control.demand import DemandBook
from modelyard.control.ports import Fence, Gateway, LeaseLost, News, Store
from modelyard.control.traffic import TrafficBook
from modelyard.domain.capacity import Inventory
from modelyard.domain.commands import Change
from modelyard.domain.model import Model, ModelRef
from modelyard.domain.spec import BackendName
from modelyard.tasks import spawn

log = logging.getLogger(__name__)

# In so many seconds every model is looked at, whether or not anything has woken it: that repairs what a lost
# notification left, and bounds how long a clock that jumped can mislead a timer.
RESYNC = 60.0
# Models that are looked at in one go, so that others get their turn between two goes.
_CHUNK = 25
# So often it is looked whether a site has more than before, seconds.
_INVENTORY_EVERY = 2.0
# Seconds until a pass that raised is tried again.
_RETRY = (0.2, 1.0, 5.0, 15.0)


class _Owned:
    """One model's actor, its mailbox, and how often it has been looked at."""

    def __init__(self, actor: ModelActor) -> None:
        self.actor = actor
        self.mailbox = asyncio.Event()
        self.mailbox.set()
        self.passes = 0
        self.looked = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def count(self) -> None:
        self.passes += 1
        self.looked.set()


class Reconciler:
    """Owns the actors of one site's models. Everybody else only posts."""

    def __init__(
        self,
        store: Store,
        feed: ChangeFeed,
        backends: Mapping[BackendName, Backend],
        gateway: Gateway,
        clock: Callable[[], datetime],
        *,
        site: str = "",
        fence: Fence | None = None,
        traffic: TrafficBook | None = None,
    ) -> None:
        self._store = store
        self._feed = feed
        self._backends = backends
        self._site = site
        self._clock = clock
        self._admission = Admission()
        self._demand = DemandBook()
        self._traffic = TrafficBook() if traffic is None else traffic
        self._around = Surroundings(
            store=store, feed=feed, gateway=gateway, admission=self._admission, demand=self._demand, clock=clock,
            look=self._post_all, fence=fence, traffic=self._traffic,
        )  # fmt: skip
        self._models: dict[str, _Owned] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        """Take up every model there is."""
        self._feed.on_commit = self._committed
        models = await self._store.models_of(self._site)
        for model in models:
            self._admission.recall(model)
        for model in models:
            self._take(model)
        gateway = self._around.gateway
        for name, backend in self._backends.items():
            self._watchers.append(spawn(self._watch(backend.changes()), f"changes of {name}"))
        self._watchers.append(spawn(self._watch(gateway.drained()), "drained instances"))
        self._watchers.append(spawn(self._watch_demand(gateway), "requests of models"))
        self._watchers.append(spawn(self._let_in(), "let those in who wait"))
        self._watchers.append(spawn(self._keep_looking(), "look at every model"))

    async def close(self) -> None:
        """Stop deciding. What runs goes on running."""
        self._closing = True
        tasks = [*self._watchers, *(owned.task for owned in self._models.values() if owned.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def post(self, uid: str) -> None:
        """Have the model looked at soon. Many posts before the look are one."""
        owned = self._models.get(uid)
        if owned is not None:
            owned.mailbox.set()

    def heard(self, news: News) -> None:
        """Another process has written a model. What is of another site costs nothing here."""
        owned = self._models.get(news.uid)
        if owned is None:
            if news.site in ("", self._site):
                spawn(self._take_unknown(news.uid), f"take up model {news.uid}")
            return
        owned.actor.invalidate()
        owned.mailbox.set()

    def unused_since(self, uid: str, now: datetime) -> datetime | None:
        """Since when nobody has called a model; None while somebody does, or where that is not known."""
        return self._demand.unused_since(uid, now)

    def protect(self, uids: frozenset[str]) -> None:
        """Have none of these models make room for others."""
        self._admission.protect(uids)

    async def resync(self) -> None:
        """Look at every model once; returns when all have been looked at."""
        for owned, passes in await self._wake_all(0.0):
            while owned.passes == passes and owned.task is not None and not owned.task.done():
                owned.looked.clear()
                await owned.looked.wait()

    async def _wake_all(self, pause: float) -> list[tuple[_Owned, int]]:
        """Post to every model, ``pause`` seconds after each few, with how often each had been looked at; those
        that are new are taken up."""
        versions = await self._store.model_versions(self._site)
        for ref, version in versions.items():
            owned = self._models.get(ref.uid)
            if owned is None:
                await self._take_unknown(ref.uid)
            elif owned.actor.version != version:
                owned.actor.invalidate()
        woken: list[tuple[_Owned, int]] = []
        for number, owned in enumerate(list(self._models.values()), start=1):
            woken.append((owned, owned.passes))
            owned.mailbox.set()
            if number % _CHUNK == 0:
                await asyncio.sleep(pause)
        return woken

    # ------------------------------------------------------------------ waking

    def _committed(self, change: Change) -> None:
        model = change.after
        if model is None or self._closing or model.site != self._site:
            return
        owned = self._models.get(model.uid)
        if owned is None:
            self._take(model)
        else:
            self._admission.meet(model)
            owned.actor.invalidate()
            owned.mailbox.set()

    def _post_all(self, refs: Sequence[ModelRef]) -> None:
        for ref in refs:
            self.post(ref.uid)

    async def _watch(self, refs: AsyncIterator[ModelRef]) -> None:
        async for ref in refs:
            self.post(ref.uid)
            if ref.uid not in self._models:
                # What it gives back no pass over it will tell of.
                self._admission.loosened.set()

    async def _let_in(self) -> None:
        """Have those looked at who wait, once they may have come nearer or there is more than before."""
        loosened = self._admission.loosened
        known: list[Inventory] = []
        while True:
            try:
                await _sleep(loosened, _INVENTORY_EVERY)
                found = await self._inventories()
                if loosened.is_set() or found != known:
                    loosened.clear()
                    known = found
                    for backend in self._backends.values():
                        ledger = await backend.ledger()
                        self._post_all(self._admission.to_look_at(ledger, self._clock()))
            except Exception:
                log.exception("Letting those in who wait failed; it goes on in %.0f s", _INVENTORY_EVERY)
                await asyncio.sleep(_INVENTORY_EVERY)

    async def _inventories(self) -> list[Inventory]:
        return [await backend.inventory() for backend in self._backends.values()]

    async def _watch_demand(self, gateway: Gateway) -> None:
        async for loads in gateway.loads():
            self._demand.take(loads)
            self._traffic.take(loads)
            for load in loads.models:
                owned = self._models.get(load.uid)
                if owned is not None and owned.actor.follows_demand:
                    owned.mailbox.set()

    async def _keep_looking(self) -> None:
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._wake_all(RESYNC * _CHUNK / max(len(self._models), _CHUNK))
            except Exception:
                log.exception("Looking at every model failed; it goes on in %.0f s", RESYNC)
            took = asyncio.get_running_loop().time() - began
            await asyncio.sleep(max(RESYNC - took, 1.0))

    # ------------------------------------------------------------------ owning

    def _take(self, model: Model) -> None:
        if model.uid in self._models or self._closing:
            return
        actor = ModelActor(model.ref, self._around, self._backends[model.spec.backend], model)
        owned = self._models[model.uid] = _Owned(actor)
        owned.task = spawn(self._own(owned), f"model {model.ref}")

    async def _take_unknown(self, uid: str) -> None:
        model = await self._store.get_model_by_uid(uid)
        if model is not None and model.site == self._site:
            self._take(model)

    async def _own(self, owned: _Owned) -> None:
        actor, uid = owned.actor, owned.actor.ref.uid
        failures = 0
        try:
            while True:
                owned.mailbox.clear()
                try:
                    outcome = await actor.reconcile()
                except Exception as error:
                    delay = _RETRY[min(failures, len(_RETRY) - 1)]
                    failures += 1
                    actor.invalidate()
                    if not isinstance(error, LeaseLost):
                        # Of a lost lease the one who notices it first tells; all this is being ended then.
                        log.exception("Reconciling %s failed; trying again in %.1f s", actor.ref, delay)
                    owned.count()
                    await _sleep(owned.mailbox, delay)
                    continue
                failures = 0
                if outcome.gone:
                    return
                if outcome.again:
                    continue
                owned.count()
                await _sleep(owned.mailbox, self._until(outcome.wake_at))
        finally:
            owned.looked.set()
            self._models.pop(uid, None)
            self._admission.forget(uid)
            self._demand.forget(uid)
            self._traffic.forget(uid)

    def _until(self, wake_at: datetime | None) -> float | None:
        if wake_at is None:
            return None
        return min(max((wake_at - self._clock()).total_seconds(), 0.0), RESYNC)


async def _sleep(mailbox: asyncio.Event, seconds: float | None) -> None:
    """Until something is posted, ``seconds`` at most; without a limit no timer is kept."""
    if seconds is None:
        await mailbox.wait()
        return
    try:
        async with asyncio.timeout(seconds):
            await mailbox.wait()
    except TimeoutError:
        return
