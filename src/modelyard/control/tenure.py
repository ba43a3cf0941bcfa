"""What a process does while it holds the lease of its site, and while it waits for it.

A tenure opens the backends (which adopt what runs), the gateway's channel and the reconciler. It ends with the
lease, and leaves every instance running for the next one; only when the site is taken down on purpose are
they ended too. Several processes may run in one home: one drives, the others stand by.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from modelyard import tasks
from modelyard.backends.port import Backend
from modelyard.control.changes import ChangeFeed
from modelyard.control.delegates import Guarded
from modelyard.control.leases import Lease
from modelyard.control.ports import Fence, Gateway, Sites, Store
from modelyard.control.reconciler import Reconciler
from modelyard.control.tenants import Directory
from modelyard.control.traffic import TrafficBook
from modelyard.domain.errors import ModelyardError, Unavailable
from modelyard.domain.spec import BackendName

log = logging.getLogger(__name__)

# How often one that stands by looks whether the seat is free, and whether the one who has it hangs, in seconds:
# the first is a system call, the second a query.
LOOK_EVERY = 0.3
_SUSPECT_EVERY = 0.7
# Seconds until what failed is tried again.
_AGAIN = 1.0
# Seconds between two looks at what there is on the site, for those who are shown it elsewhere.
_INVENTORY_EVERY = 300.0


class Channel(Gateway, Protocol):
    """A gateway's channel as it is opened and closed."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class Seat(Protocol):
    """What only one process of a home can have at a time, whatever the database says: it protects the home's
    instances from two who would drive them."""

    def take(self) -> bool:
        """False while another process has it. Repeating it is harmless."""

    def give_back(self) -> None: ...

    def clear(self) -> None:
        """Kill the process that has it. Its lease has run out, so it ought to have given it back: it hangs."""


# ------------------------------------------------------------------------------------------- one tenure


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """What tenures work with. ``backends`` are those that are shown, never opened until a tenure does;
    ``renew`` puts new ones in their place after it."""

    store: Store
    sites: Sites
    feed: ChangeFeed
    backends: dict[BackendName, Backend]
    renew: Callable[[], dict[BackendName, Backend]]
    channel: Callable[[], Channel]
    clock: Callable[[], datetime]
    traffic: TrafficBook = field(default_factory=TrafficBook)
    directory: Directory | None = None
    # What else runs for as long as the site is driven, by name.
    beside: Callable[[Fence], Mapping[str, Coroutine[Any, Any, None]]] = lambda _: {}
    # The same for what needs to know what the reconciler knows; filled before the first tenure.
    overseers: dict[str, Callable[[Reconciler], Coroutine[Any, Any, None]]] = field(default_factory=dict)


@asynccontextmanager
async def tenure(equipment: Equipment, lease: Lease, fence: Fence) -> AsyncIterator[None]:
    """Drive the site of ``fence``. Left without an error, every instance is ended (their models' wish stays); left
    by one, they all go on."""
    backends, feed = dict(equipment.backends), equipment.feed
    async with AsyncExitStack() as stack:
        stack.callback(lambda: equipment.backends.update(equipment.renew()))
        for backend in backends.values():
            stack.push_async_exit(_closing(backend))
            await backend.open()
        channel = equipment.channel()
        await channel.open()
        stack.push_async_callback(channel.close)
        if equipment.directory is not None:
            await stack.enter_async_context(equipment.directory.told_to(channel))
        await equipment.sites.adopt_models(fence.site)
        guarded = {name: Guarded(_constant(backend), lease.check) for name, backend in backends.items()}
        reconciler = Reconciler(
            equipment.store, feed, guarded, channel, equipment.clock, site=fence.site, fence=fence,
            traffic=equipment.traffic,
        )  # fmt: skip
        stack.push_async_callback(reconciler.close)
        stack.callback(_silence, feed)
        await reconciler.start()
        feed.on_news = reconciler.heard
        feed.on_gap = lambda: _look_at_all(reconciler)
        telling = tasks.spawn(_tell_inventory(equipment, fence, backends[BackendName.LOCAL]), "tell the inventory")
        stack.push_async_callback(tasks.stop, telling)
        for name, work in equipment.beside(fence).items():
            stack.push_async_callback(tasks.stop, tasks.spawn(work, name))
        for name, oversee in equipment.overseers.items():
            stack.push_async_callback(tasks.stop, tasks.spawn(oversee(reconciler), name))
        log.info("Driving the site %s (tenure %d)", fence.site, fence.token)
        yield


def _constant(backend: Backend) -> Callable[[], Backend]:
    return lambda: backend


def _closing(backend: Backend) -> Callable[[type[BaseException] | None, object, object], Awaitable[None]]:
    async def close(error: type[BaseException] | None, *_: object) -> None:
        await backend.close(release=error is None)

    return close


