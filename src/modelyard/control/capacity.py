"""The ledger and the queue as users see them: made from what is stored, so any control process can show them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from modelyard.control.admission import claim_of, tenant
from modelyard.control.ports import Store
from modelyard.domain.capacity import Claim, Holding, Inventory, Ledger, Room
from modelyard.domain.model import Amount, Model, ModelRef, Quota, Waiting
from modelyard.domain.states import RunState, State

T = TypeVar("T")

# Seconds for which a look at many models is good enough for the next one who asks.
_FRESH = 1.0
# What each site has, by its id, as its control process has last seen it.
Inventories = Callable[[], Awaitable[Mapping[str, Inventory]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A model that waits for ``count`` instances of ``each``; ``place`` 1 is next."""

    place: int
    ref: ModelRef
    priority: int
    each: Amount
    count: int
    waiting: Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCapacity:
    site: str
    ledger: Ledger
    queue: tuple[Queued, ...]


class CapacityViews:
    """Reads; decides nothing. What models hold is as their statuses say, a moment behind the backend."""

    def __init__(self, store: Store, inventories: Inventories) -> None:
        self._store = store
        self._inventories = inventories
        self._places = _Recent(self._look_for_places)
        self._held = _Recent(store.held)

    async def view(self, site: str | None = None) -> tuple[SiteCapacity, ...]:
        """One site, or all."""
        found = []
        for name, inventory in sorted((await self._inventories()).items()):
            if site in (None, name):
                models = await self._store.models_of(name)
                found.append(SiteCapacity(site=name, ledger=_ledger(inventory, models), queue=_queue(models)))
        return tuple(found)

    async def room(self, site: str) -> Room:
        """The site as a model that is about to start would find it."""
        inventory = (await self._inventories()).get(site, Inventory())
        models = await self._store.models_of(site)
        quotas = {n.name: n.quota for n in await self._store.list_namespaces() if n.quota != Quota()}
        return Room(
            ledger=_ledger(inventory, models),
            claims=tuple(claim_of(m) for m in models if _wants_more(m)),
            tenants={m.uid: tenant(m, None) for m in models if m.status.instances},
            quotas=quotas,
            elsewhere={name: await self._store.held_elsewhere(name, site) for name in quotas},
        )

    async def places(self, of: Collection[str] = ()) -> Mapping[str, int]:
        """The place in its site's queue of every model that stands in one, by its uid: as it was a moment ago, and
        later than now where one ``of`` these had none then."""
        return await self._places.get(lambda places: all(uid in places for uid in of))

    async def held(self) -> Mapping[str, Amount]:
        """What each namespace's instances hold on all sites, as it was a moment ago."""
        return await self._held.get()

    async def _look_for_places(self) -> Mapping[str, int]:
        places: dict[str, int] = {}
        lengths: Counter[str] = Counter()
        for site, claim in await self._store.queue():
            lengths[site] += 1
            places[claim.ref.uid] = lengths[site]
        return places


class _Recent(Generic[T]):
    """What ``load`` has given lately. Many who ask at once cost one look."""

    def __init__(self, load: Callable[[], Awaitable[T]]) -> None:
        self._load = load
        self._looking = asyncio.Lock()
        self._found: tuple[float, T] | None = None

    async def get(self, enough: Callable[[T], bool] = lambda _: True) -> T:
        """What was found a moment ago if it is ``enough``, else what is found from now on."""
        now = asyncio.get_running_loop().time
        asked = now()
        async with self._looking:
            if self._found is not None:
                began, found = self._found
                if began >= asked or (asked - began < _FRESH and enough(found)):
                    return found
            began = now()
            found = await self._load()
            self._found = (began, found)
            return found


def _wants_more(model: Model) -> bool:
    """Whether it waits, for its first instance or for more."""
    return model.desired is RunState.RUNNING and model.status.waiting is not None


def _ledger(inventory: Inventory, models: Sequence[Model]) -> Ledger:
    holdings = [
        Holding(ref=m.ref, instance=i.id, amount=i.held, devices=i.devices)
        for m in models
        for i in m.status.instances
        if i.held
    ]
    return Ledger(inventory=inventory, holdings=tuple(holdings))


def _queue(models: Sequence[Model]) -> tuple[Queued, ...]:
    """Those that wait for their first instance. One that serves and waits for more says so in its conditions."""
    waiting: list[tuple[Claim, Model]] = sorted(
        ((claim_of(m), m) for m in models if m.status.state is State.QUEUED), key=lambda pair: pair[0].rank
    )
    return tuple(
        Queued(
            place=place, ref=model.ref, priority=claim.priority, each=claim.each, count=claim.count,
            waiting=model.status.waiting,
        )
        for place, (claim, model) in enumerate(waiting, start=1)
        if model.status.waiting is not None
    )  # fmt: skip
