"""The control process: the API on its socket, and all that works behind it, until it is told to end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
import uvloop

from modelyard.api.app import create_app
from modelyard.app.plane import control_plane
from modelyard.domain.errors import ModelyardError
from modelyard.settings import Settings
from modelyard.supervisor.processes import CONTROL_FD
from modelyard.tasks import spawn

log = logging.getLogger("modelyard.control")

# Allocations between two looks for garbage; the default of 700 is less than a request makes.
_GARBAGE = 20_000
# Open streams (SSE) never end by themselves; a shutdown gives them this many seconds.
_STREAM_GRACE = 1


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
        # Until all stands there is nothing to look for.
        gc.disable()
        config = uvicorn.Config(
            create_app(services, max_body=settings.max_body, dashboard=settings.dashboard),
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
        gc.enable()
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
