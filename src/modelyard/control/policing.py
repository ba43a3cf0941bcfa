"""The loop that carries policies out: it stops models when a window begins, when they have been unused or have run for
too long, warns where a policy only warns, and starts again what a window with ``resume`` has stopped.

What is due is worked out anew at every look, from the model and the policies as they are stored, so a process that was
away does what it missed. A stop is written with the model; what cannot be seen from that (warnings, whom a window has
stopped) is remembered by marks. A model is only looked at when it was changed, or when its next moment has come.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from modelyard.control.caller import Caller
from modelyard.control.policy_ports import PolicyStore
from modelyard.control.ports import OperationQuery, Store
from modelyard.control.service import ModelService
from modelyard.domain.commands import Asked, Change, event_of
from modelyard.domain.enforcing import ACTION, WARNING, Due, StopOrder, Warned, closed, closed_by, due, runs
from modelyard.domain.errors import EtagMismatch, InvalidRequest, ModelyardError, NotFound, Refused, Unavailable
from modelyard.domain.model import Model, StopMode
from modelyard.domain.operations import OperationKind
from modelyard.domain.policies import Mark, MarkKind, Override, Policy, subject_of
from modelyard.domain.states import RunState, State
from modelyard.domain.verdicts import Verdict, decide

log = logging.getLogger(__name__)

QuietSince = Callable[[str, datetime], datetime | None]
Protect = Callable[[frozenset[str]], None]
_MarkKey = tuple[str, str, MarkKind]

# In so many seconds it is looked whether another process has changed policies, and how late it is: that bounds what a
# clock that jumped, or news that were lost, can do.
LOOK_EVERY: Final = 30.0
# So long a stop by a policy finishes what is in flight (seconds).
DRAIN: Final = 30.0
# For so long what is told is gathered (seconds): each look asks for all policies.
_LULL: Final = 0.1
# Until what could not be done is tried again: after a lost race, and otherwise.
_SOON: Final = timedelta(seconds=1)
_LATER: Final = timedelta(seconds=60)
# So many models are looked at together, and so many without others having a turn.
_ABREAST: Final = 64
_CHUNK: Final = 200
# Among so many of a model's last operations the one is looked for that stopped it.
_LAST_OPERATIONS: Final = 100
_RUN_COMMANDS: Final = (OperationKind.DEPLOY, OperationKind.START, OperationKind.RESTART, OperationKind.STOP)


class Policing:
    """Of one site's models. ``tell_events``: events were written by another door than the feed's."""

    def __init__(
        self, store: Store, policies: PolicyStore, models: ModelService, clock: Callable[[], datetime],
        tell_events: Callable[[], None],
    ) -> None:  # fmt: skip
        self._store, self._kept, self._models, self._clock = store, policies, models, clock
        self._tell_events = tell_events
        self._news = asyncio.Event()
        self._told: set[str] = set()
        self._all = True
        self._begin("", lambda uid, now: None, lambda uids: None)

    def _begin(self, site: str, quiet_since: QuietSince, protect: Protect) -> None:
        self._site, self._quiet_since, self._protect = site, quiet_since, protect
        self._policies: dict[tuple[str, str], Policy] = {}
        self._overrides: Sequence[Override] = []
        # By uid, what is remembered of a model.
        self._marks: dict[str, dict[_MarkKey, Mark]] = {}
        self._protected: frozenset[str] = frozenset()
        self._heap: list[tuple[datetime, str]] = []
        # By uid, when a model is looked at next; what else is on the heap is out of date.
        self._next: dict[str, datetime] = {}
        self._all = True

    def tell(self, uid: str | None = None) -> None:
        """A model was changed; None: policies, overrides or any models may have been."""
        if uid is None:
            self._all = True
        elif self._policies and not self._all:
            self._told.add(uid)
        else:
            return
        self._news.set()

    async def run(self, site: str, quiet_since: QuietSince, protect: Protect) -> None:
        """For as long as this process drives ``site``. ``quiet_since``: since when nobody has called a model, where
        that is known; ``protect`` is told which models nobody may make room of."""
        self._begin(site, quiet_since, protect)
        try:
            while True:
                self._news.clear()
                pause = LOOK_EVERY
                try:
                    wake_at = await self.step()
                    if wake_at is not None:
                        pause = min(max((wake_at - self._clock()).total_seconds(), 0.0), LOOK_EVERY)
                except ModelyardError as error:
                    log.warning("Policies could not be looked after: %s", error)
                    self._all = True
                    pause = _SOON.total_seconds()
                except Exception:
                    log.exception("Looking after policies failed; it goes on in %.0f s", LOOK_EVERY)
                    self._all = True
                try:
                    async with asyncio.timeout(pause):
                        await self._news.wait()
                except TimeoutError:
                    continue
                await asyncio.sleep(_LULL)
        finally:
            # Nobody takes what is told from here on.
            self._policies = {}
            self._told.clear()

    async def step(self) -> datetime | None:
        """Do all that is due; when the next look is."""
        policies = {p.key: p for p in await self._kept.policies()}
        overrides = list(await self._kept.overrides()) if policies else []
        if self._all or policies != self._policies or overrides != self._overrides:
            await self._look_at_all(policies, overrides)
        told, self._told = self._told, set()
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            at, uid = heapq.heappop(self._heap)
            if self._next.get(uid) == at:
                told.add(uid)
        await self._look_at(told)
        if self._told or self._all:
            return self._clock()
        while self._heap and self._next.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    # ------------------------------------------------------------------ looking

    async def _look_at_all(self, policies: dict[tuple[str, str], Policy], overrides: Sequence[Override]) -> None:
        self._all = False
        self._policies, self._overrides = policies, overrides
        self._told.clear()
        self._heap.clear()
        self._next.clear()
        protected: set[str] = set()
        if policies:
            self._marks = {}
            for mark in await self._kept.marks():
                self._remember(mark)
            for number, model in enumerate(await self._store.models_of(self._site), start=1):
                now = self._clock()
                verdict = self._verdict(model, now)
                if verdict.is_protected:
                    protected.add(model.uid)
                found = self._due(model, verdict, now)
                if found.stop is not None or found.warnings or self._to_resume(model.uid):
                    self._wake(model.uid, now)
                elif found.wake_at is not None:
                    self._wake(model.uid, found.wake_at)
                if number % _CHUNK == 0:
                    await asyncio.sleep(0)
        self._set_protected(frozenset(protected))

    async def _look_at(self, uids: Iterable[str]) -> None:
        turns = asyncio.Semaphore(_ABREAST)

        async def one(uid: str) -> None:
            async with turns:
                try:
                    await self._look(uid)
                except ModelyardError as error:
                    log.warning("Policies of model %s could not be looked after: %s", uid, error)
                    self._wake(uid, self._clock() + _LATER)

        await asyncio.gather(*(one(uid) for uid in uids))

    async def _look(self, uid: str) -> None:
        self._next.pop(uid, None)
        model = await self._store.get_model_by_uid(uid)
        if model is None or model.site != self._site:
            self._set_one_protected(uid, False)
            return
        now = self._clock()
        verdict = self._verdict(model, now)
        self._set_one_protected(uid, verdict.is_protected)
        for mark in self._to_resume(uid):
            await self._resume(mark, model, verdict, now)
        found = self._due(model, verdict, now)
        for warned in found.warnings:
            await self._warn(model, warned)
        if found.stop is not None:
            await self._stop(model, found.stop)
        elif found.wake_at is not None:
            self._wake(uid, max(found.wake_at, now + _SOON))

    def _due(self, model: Model, verdict: Verdict, now: datetime) -> Due:
        """With the end of each override as a moment to look again."""
        if not verdict.rulings or not runs(model):
            return Due()
        found = due(verdict, model, self._quiet_since(model.uid, now), now)
        ends = {r.override.expires_at for r in verdict.rulings if r.override is not None}
        wakes = [*ends, *([] if found.wake_at is None else [found.wake_at])]
        return replace(found, wake_at=min(wakes, default=None))

    def _to_resume(self, uid: str) -> list[Mark]:
        return [mark for mark in self._marks.get(uid, {}).values() if mark.kind is MarkKind.STOPPED]

    def _verdict(self, model: Model, now: datetime) -> Verdict:
        return decide(subject_of(model), self._policies.values(), self._overrides, now)

    def _wake(self, uid: str, at: datetime) -> None:
        self._next[uid] = at
        heapq.heappush(self._heap, (at, uid))

    def _set_protected(self, uids: frozenset[str]) -> None:
        if uids != self._protected:
            self._protected = uids
            self._protect(uids)

    def _set_one_protected(self, uid: str, protected: bool) -> None:
        if (uid in self._protected) != protected:
            self._set_protected(self._protected ^ {uid})

    # ------------------------------------------------------------------ acting

    async def _stop(self, model: Model, order: StopOrder) -> None:
        policy = order.policy
        shutdown = policy.rules.shutdown
        if order.until is not None and shutdown is not None and shutdown.resume:
            # First: a process that dies in between finds the model running, and stops it; never the other way round.
            mark = Mark(
                model_uid=model.uid, scope=policy.namespace, policy=policy.name, kind=MarkKind.STOPPED, at=order.until
            )
            await self._kept.mark(mark)
            self._remember(mark)
        caller = replace(_acting(policy, order.reason, model), exempt=True)
        try:
            await self._models.stop(model.namespace, model.name, StopMode.DRAIN, DRAIN, caller)
        except (EtagMismatch, Unavailable):
            # Something has changed, perhaps what speaks for the stop.
            self._wake(model.uid, self._clock() + _SOON)
            return
        except NotFound:
            return
        log.info("%s is stopped: %s", model.ref, order.reason)
        if order.until is not None:
            self._wake(model.uid, order.until)

    async def _warn(self, model: Model, warned: Warned) -> None:
        policy = warned.policy
        mark = Mark(
            model_uid=model.uid, scope=policy.namespace, policy=policy.name, kind=warned.kind, at=warned.at
        )  # fmt: skip
        if self._marks.get(model.uid, {}).get(_key(mark)) == mark:
            return
        asked = Asked(actor=policy.actor, reason="", at=self._clock(), operation_id="")
        event = event_of(model, WARNING, asked, warned.message, {"policy": policy.name, "kind": str(warned.kind)})
        if await self._kept.mark(mark, event):
            self._tell_events()
        self._remember(mark)

    async def _resume(self, mark: Mark, model: Model, verdict: Verdict, now: datetime) -> None:
        """Start again what the mark's window has stopped, once neither it nor another one keeps it shut down."""
        policy = self._policies.get((mark.scope, mark.policy))
        shutdown = None if policy is None else policy.rules.shutdown
        if policy is None or shutdown is None or not shutdown.resume or not await self._was_stopped_by(policy, model):
            await self._forget(mark)
            return
        own, other = closed_by(policy, now), closed(verdict, now)
        still = [p.ends for p in (own, None if other is None else other[1]) if p is not None]
        if still:
            self._wake(model.uid, max(still))
            return
        if model.status.state is State.STOPPING:
            self._wake(model.uid, now + _SOON)
            return
        caller = _acting(policy, f"The window of policy {policy.name} is over", model)
        try:
            await self._models.start(model.namespace, model.name, caller)
        except (EtagMismatch, Unavailable):
            self._wake(model.uid, now + _SOON)
            return
        except (Refused, InvalidRequest, NotFound) as error:
            message = f"The window of policy {policy.name} is over, and it could not be started again: {error.message}"
            await self._warn(model, Warned(policy=policy, kind=MarkKind.NOT_RESUMED, at=mark.at, message=message))
        await self._forget(mark)

    async def _was_stopped_by(self, policy: Policy, model: Model) -> bool:
        """Whether that was the last that was asked of it: who stops what is stopped wants it to stay so."""
        if model.desired is not RunState.STOPPED or model.status.state is State.DELETING:
            return False
        query = OperationQuery(namespace=model.namespace, model=model.name, page_size=_LAST_OPERATIONS)
        for operation in (await self._store.list_operations(query)).items:
            if operation.model_uid == model.uid and operation.kind in _RUN_COMMANDS:
                return operation.kind is OperationKind.STOP and operation.actor == policy.actor
        return False

    def _remember(self, mark: Mark) -> None:
        self._marks.setdefault(mark.model_uid, {})[_key(mark)] = mark

    async def _forget(self, mark: Mark) -> None:
        await self._kept.unmark(mark)
        self._marks.get(mark.model_uid, {}).pop(_key(mark), None)


def _acting(policy: Policy, reason: str, model: Model) -> Caller:
    """As whom a policy asks for what it does, with an event of its own."""

    async def tell(change: Change) -> Change:
        operation = change.operations[-1]
        asked = Asked(actor=policy.actor, reason=reason, at=operation.created_at, operation_id=operation.id)
        data = {"policy": policy.name, "action": str(operation.kind), "operation": operation.id}
        return replace(change, events=(*change.events, event_of(model, ACTION, asked, f"{reason}.", data)))

    return Caller(actor=policy.actor, reason=reason, if_match=model.version, amend=tell)


def _key(mark: Mark) -> _MarkKey:
    return mark.scope, mark.policy, mark.kind