def _silence(feed: ChangeFeed) -> None:
    feed.on_commit = feed.on_news = feed.on_gap = None


def _look_at_all(reconciler: Reconciler) -> None:
    tasks.spawn(reconciler.resync(), "look at every model after news were missed")


async def _tell_inventory(equipment: Equipment, fence: Fence, backend: Backend) -> None:
    told = None
    while True:
        try:
            inventory = await backend.inventory()
            if inventory != told:
                await equipment.sites.set_inventory(fence, inventory)
                told = inventory
        except ModelyardError as error:
            log.warning("What the site has could not be written down: %s", error)
        await asyncio.sleep(_INVENTORY_EVERY)


# ------------------------------------------------------------------------------------------- one after the other


class SiteDriver:
    """Drives the site whenever it holds its lease and its seat, and stands by for them otherwise. ``drive`` is a
    tenure (see :func:`tenure`)."""

    def __init__(
        self,
        sites: Sites,
        lease: Lease,
        seat: Seat,
        site: str,
        drive: Callable[[Fence], AbstractAsyncContextManager[None]],
    ) -> None:
        self._sites = sites
        self._lease = lease
        self._seat = seat
        self._site = site
        self._drive = drive
        self._ending = asyncio.Event()
        self._settled = asyncio.Event()
        self._suspect_at = 0.0
        self._suspected: int | None = None
        self._task: asyncio.Task[None] | None = None
        self.driving = False

    async def start(self) -> None:
        """Drive, or stand by. Raises whatever keeps the first tenure from beginning."""
        self._task = asyncio.create_task(self._run(), name=f"site {self._site}")
        settled = asyncio.create_task(self._settled.wait())
        await asyncio.wait({self._task, settled}, return_when=asyncio.FIRST_COMPLETED)
        await tasks.stop(settled)
        if self._task.done():
            await self._task

    async def close(self, *, release: bool) -> None:
        """End it; with ``release``, end the instances too and mark the site as down."""
        if self._task is None:
            return
        if release:
            self._ending.set()
            await self._task
        else:
            await tasks.stop(self._task)

    async def _run(self) -> None:
        # A process that is started brings a site up that was down; one that has only stood by does not.
        begun = False
        while not self._ending.is_set():
            pause = LOOK_EVERY
            try:
                fence = await self._take(even_if_down=not begun)
                if fence is None:
                    log.log(logging.DEBUG if begun else logging.INFO, "Standing by for the site %s", self._site)
                    self._settled.set()
                else:
                    await self._hold(fence)
            except Exception as error:
                if not self._settled.is_set():
                    raise
                pause = _AGAIN
                if isinstance(error, Unavailable):
                    log.warning("The site %s cannot be driven: %s", self._site, error)
                else:
                    log.exception("Driving the site %s failed", self._site)
            begun = True
            await _wait(self._ending, pause)

    async def _take(self, *, even_if_down: bool) -> Fence | None:
        if not self._seat.take():
            if not self._sites.shared:
                raise Unavailable("Another control process already runs in this home.")
            await self._suspect()
            return None
        fence = None
        try:
            fence = await self._lease.take(even_if_down=even_if_down)
        finally:
            if fence is None:
                self._seat.give_back()
        return fence

    async def _suspect(self) -> None:
        """Whoever has the seat and not the lease hangs: it would have given both back. Seen twice, as one that has
        just sat down is about to take the lease."""
        now = asyncio.get_running_loop().time()
        if now < self._suspect_at:
            return
        self._suspect_at = now + _SUSPECT_EVERY
        site = await self._sites.get_site(self._site)
        vacant = site.token if site is not None and site.holder is not None and site.expired else None
        if vacant is not None and vacant == self._suspected:
            self._seat.clear()
        self._suspected = vacant

    async def _hold(self, fence: Fence) -> None:
        """One tenure: until this process is to end, or the lease is lost."""
        keeping = asyncio.create_task(self._lease.keep())
        driving = asyncio.create_task(self._drive_until_told(fence))
        released = False
        try:
            await asyncio.wait({keeping, driving}, return_when=asyncio.FIRST_COMPLETED)
            if not driving.done():
                log.error("The lease of the site %s is lost: standing by; its instances go on", self._site)
            elif not driving.cancelled() and (error := driving.exception()) is not None:
                raise error
            else:
                released = True
        finally:
            await tasks.stop(driving, keeping)
            self.driving = False
            try:
                await self._lease.give_back(down=released)
            finally:
                self._seat.give_back()

    async def _drive_until_told(self, fence: Fence) -> None:
        async with self._drive(fence):
            self.driving = True
            self._settled.set()
            await self._ending.wait()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
