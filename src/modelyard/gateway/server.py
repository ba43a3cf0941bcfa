"""The gateway process: its sockets, its signals, its beginning and its end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
import psutil
import uvicorn
import uvloop
from pydantic import ValidationError

from modelyard.access.callers import Callers
from modelyard.access.configuring import members_of, sessions_of, tokens_of
from modelyard.access.secrets import box_of
from modelyard.gateway.access import Access, Uses
from modelyard.gateway.app import GatewayApp
from modelyard.gateway.browsers import Browsers
from modelyard.gateway.channel import ChannelServer
from modelyard.gateway.cors import VARY
from modelyard.gateway.direct import Direct
from modelyard.gateway.doorway import Doorway
from modelyard.gateway.metrics import GatewayMetrics
from modelyard.gateway.problems import stopping
from modelyard.gateway.protocol import FrontProtocol
from modelyard.gateway.proxy import Proxy
from modelyard.gateway.served import RouteTable
from modelyard.gateway.tls import Certificate
from modelyard.settings import Settings
from modelyard.tasks import spawn, stop

if TYPE_CHECKING:
    from modelyard.gateway.grpc_server import Listening

log = logging.getLogger(__name__)

LISTEN_FD: Final = "MODELYARD_LISTEN_FD"
# Seconds that requests in flight have to finish once the process is asked to end.
_GRACE: Final = 5
# Seconds for which an idle connection is kept; longer than common proxies keep theirs (60 s).
_KEEP_ALIVE: Final = 75
_BACKLOG: Final = 2048
# Of the connections that there may be, one in so many may be at its TLS handshake.
_ENTERING_SHARE: Final = 4
# Files that are not callers' connections: sockets to workers and to the control process, logs, libraries.
_RESERVED_FILES: Final = 512


class CannotStart(Exception):
    """The gateway cannot start like this."""


class _Server(uvicorn.Server):
    """uvicorn's server with our signal handling, a door of our own for TLS, and a word when it is ready."""

    def __init__(
        self,
        config: uvicorn.Config,
        ready_file: Path,
        app: GatewayApp,
        grpc: Listening | None,
        certificate: Certificate | None,
    ) -> None:
        super().__init__(config)
        self._ready_file = ready_file
        self._app = app
        self._grpc = grpc
        self._certificate = certificate

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # uvicorn raises the signal again at its end; a gateway that was asked to end has ended well.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self._app.closing = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._grpc is not None:
            await asyncio.gather(self._grpc.server.stop(_GRACE), self._shutdown_http(sockets))
        else:
            await self._shutdown_http(sockets)

    async def _shutdown_http(self, sockets: list[socket.socket] | None) -> None:
        await super().shutdown(sockets)
        # The application's requests have been told by being cancelled.
        for connection in list(self.server_state.connections):
            if isinstance(connection, FrontProtocol):
                connection.stop(stopping())
        await asyncio.sleep(0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None
        if self._certificate is None:
            await super().startup(sockets)
        else:
            door = self._doorway(sockets[0], self._certificate.context)
            door.listen(_BACKLOG)
            # It closes and is waited for as asyncio's are, and nothing else is asked of it.
            self.servers = [door]  # type: ignore[list-item]
            self.started = True
        host, port, *_ = sockets[0].getsockname()
        _write_atomically(
            self._ready_file,
            orjson.dumps(
                {**_identity(), "host": host, "port": port, "grpc_port": self._grpc.port if self._grpc else None}
            ),
        )
        log.info("serving on %s port %d", host, port)
        if self._grpc is not None:
            log.info("serving gRPC on %s port %d", host, self._grpc.port)

    def _doorway(self, listener: socket.socket, context: ssl.SSLContext) -> Doorway:
        state = self.server_state
        return Doorway(
            listener,
            context,
            lambda: FrontProtocol(config=self.config, server_state=state, app_state={}),
            lambda: state.default_headers,
            FrontProtocol.max_connections // _ENTERING_SHARE,
        )


def main() -> int:
    """Run until told to stop. Exit codes: 0 stopped, 2 cannot start like this (the reason is on stderr)."""
    try:
        settings = Settings()
    except ValidationError as error:
        print(f"modelyard gateway: the settings are not valid: {error}", file=sys.stderr)  # noqa: T201
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    # What callers do wrong is answered to them; it is no news for the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except CannotStart as error:
        log.error("%s", error)
        return 2
    return 0


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        CannotStart: the address is taken or must not be used, or the home cannot be written.
    """
    uses = Uses()
    callers = Callers(tokens_of(settings), members_of(settings), noted=uses.note)
    access = Access(settings.token_file, settings.token, callers)
    routes = RouteTable()
    certificate = _certificate(settings)
    listener = _listener(settings)
    _refuse_open_door(listener, access)
    channel = ChannelServer(settings.gateway_socket, routes, access, uses)
    try:
        settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        routes.load(settings.routes_dir)
        access.load(settings.access_file)
        await channel.open()
    except OSError as error:
        raise CannotStart(f"the home cannot be used: {error}") from error
    proxy = Proxy(settings.control_socket, settings.max_body, access)
    metrics = GatewayMetrics(lambda: routes)
    box = box_of(settings.secrets_file, settings.secrets_key)
    browsers = Browsers(sessions_of(settings, box), settings.public_url)
    app = GatewayApp(routes, access, proxy, metrics, browsers, settings.origins)
    FrontProtocol.direct = Direct(routes, access, metrics, cors=bool(settings.origins))
    FrontProtocol.max_connections = max(_raise_file_limit() - _RESERVED_FILES, 64)
    config = uvicorn.Config(
        app,
        http=FrontProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
        headers=_headers(settings),
    )
    renewal = None if certificate is None else spawn(certificate.watch(), "watch the certificate")
    try:
        host = str(listener.getsockname()[0])
        grpc = await _listen_grpc(settings, host, app, routes, access, proxy, metrics, certificate)
        await _Server(config, settings.run_dir / "gateway.json", app, grpc, certificate).serve([listener])
    finally:
        channel.close()
        await stop(renewal)
        await proxy.close()


async def _listen_grpc(
    settings: Settings,
    host: str,
    app: GatewayApp,
    routes: RouteTable,
    access: Access,
    proxy: Proxy,
    metrics: GatewayMetrics,
    certificate: Certificate | None,
) -> Listening | None:
    """The gRPC server, if the settings ask for one, at the same address as the other."""
    if settings.grpc_port is None:
        return None
    try:
        from modelyard.gateway import grpc, grpc_server
    except ImportError as error:
        raise CannotStart(
            f"MODELYARD_GRPC_PORT is set, but gRPC is not installed ({error}): pip install 'modelyard[grpc]', or leave "
            "the setting empty."
        ) from error
    service = grpc.InferenceService(routes, access, proxy, metrics, lambda: app.closing)
    try:
        return await grpc_server.listen(service, host, settings.grpc_port, settings.grpc_max_message, certificate)
    except grpc_server.CannotListen as error:
        raise CannotStart(
            f"cannot serve gRPC on {host} port {settings.grpc_port}: another program has it, or it is not for this "
            "user. Choose another with MODELYARD_GRPC_PORT."
        ) from error


def _certificate(settings: Settings) -> Certificate | None:
    if not settings.tls_cert:
        return None
    try:
        return Certificate(Path(settings.tls_cert), Path(settings.tls_key))
    except (OSError, ssl.SSLError) as error:
        raise CannotStart(
            f"the certificate {settings.tls_cert} with the key {settings.tls_key} cannot be used: {error}. Both are "
            "PEM files that fit together, the key without a password."
        ) from error


def _headers(settings: Settings) -> list[tuple[str, str]]:
    """What goes out with every answer, whoever gives it."""
    headers = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]
    if settings.tls_cert:
        headers.append(("Strict-Transport-Security", "max-age=31536000"))
    if settings.origins:
        headers.append((VARY[0].decode(), VARY[1].decode()))
    return headers


def _listener(settings: Settings) -> socket.socket:
    """The inherited listening socket, or one bound to the settings' address."""
    inherited = os.environ.get(LISTEN_FD)
    if inherited is not None:
        try:
            listener = socket.socket(fileno=int(inherited))
            listener.getsockname()
        except (ValueError, OSError) as error:
            raise CannotStart(f"{LISTEN_FD}={inherited} is no listening socket: {error}") from error
        return listener
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {settings.host} port {settings.port}: {error}. Choose another with --port or "
            "MODELYARD_PORT."
        ) from error
    return listener


def _refuse_open_door(listener: socket.socket, access: Access) -> None:
    host = str(listener.getsockname()[0])
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback and not access.has_token:
        listener.close()
        raise CannotStart(
            f"refusing to listen on {host} without an administrator token: anybody who reaches it could use every "
            "model. Run 'modelyard up' once to make one, set MODELYARD_TOKEN, or listen on 127.0.0.1."
        )


def _raise_file_limit() -> int:
    """Allow as many open files as the system lets us; the number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _identity() -> dict[str, int | float | str]:
    """This process for good: process ids are given out again, start ticks since a boot are not."""
    fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"pid": os.getpid(), "started": psutil.Process().create_time(), "ticks": int(fields[19]), "boot": boot}


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.rename(path)
