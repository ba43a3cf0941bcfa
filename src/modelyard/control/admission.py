"""Who may launch next: two models must not both be promised the same free device."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from modelyard.control.ports import Store
from modelyard.domain.actions import Converge, Plan
from modelyard.domain.capacity import NOTHING, Claim, Holding, Inventory, Ledger, Room, Tenant, add_up, amount_of
from modelyard.domain.model import Amount, InstancePhase, Model, ModelRef, Quota, Target
from modelyard.domain.states import RunState, State

T = TypeVar("T")

_NOTHING = Ledger(inventory=Inventory())
# What a namespace holds on other sites is asked again after so many seconds.
_ELSEWHERE_FOR = 1.0


class Admission:
    """The queue of one site, as its models' last plans left it.

    Whoever launches something that counts passes through the ``door``, one at a time, from the look at the ledger
    until what it may launch is promised to it (:meth:`promise`). A promise counts as held until the pass is over
    (:meth:`settle`): the backend counts an instance as soon as ``converge`` has returned. All of this can be found
    out again from the models' statuses, and is (:meth:`recall`).

    ``loosened`` is set when somebody who waits may have come nearer: a model holds less than before or wants less
    of its place, or no longer keeps others back. Whoever clears it has those looked at whom :meth:`to_look_at` names.
    """

    # So many at the head of the queue are looked at whether or not anything fits, to say anew what they wait for.
    abreast = 20

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.door = asyncio.Lock()
        self.loosened = asyncio.Event()
        self._monotonic = monotonic
        self._quotas: dict[str, Quota] = {}
        # By namespace, and when it was asked.
        self._elsewhere: dict[str, Amount] = {}
        self._asked_elsewhere: dict[str, float] = {}
        self._claims: dict[str, Claim] = {}
        # What each model was admitted for: where one of its instances is gone, its place is not.
        self._places: dict[str, Claim] = {}
        self._tenants: dict[str, Tenant] = {}
        self._protected: frozenset[str] = frozenset()
        # What is about to be launched by passes under way.
        self._promised: dict[str, Holding] = {}
        # What each holds, with what it was about to launch.
        self._held: dict[str, Amount] = {}
        # Who has been asked to make room, and for which claim.
        self._asked: dict[str, Claim] = {}

    @property
    def waiting(self) -> list[ModelRef]:
        """The models that wait, in the order of the queue."""
        return [claim.ref for claim in sorted(self._claims.values(), key=lambda c: c.rank)]

    def room(
        self, uid: str, ledger: Ledger | None, quiet_since: Callable[[str], datetime | None] | None = None
    ) -> Room:
        """As the model ``uid`` finds it. Without ``ledger`` there is none: enough for a plan that launches
        nothing, or nothing that counts. ``quiet_since`` says since when nobody has called a model, which only
        those who would make others go need to know."""
        if ledger is None:
            return Room(ledger=_NOTHING, preempted_by=self._asked.get(uid))
        kept = self._kept(ledger)
        if self._promised:
            ledger = replace(ledger, holdings=(*ledger.holdings, *self._promised.values()))
        return Room(
            ledger=ledger,
            claims=(*self._claims.values(), *kept),
            tenants=self._tenants if quiet_since is None else self._tenants_now(quiet_since),
            quotas=self._quotas,
            elsewhere=self._elsewhere,
            preempted_by=self._asked.get(uid),
        )

    def is_asked(self, uid: str) -> bool:
        """Whether somebody wants the model to make room."""
        return uid in self._asked

    async def learn(self, store: Store, namespace: str, site: str) -> None:
        """What the namespace may have, and what of it it has elsewhere: asked before each look at its room."""
        known = await store.get_namespace(namespace)
        quota = Quota() if known is None else known.quota
        self._quotas[namespace] = quota
        now = self._monotonic()
        if quota != Quota() and now - self._asked_elsewhere.get(namespace, -_ELSEWHERE_FOR) >= _ELSEWHERE_FOR:
            self._elsewhere[namespace] = await store.held_elsewhere(namespace, site)
            self._asked_elsewhere[namespace] = now

    def promise(self, model: Model, plan: Plan) -> None:
        """Count what the plan launches as held from now on."""
        amount = _launched(model, plan)
        if amount:
            self._promised[model.uid] = Holding(ref=model.ref, instance="", amount=amount)

    def settle(self, uid: str) -> None:
        """What was promised to the model is held by instances now, or will never be."""
        if self._promised.pop(uid, None) is not None:
            # Until now it may have counted twice.
            self._loosen()

    def to_look_at(self, ledger: Ledger, now: datetime) -> tuple[ModelRef, ...]:
        """Those who wait and could have something now, those whose place is kept (they may make room of their own),
        and the next few, in the order of the queue."""
        if not self._claims:
            return ()
        queue = sorted(self._claims.values(), key=lambda c: c.rank)
        fits = {ref.uid for ref in self.room("", ledger).admissible(now)}
        return tuple(
            claim.ref
            for number, claim in enumerate(queue)
            if number < self.abreast or claim.kept or claim.ref.uid in fits
        )

    def note(self, model: Model, plan: Plan) -> tuple[ModelRef, ...]:
        """Remember what a pass over ``model`` came to; the models that it asks to make room."""
        uid = model.uid
        before = self._wanted(uid)
        if plan.claim is not None and plan.claim != before.claim:
            # What was given back while it was decided on, nobody has told it of.
            self.loosened.set()
        _put(self._claims, uid, plan.claim)
        _put(self._places, uid, _place(model))
        _put(self._held, uid, _held(model, plan))
        self.meet(model)
        self._loosen_if_less(before, self._wanted(uid))
        asked = self._asked.get(uid)
        made = model.status.preempted is not None or not plan.status.instances
        if asked is not None and (made or not asked.may_displace(model.spec)):
            del self._asked[uid]
        if plan.claim is None:
            self._unask(uid)
            return ()
        fresh = tuple(ref for ref in plan.preempts if ref.uid not in self._asked)
        self._asked.update({ref.uid: plan.claim for ref in fresh})
        return fresh

    def recall(self, model: Model) -> None:
        """Before its first pass: its place in the queue must not go to one that is looked at earlier."""
        self.meet(model)
        _put(self._places, model.uid, _place(model))
        _put(self._held, model.uid, add_up(i.held for i in model.status.instances))
        if model.status.waiting is not None and model.desired is RunState.RUNNING:
            self._claims[model.uid] = claim_of(model)

    def forget(self, uid: str) -> None:
        """The model is gone, and whom it had asked need not make room."""
        before = self._wanted(uid)
        for known in (self._claims, self._places, self._held, self._tenants, self._asked):
            known.pop(uid, None)
        self._unask(uid)
        self._loosen_if_less(before, _Wanted())

    def meet(self, model: Model) -> None:
        """Know the model as those see it who want its place: from when it is written, not from its next pass."""
        known = self._tenants.get(model.uid)
        fresh = replace(tenant(model, None), protected=model.uid in self._protected)
        if known != fresh:
            self._tenants[model.uid] = fresh
        if known is not None and known != fresh:
            # What is saved up, and for whom, goes by who is expected to go.
            self._loosen()

    def protect(self, uids: frozenset[str]) -> None:
        """Policies keep these models, and no others, from making room."""
        changed, self._protected = uids ^ self._protected, uids
        for uid in changed & self._tenants.keys():
            self._tenants[uid] = replace(self._tenants[uid], protected=uid in uids)
        for uid in changed & uids:
            self._asked.pop(uid, None)
        self._loosen()

    def _unask(self, uid: str) -> None:
        self._asked = {victim: claim for victim, claim in self._asked.items() if claim.ref.uid != uid}

    def _wanted(self, uid: str) -> _Wanted:
        return _Wanted(self._claims.get(uid), self._places.get(uid), self._held.get(uid, NOTHING))

    def _loosen_if_less(self, before: _Wanted, after: _Wanted) -> None:
        if before != after and before.keeps_back_more_than(after):
            self._loosen()

    def _loosen(self) -> None:
        if self._claims:
            self.loosened.set()

    def _tenants_now(self, quiet_since: Callable[[str], datetime | None]) -> Mapping[str, Tenant]:
        return {uid: replace(known, quiet_since=quiet_since(uid)) for uid, known in self._tenants.items()}

    def _kept(self, ledger: Ledger) -> list[Claim]:
        """What models lack of what they were admitted for, and have not come to claim yet."""
        held = Counter(holding.ref.uid for holding in ledger.holdings)
        return [
            replace(place, count=place.count - held[uid])
            for uid, place in self._places.items()
            if place.count > held[uid] and uid not in self._claims
        ]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """By what one model keeps others back: what it claims, the place that is kept for it, what it holds."""

    claim: Claim | None = None
    place: Claim | None = None
    held: Amount = NOTHING

    def keeps_back_more_than(self, after: _Wanted) -> bool:
        if self.held.short_of(after.held):
            return True
        if _total(self.claim, self.place).short_of(_total(after.claim, after.place)):
            return True
        return self.claim is not None and after.claim is not None and self.claim.rank < after.claim.rank


def _total(*claims: Claim | None) -> Amount:
    return add_up(claim.each.times(claim.count) for claim in claims if claim is not None)


def _held(model: Model, plan: Plan) -> Amount:
    """What the model holds once the plan has been carried out: what is ending holds on until it is gone."""
    return add_up(i.held for i in plan.status.instances) + _launched(model, plan)


def _launched(model: Model, plan: Plan) -> Amount:
    total = NOTHING
    for action in plan.actions:
        if isinstance(action, Converge) and action.launch is not None:
            total += _each(model, plan, action.launch).times(_launches(plan, action))
    return total


def _each(model: Model, plan: Plan, launch: Target) -> Amount:
    rollout = plan.status.rollout
    if rollout is not None and launch == rollout.before:
        # What is made good while it is paused, or beside a canary, is of the old revision.
        return rollout.each
    return amount_of(model.target_spec.resources)


def _launches(plan: Plan, action: Converge) -> int:
    live = [
        i
        for i in plan.status.instances
        if i.target == action.launch and i.phase is not InstancePhase.TERMINATING and i.id not in action.surplus
    ]
    return dict(action.members)[action.launch] - len(live) if action.launch is not None else 0


def _put(known: dict[str, T], uid: str, value: T | None) -> None:
    """What has not changed is kept as it was, with all that was worked out from it."""
    if value is None:
        known.pop(uid, None)
    elif known.get(uid) != value:
        known[uid] = value


def _place(model: Model) -> Claim | None:
    each, status = amount_of(model.target_spec.resources), model.status
    if not each or not status.admitted:
        return None
    return Claim(
        ref=model.ref, each=each, count=status.admitted, since=status.transition.at, priority=model.spec.priority,
        kept=True,
    )  # fmt: skip


def tenant(model: Model, quiet_since: datetime | None) -> Tenant:
    """How ``model`` looks to those who want its place."""
    status = model.status
    leaving = model.desired is RunState.STOPPED or status.preempted is not None or status.state is State.IDLE
    return Tenant(
        ref=model.ref, priority=model.spec.priority, pin=model.spec.pin, quiet_since=quiet_since, leaving=leaving
    )


def claim_of(model: Model) -> Claim:
    """What a model that waits is still short of, by its status."""
    status = model.status
    live = [i for i in status.instances if i.target == status.target]
    wanted = status.scale.desired if status.scale else model.spec.base
    return Claim(
        ref=model.ref,
        each=amount_of(model.target_spec.resources),
        count=max(wanted - len(live), 1),
        since=status.waiting.since if status.waiting else status.transition.at,
        yields=status.preempted is not None or bool(status.instances),
        priority=model.spec.priority,
        kept=status.rollout is not None or status.admitted > len(status.instances),
    )
