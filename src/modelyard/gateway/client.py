"""The control process's end of the gateway's channel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from modelyard.access.callers import Snapshot
from modelyard.control.ports import Answered, ArmLoad, Closed, Load, Loads, Route
from modelyard.domain.model import DrainReport, ModelRef
from modelyard.domain.spec import Traffic
from modelyard.runtime import frames
from modelyard.runtime.frames import ConnectionLost, FramePeer, Head
from modelyard.settings import Settings
from modelyard.tasks import spawn, stop

log = logging.getLogger(__name__)

_FIRST_BACKOFF: Final = 0.02
_LAST_BACKOFF: Final = 1.0
# Seconds after which a gateway that holds the connection and does not answer is taken for hung.
_ANSWER_TIMEOUT: Final = 5.0
# Seconds until a gateway that does not know what it was asked (one of before an upgrade) is asked again.
_REFUSED_PAUSE: Final = 30.0
# Seconds between two questions for what keys were used.
_USES_EVERY: Final = 30.0


def route_document(route: Route) -> bytes:
    """The JSON of a route, as a route file holds it and ``set_route`` carries it."""
    hold, canary, traffic = route.hold, route.canary, route.traffic
    return orjson.dumps(
        {
            "uid": route.ref.uid,
            "namespace": route.ref.namespace,
            "name": route.ref.name,
            "state": str(route.state),
            "message": route.message,
            "generation": route.generation,
            "public": route.public,
            "instances": {
                name: {"address": endpoint.address, "generation": endpoint.generation}
                for name, endpoint in route.instances.items()
            },
            "request_timeout": route.request_timeout,
            "max_body": route.max_body,
            "max_queue": route.max_queue,
            "metadata": dict(route.metadata),
            "hold": None if hold is None else {"max_waiting": hold.max_waiting, "timeout": hold.timeout},
            "repeatable": route.repeatable,
            "canary": None if canary is None else asdict(canary),
            "traffic": None if traffic is None else _traffic(traffic),
            "groups": route.groups,
            "rate": None if route.rate is None else asdict(route.rate),
        },
        default=dict,
    )


def _traffic(traffic: Traffic) -> dict[str, Any]:
    sticky = traffic.sticky
    return {
        "split": {arm.model: arm.weight for arm in traffic.split},
        "shadow": {shadow.model: shadow.percent for shadow in traffic.shadow},
        "by": str(sticky.by),
        "name": sticky.name,
        "set_cookie": sticky.set_cookie,
    }


class GatewayRefused(RuntimeError):
    """The gateway did not take what it was told. Both ends are of one version, so this is a defect."""


class RouteFiles:
    """A file a model in ``folder``, each whole or not there. They need not survive a loss of power: the
    instances they point to do not either."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, bytes] = {}

    def write(self, route: Route) -> None:
        uid, document = route.ref.uid, route_document(route)
        if self._written.get(uid) == document:
            return
        path = self._folder / f"{uid}.json"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = path.with_suffix(".new")
            temporary.write_bytes(document)
            temporary.replace(path)
            self._written[uid] = document
        except OSError as error:
            # The gateway is told all the same. A new one must not serve what the old file says.
            log.error("cannot write the route of %s: %s", route.ref, error)
            self.remove(uid)

    def remove(self, uid: str) -> None:
        self._written.pop(uid, None)
        with suppress(OSError):
            (self._folder / f"{uid}.json").unlink()


