"""The control plane with 10,000 models: one process with the real store, reconciler and API, and a simulated backend.

``python -m bench.scale FOLDER`` is that process: it serves the API on a socket in the folder, and beside it
``POST /bench/resync``, which has the reconciler look at every model once, and ``GET /bench/states``, how many models
are in each state.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import uvicorn
import uvloop
from fastapi import FastAPI

from bench.simulated import SilentGateway, SimulatedBackend
from modelyard.access.callers import Callers
from modelyard.access.secrets import SecretBox
from modelyard.access.sessions import Sessions
from modelyard.api.app import create_app
from modelyard.api.context import Services
from modelyard.backends.port import Backend
from modelyard.control.absences import Absences
from modelyard.control.bulk import BulkService
from modelyard.control.capacity import CapacityViews
from modelyard.control.changes import ChangeFeed
from modelyard.control.checks import SpecChecks
from modelyard.control.doctor import Doctor
from modelyard.control.forecasts import Forecasts
from modelyard.control.history import History
from modelyard.control.outbox import Tally
from modelyard.control.policies import PolicyDesk
from modelyard.control.reconciler import Reconciler
from modelyard.control.resealing import Resealing
from modelyard.control.schedule_service import ScheduleService
from modelyard.control.service import ModelService
from modelyard.control.sign_ins import SignIns
from modelyard.control.stop_many import StopMany
from modelyard.control.traffic import TrafficBook
from modelyard.domain import commands
from modelyard.domain.capacity import Inventory
from modelyard.domain.commands import Asked
from modelyard.domain.model import Model, Namespace
from modelyard.domain.spec import BackendName, Engine, Spec
from modelyard.domain.states import RunState
from modelyard.observe.metrics import ControlMetrics
from modelyard.registry.caching import CacheViews, Traffic
from modelyard.registry.catalog import Catalog
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.storage import Folder
from modelyard.registry.contents import Contents
from modelyard.registry.keeping import Pins, Preloader
from modelyard.store.store import SqlStore

MODELS = 10_000
RUNNING = 5_000
TOKEN = "bench"
SITE = "bench"


def now() -> datetime:
    return datetime.now(UTC)


async def fill(store: SqlStore) -> None:
    """So many models, half of them running, the others stopped, a hundred at a time in one transaction."""

    async def one(number: int) -> None:
        desired = RunState.RUNNING if number < RUNNING else RunState.STOPPED
        asked = Asked(actor="bench", reason="", at=now(), operation_id=f"op-{number}")
        spec = Spec(engine=Engine.MOCK, labels={"team": f"t{number % 10}"})
        change = commands.create(f"uid{number:05}", "default", f"m{number:05}", spec, desired, asked, SITE)
        await store.commit(change)

    if await store.get_namespace("default") is None:
        await store.create_namespace(Namespace(name="default", created_at=now()))
    for first in range(0, MODELS, 100):
        await asyncio.gather(*(one(number) for number in range(first, first + 100)))


async def serve(folder: Path) -> None:
    store = await SqlStore.open(f"sqlite:///{folder / 'state.db'}")
    await fill(store)
    feed = ChangeFeed(store)
    backends: dict[BackendName, Backend] = {BackendName.LOCAL: SimulatedBackend(Inventory(cpu=64, memory=2**40))}
    reconciler = Reconciler(store, feed, backends, SilentGateway(), now, site=SITE)
    await reconciler.start()

    async def inventories() -> dict[str, Inventory]:
        return {SITE: await backends[BackendName.LOCAL].inventory()}

    class Source:
        async def models(self) -> list[Model]:
            return []

        async def usage(self) -> dict[str, int]:
            return {}

    capacity, storage = CapacityViews(store, inventories), Folder(folder / "registry")
    cache, catalog = Cache(folder / "cache", storage), Catalog(store.catalog, now, feed.stir_followers)
    pins = Pins(store.pins, catalog, SITE, now)
    # Nothing is laid out here.
    preloader = Preloader(pins, cast(Any, None), lambda: False, now)
    caching = CacheViews(cache, None, store.pins, pins, preloader, Traffic(now()), now)
    checks = SpecChecks(store, backends)
    policies = PolicyDesk(store.policies, store, now, shared=False)
    models = ModelService(store, feed, checks, now, site=SITE, gate=policies)
    forecasts = Forecasts(store, models, capacity, now, site=SITE)
    box = SecretBox(lambda: (bytes(32),))
    services = Services(
        store=store, audit=store.audit, feed=feed, models=models, checks=checks, forecasts=forecasts,
        stop_many=StopMany(store, feed, models, store.bulks, now), policies=policies,
        bulk=BulkService(store, store.bulks, models, forecasts, now, site=SITE),
        schedules=ScheduleService(store.schedules, models, feed, now),
        backends=backends, metrics=ControlMetrics(Source(), caching, store.alerts, Tally()),
        token=lambda: TOKEN, clock=now, capacity=capacity,
        catalog=catalog, pins=pins, caching=caching,
        sites=store, timetables=cast(Any, None),
        # Nothing is signed, sent, fetched or asked of the installation here.
        samples=cast(Any, None), installed=cast(Any, None),
        alerts=cast(Any, None), secrets=cast(Any, None), traffic=TrafficBook(),
        history=History(store.history, TrafficBook(), now, timedelta(days=30)),
        signatures=cast(Any, None), objects=cast(Any, None), transfers=cast(Any, None),
        contents=Contents(storage, cache, storage.root.as_uri(), store.catalog, now),
        callers=Callers(), sign_ins=SignIns(store.sign_ins, box, Sessions(box, secure=False, port=1), None, now),
        tenants=cast(Any, None), absences=Absences(store, SITE),
        doctor=Doctor(
            store, store, feed, backends, now, site=SITE,
            resealing=Resealing(store.sealed, box),
        ),
    )  # fmt: skip
    app = FastAPI()

    @app.post("/bench/resync")
    async def resync() -> float:
        began = time.perf_counter()
        await reconciler.resync()
        return time.perf_counter() - began

    @app.get("/bench/states")
    async def states() -> dict[str, int]:
        return dict(await store.count_models())

    app.mount("/", create_app(services))
    config = uvicorn.Config(app, uds=str(folder / "api.sock"), lifespan="off", log_level="warning", access_log=False)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
