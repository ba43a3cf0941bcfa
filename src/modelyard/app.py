"""The composition root: the one place that knows every part. ``python -m modelyard.app`` is the control process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from modelyard.access.callers import Callers
from modelyard.access.configuring import members_of, tokens_of
from modelyard.access.secrets import SecretBox, box_of
from modelyard.api.app import create_app
from modelyard.api.context import Services
from modelyard.backends.local.backend import LocalBackend
from modelyard.backends.port import Artifacts, Backend
from modelyard.control import leases
from modelyard.control.absences import Absences
from modelyard.control.alert_desk import AlertDesk
from modelyard.control.alerting import Alerting
from modelyard.control.bulk import BulkService
from modelyard.control.bulk_carrying import BulkCarrier
from modelyard.control.capacity import CapacityViews, Inventories
from modelyard.control.carrying import Carrying
from modelyard.control.changes import ChangeFeed
from modelyard.control.delegates import Shown
from modelyard.control.doctor import Doctor
from modelyard.control.following import Follower
from modelyard.control.leases import Lease
from modelyard.control.outbox import Outbox, Tally
from modelyard.control.policies import PolicyDesk
from modelyard.control.policing import Policing
from modelyard.control.ports import Fence, ModelQuery
from modelyard.control.schedule_service import ScheduleService
from modelyard.control.scheduler import Scheduler
from modelyard.control.service import ModelService
from modelyard.control.tenants import Directory, Tenants, UseNotes
from modelyard.control.tenure import Equipment, SiteDriver, tenure
from modelyard.control.traffic import TrafficBook
from modelyard.domain.capacity import Inventory
from modelyard.domain.errors import ModelyardError, Unavailable
from modelyard.domain.model import Model
from modelyard.domain.quantities import parse_bytes
from modelyard.domain.spec import BackendName
from modelyard.domain.transfers import TransferKind
from modelyard.gateway.client import GatewayChannel
from modelyard.observe.metrics import ControlMetrics
from modelyard.observe.webhooks import WebhookSender, check
from modelyard.registry.admitting import Hosts, admit
from modelyard.registry.caching import CacheViews, Traffic
from modelyard.registry.carrying import Carrier, Office
from modelyard.registry.catalog import Catalog
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.locations import store_at
from modelyard.registry.content.peers import Peers
from modelyard.registry.content.storage import Store
from modelyard.registry.contents import Contents
from modelyard.registry.imports import Imports
from modelyard.registry.keeping import Pins, Preloader
from modelyard.registry.objects import Objects
from modelyard.registry.serving import Serving
from modelyard.registry.signing.signatures import Secrets, Signatures
from modelyard.registry.sources.fetching import fetch
from modelyard.registry.transfers import Transfers
from modelyard.settings import Settings
from modelyard.store.store import SqlStore
from modelyard.supervisor.processes import CONTROL_FD
from modelyard.supervisor.seat import HomeSeat
from modelyard.tasks import spawn, stop

log = logging.getLogger("modelyard.control")

_TIDY_EVERY = 3600.0
# Allocations between two looks for garbage; the default of 700 is less than a request makes.
_GARBAGE = 20_000
# Open streams (SSE) never end by themselves; a shutdown gives them this many seconds.
_STREAM_GRACE = 1


def utc_now() -> datetime:
    return datetime.now(UTC)


class _MetricsSource:
    """What the metrics ask of store and backends."""

    def __init__(self, store: SqlStore, backends: Mapping[BackendName, Backend]) -> None:
        self._store = store
        self._backends = backends

    async def models(self) -> Iterable[Model]:
        found: list[Model] = []
        token = ""
        while True:
            page = await self._store.list_models(ModelQuery(page_size=1000, page_token=token))
            found += page.items
            token = page.next_page_token
            if not token:
                return found

    async def usage(self) -> Mapping[str, int]:
        usage: dict[str, int] = {}
        for backend in self._backends.values():
            usage |= await backend.usage()
        return usage


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
        shelf = await _shelf(settings, store, premises.id, partial(_tell, listeners), stack)
        for work, name in (
            (_tidy(store, shelf.catalog, shelf.contents, settings.audit_days), "tidy up"),
            (feed.hear(store.news()), "hear of others' changes"),
        ):
            stack.push_async_callback(stop, spawn(work, name))
        callers, directory = await _directory(settings, store, feed, stack)
        lease = Lease(store, premises, leases.myself())
        box = box_of(settings.secrets_file, settings.secrets_key)
        current = _backends(settings, shelf.serving, box)
        desk, beside, tally = _alerts(settings, store, feed, current, box, premises.id)
        equipment = Equipment(
            store=store, sites=store, feed=feed, backends=current,
            renew=lambda: _backends(settings, shelf.serving, box), channel=lambda: GatewayChannel(settings),
            clock=utc_now, directory=directory,
        )  # fmt: skip
        equipment = replace(equipment, beside=partial(beside, equipment.traffic))
        driver = SiteDriver(store, lease, seat, premises.id, lambda fence: tenure(equipment, lease, fence))
        stack.push_async_exit(_closing(driver))
        shown = _shown(current, store, premises.id, driver)
        capacity = CapacityViews(
            store, _inventories(store, premises.id, partial(current.__getitem__, BackendName.LOCAL), driver)
        )
        policies = PolicyDesk(store.policies, store, utc_now, shared=store.shared, sources=shelf.serving)
        models = ModelService(
            store, feed, shown, capacity, utc_now, site=premises.id, sources=shelf.serving, gate=policies,
            bulks=store.bulks,
        )  # fmt: skip
        policing = Policing(store, store.policies, models, utc_now, feed.stir_followers)
        policies.listeners.append(policing.tell)
        feed.watchers.append(lambda uid, _: policing.tell(uid))
        equipment.overseers["carry policies out"] = lambda reconciler: policing.run(
            premises.id, reconciler.unused_since, reconciler.protect
        )
        await driver.start()
        preloader = Preloader(shelf.pins, shelf.serving, lambda: driver.driving, utc_now)
        transfers, carrier = _movers(settings, store, shelf, premises.id, lambda: driver.driving)
        follower = Follower(store, models, shelf.serving, premises.id, lambda: driver.driving, preloader.is_coming)
        bulk = BulkService(store, store.bulks, models, utc_now, site=premises.id)
        schedules = ScheduleService(store.schedules, models, feed, utc_now)
        bulk_carrier = BulkCarrier(
            store, store.bulks, feed, models, utc_now, site=premises.id, driving=lambda: driver.driving, sites=store,
            timetables=schedules,
        )  # fmt: skip
        bulk.on_change = bulk_carrier.tell
        carrying = Carrying(store, store.schedules, models, feed, utc_now)
        scheduler = Scheduler(
            store.schedules, carrying, premises.id, lambda: driver.driving, utc_now, shared=store.shared
        )  # fmt: skip
        feed.watchers.append(scheduler.tell)
        listeners += [follower.tell, preloader.tell]
        shelf.pins.listeners.append(preloader.tell)
        preloader.listeners.append(follower.tell)
        for work, name in (
            (follower.run(), "roll models that follow an alias"),
            (preloader.run(), "lay out versions ahead"),
            (carrier.run(), "carry transfers out"),
            (bulk_carrier.run(), "carry out what is asked of many models"),
            (scheduler.run(), "carry schedules out"),
        ):
            stack.push_async_callback(stop, spawn(work, name))
        views = CacheViews(
            shelf.cache, shelf.cache_size, store.pins, shelf.pins, preloader, shelf.traffic, utc_now
        )  # fmt: skip
        yield Services(
            store=store,
            audit=store.audit,
            feed=feed,
            models=models,
            bulk=bulk,
            schedules=schedules,
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
            doctor=Doctor(store, store, feed, shown, utc_now, site=premises.id),
            alerts=desk,
            policies=policies,
            backends=shown,
            metrics=ControlMetrics(_MetricsSource(store, shown), views, store.alerts, tally),
            token=TokenReader(settings),
            callers=callers,
            secrets=box,
            tenants=Tenants(store.access, directory, utc_now),
            clock=utc_now,
        )


async def _directory(
    settings: Settings, store: SqlStore, feed: ChangeFeed, stack: contextlib.AsyncExitStack
) -> tuple[Callers, Directory]:
    """Who bears which credentials, and what keeps that up to date."""
    notes = UseNotes(store.access)
    stack.push_async_callback(notes.close)
    callers = Callers(tokens_of(settings), members_of(settings), noted=notes)
    directory = Directory(store.access, callers, notes, utc_now)
    await directory.refresh()
    feed.on_access = directory.stir
    stack.push_async_callback(stop, spawn(directory.run(), "follow members and keys"))
    return callers, directory


def _alerts(
    settings: Settings,
    store: SqlStore,
    feed: ChangeFeed,
    backends: Mapping[BackendName, Backend],
    sealer: SecretBox,
    site: str,
) -> tuple[AlertDesk, Callable[[TrafficBook, Fence], Mapping[str, Coroutine[Any, Any, None]]], Tally]:
    """What callers do with alerts, what runs beside a tenure, and what is counted of it."""
    hosts, tally = Hosts(named=settings.webhook_names), Tally()
    desk = AlertDesk(store.alerts, sealer, partial(check, hosts=hosts), utc_now, site=site)

    def beside(traffic: TrafficBook, fence: Fence) -> Mapping[str, Coroutine[Any, Any, None]]:
        outbox = Outbox(
            store.alerts, WebhookSender(hosts), sealer, utc_now, site=site, url=settings.url, tally=tally
        )  # fmt: skip
        usage = _MetricsSource(store, backends).usage
        alerting = Alerting(
            store, store.alerts, feed, traffic, usage, utc_now, site=site, fence=fence, written=outbox.tell
        )  # fmt: skip
        desk.told[:] = [alerting.tell, outbox.tell]
        return {"look after alerts": alerting.run(), "tell of alerts": outbox.run()}

    return desk, beside, tally


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shelf:
    """The registry, as far as it does without those who serve and move."""

    storage: Store
    cache: Cache
    cache_size: int | None
    catalog: Catalog
    signatures: Signatures
    serving: Serving
    traffic: Traffic
    pins: Pins
    contents: Contents


async def _shelf(
    settings: Settings, store: SqlStore, site: str, tell: Callable[[], None], stack: contextlib.AsyncExitStack
) -> _Shelf:
    catalog = Catalog(store.catalog, utc_now, tell)
    storage = await _store_of(settings)
    peers = Peers(settings.peer_urls, settings.peers_token) if settings.peers else None
    if peers is not None:
        stack.callback(peers.close)
    cache, traffic = Cache(settings.cache_dir, storage, peers), Traffic(utc_now())
    signatures = Signatures(catalog, store.signatures, storage, Secrets(settings.signing_dir), utc_now, tell)
    pins = Pins(store.pins, catalog, site, utc_now)
    limit = parse_bytes(settings.cache_size) if settings.cache_size else None
    contents = Contents(
        storage, cache, settings.registry, store.catalog, utc_now, limit,
        is_shared=bool(settings.models_path), pinned=pins.manifests,
    )  # fmt: skip
    return _Shelf(
        storage=storage, cache=cache, cache_size=limit, catalog=catalog, signatures=signatures,
        serving=Serving(catalog, storage, cache, traffic, signatures), traffic=traffic, pins=pins, contents=contents,
    )  # fmt: skip


def _movers(
    settings: Settings, store: SqlStore, shelf: _Shelf, site: str, driving: Callable[[], bool]
) -> tuple[Transfers, Carrier]:
    """What takes in requests to move versions, and what carries them out."""
    hosts = Hosts(named=settings.import_names)
    admitted = partial(admit, folders=settings.import_folders, hosts=hosts)
    transfers = Transfers(
        store.transfers, shelf.catalog, store.get_namespace, utc_now, site=site, admit=admitted
    )  # fmt: skip
    imports = Imports(shelf.catalog, shelf.contents, shelf.storage, partial(fetch, hosts=hosts), admitted)
    office = Office(store=store.transfers, transfers=transfers, clock=utc_now)
    carry = {TransferKind.IMPORT: imports.carry}
    return transfers, Carrier(office, carry, site=site, folder=settings.transfers_dir, driving=driving)


async def _store_of(settings: Settings) -> Store:
    """The registry's store. It has its identity from the beginning, so that nobody takes another one for it."""
    storage = store_at(settings.registry)
    try:
        await asyncio.to_thread(storage.identity)
    except ModelyardError as error:
        # What is served goes on without it.
        log.warning("%s", error)
    return storage


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


