"""One actor a model: the only writer of its status.

A pass reads, observes, plans, writes, routes and acts. Nothing is remembered between passes that
another control process could not find out again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from modelyard.backends.port import Backend, Member
from modelyard.control.admission import Admission
from modelyard.control.changes import ChangeFeed
from modelyard.control.demand import DemandBook
from modelyard.control.ports import Closed, Endpoint, Fence, Gateway, Hold, Route, Store
from modelyard.control.traffic import TrafficBook, canary_share
from modelyard.domain.actions import CONTROLLER, Converge, Forget, Plan, Release, Remove
from modelyard.domain.capacity import Ledger
from modelyard.domain.commands import Change
from modelyard.domain.errors import VersionConflict
from modelyard.domain.model import ConditionType, Event, Failure, Model, ModelRef, Target
from modelyard.domain.observation import Demand, Observation
from modelyard.domain.operations import settle
from modelyard.domain.plan import plan
from modelyard.domain.spec import REPEATABLE_ENGINES, Autoscaling, Preempt, Spec, Traffic

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass leaves to be done: look ``again`` at once, look again at ``wake_at``, or nothing any
    more because the model is ``gone``."""

    again: bool = False
    wake_at: datetime | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class _Rest:
    """What the last pass saw, when it found nothing to do: the next would find nothing either while it sees the same,
    ``until`` the moment at which time alone makes a difference."""

    observation: Observation
    since: datetime
    until: datetime | None

    def goes_on(self, observation: Observation, now: datetime) -> bool:
        in_time = self.since <= now and (self.until is None or now < self.until)
        return in_time and observation == self.observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all actors of one site share. ``look`` has the models that it is given looked at soon."""

    store: Store
    feed: ChangeFeed
    gateway: Gateway
    admission: Admission
    demand: DemandBook
    traffic: TrafficBook
    clock: Clock
    look: Callable[[Sequence[ModelRef]], None]
    fence: Fence | None = None


class ModelActor:
    """Reconciles one model. Not reentrant: the reconciler runs one pass at a time."""

    def __init__(self, ref: ModelRef, around: Surroundings, backend: Backend, model: Model | None = None) -> None:
        self.ref = ref
        self._around = around
        self._store = around.store
        self._gateway = around.gateway
        self._backend = backend
        # As last read or written; None when somebody else may have written since.
        self._known = model
        self._specs: dict[int, Spec] = {}
        self._route: Route | None = None
        self._watch: tuple[str, ...] = ()
        # Whether its operations say what has become of them, by the model as known.
        self._settled = False
        self._rest: _Rest | None = None
        # How often somebody else has written, so that a pass knows whether what it ends with is still so.
        self._heard = 0

    @property
    def version(self) -> int | None:
        """Of the model as this actor knows it."""
        return None if self._known is None else self._known.version

    @property
    def follows_demand(self) -> bool:
        """Whether news of its requests may change what it does."""
        known = self._known
        if known is None or _follows_demand(known.spec.autoscaling):
            return True
        return known.status.rollout is not None and known.status.rollout.ramp is not None

    def invalidate(self) -> None:
        """Somebody else has written the model, or may have."""
        self._known = None
        self._settled = False
        self._rest = None
        self._heard += 1

    async def reconcile(self) -> Outcome:
        """One pass."""
        # Asked first: a gateway that hangs keeps us waiting, and the model must be read after that.
        closed = await self._ask_closed()
        heard = self._heard
        model = self._known
        if model is not None and self._settled:
            # At rest nothing is read: all that could have been written is known, and nothing is done on that alone.
            # One that waits looks whether it still must.
            ledger = await self._ledger(model) if model.status.waiting is not None else None
            now = self._around.clock()
            observation = await self._observe(model, closed, now)
            asked = self._around.admission.is_asked(self.ref.uid)
            if self._rest is not None and not asked and self._rest.goes_on(observation, now):
                return Outcome(wake_at=self._rest.until)
            decided = self._decide(model, observation, ledger, now)
            if (decided.claim is None or ledger is not None) and not self._is_news(model, decided):
                self._note(model, decided)
                if decided.claim is None and heard == self._heard:
                    self._rest = _Rest(observation, now, decided.wake_at)
                return Outcome(wake_at=decided.wake_at)
        self._rest = None
        model = await self._store.get_model_by_uid(self.ref.uid)
        if model is None:
            await self._gateway.remove_route(self.ref)
            return Outcome(gone=True)
        now = self._around.clock()
        decided = self._decide(model, await self._observe(model, closed, now), None, now)
        if decided.claim is None:
            return await self._carry_out(model, decided, now, heard)
        async with self._around.admission.door:
            # While others were in, the wish may have changed.
            heard = self._heard
            model = await self._store.get_model_by_uid(self.ref.uid)
            if model is None:
                return Outcome(again=True)
            ledger, now = await self._ledger(model), self._around.clock()
            decided = self._decide(model, await self._observe(model, closed, now), ledger, now)
            admission = self._around.admission
            admission.promise(model, decided)
        try:
            return await self._carry_out(model, decided, now, heard)
        finally:
            admission.settle(self.ref.uid)

    def _decide(self, model: Model, observation: Observation, ledger: Ledger | None, now: datetime) -> Plan:
        around = self._around
        quiet_since = None
        if model.spec.preempt is not Preempt.NEVER:

            def quiet_since(uid: str) -> datetime | None:
                return around.demand.quiet_since(uid, now)

        room = around.admission.room(self.ref.uid, ledger, quiet_since)
        return plan(model, observation, room, now)

    def _is_news(self, model: Model, decided: Plan) -> bool:
        """Whether anything is to be done or written at all."""
        if decided.actions or decided.notes or decided.gone or decided.preempts:
            return True
        after = replace(model, status=decided.status)
        return decided.status != model.status or self._route_news(after, decided) is not None

    async def _ledger(self, model: Model) -> Ledger:
        await self._around.admission.learn(self._store, model.namespace, model.site)
        return await self._backend.ledger()

    async def _carry_out(self, model: Model, decided: Plan, now: datetime, heard: int) -> Outcome:
        if decided.gone:
            return await self._remove(model, decided, now)
        after = replace(model, status=decided.status, updated_at=now)
        # Before the write: who reads that a model runs may call it at once, and what stops is closed early.
        news = await self._push_route(after, decided)
        running = await self._store.running_operations(model.uid)
        settled = tuple(new for old in running if (new := settle(old, after, now)) != old)
        if decided.status != model.status or decided.notes or settled:
            change = Change(
                before=model,
                after=after,
                operations=settled,
                events=_events(model, after, decided, now),
                given_up=_given_up(model, after),
            )
            try:
                written = await self._around.feed.commit(change, wake=False, fence=self._around.fence)
            except VersionConflict:
                self.invalidate()
                return Outcome(again=True)
            assert written.after is not None
            after = written.after
        else:
            after = model
        if heard == self._heard:
            self._known = after
            self._settled = True
        for action in decided.actions:
            await self._act(action)
        self._note(after, decided)
        return Outcome(
            again=news or any(isinstance(a, Forget) for a in decided.actions),
            wake_at=decided.wake_at,
        )

    def _note(self, model: Model, decided: Plan) -> None:
        concerned = self._around.admission.note(model, decided)
        if concerned:
            self._around.look(concerned)

    # ------------------------------------------------------------------ observing

    async def _ask_closed(self) -> Closed | None:
        """The gateway's fresh word on what it was told to close in the pass before."""
        if self._route is None or not self._watch:
            return None
        return await self._gateway.set_route(self._route, self._watch)

    async def _observe(self, model: Model, closed: Closed | None, now: datetime) -> Observation:
        seen = await self._backend.observe(self.ref)
        scaling = model.spec.autoscaling
        demand = self._around.demand.demand(self.ref.uid, scaling, now)
        if not _follows_demand(scaling):
            demand = Demand()
        canary = self._around.traffic.evidence(self.ref.uid, model.status.rollout)
        observation = Observation(instances=seen.instances, exits=seen.exits, demand=demand, canary=canary)
        if closed is None:
            return observation
        return replace(observation, closed=closed.in_flight, drain=closed.report)

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
            await self._around.feed.commit(change, wake=False, fence=self._around.fence)
        except VersionConflict:
            self.invalidate()
            return Outcome(again=True)
        return Outcome(gone=True)

    # ------------------------------------------------------------------ acting

    async def _push_route(self, model: Model, decided: Plan) -> bool:
        """Tell the gateway what changed. True when its answer is news that the next plan wants to see."""
        news = self._route_news(model, decided)
        if news is None:
            return False
        route, watch = news
        await self._gateway.set_route(route, watch)
        self._route, self._watch = route, watch
        return bool(watch)

    def _route_news(self, model: Model, decided: Plan) -> tuple[Route, tuple[str, ...]] | None:
        """What the gateway must be told and asked about, if that has changed."""
        route = _route(model, decided)
        watch = tuple(i.id for i in model.status.instances if i.id not in decided.serving)
        return None if route == self._route and watch == self._watch else (route, watch)

    async def _act(self, action: Converge | Release | Forget | Remove) -> None:
        match action:
            case Converge(members, launch, surplus, grace):
                wanted = [
                    Member(target=t, spec=await self._spec(t), replicas=n, at_most=t != launch) for t, n in members
                ]
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


