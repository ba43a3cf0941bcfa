"""The API's routes for bytes on a real socket, with nothing else of a Modelyard behind them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from modelyard.access.callers import Callers
from modelyard.access.secrets import SecretBox
from modelyard.access.sessions import Sessions
from modelyard.api import objects, problems
from modelyard.api.app import PREFIX
from modelyard.api.context import Services
from modelyard.app.clock import utc_now
from modelyard.control.sign_ins import SignIns
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.storage import Storage
from modelyard.registry.objects import Objects

TOKEN = "token-of-the-tests"


@dataclass
class Served:
    url: str
    server: uvicorn.Server


def bytes_of(storage: Storage, cache: Cache | None = None, **more: Any) -> Services:
    """Services of which only those are there that the routes for bytes need."""
    cache = cache or Cache(Path("/nowhere"), storage)
    box = SecretBox(list)
    sign_ins = SignIns(cast(Any, None), box, Sessions(box, secure=False, port=0), None, utc_now)
    there = {"objects": Objects(storage, cache), "token": lambda: TOKEN, "callers": Callers(), "sign_ins": sign_ins}
    there |= more
    return Services(**{field.name: there.get(field.name) for field in fields(Services)})


@contextmanager
def served(services: Services) -> Iterator[Served]:
    """Until it is left."""
    with running(app_of(services)) as found:
        yield found


def app_of(services: Services) -> FastAPI:
    """The routes for bytes alone: to put all of the API together takes a second."""
    app = FastAPI()
    app.include_router(objects.objects, prefix=PREFIX)
    app.include_router(objects.cached, prefix=PREFIX)
    app.state.services = services
    problems.install(app)
    app.add_middleware(problems.BodyLimit, limit=4 * 2**20, without=f"{PREFIX}{objects.PREFIX}/")
    return app


@contextmanager
def running(app: ASGIApp) -> Iterator[Served]:
    """An application on a port of its own, in a thread."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), name="served", daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.005)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", server)
    finally:
        server.should_exit = True
        thread.join()
