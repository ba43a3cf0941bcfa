"""The ledger of what a site has and who holds it, and the queue for it. All of it pure.

A *claim* is what a model still wants; a *grant* is how much of it may be launched now. Claims are served by
rank: first those of models that were admitted before (an update or a crash must not cost a model its place),
then by priority, then by age. A claim that does not fit may be overtaken by smaller ones for
:data:`OVERTAKEN_AT_MOST`; after that what it is short of is saved up for it, so that nothing small keeps
something large from ever starting.

Nothing is saved up in vain. A claim is saved up for only while it would fit, behind those before it, once every
model had gone of which that may be expected: not those that are pinned, and not those of higher priority, for
which it would have to wait anyway. As soon as what it lacks is held by others again, saving begins: then
all that is let in before it are those that were there already, and each of them that ends brings it nearer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from modelyard.domain.keeping import Stays, Use
from modelyard.domain.model import Amount, ModelRef, Quota
from modelyard.domain.shortage import Shortage, shortage
from modelyard.domain.spec import Preempt, Resources, Spec

# For so long smaller claims may pass one that does not fit.
OVERTAKEN_AT_MOST = timedelta(seconds=60)
# A model that nobody has called for so long may be taken for idle when another one wants its place.
UNUSED_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One accelerator. ``id`` is what CUDA_VISIBLE_DEVICES takes; ``memory`` in bytes, None if not known."""

    id: str
    kind: str = "gpu"
    name: str = ""
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a site has: cores, bytes of memory, devices."""

    cpu: float = 0.0
    memory: int = 0
    devices: tuple[Device, ...] = ()

    @property
    def total(self) -> Amount:
        return Amount(cpu=self.cpu, memory=self.memory, devices=len(self.devices))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one instance holds, from the decision to launch it until it is verified gone."""

    ref: ModelRef
    instance: str
    amount: Amount
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    inventory: Inventory
    holdings: tuple[Holding, ...] = ()

    @property
    def held(self) -> Amount:
        return add_up(h.amount for h in self.holdings)

    @property
    def free(self) -> Amount:
        return self.inventory.total - self.held


KINDS = ("devices", "memory", "cpu")
NOTHING = Amount()
# More than any site has.
_UNBOUNDED = 10**18
_UNLIMITED = Quota()


