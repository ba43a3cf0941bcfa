"""The ledger and the queue as users see them: made from what is stored, so any control process can show them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from modelyard.control.admission import claim_of, tenant
from modelyard.control.ports import ModelQuery, Store
from modelyard.domain.capacity import Claim, Holding, Inventory, Ledger, Room
from modelyard.domain.model import Amount, Model, ModelRef, Waiting
from modelyard.domain.states import RunState, State

_PAGE = 1000
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
        quotas = {n.name: n.quota for n in await self._store.list_namespaces()}
        return Room(
            ledger=_ledger(inventory, models),
            claims=tuple(claim_of(m) for m in models if _wants_more(m)),
            tenants={m.uid: tenant(m, None) for m in models if m.status.instances},
            quotas=quotas,
        )

    async def places(self) -> Mapping[str, int]:
        """The place in its site's queue of every model that stands in one, by its uid."""
        found: dict[str, list[Model]] = {}
        query = ModelQuery(states=(State.QUEUED,), page_size=_PAGE)
        while True:
            page = await self._store.list_models(query)
            for model in page.items:
                found.setdefault(model.site, []).append(model)
            if not page.next_page_token:
                break
            query = replace(query, page_token=page.next_page_token)
        return {queued.ref.uid: queued.place for models in found.values() for queued in _queue(models)}


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
