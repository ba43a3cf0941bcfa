"""From the domain's shapes to the API's: capacity, the queue, forecasts, what the doctor finds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from modelyard.api import schemas
from modelyard.api.answers import Around, amount_out, change_out, kinds_out, operation_out, ref_out, refs_out
from modelyard.api.context import Services
from modelyard.backends.port import Orphan
from modelyard.control.capacity import Queued, SiteCapacity
from modelyard.control.doctor import Cleared
from modelyard.control.forecast import Forecast
from modelyard.control.stop_many import Stopped
from modelyard.control.traffic import idle_arms
from modelyard.domain.access import Principal
from modelyard.domain.capacity import Device, Ledger
from modelyard.domain.errors import Refused
from modelyard.domain.model import Model, ModelRef
from modelyard.domain.shortage import Shortage
from modelyard.domain.states import State


async def around(services: Services, models: Collection[Model], viewer: Principal | None) -> Around:
    """What is beside ``models``: the places in the queue of those that wait, the versions that their sources mean by
    now, whether their sites are heard of, and which others their statuses name that the ``viewer`` may not know of.
    What matters to none of them is not asked for."""
    waiting = [m.uid for m in models if m.status.state is State.QUEUED and m.status.waiting is not None]
    places = await services.capacity.places(waiting) if waiting else {}
    newer = await services.checks.newer([m for m in models if m.spec.artifact is not None])
    return Around(
        places=places, newer=newer, absences=await services.absences.of(models),
        idle_arms=await idle_arms(services.store, models),
        schedules=await services.schedules.of(models),
        hidden=await hidden(services, viewer, _named(models)),
    )  # fmt: skip


def _named(models: Iterable[Model]) -> Iterator[ModelRef]:
    """The other models that statuses name."""
    for model in models:
        if model.status.waiting is not None:
            yield from model.status.waiting.holders
        if model.status.preempted is not None:
            yield model.status.preempted.by


async def hidden(services: Services, viewer: Principal | None, refs: Iterable[ModelRef]) -> frozenset[str]:
    """The uids of those that the ``viewer`` (None: sees all) may not know of."""
    if viewer is None or viewer.sight is None:
        return frozenset()
    found = set()
    for ref in set(refs):
        # Of most the reference tells enough.
        groups = await services.store.groups_of(ref.uid) if ref.private else ()
        if not viewer.sees(ref.namespace, ref.name, groups):
            found.add(ref.uid)
    return frozenset(found)


async def site_out(services: Services, site: SiteCapacity, viewer: Principal) -> schemas.SiteCapacity:
    """As the ``viewer`` may see it: of what others hold the amount, and where they stand in the queue."""
    ledger = site.ledger
    refs = [holding.ref for holding in ledger.holdings]
    refs += [ref for queued in site.queue for ref in (queued.ref, *queued.waiting.holders)]
    unseen = await hidden(services, viewer, refs)
    holdings = [
        schemas.Holding(
            namespace=h.ref.namespace,
            model=h.ref.name,
            instance=h.instance,
            cpu=h.amount.cpu,
            memory=h.amount.memory,
            devices=list(h.devices),
        )
        for h in sorted(ledger.holdings, key=lambda h: (h.ref.namespace, h.ref.name, h.instance))
        if h.ref.uid not in unseen
    ]
    return schemas.SiteCapacity(
        site=site.site,
        inventory=schemas.Inventory(
            cpu=ledger.inventory.cpu,
            memory=ledger.inventory.memory,
            devices=[_device(device, ledger, unseen) for device in ledger.inventory.devices],
        ),
        held=amount_out(ledger.held),
        free=amount_out(ledger.free.at_least_nothing()),
        holdings=holdings,
        other_holdings=len(ledger.holdings) - len(holdings),
        queue=[_queued(queued, unseen) for queued in site.queue if queued.ref.uid not in unseen],
        others_queued=sum(queued.ref.uid in unseen for queued in site.queue),
    )


def _device(device: Device, ledger: Ledger, unseen: Collection[str]) -> schemas.Device:
    holder = next((h.ref for h in ledger.holdings if device.id in h.devices), None)
    return schemas.Device(
        id=device.id,
        kind=device.kind,
        name=device.name,
        memory=device.memory,
        held=holder is not None,
        holder=None if holder is None or holder.uid in unseen else ref_out(holder),
    )


def _queued(queued: Queued, unseen: Collection[str]) -> schemas.Queued:
    return schemas.Queued(
        place=queued.place,
        namespace=queued.ref.namespace,
        model=queued.ref.name,
        priority=queued.priority,
        each=amount_out(queued.each),
        count=queued.count,
        since=queued.waiting.since,
        reason=queued.waiting.reason,
        message=queued.waiting.message,
        holders=refs_out(queued.waiting.holders, unseen),
    )


async def forecast_out(services: Services, forecast: Forecast, viewer: Principal | None) -> schemas.Forecast:
    """As the ``viewer`` may see it."""
    refs = {*forecast.must_stop, *forecast.would_preempt, *(forecast.waiting.holders if forecast.waiting else ())}
    unseen = await hidden(services, viewer, refs)
    return schemas.Forecast(
        fits=forecast.fits,
        each=amount_out(forecast.each),
        count=forecast.count,
        free=amount_out(forecast.free.at_least_nothing()),
        waiting=_shortage(forecast.waiting, unseen) if forecast.waiting else None,
        place=forecast.place,
        must_stop=refs_out(forecast.must_stop, unseen),
        would_preempt=refs_out(forecast.would_preempt, unseen),
        others=len(unseen),
        strategy=forecast.strategy,
        changes=[change_out(change) for change in forecast.changes],
        needs_acknowledgement=forecast.needs_acknowledgement,
        warnings=list(forecast.warnings),
    )


def _shortage(shortage: Shortage, unseen: Collection[str]) -> schemas.Shortage:
    return schemas.Shortage(
        reason=shortage.reason,
        message=shortage.message,
        kinds=kinds_out(shortage.kinds),
        holders=refs_out(shortage.holders, unseen),
    )


def stopped_out(one: Stopped) -> schemas.Stopped:
    error = one.error
    return schemas.Stopped(
        namespace=one.model.namespace,
        name=one.model.name,
        operation=operation_out(one.operation) if one.operation else None,
        error=None if error is None else schemas.ItemError(
            code=error.code, detail=error.message, allowed=list(error.allowed) if isinstance(error, Refused) else []
        ),
    )  # fmt: skip


def finding_out(orphan: Orphan) -> schemas.Finding:
    return schemas.Finding(kind=orphan.kind, id=orphan.id, message=orphan.message)


def cleared_out(cleared: Cleared) -> schemas.Cleared:
    orphan, error = cleared.orphan, cleared.error
    return schemas.Cleared(
        kind=orphan.kind,
        id=orphan.id,
        message=orphan.message,
        cleared=error is None,
        error=None if error is None else error.message,
    )
