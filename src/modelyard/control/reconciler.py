"""The loop around the plan: one task a model, woken by commands, by the backend, by the gateway and by time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime

from modelyard.backends.port import Backend
from modelyard.control.actor import ModelActor
from modelyard.control.admission import Admission
from modelyard.control.changes import ChangeFeed
from modelyard.control.ports import Gateway, Store
from modelyard.domain.commands import Change
from modelyard.domain.model import ModelRef
from modelyard.domain.spec import BackendName
from modelyard.domain.states import State
from modelyard.tasks import spawn

log = logging.getLogger(__name__)

# Seconds between passes over a model that nothing has woken: repairs what a lost notification left.
RESYNC = 60.0
# Seconds until a pass that raised is tried again.
_RETRY = (0.2, 1.0, 5.0, 15.0)


class Reconciler:
    """Owns the actors. Everybody else only posts."""

    def __init__(
        self,
        store: Store,
        feed: ChangeFeed,
        backends: Mapping[BackendName, Backend],
        gateway: Gateway,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._feed = feed
        self._backends = backends
        self._gateway = gateway
        self._clock = clock
        self._admission = Admission()
        self._mailboxes: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._queued: set[str] = set()
        self._closing = False

    async def start(self) -> None:
        """Take up every model there is."""
        self._feed.on_commit = self._committed
        for ref in await self._store.model_refs():
            self._take(ref, await self._backend_of(ref))
        for name, backend in self._backends.items():
            self._watchers.append(spawn(self._watch(backend.changes()), f"changes of {name}"))
        self._watchers.append(spawn(self._watch(self._gateway.drained()), "drained instances"))

    async def close(self) -> None:
        """Stop deciding. What runs goes on running."""
        self._closing = True
        tasks = [*self._watchers, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def post(self, uid: str) -> None:
        """Have the model looked at soon. Many posts before the look are one."""
        mailbox = self._mailboxes.get(uid)
        if mailbox is not None:
            mailbox.set()

    # ------------------------------------------------------------------ waking

    def _committed(self, change: Change) -> None:
        model = change.after
        if model is None or self._closing:
            return
        if model.uid not in self._tasks:
            self._take(model.ref, model.spec.backend)
        else:
            self.post(model.uid)

    async def _watch(self, refs: AsyncIterator[ModelRef]) -> None:
        async for ref in refs:
            self.post(ref.uid)
            # What one model gives back, another may wait for.
            for uid in self._queued:
                self.post(uid)

    def _take(self, ref: ModelRef, backend: BackendName) -> None:
        actor = ModelActor(
            ref, self._store, self._feed, self._backends[backend], self._gateway, self._admission, self._clock
        )
        mailbox = self._mailboxes[ref.uid] = asyncio.Event()
        mailbox.set()
        self._tasks[ref.uid] = spawn(self._own(actor, mailbox), f"model {ref}")

    async def _backend_of(self, ref: ModelRef) -> BackendName:
        model = await self._store.get_model_by_uid(ref.uid)
        return model.spec.backend if model else BackendName.LOCAL

    # ------------------------------------------------------------------ the loop of one model

    async def _own(self, actor: ModelActor, mailbox: asyncio.Event) -> None:
        uid = actor.ref.uid
        failures = 0
        try:
            while True:
                mailbox.clear()
                try:
                    outcome = await actor.reconcile()
                except Exception:
                    delay = _RETRY[min(failures, len(_RETRY) - 1)]
                    failures += 1
                    log.exception("Reconciling %s failed; trying again in %.1f s", actor.ref, delay)
                    await _sleep(mailbox, delay)
                    continue
                failures = 0
                self._note_queue(uid, outcome.state)
                if outcome.gone:
                    return
                if outcome.again:
                    continue
                await _sleep(mailbox, self._until(outcome.wake_at))
        finally:
            self._mailboxes.pop(uid, None)
            self._tasks.pop(uid, None)
            self._queued.discard(uid)

    def _note_queue(self, uid: str, state: State | None) -> None:
        if state is State.QUEUED:
            self._queued.add(uid)
        else:
            self._queued.discard(uid)

    def _until(self, wake_at: datetime | None) -> float:
        resync = RESYNC * random.uniform(0.8, 1.2)
        if wake_at is None:
            return resync
        # The wall clock may jump either way; the resync bounds how long that can mislead us.
        return min(max((wake_at - self._clock()).total_seconds(), 0.0), resync)


async def _sleep(mailbox: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await mailbox.wait()
    except TimeoutError:
        return
