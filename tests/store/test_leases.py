"""Who holds a site's lease stops before another one begins, whatever fails; on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelyard.backends.port import Backend
from modelyard.control.delegates import Guarded
from modelyard.control.leases import Lease, myself, premises, start_ticks
from modelyard.control.ports import Fence, Holder, LeaseLost, Premises, Site
from modelyard.control.tenure import SiteDriver
from modelyard.domain import commands
from modelyard.domain.errors import Unavailable
from modelyard.domain.model import ModelRef
from modelyard.store import SqlStore
from tests.store.changes import after, asked, created

HERE = Premises(id="here", machine="m", home="/home", url="")
QUICK = {"ttl": 0.6, "renew_every": 0.1, "margin": 0.2}


class Flaky(SqlStore):
    """A store that cannot be reached while it is ``away``."""

    away = False

    async def get_site(self, site: str) -> Site | None:
        self._reach()
        return await super().get_site(site)

    async def renew_site(self, fence: Fence, ttl: float) -> None:
        self._reach()
        await super().renew_site(fence, ttl)

    def _reach(self) -> None:
        if self.away:
            raise Unavailable("The database is away.")


class FreeSeat:
    """As in another home, or after a seat was lost: nothing but the lease keeps two apart."""

    def take(self) -> bool:
        return True

    def give_back(self) -> None: ...

    def clear(self) -> None: ...


@dataclass
class Process:
    """One control process that wants the site. ``history`` is common to all."""

    name: str
    store: Flaky
    history: list[str]
    lease: Lease
    driver: SiteDriver = field(init=False)

    def __post_init__(self) -> None:
        self.driver = SiteDriver(self.store, self.lease, FreeSeat(), HERE.id, self._drive)

    def _drive(self, fence: Fence) -> AbstractAsyncContextManager[None]:
        return self._tenure(fence)

    @asynccontextmanager
    async def _tenure(self, fence: Fence) -> AsyncIterator[None]:
        self.history.append(f"{self.name} begins {fence.token}")
        try:
            yield
        except BaseException:
            self.history.append(f"{self.name} leaves")
            raise
        self.history.append(f"{self.name} ends")


@pytest.fixture
async def two(postgres_url: str) -> AsyncIterator[tuple[Process, Process]]:
    history: list[str] = []
    made = []
    for name in ("a", "b"):
        store = await Flaky.open(postgres_url)
        assert isinstance(store, Flaky)
        # Alive, but of another machine as far as anybody can tell.
        me = Holder(machine=name, pid=1, ticks=1)
        made.append(Process(name, store, history, Lease(store, HERE, me, **QUICK)))
    yield made[0], made[1]
    for process in made:
        await process.driver.close(release=False)
        await process.store.close()


async def until(history: list[str], entry: str) -> None:
    async with asyncio.timeout(10):
        while entry not in history:
            await asyncio.sleep(0.01)


async def test_a_holder_that_cannot_renew_stops_before_the_next_begins(two: tuple[Process, Process]) -> None:
    a, b = two
    await a.driver.start()
    await b.driver.start()
    assert a.driver.driving
    assert not b.driver.driving
    # Renewed, it lasts longer than a lease does.
    await asyncio.sleep(2 * QUICK["ttl"])
    assert a.history == ["a begins 1"]
    a.store.away = True
    await until(a.history, "b begins 2")
    assert a.history == ["a begins 1", "a leaves", "b begins 2"]
    a.store.away = False
    await b.driver.close(release=False)
    await until(a.history, "a begins 3")


async def test_a_site_that_was_taken_down_is_not_brought_up_by_one_that_stood_by(two: tuple[Process, Process]) -> None:
    a, b = two
    await a.driver.start()
    await b.driver.start()
    await a.driver.close(release=True)
    await asyncio.sleep(2 * QUICK["ttl"])
    assert a.history == ["a begins 1", "a ends"]
    c = Process("c", b.store, a.history, Lease(b.store, HERE, Holder(machine="c", pid=1, ticks=1), **QUICK))
    await c.driver.start()
    assert a.history[-1] == "c begins 2"
    await c.driver.close(release=False)


async def test_what_keeps_the_first_tenure_from_beginning_is_raised(two: tuple[Process, Process]) -> None:
    a, b = two

    @asynccontextmanager
    async def broken(_: Fence) -> AsyncIterator[None]:
        raise OSError("no such folder")
        yield

    driver = SiteDriver(a.store, a.lease, FreeSeat(), HERE.id, broken)
    with pytest.raises(OSError, match="no such folder"):
        await driver.start()
    # The lease is free again at once.
    await b.driver.start()
    assert b.driver.driving


async def test_one_that_was_frozen_does_and_writes_nothing_more(two: tuple[Process, Process]) -> None:
    a, b = two
    now = 100.0
    lease = Lease(a.store, HERE, Holder(machine="a", pid=1, ticks=1), **QUICK, clock=lambda: now)
    fence = await lease.take(even_if_down=True)
    assert fence is not None
    lease.check()
    model = await created(a.store)
    acted: list[str] = []

    class Acting:
        capabilities = None

        async def converge(self, *_: object) -> None:
            acted.append("converge")

    backend: Backend = Guarded(lambda: Acting(), lease.check)  # type: ignore[arg-type, return-value]
    ref = ModelRef("u", "default", "m")
    await backend.converge(ref, (), 0.0)
    # Frozen: its clock has gone on when it is woken, and the other one has taken over.
    now += QUICK["ttl"]
    with pytest.raises(LeaseLost):
        await backend.converge(ref, (), 0.0)
    assert acted == ["converge"]
    async with asyncio.timeout(10):
        while await b.lease.take(even_if_down=True) is None:
            await asyncio.sleep(0.02)
    with pytest.raises(LeaseLost):
        await a.store.commit(commands.restart(model, asked()), fence=fence)
    assert await a.store.get_model("default", "m") == model
    assert after(await a.store.commit(commands.restart(model, asked()))).version == 2, (
        "commands of users are not fenced"
    )


async def test_a_holder_that_died_on_this_machine_is_not_waited_for(postgres_url: str) -> None:
    store = await SqlStore.open(postgres_url)
    me = myself()
    dead = Holder(machine=me.machine, pid=me.pid, ticks=me.ticks - 1)
    assert await store.take_site(HERE, dead, 3600.0) is not None
    assert await Lease(store, HERE, me).take(even_if_down=True) == Fence(site="here", token=2)
    # One that lives is, and so is one of which nobody here can know.
    for alive in (me, Holder(machine="elsewhere", pid=dead.pid, ticks=dead.ticks)):
        assert await store.take_site(HERE, alive, 3600.0, over=2 if alive is me else 3) is not None
        assert await Lease(store, HERE, me).take(even_if_down=True) is None
    await store.close()


async def test_on_sqlite_the_lease_is_for_good_and_renewed_by_nobody(sqlite_url: str) -> None:
    store = await SqlStore.open(sqlite_url)
    for token in (1, 2):
        lease = Lease(store, HERE, Holder(machine="m", pid=token, ticks=1), **QUICK)
        assert await lease.take(even_if_down=True) == Fence(site="here", token=token)
        assert lease.left == float("inf")
        keeping = asyncio.create_task(lease.keep())
        await asyncio.sleep(0.3)
        assert not keeping.done()
        keeping.cancel()
    await store.close()


def test_a_process_and_a_site_are_told_apart_for_good() -> None:
    me = myself()
    assert start_ticks(me.pid) == me.ticks
    assert start_ticks(2**22 + 1) is None
    assert premises(Path("/a"), "").id != premises(Path("/b"), "").id
    assert premises(Path("/a"), "").id == premises(Path("/a"), "http://elsewhere").id
