"""Everything behind the API, put together and taken apart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from modelyard.access.secrets import SecretBox, box_of
from modelyard.api.context import Services
from modelyard.app.access import TokenReader, open_directory, sign_ins_of
from modelyard.app.alerts import alert_parts
from modelyard.app.clock import utc_now
from modelyard.app.installed import installed
from modelyard.app.metrics import MetricsSource, holdings_of
from modelyard.app.registry import Shelf, movers, open_shelf
from modelyard.backends.local.backend import LocalBackend
from modelyard.backends.port import Artifacts, Backend
from modelyard.control import leases
from modelyard.control.absences import Absences
from modelyard.control.bulk import BulkService
from modelyard.control.bulk_carrying import BulkCarrier
from modelyard.control.capacity import CapacityViews, Inventories
from modelyard.control.carrying import Carrying
from modelyard.control.changes import ChangeFeed
from modelyard.control.checks import SpecChecks
from modelyard.control.delegates import Shown
from modelyard.control.doctor import Doctor
from modelyard.control.following import Follower
from modelyard.control.forecasts import Forecasts
from modelyard.control.history import History
from modelyard.control.leases import Lease
from modelyard.control.policies import PolicyDesk
from modelyard.control.policing import Policing
from modelyard.control.ports import Fence
from modelyard.control.resealing import Resealing
from modelyard.control.samples import Samples
from modelyard.control.schedule_service import ScheduleService
from modelyard.control.scheduler import Scheduler
from modelyard.control.service import ModelService
from modelyard.control.stop_many import StopMany
from modelyard.control.tenants import Tenants
from modelyard.control.tenure import Equipment, SiteDriver, tenure
from modelyard.control.timetables import Timetables
from modelyard.domain.capacity import Inventory
from modelyard.domain.errors import ModelyardError, Unavailable
from modelyard.domain.spec import BackendName
from modelyard.gateway.client import GatewayChannel
from modelyard.observe.metrics import ControlMetrics
from modelyard.registry.caching import CacheViews
from modelyard.registry.keeping import Preloader
from modelyard.registry.objects import Objects
from modelyard.settings import Settings
from modelyard.store.store import SqlStore
from modelyard.supervisor.seat import HomeSeat
from modelyard.tasks import spawn, stop

log = logging.getLogger("modelyard.control")

_TIDY_EVERY = 3600.0

# What runs until the plane is closed, and its name.
_Work = tuple[Coroutine[Any, Any, None], str]


@asynccontextmanager
async def control_plane(settings: Settings) -> AsyncIterator[Services]:
    """Everything behind the API: this process drives its home's instances, or, where several processes share a
    PostgreSQL database, may stand by to do so.

    Leaving it ends every instance that it drives (their models' wish stays); leaving it by an error ends none:
    they serve on, for the next control process to adopt.
    """
    async with contextlib.AsyncExitStack() as stack:
        seat = HomeSeat(settings.home)
        stack.callback(seat.give_back)
        # Before the database is opened: whoever uses it now may be of another version.
        if not settings.has_server and not seat.take():
            raise Unavailable(f"Another control process already runs in {settings.home}.")
        store = await SqlStore.open(settings.database)
        stack.push_async_callback(store.close)
        await store.claim()
        feed = ChangeFeed(store)
        listeners: list[Callable[[], None]] = [feed.stir_followers]
        premises = leases.premises(settings.home, settings.url)
        shelf = await open_shelf(settings, store, premises.id, partial(_tell, listeners), stack)
        box = box_of(settings.secrets_file, settings.secrets_key)
        resealing = Resealing(store.sealed, box)
        _keep_running(
            stack,
            (_tidy(settings, store, shelf, resealing), "tidy up"),
            (feed.hear(store.news()), "hear of others' changes"),
        )
        callers, directory = await open_directory(settings, store, feed, stack)
        lease = Lease(store, premises, leases.myself())
        current = _backends(settings, shelf.serving, box)
        desk, beside, tally = alert_parts(settings, store, feed, current, box, premises.id)
        equipment = Equipment(
            store=store, sites=store, feed=feed, backends=current,
            renew=lambda: _backends(settings, shelf.serving, box), channel=lambda: GatewayChannel(settings),
            clock=utc_now, directory=directory,
        )  # fmt: skip
        equipment = replace(equipment, beside=partial(beside, equipment.traffic))
        history = History(store.history, equipment.traffic, utc_now, timedelta(days=settings.metrics_days))
        equipment = _remembering(equipment, history)
        driver = SiteDriver(store, lease, seat, premises.id, lambda fence: tenure(equipment, lease, fence))
        stack.push_async_exit(_closing(driver))
        plane = _Plane(settings, store, feed, shelf, premises.id, driver)
        shown = _shown(current, store, premises.id, driver)
        capacity = CapacityViews(
            store, _inventories(store, premises.id, partial(current.__getitem__, BackendName.LOCAL), driver)
        )
        commands = _commands(plane, shown, capacity)
        policing = Policing(store, store.policies, commands.models, utc_now, feed.stir_followers)
        commands.policies.listeners.append(policing.tell)
        feed.watchers.append(lambda uid, _: policing.tell(uid))
        equipment.overseers["carry policies out"] = lambda reconciler: policing.run(
            premises.id, reconciler.unused_since, reconciler.protect
        )
        await driver.start()
        preloader = Preloader(shelf.pins, shelf.serving, plane.is_driving, utc_now)
        transfers, carrier = movers(settings, store, shelf, premises.id, plane.is_driving)
        _keep_running(stack, *_followers(plane, commands, preloader, listeners), (carrier.run(), "carry transfers out"))
        _keep_running(stack, *_carriers(plane, commands))
        views = CacheViews(
            shelf.cache, shelf.cache_size, store.pins, shelf.pins, preloader, shelf.traffic, utc_now
        )  # fmt: skip
        yield Services(
            store=store,
            audit=store.audit,
            feed=feed,
            models=commands.models,
            checks=commands.checks,
            forecasts=commands.forecasts,
            samples=Samples(settings.models_dir),
            stop_many=commands.stop_many,
            bulk=commands.bulk,
            schedules=commands.schedules,
            timetables=Timetables(store, commands.schedules, commands.policies, utc_now),
            catalog=shelf.catalog,
            contents=shelf.contents,
            signatures=shelf.signatures,
            objects=Objects(shelf.storage, shelf.cache),
            transfers=transfers,
            pins=shelf.pins,
            caching=views,
            capacity=capacity,
            absences=Absences(store, premises.id),
            traffic=equipment.traffic,
            history=history,
            doctor=Doctor(store, store, feed, shown, utc_now, site=premises.id, resealing=resealing),
            sites=store,
            installed=installed(settings, premises.id),
            alerts=desk,
            policies=commands.policies,
            backends=shown,
            metrics=ControlMetrics(MetricsSource(store, shown), views, store.alerts, tally),
            token=TokenReader(settings),
            callers=callers,
            secrets=box,
            sign_ins=sign_ins_of(settings, store, box),
            tenants=Tenants(store.access, directory, utc_now),
            clock=utc_now,
        )


@dataclass(frozen=True, slots=True)
class _Plane:
    """What nearly all parts work with."""

    settings: Settings
    store: SqlStore
    feed: ChangeFeed
    shelf: Shelf
    site: str
    driver: SiteDriver

    def is_driving(self) -> bool:
        return self.driver.driving


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commands:
    """What callers ask of models, one by one and many together."""

    policies: PolicyDesk
    checks: SpecChecks
    models: ModelService
    forecasts: Forecasts
    stop_many: StopMany
    bulk: BulkService
    schedules: ScheduleService


def _commands(plane: _Plane, shown: Mapping[BackendName, Backend], capacity: CapacityViews) -> _Commands:
    store, feed, sources, site = plane.store, plane.feed, plane.shelf.serving, plane.site
    policies = PolicyDesk(store.policies, store, utc_now, shared=store.shared, sources=sources)
    checks = SpecChecks(store, shown, sources=sources)
    models = ModelService(store, feed, checks, utc_now, site=site, gate=policies)
    forecasts = Forecasts(store, models, capacity, utc_now, site=site)
    return _Commands(
        policies=policies, checks=checks, models=models, forecasts=forecasts,
        stop_many=StopMany(store, feed, models, store.bulks, utc_now),
        bulk=BulkService(store, store.bulks, models, forecasts, utc_now, site=site),
        schedules=ScheduleService(store.schedules, models, feed, utc_now),
    )  # fmt: skip


def _followers(
    plane: _Plane, commands: _Commands, preloader: Preloader, listeners: list[Callable[[], None]]
) -> tuple[_Work, ...]:
    """What goes after the registry as it changes."""
    shelf = plane.shelf
    follower = Follower(
        plane.store, commands.models, shelf.serving, plane.site, plane.is_driving, preloader.is_coming
    )  # fmt: skip
    listeners += [follower.tell, preloader.tell]
    shelf.pins.listeners.append(preloader.tell)
    preloader.listeners.append(follower.tell)
    return (
        (follower.run(), "roll models that follow an alias"),
        (preloader.run(), "lay out versions ahead"),
    )


def _carriers(plane: _Plane, commands: _Commands) -> tuple[_Work, ...]:
    """What carries out what was asked of many models, and what schedules ask."""
    store, feed, site = plane.store, plane.feed, plane.site
    bulk = BulkCarrier(
        store, store.bulks, feed, commands.models, utc_now, site=site, driving=plane.is_driving, sites=store,
        timetables=commands.schedules,
    )  # fmt: skip
    commands.bulk.on_change = bulk.tell
    carrying = Carrying(store, store.schedules, commands.models, feed, utc_now)
    scheduler = Scheduler(store.schedules, carrying, site, plane.is_driving, utc_now, shared=store.shared)
    feed.watchers.append(scheduler.tell)
    return (
        (bulk.run(), "carry out what is asked of many models"),
        (scheduler.run(), "carry schedules out"),
    )


def _remembering(equipment: Equipment, history: History) -> Equipment:
    """The same, with the history of metrics kept in each tenure."""
    beside, holdings = equipment.beside, partial(holdings_of, equipment.backends)

    def more(fence: Fence) -> Mapping[str, Coroutine[Any, Any, None]]:
        return {**beside(fence), "keep the history of metrics": history.run(fence, holdings)}

    return replace(equipment, beside=more)


def _keep_running(stack: contextlib.AsyncExitStack, *works: _Work) -> None:
    for work, name in works:
        stack.push_async_callback(stop, spawn(work, name))


def _tell(listeners: Iterable[Callable[[], None]]) -> None:
    for listener in listeners:
        listener()


def _backends(settings: Settings, artifacts: Artifacts, box: SecretBox) -> dict[BackendName, Backend]:
    """All of this home, not opened yet."""
    return {BackendName.LOCAL: LocalBackend(settings, artifacts=artifacts, opened=box.open_all)}


def _shown(
    current: Mapping[BackendName, Backend], store: SqlStore, site: str, driver: SiteDriver
) -> dict[BackendName, Backend]:
    """What the API sees of the backends, which change with every tenure."""
    return {
        name: Shown(partial(current.__getitem__, name), store, store, site, lambda: driver.driving) for name in current
    }


def _inventories(store: SqlStore, site: str, backend: Callable[[], Backend], driver: SiteDriver) -> Inventories:
    """What each site has: of the one that is driven here as it is now, of others as they have told."""

    async def told() -> Mapping[str, Inventory]:
        found = {s.premises.id: s.inventory for s in await store.list_sites() if s.inventory is not None}
        return found | {site: await backend().inventory()} if driver.driving else found

    return told


def _closing(driver: SiteDriver) -> Callable[[type[BaseException] | None, object, object], Awaitable[None]]:
    async def close(error: type[BaseException] | None, *_: object) -> None:
        await driver.close(release=error is None)

    return close


async def _tidy(settings: Settings, store: SqlStore, shelf: Shelf, resealing: Resealing) -> None:
    works: list[Callable[[], Awaitable[object]]] = [
        store.tidy,
        shelf.catalog.purge,
        shelf.contents.clean_up,
        lambda: store.audit.retain(settings.audit_days, utc_now()),
        lambda: store.access.purge(timedelta(days=settings.ended_key_days), utc_now()),
    ]
    # Where there are no keys yet nothing is sealed, and none are made for this.
    if settings.secrets_key or settings.secrets_file.exists():
        works.append(resealing.run)
    while True:
        for work in works:
            try:
                await work()
            except (ModelyardError, OSError) as error:
                log.warning("Tidying up: %s", error)
        await asyncio.sleep(_TIDY_EVERY)
