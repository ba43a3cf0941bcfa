"""A real gateway process in a home of its own, real workers, and stand-ins for the control process."""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from modelyard.runtime import frames
from modelyard.runtime.frames import FramePeer, Head
from modelyard.settings import Settings

TOKEN = "a-token-for-tests"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
_ids = itertools.count(1)


def wait_until(condition, what, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return found


async def until(condition, seconds=10.0):
    """Wait until the coroutine function ``condition`` returns something true."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.01)
        return found


class Gateway:
    """A gateway process; ``port`` is held by a socket of ours, as the supervisor holds it."""

    def __init__(self, home: Path, token: str | None = TOKEN, **environment: str) -> None:
        self.home = home
        self.environment = environment
        self.settings = Settings(home=home)
        self.process: subprocess.Popen[bytes] | None = None
        self.settings.routes_dir.mkdir(parents=True)
        self.settings.instances_dir.mkdir()
        if token is not None:
            self.settings.token_file.write_text(token + "\n")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "gateway.log"

    def start(self) -> None:
        environment = {
            **os.environ,
            "MODELYARD_HOME": str(self.home),
            "MODELYARD_LISTEN_FD": str(self.listener.fileno()),
            **self.environment,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "modelyard.gateway"],
                env=environment, pass_fds=[self.listener.fileno()], stderr=log,
            )  # fmt: skip
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        wait_until(self.is_ready, "the gateway is ready")

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.settings.run_dir / "gateway.json").read_bytes())["pid"] == self.process.pid
        return False

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=10)

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{json.loads((self.settings.run_dir / 'gateway.json').read_bytes())['grpc_port']}"

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client


@contextlib.contextmanager
def running_gateway(token: str | None = TOKEN, *, start: bool = True, **environment: str) -> Iterator[Gateway]:
    home = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    gateway = Gateway(home, token, **environment)
    try:
        if start:
            gateway.start()
        yield gateway
    finally:
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.end(signal.SIGKILL)
        gateway.listener.close()
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """Shared by tests that leave it running; it serves gRPC as well."""
    with running_gateway(MODELYARD_GRPC_PORT="0", MODELYARD_GRPC_MAX_MESSAGE=str(2**21)) as gateway:
        yield gateway


@pytest.fixture
def own_gateway() -> Iterator[Gateway]:
    """For tests that end it; not started yet."""
    with running_gateway(start=False) as gateway:
        yield gateway


class Worker:
    """An echo worker process."""

    def __init__(self, folder: Path) -> None:
        self.id = f"w{next(_ids)}"
        self.path = folder / f"{self.id}.sock"
        self.address = f"unix:{self.path}"
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("echo_worker.py")), str(self.path), self.id]
        )
        wait_until(self.listens, "the worker listens")

    def listens(self) -> bool:
        # Its socket has a name a moment before anybody can connect to it.
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.path)) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    async def until_count(self, **expected: int) -> None:
        """Wait until the worker has so many requests ``waiting``, so many ``cancelled``."""

        async def counted():
            return expected.items() <= (await self.count()).items()

        await until(counted)

    async def count(self) -> dict[str, int]:
        peer = await frames.connect(str(self.path))
        try:
            return (await peer.request(Head("count")))[0].params
        finally:
            peer.close()


@pytest.fixture
def new_worker() -> Iterator[type]:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    workers: list[Worker] = []

    def start() -> Worker:
        workers.append(Worker(folder))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """Shared by tests that leave it running."""
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    worker = Worker(folder)
    yield worker
    worker.kill()
    shutil.rmtree(folder)


def route(name: str, *workers: Worker, **changes) -> dict:
    """The JSON of a route; running in the default namespace unless ``changes`` says otherwise."""
    generation = changes.get("generation", 3)
    return {
        "uid": f"u-{name}", "namespace": "default", "name": name, "state": "running", "message": "",
        "generation": 3, "public": False,
        "instances": {w.id: {"address": w.address, "generation": generation} for w in workers},
        "request_timeout": 20.0, "max_body": 2**20, "max_queue": 64, "metadata": {},
    } | changes  # fmt: skip


class Channel:
    """The control process's words to a gateway, raw."""

    def __init__(self, peer: FramePeer) -> None:
        self.peer = peer

    async def ask(self, op: str, body: bytes = b"", **params) -> dict:
        head, _ = await self.peer.request(Head(op, 0, params), body)
        assert head.status == 200, head.params
        return head.params

    async def set(self, document: dict, *watch: str) -> dict:
        return await self.ask("set_route", json.dumps(document).encode(), watch=list(watch))

    async def loads(self, gateway: str = "", since: int = 0) -> dict:
        """One report, with the loads by uid."""
        head, body = await self.peer.request(Head("loads", 0, {"gateway": gateway, "since": since}))
        assert head.status == 200, head.params
        report = json.loads(bytes(body))
        return report | {"models": {load["uid"]: load for load in report["models"]}}

    async def load(self, name: str) -> dict:
        """Of the model ``name``, as :func:`route` makes it."""
        return (await self.loads())["models"][f"u-{name}"]

    async def until_load(self, name: str, **expected: int) -> dict:
        async def reached():
            load = await self.load(name)
            return load if expected.items() <= load.items() else None

        return await until(reached)


class Metrics:
    """What the gateway's metrics say of one model."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def _by(self, name: str, family: str, label: str) -> dict[str, int]:
        async with self._http.get("/metrics") as answer:
            families = text_string_to_metric_families(await answer.text())
            return {
                sample.labels[label]: int(sample.value)
                for found in families
                for sample in found.samples
                if sample.name == family and sample.labels["model"] == name
            }

    async def codes(self, name: str) -> dict[str, int]:
        return await self._by(name, "model_inference_total", "code")

    async def until_codes(self, name: str, expected: dict[str, int]) -> None:
        async def counted():
            return await self.codes(name) == expected

        await until(counted)

    async def in_flight(self, name: str) -> dict[str, int]:
        """By instance."""
        return await self._by(name, "model_inference_in_flight", "instance")

    async def value(self, name: str, sample: str) -> int:
        """Of a sample that has one value a model."""
        return (await self._by(name, sample, "model"))[name]

    async def until_in_flight(self, name: str, count: int) -> None:
        async def reached():
            return sum((await self.in_flight(name)).values()) == count

        await until(reached)


@pytest.fixture
async def channel(gateway) -> AsyncIterator[Channel]:
    peer = await frames.connect(str(gateway.settings.gateway_socket))
    yield Channel(peer)
    peer.close()


@pytest.fixture
def name() -> str:
    """A model's name that no other test uses."""
    return f"model-{next(_ids)}"


@pytest.fixture
async def http(gateway) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that presents the token."""
    async with aiohttp.ClientSession(gateway.url, headers=AUTH) as session:
        yield session


@pytest.fixture
def metrics(http) -> Metrics:
    return Metrics(http)


@contextlib.asynccontextmanager
async def web_server(handler, *, path: Path | None = None) -> AsyncIterator[str]:
    """``handler`` as an HTTP server, on a Unix socket or on a port of its own; its origin."""
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, auto_decompress=False)
    await runner.setup()
    try:
        if path is not None:
            await web.UnixSite(runner, str(path)).start()
            yield "http://localhost"
        else:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def serve_http():
    return web_server


@pytest.fixture
def make_route():
    return route


@pytest.fixture
def auth() -> dict[str, str]:
    return dict(AUTH)
