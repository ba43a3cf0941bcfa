"""The history of metrics over both databases: what the gateway has counted is in it once, whoever ends when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from modelyard.control.history import History
from modelyard.control.history_ports import Whose
from modelyard.control.ports import Answered, Fence, Holder, LeaseLost, Load, Loads, Premises
from modelyard.control.traffic import TrafficBook
from modelyard.domain.access import Grant, Role, Sight
from modelyard.domain.history import HOUR, MINUTE, Sample, Stretch
from modelyard.domain.model import Namespace
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, created

HERE = Premises(id="here", machine="m", home="/h", url="")
# A whole hour.
BEGIN = int(EPOCH.timestamp())


class Site:
    """A control process with a gateway and a clock."""

    def __init__(self, store: SqlStore, fence: Fence) -> None:
        self.store, self.fence = store, fence
        self.now = float(BEGIN)
        self.counts: dict[str, tuple[int, int]] = {}
        self.gateway = "g1"
        self.held: dict[str, tuple[int, int]] = {}
        self.begin()

    def begin(self) -> None:
        """A control process is started; what the one before had not written is lost."""
        self.traffic = TrafficBook()
        self.history = History(self.store.history, self.traffic, self.clock, timedelta(days=30))
        self.history._site = self.fence.site  # as run() does first

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    async def holdings(self) -> Mapping[str, tuple[int, int]]:
        return self.held

    def answer(self, uid: str, requests: int, errors: int = 0) -> None:
        before = self.counts.get(uid, (0, 0))
        self.counts[uid] = (before[0] + requests, before[1] + errors)

    def tell(self) -> None:
        """The gateway tells everything, as to one that it has not told before."""
        loads = [
            Load(
                uid=uid, requests=n, busy=n / 4, in_flight=0, waiting=0, quiet=0.0,
                answered=Answered(answers=n, errors=errors, buckets=(n, *[0] * 16)),
            )
            for uid, (n, errors) in self.counts.items()
        ]  # fmt: skip
        self.traffic.take(Loads(gateway=self.gateway, at=self.now, models=tuple(loads)))

    async def look(self, seconds: float = 5.0) -> None:
        self.now += seconds
        self.tell()
        await self.history.look(self.fence, self.holdings)

    async def points(self, uid: str, seconds: int = HOUR, step: int | None = MINUTE) -> list[int]:
        found, _ = await self.told(uid, seconds, step)
        return [point.requests for point in found]

    async def told(
        self, uid: str, seconds: int = HOUR, step: int | None = MINUTE
    ) -> tuple[list[Sample], list[tuple[int | None, int | None]]]:
        end = self.clock()
        return await self.history.of_model(
            uid, self.history.stretch(end - timedelta(seconds=seconds), end, step, born=EPOCH)
        )


@pytest.fixture
async def site(store: SqlStore) -> Site:
    fence = await store.take_site(HERE, Holder(machine="m", pid=1, ticks=1), 3600.0)
    assert fence is not None
    made = Site(store, fence)
    await made.look()
    return made


async def test_what_was_counted_is_there_at_once_and_after_it_was_written(site: Site) -> None:
    site.answer("u", 12, 3)
    await site.look()
    found, _ = await site.told("u", 5 * MINUTE)
    assert [(p.requests, p.errors, p.busy) for p in found if p.requests] == [(12, 3, 3.0)]
    await site.look(MINUTE)
    site.answer("u", 5)
    await site.look()
    assert [n for n in await site.points("u", 5 * MINUTE) if n] == [12, 5]
    assert sum(await site.points("u", 30, None)) == 5


async def test_a_process_that_dies_loses_nothing_that_its_gateway_still_has(site: Site) -> None:
    site.answer("u", 10)
    await site.look(MINUTE)
    await site.look(MINUTE)
    site.answer("u", 7)
    await site.look(5)
    # Killed: the 7 are written nowhere. Meanwhile the gateway goes on.
    site.begin()
    site.answer("u", 4)
    await site.look(20)
    await site.look(MINUTE)
    assert sum(await site.points("u")) == 21


async def test_a_gateway_that_begins_anew_begins_its_counts_anew(site: Site) -> None:
    site.answer("u", 10)
    await site.look()
    site.answer("u", 5)
    site.tell()
    # What the old one told last counts, though nobody looked before the new one came.
    site.gateway, site.counts = "g2", {"u": (3, 0)}
    await site.look()
    assert sum(await site.points("u")) == 18
    site.begin()
    site.gateway, site.counts = "g3", {"u": (2, 0)}
    await site.look(2 * MINUTE)
    # The process before had not written the 18.
    assert sum(await site.points("u")) == 2


async def test_two_that_write_of_one_minute_add_up(site: Site) -> None:
    site.answer("u", 10)
    await site.look()
    await site.history._end(site.fence)
    site.begin()
    site.answer("u", 4)
    await site.look()
    await site.history._end(site.fence)
    site.begin()
    assert [n for n in await site.points("u") if n] == [14]


async def test_one_whose_lease_is_lost_writes_nothing(site: Site) -> None:
    site.answer("u", 10)
    await site.look()
    taken = await site.store.take_site(HERE, Holder(machine="m", pid=2, ticks=1), 60.0, over=site.fence.token)
    assert taken is not None
    with pytest.raises(LeaseLost):
        await site.look(MINUTE)
    site.begin()
    assert sum(await site.points("u")) == 0


async def test_what_instances_hold_is_known_while_they_are_there_and_after(site: Site) -> None:
    site.held = {"u": (2, 1000)}
    for _ in range(40):
        await site.look(MINUTE)
    _, held = await site.told("u", 30 * MINUTE)
    assert set(held) == {(2, 1000)}
    site.held = {}
    for _ in range(3):
        await site.look(MINUTE)
    _, held = await site.told("u", 10 * MINUTE)
    assert (held[0], held[-1]) == ((2, 1000), (0, 0))
    await site.store.history.roll_up(int(site.now) + HOUR)
    end = datetime.fromtimestamp(BEGIN + 3 * HOUR, UTC)
    over = Stretch(start=BEGIN, end=int(end.timestamp()), step=HOUR)
    assert (await site.history.of_model("u", over))[1] == [(2, 1000), (0, 0), (0, 0)]


async def test_of_what_instances_hold_changes_are_written(site: Site) -> None:
    site.held = {"u": (2, 1000)}
    for _ in range(40):
        await site.look(MINUTE)
    # And what goes on, now and then.
    written = await site.store.history.of_model("u", BEGIN, BEGIN + HOUR)
    assert 3 <= len(written) <= 7


async def test_minutes_become_hours_and_hours_are_forgotten(site: Site) -> None:
    for _ in range(90):
        site.answer("u", 1)
        await site.look(MINUTE)
    history = site.store.history
    before = sum(await site.points("u", 2 * HOUR))
    assert before == 90
    await history.roll_up(int(site.now))
    await history.roll_up(int(site.now))
    assert sum(await site.points("u", 2 * HOUR)) == before
    lengths = [kept.length for kept in await history.of_model("u", BEGIN, BEGIN + 2 * HOUR)]
    assert lengths.count(HOUR) == 1
    assert lengths.count(MINUTE) <= 31
    assert await history.forget(BEGIN + HOUR) == 1
    assert sum(await site.points("u", 2 * HOUR)) < before
    # Of days ago there are hours.
    site.now += 10 * 24 * HOUR
    end = site.clock()
    assert site.history.stretch(end - timedelta(days=7), end, 5, born=EPOCH).step == HOUR


async def test_a_sum_is_of_the_models_that_its_reader_sees(site: Site) -> None:
    store = site.store
    await store.create_namespace(Namespace(name="other", created_at=EPOCH))
    mine, theirs = await created(store, "mine"), await created(store, "theirs", namespace="other")
    site.answer(mine.uid, 3)
    site.answer(theirs.uid, 40)
    await site.look(MINUTE)
    await site.look(MINUTE)
    site.answer(mine.uid, 3)
    site.answer(theirs.uid, 40)
    await site.look()

    async def total(whose: Whose) -> int:
        end = site.clock()
        over = site.history.stretch(end - timedelta(hours=1), end)
        return sum(point.requests for point in await site.history.of_all(whose, over))

    grant = Grant(namespace="other", role=Role.VIEWER)
    assert await total(Whose()) == 86
    assert await total(Whose(namespace="default")) == 6
    assert await total(Whose(sight=Sight(reads=(grant,), edits=(), groups=frozenset()))) == 80
    assert await total(Whose(namespace="default", sight=Sight(reads=(grant,), edits=(), groups=frozenset()))) == 0


async def test_models_of_which_nothing_is_told_cost_nothing(site: Site) -> None:
    site.counts = {f"u{number}": (0, 0) for number in range(1000)}
    for _ in range(3):
        await site.look(MINUTE)
    assert await site.store.history.held(0) == {}
    assert not site.history._pending
