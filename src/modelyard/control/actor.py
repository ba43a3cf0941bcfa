"""One actor a model: the only writer of its status.

A pass reads, observes, plans, writes, routes and acts. Nothing is remembered between passes that
another control process could not find out again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from modelyard.backends.port import Backend, Member
from modelyard.control.admission import UNLIMITED, Admission, reserves
from modelyard.control.changes import ChangeFeed
from modelyard.control.ports import Closed, Endpoint, Gateway, Route, Store
from modelyard.domain.commands import Change
from modelyard.domain.errors import VersionConflict
from modelyard.domain.model import Event, Model, ModelRef, Target
from modelyard.domain.observation import Capacity, Observation
from modelyard.domain.operations import settle
from modelyard.domain.plan import CONTROLLER, Converge, Forget, Plan, Release, Remove, plan
from modelyard.domain.spec import Spec
from modelyard.domain.states import State

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass leaves to be done: look ``again`` at once, look again at ``wake_at``, or nothing any
    more because the model is ``gone``."""

    again: bool = False
    wake_at: datetime | None = None
    gone: bool = False
    state: State | None = None


class ModelActor:
    """Reconciles one model. Not reentrant: the reconciler runs one pass at a time."""

    def __init__(
        self,
        ref: ModelRef,
        store: Store,
        feed: ChangeFeed,
        backend: Backend,
        gateway: Gateway,
        admission: Admission,
        clock: Clock,
    ) -> None:
        self.ref = ref
        self._store = store
        self._feed = feed
        self._backend = backend
        self._gateway = gateway
        self._admission = admission
        self._clock = clock
        self._specs: dict[int, Spec] = {}
        self._route: Route | None = None
        self._watch: tuple[str, ...] = ()

    async def reconcile(self) -> Outcome:
        """One pass."""
        # Asked first: a gateway that hangs keeps us waiting, and the model must be read after that.
        closed = await self._ask_closed()
        model = await self._store.get_model_by_uid(self.ref.uid)
        if model is None:
            await self._gateway.remove_route(self.ref)
            return Outcome(gone=True)
        if not reserves(model):
            return await self._pass(model, closed, UNLIMITED)
        async with self._admission.door:
            # While others were in, the wish may have changed.
            model = await self._store.get_model_by_uid(self.ref.uid)
            if model is None:
                return Outcome(again=True)
            return await self._pass(model, closed, await self._backend.capacity())

    async def _pass(self, model: Model, closed: Closed | None, capacity: Capacity) -> Outcome:
        observation = await self._observe(closed)
        now = self._clock()
        decided = plan(model, observation, capacity, now)
        if decided.gone:
            return await self._remove(model, decided, now)
        after = replace(model, status=decided.status, updated_at=now)
        # Before the write: who reads that a model runs may call it at once, and what stops is closed early.
        news = await self._push_route(after, decided)
        running = await self._store.running_operations(model.uid)
        settled = tuple(new for old in running if (new := settle(old, after, now)) != old)
        if decided.status != model.status or decided.notes or settled:
            change = Change(before=model, after=after, operations=settled, events=_events(model, after, decided, now))
            try:
                written = await self._feed.commit(change, wake=False)
            except VersionConflict:
                return Outcome(again=True, state=model.status.state)
            assert written.after is not None
            after = written.after
        for action in decided.actions:
            await self._act(action)
        return Outcome(
            again=news or any(isinstance(a, Forget) for a in decided.actions),
            wake_at=decided.wake_at,
            state=after.status.state,
        )

    # ------------------------------------------------------------------ observing

    async def _ask_closed(self) -> Closed | None:
        """The gateway's fresh word on what it was told to close in the pass before."""
        if self._route is None or not self._watch:
            return None
        return await self._gateway.set_route(self._route, self._watch)

    async def _observe(self, closed: Closed | None) -> Observation:
        seen = await self._backend.observe(self.ref)
        if closed is None:
            return Observation(instances=seen.instances, exits=seen.exits)
        return Observation(instances=seen.instances, exits=seen.exits, closed=closed.in_flight, drain=closed.report)

    # ------------------------------------------------------------------ forgetting

    async def _remove(self, model: Model, decided: Plan, now: datetime) -> Outcome:
        # The record goes last: a crash before leaves a model in deleting, and the next pass repeats all this.
        for action in decided.actions:
            await self._act(action)
        await self._gateway.remove_route(self.ref)
        running = await self._store.running_operations(model.uid)
        event = _event(model, now, "Deleted", "Deleted", "The model is gone; its history is kept.", {})
        change = Change(
            before=model,
            after=None,
            operations=tuple(settle(o, None, now) for o in running),
            events=(event,),
        )
        try:
            await self._feed.commit(change, wake=False)
        except VersionConflict:
            return Outcome(again=True)
        return Outcome(gone=True)

    # ------------------------------------------------------------------ acting

    async def _push_route(self, model: Model, decided: Plan) -> bool:
        """Tell the gateway what changed. True when its answer is news that the next plan wants to see."""
        route = _route(model, decided)
        watch = tuple(i.id for i in model.status.instances if i.id not in decided.serving)
        if route == self._route and watch == self._watch:
            return False
        await self._gateway.set_route(route, watch)
        self._route, self._watch = route, watch
        return bool(watch)

    async def _act(self, action: Converge | Release | Forget | Remove) -> None:
        match action:
            case Converge(members, surplus, grace):
                wanted = [Member(target=t, spec=await self._spec(t), replicas=n) for t, n in members]
                await self._backend.converge(self.ref, tuple(wanted), grace, surplus)
            case Release(grace):
                await self._backend.release(self.ref, grace)
            case Forget(exits):
                await self._backend.forget(self.ref, exits)
            case Remove():
                await self._backend.remove(self.ref)

    async def _spec(self, target: Target) -> Spec:
        if target.generation not in self._specs:
            spec = await self._store.get_revision_spec(self.ref.uid, target.generation)
            if spec is None:
                raise LookupError(f"revision {target.generation} of {self.ref} is missing from the store")
            self._specs[target.generation] = spec
        return self._specs[target.generation]


def _route(model: Model, decided: Plan) -> Route:
    limits = model.spec.limits
    endpoints = {i.id: Endpoint(address=i.address, generation=i.target.generation) for i in model.status.instances}
    return Route(
        ref=model.ref,
        state=model.status.state,
        message=model.status.transition.message,
        generation=model.status.target.generation,
        public=model.spec.public,
        instances={i: endpoints[i] for i in decided.serving},
        request_timeout=limits.request_timeout,
        max_body=limits.max_body,
        max_queue=limits.max_queue,
        metadata=model.status.metadata,
    )


def _events(before: Model, after: Model, decided: Plan, now: datetime) -> tuple[Event, ...]:
    events = [_event(after, now, n.type, n.reason, n.message, dict(n.data)) for n in decided.notes]
    if after.status.state is not before.status.state:
        transition = after.status.transition
        data = {"from": str(before.status.state), "to": str(after.status.state)}
        events.append(_event(after, now, "StateChanged", transition.reason, transition.message, data, transition.actor))
    return tuple(events)


def _event(
    model: Model, at: datetime, type_: str, reason: str, message: str, data: Mapping[str, Any], actor: str = CONTROLLER
) -> Event:
    return Event(
        at=at, namespace=model.namespace, model=model.name, model_uid=model.uid, type=type_, reason=reason,
        message=message, actor=actor, data=data,
    )  # fmt: skip