def _follows_demand(scaling: Autoscaling) -> bool:
    return scaling.target is not None or scaling.idle_after is not None


def _route(model: Model, decided: Plan) -> Route:
    limits, scaling = model.spec.limits, model.spec.autoscaling
    endpoints = {i.id: Endpoint(address=i.address, generation=i.target.generation) for i in model.status.instances}
    return Route(
        ref=model.ref,
        state=model.status.state,
        message=_message(model),
        generation=model.status.target.generation,
        public=model.spec.public,
        instances={i: endpoints[i] for i in decided.serving},
        request_timeout=limits.request_timeout,
        max_body=limits.max_body,
        max_queue=limits.max_queue,
        repeatable=model.spec.engine in REPEATABLE_ENGINES,
        metadata=model.status.metadata,
        hold=None
        if scaling.idle_after is None
        else Hold(max_waiting=scaling.max_waiting, timeout=scaling.wake_timeout),
        canary=canary_share(model.status.rollout),
        traffic=None if model.spec.traffic == Traffic() else model.spec.traffic,
        groups=model.spec.groups,
        rate=limits.rate,
    )


def _message(model: Model) -> str:
    """Why it is as it is, for those whom it does not serve: as of now, not as of the last change of state."""
    ready = model.status.condition(ConditionType.READY)
    return ready.message if ready is not None and ready.message else model.status.transition.message


def _given_up(before: Model, after: Model) -> tuple[tuple[int, Failure], ...]:
    """The generation whose rollout has just been given up: its reason outlives the status."""
    rolled_back, good = after.status.rolled_back, after.status.good
    if rolled_back is None or rolled_back == before.status.rolled_back:
        return ()
    if good is not None and good.generation == rolled_back.target.generation:
        # Only new instances of a good revision failed to come up.
        return ()
    return ((rolled_back.target.generation, rolled_back.failure),)


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
