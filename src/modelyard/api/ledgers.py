"""From the domain's shapes to the API's: capacity, the queue, forecasts, what the doctor finds."""

from __future__ import annotations

from collections.abc import Collection

from modelyard.api import schemas
from modelyard.api.answers import Around, amount_out, change_out, kinds_out, operation_out, ref_out, refs_out
from modelyard.api.context import Services
from modelyard.backends.port import Orphan
from modelyard.control.capacity import Queued, SiteCapacity
from modelyard.control.doctor import Cleared
from modelyard.control.forecast import Forecast
from modelyard.control.service import Bulk
from modelyard.control.traffic import idle_arms
from modelyard.domain.capacity import Device, Ledger
from modelyard.domain.errors import Refused
from modelyard.domain.model import Model
from modelyard.domain.shortage import Shortage
from modelyard.domain.states import State


async def around(services: Services, models: Collection[Model]) -> Around:
    """What is beside ``models``: the places in the queue of those that wait, the versions that their sources mean by
    now, and whether their sites are heard of. What matters to none of them is not asked for."""
    waiting = [m.uid for m in models if m.status.state is State.QUEUED and m.status.waiting is not None]
    places = await services.capacity.places(waiting) if waiting else {}
    newer = await services.models.newer([m for m in models if m.spec.artifact is not None])
    return Around(
        places=places, newer=newer, absences=await services.absences.of(models),
        idle_arms=await idle_arms(services.store, models),
    )  # fmt: skip


def site_out(site: SiteCapacity) -> schemas.SiteCapacity:
    ledger = site.ledger
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
    ]
    return schemas.SiteCapacity(
        site=site.site,
        inventory=schemas.Inventory(
            cpu=ledger.inventory.cpu,
            memory=ledger.inventory.memory,
            devices=[_device(device, ledger) for device in ledger.inventory.devices],
        ),
        held=amount_out(ledger.held),
        free=amount_out(ledger.free.at_least_nothing()),
        holdings=holdings,
        queue=[_queued(queued) for queued in site.queue],
    )


def _device(device: Device, ledger: Ledger) -> schemas.Device:
    holder = next((h.ref for h in ledger.holdings if device.id in h.devices), None)
    return schemas.Device(
        id=device.id,
        kind=device.kind,
        name=device.name,
        memory=device.memory,
        holder=None if holder is None else ref_out(holder),
    )


def _queued(queued: Queued) -> schemas.Queued:
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
        holders=refs_out(queued.waiting.holders),
    )


def forecast_out(forecast: Forecast) -> schemas.Forecast:
    return schemas.Forecast(
        fits=forecast.fits,
        each=amount_out(forecast.each),
        count=forecast.count,
        free=amount_out(forecast.free.at_least_nothing()),
        waiting=_shortage(forecast.waiting) if forecast.waiting else None,
        place=forecast.place,
        must_stop=refs_out(forecast.must_stop),
        would_preempt=refs_out(forecast.would_preempt),
        strategy=forecast.strategy,
        changes=[change_out(change) for change in forecast.changes],
        needs_acknowledgement=forecast.needs_acknowledgement,
    )


def _shortage(shortage: Shortage) -> schemas.Shortage:
    return schemas.Shortage(
        reason=shortage.reason,
        message=shortage.message,
        kinds=kinds_out(shortage.kinds),
        holders=refs_out(shortage.holders),
    )


def stopped_out(one: Bulk) -> schemas.Stopped:
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