def left_of(quota: Quota, held: Amount) -> Amount:
    """What a namespace with this quota may still take."""
    return Amount(
        cpu=_UNBOUNDED if quota.cpu is None else quota.cpu - held.cpu,
        memory=_UNBOUNDED if quota.memory is None else quota.memory - held.memory,
        devices=_UNBOUNDED if quota.gpus is None else quota.gpus - held.devices,
    )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a model wants more of: ``count`` instances of ``each``. ``kept``: it was admitted before, so it
    goes before all that were not. ``since`` is when it began to wait; of two that began at once the one that
    ``yields`` (it made room for the other, or has instances already) goes second: taking turns, they would never
    come to rest."""

    ref: ModelRef
    each: Amount
    count: int
    since: datetime
    priority: int = 0
    kept: bool = False
    yields: bool = False

    @cached_property
    def rank(self) -> tuple[bool, int, datetime, bool, str]:
        return (not self.kept, -self.priority, self.since, self.yields, self.ref.uid)

    def may_displace(self, spec: Spec) -> bool:
        """Whether a model with this spec, asked to, makes room for it: the spec may have changed since."""
        return not spec.pin and spec.priority <= self.priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A model that holds something, as those see it who want its place. ``quiet_since``: since when nobody
    has called it (None: somebody does, or it is not known)."""

    ref: ModelRef
    priority: int = 0
    pin: bool = False
    # By a policy.
    protected: bool = False
    quiet_since: datetime | None = None
    # It is giving up what it holds already.
    leaving: bool = False

    @property
    def use(self) -> Use:
        """As the rule sees it by which the cache's versions go, too."""
        used_at = None if self.quiet_since is None else self.quiet_since.timestamp()
        return Use(used_at=used_at, pinned=self.pin or self.protected, rank=self.priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """``count`` more instances may be launched now; ``shortage`` says why not all that were wanted."""

    count: int
    shortage: Shortage | None = None


@dataclass(frozen=True, kw_only=True)
class Room:
    """All that decides whether a claim fits. ``claims`` are those of all models that wait; ``elsewhere`` is what
    each namespace holds on other sites; ``preempted_by`` is the claim that this one has been asked to make room
    for."""

    ledger: Ledger
    claims: tuple[Claim, ...] = ()
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    elsewhere: Mapping[str, Amount] = field(default_factory=dict)
    preempted_by: Claim | None = None

    def grant(self, claim: Claim, now: datetime, *, given_back: Amount = NOTHING) -> Grant:
        """How many instances of ``claim`` fit, were ``given_back`` free too."""
        if not claim.each:
            return Grant(count=claim.count)
        serving = _Serving(self, now, {claim.ref.namespace: given_back} if given_back else {})
        first = [other.ref for other in self._before(claim) if serving.serve(other)]
        by_quota = serving.times_by_quota(claim)
        left = serving.left.amount
        count = serving.left.times(claim.each, by_quota)
        if count >= claim.count:
            return Grant(count=count)
        if by_quota == count:
            return Grant(count=count, shortage=self._over_quota(claim, serving, count))
        fits = min(claim.count, claim.each.times_in(self._free + given_back)) > count
        return Grant(count=count, shortage=self._too_little(claim, left, count, tuple(first) if fits else ()))

    def place(self, claim: Claim) -> int:
        """1 for the claim that is next in the queue."""
        return 1 + len(self._before(claim))

    def admissible(self, now: datetime) -> tuple[ModelRef, ...]:
        """Those of ``claims`` of which something could be granted now, the next in the queue first."""
        serving = _Serving(self, now, {})
        return tuple(claim.ref for claim in self._queue if serving.grants(claim))

    def victims(self, claim: Claim, preempt: Preempt, now: datetime) -> tuple[ModelRef, ...]:
        """The models that must give up their place for one instance of ``claim`` to fit, as few as will do;
        none where one fits without, or where no choice that ``preempt`` allows suffices."""
        if preempt is Preempt.NEVER:
            return ()
        return self._fewest(claim, [t for t in self._others(claim) if _may_take(t, claim, preempt, now)], now)

    def in_the_way(self, claim: Claim, now: datetime) -> tuple[ModelRef, ...]:
        """The models that would have to stop for one instance of ``claim`` to fit, whatever they are."""
        return self._fewest(claim, self._others(claim), now)

    # ------------------------------------------------------------------ worked out once

    @cached_property
    def _queue(self) -> tuple[Claim, ...]:
        return tuple(sorted((c for c in self.claims if c.each), key=lambda c: c.rank))

    @cached_property
    def _free(self) -> Amount:
        return self.ledger.free

    @cached_property
    def _held(self) -> dict[str, Amount]:
        """What each model holds, by its uid."""
        held: dict[str, Amount] = {}
        for holding in self.ledger.holdings:
            uid = holding.ref.uid
            held[uid] = held[uid] + holding.amount if uid in held else holding.amount
        return held

    @cached_property
    def _quota_left(self) -> dict[str, Amount]:
        """Of each namespace that has a quota."""
        limited = {name: quota for name, quota in self.quotas.items() if quota != _UNLIMITED}
        held: dict[str, list[Amount]] = {name: [] for name in limited}
        for holding in self.ledger.holdings if limited else ():
            if holding.ref.namespace in held:
                held[holding.ref.namespace].append(holding.amount)
        return {
            name: left_of(quota, add_up(held[name]) + self.elsewhere.get(name, NOTHING))
            for name, quota in limited.items()
        }

    @cached_property
    def _within_reach(self) -> dict[int, Amount]:
        """By priority: what there would be without those of lower or the same one that are not pinned."""
        priorities = {claim.priority for claim in self.claims}
        total = self.ledger.inventory.total
        return {p: total - add_up(a for uid, a in self._held.items() if self._stays(uid, p)) for p in priorities}

    # ------------------------------------------------------------------ helpers

    def _before(self, claim: Claim) -> list[Claim]:
        """The others that come before ``claim`` in the queue."""
        end = bisect_left(self._queue, claim.rank, key=lambda c: c.rank)
        return [other for other in self._queue[:end] if other.ref.uid != claim.ref.uid]

    def _stays(self, uid: str, priority: int) -> bool:
        """Whether one who waits with this priority cannot expect the model to go."""
        tenant = self.tenants.get(uid)
        return tenant is not None and not tenant.leaving and (tenant.use.pinned or tenant.priority > priority)

    def _reach(self, claim: Claim) -> Amount:
        """What there may ever be for ``claim``, one of ``claims``. What its own model holds stays, unless that is
        being replaced."""
        reach, own = self._within_reach[claim.priority], self._held.get(claim.ref.uid)
        if own is None:
            return reach
        stays = self._stays(claim.ref.uid, claim.priority)
        if claim.kept:
            return reach + own if stays else reach
        return reach if stays else reach - own

    def _over_quota(self, claim: Claim, serving: _Serving, count: int) -> Shortage:
        namespace = claim.ref.namespace
        total = left_of(self.quotas[namespace], NOTHING)
        rivals = [(h.ref, h.amount) for h in self.ledger.holdings if h.ref.namespace == namespace]
        rest = serving.quota_left(namespace) - claim.each.times(count)
        found = shortage("QuotaExceeded", claim.ref, claim.each, free=rest, total=total, rivals=rivals)
        elsewhere = self.elsewhere.get(namespace, NOTHING)
        if any(elsewhere.of(kind) for kind in found.kinds):
            return replace(found, message=f"{found.message}; models of other sites hold of it too")
        return found

    def _too_little(self, claim: Claim, left: Amount, count: int, first: tuple[ModelRef, ...]) -> Shortage:
        rest = left - claim.each.times(count)
        return shortage(
            "InsufficientCapacity", claim.ref, claim.each, free=rest, total=self.ledger.inventory.total, first=first,
            rivals=((h.ref, h.amount) for h in self.ledger.holdings),
        )  # fmt: skip

    def _others(self, claim: Claim) -> list[Tenant]:
        return [t for uid, t in self.tenants.items() if uid in self._held and uid != claim.ref.uid]

    def _fewest(self, claim: Claim, candidates: list[Tenant], now: datetime) -> tuple[ModelRef, ...]:
        """Those whose going makes one instance fit, in the order of :mod:`modelyard.domain.keeping` (a priority is
        the rank); then without any that turns out not to be needed."""
        # What is being given up already counts as free: nobody else has to go for it.
        gone = {uid: t for uid, t in self.tenants.items() if t.leaving and uid in self._held}
        chosen: list[Tenant] = []
        ordered = sorted(candidates, key=lambda t: (t.use.turn, t.ref.uid))
        for tenant in [None, *ordered]:
            if tenant is not None:
                if tenant.leaving or not self._helps(tenant, claim):
                    continue
                chosen.append(tenant)
                gone[tenant.ref.uid] = tenant
            if self._fits_without(claim, gone, now):
                break
        else:
            return ()
        for tenant in list(chosen):
            without = {uid: t for uid, t in gone.items() if t is not tenant}
            if self._fits_without(claim, without, now):
                chosen.remove(tenant)
                gone = without
        return tuple(t.ref for t in chosen)

    def _helps(self, tenant: Tenant, claim: Claim) -> bool:
        return any(claim.each.of(k) and self._held[tenant.ref.uid].of(k) for k in KINDS)

    def _fits_without(self, claim: Claim, gone: Mapping[str, Tenant], now: datetime) -> bool:
        """Whether one instance of ``claim`` fits without those that are ``gone``."""
        given_back: dict[str, list[Amount]] = {}
        for uid, tenant in gone.items():
            given_back.setdefault(tenant.ref.namespace, []).append(self._held[uid])
        serving = _Serving(self, now, {name: add_up(amounts) for name, amounts in given_back.items()})
        for other in self._before(claim):
            # What is gone does not come back: those further on make no difference.
            if not serving.left.times(claim.each, 1):
                return False
            serving.serve(other)
        return serving.left.times(claim.each, serving.times_by_quota(claim)) > 0


class _Left:
    """What is left of something while it is given out. In plain numbers, since each claim walks through all of
    the queue before it."""

    __slots__ = ("cpu", "devices", "memory")

    def __init__(self, amount: Amount) -> None:
        self.cpu, self.memory, self.devices = amount.cpu, amount.memory, amount.devices

    @property
    def amount(self) -> Amount:
        return Amount(cpu=self.cpu, memory=self.memory, devices=self.devices).at_least_nothing()

    def times(self, each: Amount, most: int) -> int:
        """How many of ``each`` there are in it, ``most`` at most."""
        if each.devices:
            most = min(most, self.devices // each.devices)
        if each.memory and most > 0:
            most = min(most, self.memory // each.memory)
        if each.cpu and most > 0:
            most = min(most, int(self.cpu / each.cpu + 1e-9))
        return max(most, 0)

    def take(self, each: Amount, count: int) -> None:
        self.cpu -= each.cpu * count
        self.memory -= each.memory * count
        self.devices -= each.devices * count

    def save_for(self, each: Amount) -> None:
        """Put by what there is of one ``each``."""
        self.take(each, 1)
        self.cpu, self.memory, self.devices = max(self.cpu, 0.0), max(self.memory, 0), max(self.devices, 0)


class _Serving:
    """The queue as it would be served at one moment, the next one first, were ``given_back`` free too (by the
    namespaces that hold it)."""

    def __init__(self, room: Room, now: datetime, given_back: Mapping[str, Amount]) -> None:
        self.left = _Left(add_up([room._free, *given_back.values()]))
        self._room = room
        self._given_back = given_back
        self._quotas: dict[str, _Left] = {}
        self._promised = _Left(NOTHING)
        self._overtaken_since = now - OVERTAKEN_AT_MOST

    def serve(self, claim: Claim) -> bool:
        """Give the next claim what it gets; whether that is anything, or is being saved up for it."""
        before = self.left.devices, self.left.memory, self.left.cpu
        return self.grants(claim) > 0 or before != (self.left.devices, self.left.memory, self.left.cpu)

    def grants(self, claim: Claim) -> int:
        """How many instances the next claim gets."""
        each = claim.each
        wanted = self.times_by_quota(claim)
        count = self.left.times(each, wanted)
        if count:
            self.left.take(each, count)
            self._promised.take(each, -count)
            if claim.ref.namespace in self._quotas:
                self._quotas[claim.ref.namespace].take(each, count)
        if count < wanted and (claim.kept or claim.since <= self._overtaken_since) and self._may_come(claim):
            self.left.save_for(each)
            self._promised.take(each, -1)
        return count

    def times_by_quota(self, claim: Claim) -> int:
        """How many of those that ``claim`` wants its namespace may still have."""
        left, namespace = self._room._quota_left, claim.ref.namespace
        if namespace not in left:
            return claim.count
        if namespace not in self._quotas:
            self._quotas[namespace] = _Left(left[namespace] + self._given_back.get(namespace, NOTHING))
        return self._quotas[namespace].times(claim.each, claim.count)

    def quota_left(self, namespace: str) -> Amount:
        """Of a namespace that has a quota."""
        return self._quotas[namespace].amount

    def _may_come(self, claim: Claim) -> bool:
        """Whether there may ever be one more for ``claim``, besides what it and those before it get."""
        each, promised, reach = claim.each, self._promised, self._room._reach(claim)
        return (
            (not each.devices or each.devices + promised.devices <= reach.devices)
            and (not each.memory or each.memory + promised.memory <= reach.memory)
            and (not each.cpu or each.cpu + promised.cpu <= reach.cpu + 1e-9)
        )


def add_up(amounts: Iterable[Amount]) -> Amount:
    cpu, memory, devices = 0.0, 0, 0
    for amount in amounts:
        cpu += amount.cpu
        memory += amount.memory
        devices += amount.devices
    return Amount(cpu=cpu, memory=memory, devices=devices)


def amount_of(resources: Resources) -> Amount:
    """What one instance with these resources holds."""
    return Amount(cpu=resources.cpu or 0.0, memory=resources.memory or 0, devices=resources.gpus)


def _may_take(tenant: Tenant, claim: Claim, preempt: Preempt, now: datetime) -> bool:
    if tenant.leaving or tenant.priority > claim.priority:
        return False
    stays = tenant.use.stays((now - UNUSED_AFTER).timestamp())
    if stays is None or stays is Stays.PINNED:
        return stays is None
    # Whoever is more important need not wait until it is unused.
    return preempt is Preempt.LOWER_PRIORITY and tenant.priority < claim.priority