class AccessFile:
    """Who may come in, for a gateway that starts while nobody is there to tell it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, document: bytes) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self._path.with_suffix(".new")
            temporary.touch(mode=0o600)
            temporary.write_bytes(document)
            temporary.replace(self._path)
        except OSError as error:
            # A new gateway must not let in whom the old file names.
            log.error("cannot write %s: %s", self._path, error)
            with suppress(OSError):
                self._path.unlink()


class GatewayChannel:
    """Implements :class:`modelyard.control.ports.Gateway` over the gateway's socket.

    Each route is also kept as a file, from which a gateway serves before it is spoken to. Reconnects for
    ever; what changed while the gateway was away is told to it when it is back, and every model is then
    reported by :meth:`drained`, as its counts have begun anew.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = settings.gateway_socket
        self._files = RouteFiles(settings.routes_dir)
        self._access_file = AccessFile(settings.access_file)
        self._access: bytes | None = None
        self._peer: FramePeer | None = None
        self._routes: dict[str, Route] = {}
        self._removed: set[str] = set()
        self._drained: asyncio.Queue[ModelRef] = asyncio.Queue()
        self._waits: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._tried = asyncio.Event()
        self._connected = asyncio.Event()
        self._hangs = False
        self._connector: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return self._peer is not None and not self._peer.closed

    async def open(self) -> None:
        """Connect, and stay so. Returns once it is known whether a gateway is there: one that outlived an
        earlier control process may have requests in flight, so it must not pass for one that is away."""
        self._connector = spawn(self._stay_connected(), "gateway channel")
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                await self._tried.wait()

    async def close(self) -> None:
        await stop(*self._waits.values(), self._connector)

    # ---------------------------------------------------------------- the port

    async def set_route(self, route: Route, watch: tuple[str, ...]) -> Closed:
        """See the port. A gateway that hangs may still be serving: nothing then counts as drained."""
        self._files.write(route)
        self._routes[route.ref.uid] = route
        self._removed.discard(route.ref.uid)
        nobody = Closed(in_flight={} if self._hangs else dict.fromkeys(watch, 0), report=DrainReport())
        if not self.connected:
            return nobody
        try:
            params = await self._ask(Head("set_route", 0, {"watch": list(watch)}), route_document(route))
        except ConnectionLost:
            return nobody
        except GatewayRefused as error:
            # It serves as before. Whoever waits for a drain has a deadline, and goes on at that.
            log.error("%s", error)
            return Closed(in_flight={}, report=DrainReport())
        except TimeoutError:
            return Closed(in_flight={}, report=DrainReport())
        in_flight: dict[str, int] = params["in_flight"]
        for instance, count in in_flight.items():
            if count:
                self._await_drain(route.ref, instance)
        return Closed(in_flight=in_flight, report=DrainReport(**params["report"]))

    async def remove_route(self, ref: ModelRef) -> None:
        self._files.remove(ref.uid)
        self._routes.pop(ref.uid, None)
        self._removed.add(ref.uid)
        if self.connected:
            with suppress(ConnectionLost, TimeoutError):
                await self._ask(Head("remove_route", 0, {"uid": ref.uid}), b"")
                self._removed.discard(ref.uid)

    async def set_access(self, snapshot: Snapshot) -> None:
        document = snapshot.document()
        self._access = document
        self._access_file.write(document)
        if self.connected:
            try:
                await self._ask(Head("set_access", 0), document)
            except GatewayRefused as error:
                log.error("%s", error)
            except (ConnectionLost, TimeoutError):
                pass  # it is told when it is back

    async def key_uses(self) -> AsyncIterator[Mapping[str, datetime]]:
        while True:
            await asyncio.sleep(_USES_EVERY)
            peer = self._peer
            if peer is None:
                continue
            with suppress(ConnectionLost):
                answer, body = await peer.request(Head("uses"))
                uses = orjson.loads(body) if answer.status == 200 else {}
                if uses:
                    yield {key: datetime.fromtimestamp(at, UTC) for key, at in uses.items()}

    async def drained(self) -> AsyncIterator[ModelRef]:
        while True:
            yield await self._drained.get()

    async def loads(self) -> AsyncIterator[Loads]:
        """See the port. Each report is asked for once the one before has been taken, so a reader that is
        slow gets fewer of them."""
        gateway, since = "", 0
        while True:
            await self._connected.wait()
            peer = self._peer
            try:
                if peer is None:
                    raise ConnectionLost
                answer, body = await peer.request(Head("loads", 0, {"gateway": gateway, "since": since}))
            except ConnectionLost:
                await asyncio.sleep(_FIRST_BACKOFF)
                continue
            if answer.status != 200:
                log.error("the gateway refused loads: %s", answer.params.get("message"))
                await asyncio.sleep(_REFUSED_PAUSE)
                continue
            report = orjson.loads(body)
            gateway, since = report["gateway"], report["since"]
            yield Loads(gateway=gateway, at=report["at"], models=tuple(map(_load, report["models"])))

    # ---------------------------------------------------------------- the connection

    async def _ask(self, head: Head, body: bytes) -> dict[str, Any]:
        peer = self._peer
        assert peer is not None
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                answer, _ = await peer.request(head, body)
        except TimeoutError:
            log.error("the gateway has not answered %s for %g s; connecting to it anew", head.op, _ANSWER_TIMEOUT)
            self._hangs = True
            peer.close()
            raise
        if answer.status != 200:
            raise GatewayRefused(f"the gateway refused {head.op}: {answer.params.get('message')}")
        return answer.params

    async def _stay_connected(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            lost = asyncio.Event()
            try:
                self._peer = await frames.connect(str(self._path), on_close=_setter(lost))
                self._connected.set()
                await self._tell_all()
                self._hangs = False
                self._tried.set()
                backoff = _FIRST_BACKOFF
                await lost.wait()
            except TimeoutError:
                pass  # it hangs; _ask has closed the connection
            except OSError:
                self._hangs = False
            finally:
                self._connected.clear()
                peer, self._peer = self._peer, None
                if peer is not None:
                    peer.close()
            self._tried.set()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LAST_BACKOFF)

    async def _tell_all(self) -> None:
        """Bring a gateway that is (back) there up to date, and have every model looked at again."""
        if self._access is not None:
            # First: who may no longer come in has waited for this.
            try:
                await self._ask(Head("set_access", 0), self._access)
            except GatewayRefused as error:
                log.error("%s", error)
        for uid in list(self._removed):
            await self._ask(Head("remove_route", 0, {"uid": uid}), b"")
            self._removed.discard(uid)
        for uid in list(self._routes):
            # Read now, not above: it may have changed or gone while the ones before were told.
            route = self._routes.get(uid)
            if route is not None:
                try:
                    await self._ask(Head("set_route", 0, {"watch": []}), route_document(route))
                except GatewayRefused as error:
                    log.error("%s", error)
        for route in self._routes.values():
            self._drained.put_nowait(route.ref)

    def _await_drain(self, ref: ModelRef, instance: str) -> None:
        key = (ref.uid, instance)
        if key not in self._waits:
            task = spawn(self._wait_drained(ref, instance), f"wait until {instance} of {ref} is drained")
            self._waits[key] = task
            task.add_done_callback(lambda _: self._waits.pop(key, None))

    async def _wait_drained(self, ref: ModelRef, instance: str) -> None:
        peer = self._peer
        if peer is None:
            return
        # A connection lost meanwhile has every model reported once it is back.
        with suppress(ConnectionLost):
            await peer.request(Head("drained", 0, {"uid": ref.uid, "instances": [instance]}))
            self._drained.put_nowait(ref)


def _load(load: dict[str, Any]) -> Load:
    arms = [ArmLoad(**arm | {"buckets": tuple(arm["buckets"])}) for arm in load.pop("arms", ())]
    answered = load.pop("answered", None)
    if answered is not None:
        answered = Answered(**answered | {"buckets": tuple(answered["buckets"])})
    return Load(**load, arms=tuple(arms), answered=answered)


def _setter(event: asyncio.Event) -> Callable[[FramePeer], None]:
    return lambda _: event.set()
