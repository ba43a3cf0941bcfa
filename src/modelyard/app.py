"""The composition root: the one place that knows every part. ``python -m modelyard.app`` is the control process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
import uvloop

from modelyard.api.app import create_app
from modelyard.api.context import Services
from modelyard.backends.local.backend import LocalBackend
from modelyard.backends.port import Backend
from modelyard.control.changes import ChangeFeed
from modelyard.control.ports import ModelQuery
from modelyard.control.reconciler import Reconciler
from modelyard.control.service import ModelService
from modelyard.domain.errors import ModelyardError
from modelyard.domain.model import Model
from modelyard.domain.spec import BackendName
from modelyard.gateway.client import GatewayChannel
from modelyard.observe.metrics import ControlMetrics
from modelyard.settings import Settings
from modelyard.store.store import SqlStore
from modelyard.tasks import spawn

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

    def __init__(self, store: SqlStore, backends: Mapping[BackendName, LocalBackend]) -> None:
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
    """Everything behind the API, running. Leaving it ends every instance (their models' wish stays); leaving
    it by an error ends none: they serve on, for the next control process to adopt."""
    async with contextlib.AsyncExitStack() as stack:
        store = await SqlStore.open(settings.database)
        stack.push_async_callback(store.close)
        await store.claim()
        backends = {BackendName.LOCAL: LocalBackend(settings)}
        for backend in backends.values():
            stack.push_async_exit(_close(backend))
            await backend.open()
        gateway = GatewayChannel(settings)
        await gateway.open()
        stack.push_async_callback(gateway.close)
        feed = ChangeFeed(store)
        reconciler = Reconciler(store, feed, backends, gateway, utc_now)
        await reconciler.start()
        stack.push_async_callback(reconciler.close)
        tidying = spawn(_tidy(store), "tidy the store")
        stack.callback(tidying.cancel)
        yield Services(
            store=store,
            feed=feed,
            models=ModelService(store, feed, backends, utc_now),
            backends=dict(backends),
            metrics=ControlMetrics(_MetricsSource(store, backends)),
            token=TokenReader(settings),
            clock=utc_now,
        )


def _close(backend: Backend) -> Callable[[type[BaseException] | None, object, object], Awaitable[None]]:
    async def close(error: type[BaseException] | None, *_: object) -> None:
        await backend.close(release=error is None)

    return close


async def _tidy(store: SqlStore) -> None:
    while True:
        await store.tidy()
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


async def serve(settings: Settings) -> None:
    """Run the control process until it is told to end (SIGTERM or SIGINT)."""
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
        listener = _listen(settings.control_socket)
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


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the home's lock: two control processes must not drive the same instances."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    with (settings.run_dir / "control.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelyardError(f"Another control process already runs in {settings.home}.") from None
        yield


def main() -> int:
    settings = Settings()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        with _alone(settings):
            uvloop.run(serve(settings))
    except (ModelyardError, OSError) as error:
        log.error("The control process cannot run: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
