"""Who may launch next: two models must not both be promised the same free device."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from modelyard.domain.actions import Plan
from modelyard.domain.capacity import Claim, Inventory, Ledger, Room, Tenant, amount_of
from modelyard.domain.model import Model, ModelRef, Quota
from modelyard.domain.states import RunState, State

_NOTHING = Ledger(inventory=Inventory())


class Admission:
    """The queue of one site, as its models' last plans left it.

    Whoever launches something that counts passes through the ``door``, one at a time: the backend counts
    an instance as soon as ``converge`` has returned, so holding the door from the look at the ledger until then
    suffices. All of this can be found out again from the models' statuses, and is (:meth:`recall`).
    """

    def __init__(self) -> None:
        self.door = asyncio.Lock()
        self.quotas: dict[str, Quota] = {}
        self._claims: dict[str, Claim] = {}
        # What each model was admitted for: where one of its instances is gone, its place is not.
        self._places: dict[str, Claim] = {}
        self._tenants: dict[str, Tenant] = {}
        # Who has been asked to make room, and by whom.
        self._asked: dict[str, ModelRef] = {}

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
        return Room(
            ledger=ledger,
            claims=(*self._claims.values(), *self._kept(ledger)),
            tenants=self._tenants if quiet_since is None else self._tenants_now(quiet_since),
            quotas=self.quotas,
            preempted_by=self._asked.get(uid),
        )

    def note(self, model: Model, plan: Plan) -> tuple[ModelRef, ...]:
        """Remember what a pass over ``model`` came to; the models that ought to be looked at for it: those that are
        asked to make room, and those that wait, if it wants less than before."""
        uid = model.uid
        wanted = _counts(self._claims.get(uid), self._places.get(uid))
        _put(self._claims, uid, plan.claim)
        _put(self._places, uid, _place(model))
        self._tenants[uid] = tenant(model, None)
        if model.status.preempted is not None or not plan.status.instances or model.spec.pin:
            self._asked.pop(uid, None)
        if plan.claim is None:
            self._asked = {victim: by for victim, by in self._asked.items() if by.uid != uid}
        fresh = tuple(ref for ref in plan.preempts if ref.uid not in self._asked)
        self._asked.update({ref.uid: model.ref for ref in fresh})
        less = _counts(self._claims.get(uid), self._places.get(uid)) < wanted
        return fresh + (tuple(self.waiting) if less else ())

    def recall(self, model: Model) -> None:
        """Before its first pass: its place in the queue must not go to one that is looked at earlier."""
        self._tenants[model.uid] = tenant(model, None)
        _put(self._places, model.uid, _place(model))
        if model.status.waiting is not None and model.desired is RunState.RUNNING:
            self._claims[model.uid] = claim_of(model)

    def forget(self, uid: str) -> None:
        for known in (self._claims, self._places, self._tenants, self._asked):
            known.pop(uid, None)

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


def _put(known: dict[str, Claim], uid: str, claim: Claim | None) -> None:
    if claim is None:
        known.pop(uid, None)
    else:
        known[uid] = claim


def _counts(*claims: Claim | None) -> int:
    return sum(claim.count for claim in claims if claim is not None)


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
        gave_way=status.preempted is not None,
        priority=model.spec.priority,
        kept=status.rollout is not None or status.admitted > len(status.instances),
    )