async def _tidy(store: SqlStore, catalog: Catalog, contents: Contents, audit_days: float | None) -> None:
    while True:
        works = (store.tidy, catalog.purge, contents.clean_up, lambda: store.audit.retain(audit_days, utc_now()))
        for work in works:
            try:
                await work()
            except (ModelyardError, OSError) as error:
                log.warning("Tidying up: %s", error)
        await asyncio.sleep(_TIDY_EVERY)


class TokenReader:
    """The administrator token as it is now: set, or in its file, which is read again when it changes."""

    def __init__(self, settings: Settings) -> None:
        self._set = settings.token
        self._file = settings.token_file
        self._seen: tuple[int, int] | None = None
        self._token = ""

    def __call__(self) -> str:
        if self._set:
            return self._set
        try:
            stat = self._file.stat()
            if self._seen != (stat.st_mtime_ns, stat.st_ino):
                self._token = self._file.read_text().strip()
                self._seen = (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            return ""
        return self._token


class _Server(uvicorn.Server):
    """Leaves the signals to us: a stop has more to end than the server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings, listener: socket.socket | None = None) -> None:
    """Run the control process until it is told to end (SIGTERM or SIGINT). ``listener`` is the API's, if whoever
    started this process has bound it; else it binds it itself."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with control_plane(settings) as services:
        config = uvicorn.Config(
            create_app(services, max_body=settings.max_body),
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_STREAM_GRACE,
        )
        server = _Server(config)
        listener = listener or _listen(settings.control_socket)
        serving = spawn(server.serve(sockets=[listener]), "API server")
        asked = spawn(ended.wait(), "wait for the end")
        # What stands now stands for good: looking through it again and again cost callers tens of milliseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        log.info("Control process %d is ready", os.getpid())
        await asyncio.wait([serving, asked], return_when=asyncio.FIRST_COMPLETED)
        if not ended.is_set():
            asked.cancel()
            raise ModelyardError("The API server ended by itself.")
        server.should_exit = True
        await serving


def _inherited() -> socket.socket | None:
    """The listening socket that all control processes of a home share, when there are several."""
    # Out of the environment: instances are started with what is in there.
    number = os.environ.pop(CONTROL_FD, "")
    if not number:
        return None
    os.set_inheritable(int(number), False)
    return socket.socket(fileno=int(number))


def _listen(path: Path) -> socket.socket:
    """A listening socket that replaces whatever a crashed process left at ``path``."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(fresh))
    fresh.chmod(0o600)
    listener.listen(1024)
    fresh.rename(path)
    return listener


def main() -> int:
    settings = Settings()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        uvloop.run(serve(settings, _inherited()))
    except (ModelyardError, OSError) as error:
        log.error("The control process cannot run: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
