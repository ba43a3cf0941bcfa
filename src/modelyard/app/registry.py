"""The registry: where versions are, what serves them to machines, and what moves them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from modelyard.app.clock import utc_now
from modelyard.domain.errors import ModelyardError
from modelyard.domain.quantities import parse_bytes
from modelyard.domain.transfers import TransferKind
from modelyard.registry.admitting import Hosts, admit
from modelyard.registry.caching import Traffic
from modelyard.registry.carrying import Carrier, Office
from modelyard.registry.catalog import Catalog
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.locations import store_at
from modelyard.registry.content.peers import Peers
from modelyard.registry.content.storage import Store
from modelyard.registry.contents import Contents
from modelyard.registry.imports import Imports
from modelyard.registry.keeping import Pins
from modelyard.registry.serving import Serving
from modelyard.registry.signing.signatures import Secrets, Signatures
from modelyard.registry.sources.fetching import fetch
from modelyard.registry.transfers import Transfers
from modelyard.settings import Settings
from modelyard.store.store import SqlStore

log = logging.getLogger("modelyard.control")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
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


async def open_shelf(
    settings: Settings, store: SqlStore, site: str, tell: Callable[[], None], stack: contextlib.AsyncExitStack
) -> Shelf:
    catalog = Catalog(store.catalog, utc_now, tell)
    storage = await _store_at(settings)
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
    return Shelf(
        storage=storage, cache=cache, cache_size=limit, catalog=catalog, signatures=signatures,
        serving=Serving(catalog, storage, cache, traffic, signatures), traffic=traffic, pins=pins, contents=contents,
    )  # fmt: skip


def movers(
    settings: Settings, store: SqlStore, shelf: Shelf, site: str, driving: Callable[[], bool]
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


async def _store_at(settings: Settings) -> Store:
    """The registry's store. It has its identity from the beginning, so that nobody takes another one for it."""
    storage = store_at(settings.registry)
    try:
        await asyncio.to_thread(storage.identity)
    except ModelyardError as error:
        # What is served goes on without it.
        log.warning("%s", error)
    return storage
