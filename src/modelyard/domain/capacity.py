"""The ledger of what a site has and who holds it, and the queue for it. All of it pure.

A *claim* is what a model still wants; a *grant* is how much of it may be launched now. Claims are served by
rank: first those of models that were admitted before (an update or a crash must not cost a model its place),
then by priority, then by age. A claim that does not fit may be overtaken by smaller ones for
:data:`OVERTAKEN_AT_MOST`; after that what it is short of is saved up for it, so that nothing small keeps
something large from ever starting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from modelyard.domain.model import Amount, ModelRef, Quota
from modelyard.domain.quantities import format_bytes
from modelyard.domain.spec import Preempt, Resources

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


def left_of(quota: Quota, held: Amount) -> Amount:
    """What a namespace with this quota may still take."""
    return Amount(
        cpu=_UNBOUNDED if quota.cpu is None else quota.cpu - held.cpu,
        memory=_UNBOUNDED if quota.memory is None else quota.memory - held.memory,
        devices=_UNBOUNDED if quota.gpus is None else quota.gpus - held.devices,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a model wants more of: ``count`` instances of ``each``. ``kept``: it was admitted before, so it
    goes before all that were not. ``since`` is when it began to wait; of two that began at once the one that
    made room (``gave_way``) lets the other, who asked for it, go first."""

    ref: ModelRef
    each: Amount
    count: int
    since: datetime
    priority: int = 0
    kept: bool = False
    gave_way: bool = False

    @property
    def rank(self) -> tuple[bool, int, datetime, bool, str]:
        return (not self.kept, -self.priority, self.since, self.gave_way, self.ref.uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A model that holds something, as those see it who want its place. ``quiet_since``: since when nobody
    has called it (None: somebody does, or it is not known)."""

    ref: ModelRef
    priority: int = 0
    pin: bool = False
    quiet_since: datetime | None = None
    # It is giving up what it holds already.
    leaving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """Why a claim waits. ``kinds`` of what is short; ``holders`` the models that hold of it."""

    reason: str
    message: str
    kinds: tuple[str, ...]
    holders: tuple[ModelRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """``count`` more instances may be launched now; ``shortage`` says why not all that were wanted."""

    count: int
    shortage: Shortage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """All that decides whether a claim fits. ``claims`` are those of all models that wait;
    ``preempted_by`` is the model that has asked this one to make room."""

    ledger: Ledger
    claims: tuple[Claim, ...] = ()
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    preempted_by: ModelRef | None = None

    def grant(self, claim: Claim, now: datetime, *, given_back: Amount = NOTHING) -> Grant:
        """How many instances of ``claim`` fit, were ``given_back`` free too."""
        if not claim.each:
            return Grant(count=claim.count)
        total = self.ledger.free + given_back
        left, first = self._left_for(claim, total, now)
        namespace = self._quota_left(claim) + given_back
        count = min(claim.count, claim.each.times_in(left), claim.each.times_in(namespace))
        if count >= claim.count:
            return Grant(count=count)
        if claim.each.times_in(namespace) == count:
            return Grant(count=count, shortage=self._over_quota(claim, namespace, count))
        fits = min(claim.count, claim.each.times_in(total)) > count
        return Grant(count=count, shortage=self._too_little(claim, left, count, first if fits else ()))

    def place(self, claim: Claim) -> int:
        """1 for the claim that is next in the queue."""
        return 1 + sum(1 for other in self.claims if other.ref.uid != claim.ref.uid and other.rank < claim.rank)

    def victims(self, claim: Claim, preempt: Preempt, now: datetime) -> tuple[ModelRef, ...]:
        """The models that must give up their place for one instance of ``claim`` to fit, as few as will do;
        none where one fits without, or where no choice that ``preempt`` allows suffices."""
        if preempt is Preempt.NEVER:
            return ()
        return self._fewest(claim, [t for t in self._others(claim) if _may_take(t, claim, preempt, now)], now)

    def in_the_way(self, claim: Claim, now: datetime) -> tuple[ModelRef, ...]:
        """The models that would have to stop for one instance of ``claim`` to fit, whatever they are."""
        return self._fewest(claim, self._others(claim), now)

    # ------------------------------------------------------------------ helpers

    def _left_for(self, claim: Claim, free: Amount, now: datetime) -> tuple[Amount, tuple[ModelRef, ...]]:
        """What is left of ``free`` by those who come before ``claim``, and who they are."""
        first: tuple[ModelRef, ...] = ()
        for other in sorted(self.claims, key=lambda c: c.rank):
            if other.ref.uid == claim.ref.uid or other.rank > claim.rank or not other.each:
                continue
            quota = self._quota_left(other)
            fits = min(other.count, other.each.times_in(free), other.each.times_in(quota))
            short_of_quota = fits == other.each.times_in(quota) < other.count
            blocked = fits < other.count and not short_of_quota
            saved_for = blocked and (other.kept or now - other.since >= OVERTAKEN_AT_MOST)
            short = other.each.short_of(free - other.each.times(fits))
            free = free - other.each.times(fits)
            if saved_for:
                free = free.without(short) - other.each.without(short)
            if fits or saved_for:
                first += (other.ref,)
        return free.at_least_nothing(), first

    def _quota_left(self, claim: Claim) -> Amount:
        namespace = claim.ref.namespace
        held = add_up(h.amount for h in self.ledger.holdings if h.ref.namespace == namespace)
        return left_of(self.quotas.get(namespace, Quota()), held)

    def _over_quota(self, claim: Claim, left: Amount, count: int) -> Shortage:
        namespace = claim.ref.namespace
        total = left_of(self.quotas.get(namespace, Quota()), NOTHING)
        rivals = [h for h in self.ledger.holdings if h.ref.namespace == namespace]
        return _shortage("QuotaExceeded", claim, left - claim.each.times(count), total, rivals, ())

    def _too_little(self, claim: Claim, left: Amount, count: int, first: tuple[ModelRef, ...]) -> Shortage:
        rest = left - claim.each.times(count)
        return _shortage("InsufficientCapacity", claim, rest, self.ledger.inventory.total, self.ledger.holdings, first)

    def _others(self, claim: Claim) -> list[Tenant]:
        holding = {h.ref.uid for h in self.ledger.holdings}
        return [t for uid, t in self.tenants.items() if uid in holding and uid != claim.ref.uid]

    def _fewest(self, claim: Claim, candidates: list[Tenant], now: datetime) -> tuple[ModelRef, ...]:
        """Those whose going makes one instance fit: unused before used, low priority before high; then
        without any that turns out not to be needed."""
        one = replace(claim, count=1)
        # What is being given up already counts as free: nobody else has to go for it.
        leaving = [t for t in self.tenants.values() if t.leaving]
        chosen: list[Tenant] = []
        ordered = sorted(candidates, key=lambda t: (t.quiet_since is None, t.priority, t.quiet_since or now, t.ref.uid))
        for tenant in [None, *ordered]:
            if tenant is not None:
                if tenant.leaving or not self._helps(tenant, claim):
                    continue
                chosen.append(tenant)
            if self._fits_without(one, [*leaving, *chosen], now):
                break
        else:
            return ()
        for tenant in list(chosen):
            rest = [t for t in chosen if t is not tenant]
            if self._fits_without(one, [*leaving, *rest], now):
                chosen = rest
        return tuple(t.ref for t in chosen)

    def _helps(self, tenant: Tenant, claim: Claim) -> bool:
        return any(claim.each.of(k) and self._held_by(tenant).of(k) for k in KINDS)

    def _held_by(self, tenant: Tenant) -> Amount:
        return add_up(h.amount for h in self.ledger.holdings if h.ref.uid == tenant.ref.uid)

    def _fits_without(self, claim: Claim, gone: list[Tenant], now: datetime) -> bool:
        uids = {t.ref.uid for t in gone}
        ledger = replace(self.ledger, holdings=tuple(h for h in self.ledger.holdings if h.ref.uid not in uids))
        return replace(self, ledger=ledger).grant(claim, now).count > 0


def add_up(amounts: Iterable[Amount]) -> Amount:
    total = Amount()
    for amount in amounts:
        total = total + amount
    return total


def amount_of(resources: Resources) -> Amount:
    """What one instance with these resources holds."""
    return Amount(cpu=resources.cpu or 0.0, memory=resources.memory or 0, devices=resources.gpus)


def _may_take(tenant: Tenant, claim: Claim, preempt: Preempt, now: datetime) -> bool:
    if tenant.pin or tenant.leaving:
        return False
    if tenant.priority < claim.priority and preempt is Preempt.LOWER_PRIORITY:
        return True
    unused = tenant.quiet_since is not None and now - tenant.quiet_since >= UNUSED_AFTER
    return unused and tenant.priority <= claim.priority


def _shortage(
    reason: str, claim: Claim, free: Amount, total: Amount, rivals: Iterable[Holding], first: tuple[ModelRef, ...]
) -> Shortage:
    """What of ``claim.each`` is not in ``free``, who of the ``rivals`` holds it, and who goes ``first``."""
    kinds = claim.each.short_of(free)
    message = ", ".join(_need(kind, claim.each, free, total) for kind in kinds)
    if reason == "QuotaExceeded":
        message += f" by the quota of namespace {claim.ref.namespace}"
    if first:
        message += f"; {_names(first, claim)} before it in the queue"
    holders = tuple(
        dict.fromkeys(h.ref for h in rivals if h.ref.uid != claim.ref.uid and any(h.amount.of(k) for k in kinds))
    )
    if holders:
        message += f"; held by {_names(holders, claim)}"
    return Shortage(reason=reason, message=message, kinds=kinds, holders=holders)


def _names(refs: tuple[ModelRef, ...], claim: Claim) -> str:
    """As those of the claim's namespace call them."""
    names = [ref.name if ref.namespace == claim.ref.namespace else str(ref) for ref in refs]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _need(kind: str, each: Amount, free: Amount, total: Amount) -> str:
    if kind == "devices":
        plural = "" if each.devices == 1 else "s"
        return f"{each.devices} GPU{plural} needed, {max(free.devices, 0)} free of {total.devices}"
    if kind == "memory":
        return (
            f"{format_bytes(each.memory)} of memory needed, {format_bytes(max(free.memory, 0))} free of "
            f"{format_bytes(total.memory)}"
        )
    return f"{each.cpu:g} cores needed, {max(free.cpu, 0.0):g} free of {total.cpu:g}"
