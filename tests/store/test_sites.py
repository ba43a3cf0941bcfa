"""The lease of a site has one holder at a time, and writes in its name need the newest token."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from modelyard.control.ports import Fence, Holder, LeaseLost, Premises
from modelyard.domain.capacity import Device, Inventory
from modelyard.domain.commands import Change
from modelyard.domain.errors import VersionConflict
from modelyard.domain.model import Failure
from modelyard.domain.spec import Replicas
from modelyard.store import SqlStore
from tests.store.changes import SPEC, after, asked, created, creation, event

HERE = Premises(id="here", machine="m1", home="/home", url="http://127.0.0.1:8900")
THERE = Premises(id="there", machine="m2", home="/home", url="http://127.0.0.1:8901")
ONE = Holder(machine="m1 boot", pid=1, ticks=11)
TWO = Holder(machine="m1 boot", pid=2, ticks=22)
LONG = 60.0


@pytest.fixture
async def shared(postgres_url: str) -> SqlStore:
    return await SqlStore.open(postgres_url)


async def taken(store: SqlStore, holder: Holder = ONE, ttl: float = LONG, **options: int) -> Fence:
    fence = await store.take_site(HERE, holder, ttl, **options)
    assert fence is not None
    return fence


async def test_only_one_holds_a_lease_until_it_ends(shared: SqlStore) -> None:
    first = await taken(shared)
    assert await shared.take_site(HERE, TWO, LONG) is None
    assert await shared.take_site(THERE, TWO, LONG) == Fence(site="there", token=1)
    await shared.renew_site(first, 0.0)
    second = await taken(shared, TWO)
    assert second.token == first.token + 1
    with pytest.raises(LeaseLost):
        await shared.renew_site(first, LONG)
    site = await shared.get_site("here")
    assert site is not None
    assert (site.holder, site.token, site.expired, site.premises) == (TWO, 2, False, HERE)
    await shared.close()


async def test_of_many_who_want_a_lease_at_once_one_has_it(shared: SqlStore) -> None:
    others = [Holder(machine="m", pid=pid, ticks=pid) for pid in range(6)]
    fences = await asyncio.gather(*(shared.take_site(HERE, other, LONG) for other in others))
    assert [fence for fence in fences if fence is not None] == [Fence(site="here", token=1)]
    await shared.close()


async def test_a_holder_that_has_died_is_replaced_at_once(shared: SqlStore) -> None:
    first = await taken(shared)
    assert await shared.take_site(HERE, TWO, LONG, over=first.token - 1) is None
    assert (await taken(shared, TWO, over=first.token)).token == first.token + 1
    # Who learned of the death later does not push the new one out.
    assert await shared.take_site(HERE, ONE, LONG, over=first.token) is None
    await shared.close()


async def test_a_lease_that_is_given_back_is_free_and_a_site_that_is_down_stays_so(store: SqlStore) -> None:
    first = await taken(store)
    await store.release_site(first, down=True)
    site = await store.get_site("here")
    assert site is not None
    assert (site.holder, site.down, site.expired) == (None, True, True)
    assert await store.take_site(HERE, TWO, LONG, even_if_down=False) is None
    await taken(store, TWO)
    site = await store.get_site("here")
    assert site is not None
    assert not site.down
    # The one before has nothing to give back any more.
    await store.release_site(first, down=True)
    assert (await store.get_site("here")) == site


async def test_writes_with_an_old_token_are_refused_and_leave_nothing(store: SqlStore) -> None:
    model = await created(store)
    old = await taken(store)
    model = after(await store.commit(restarted(model), fence=old))
    new = await taken(store, TWO, over=old.token)
    events = await store.last_event_id()
    for change in (
        restarted(model),
        Change(before=model, after=None, events=(event(model),)),
        Change(before=model, after=model, events=(event(model),)),
        creation("other"),
    ):
        with pytest.raises(LeaseLost):
            await store.commit(change, fence=old)
    assert await store.get_model("default", "m") == model
    assert await store.last_event_id() == events
    with pytest.raises(LeaseLost):
        await store.commit(restarted(replace(model, version=99)), fence=old)
    with pytest.raises(VersionConflict):
        await store.commit(restarted(replace(model, version=99)), fence=new)
    assert after(await store.commit(restarted(model), fence=new)).version == model.version + 1


async def test_a_write_under_way_is_over_before_the_next_tenure_begins(shared: SqlStore) -> None:
    """Commits and a change of holder, both at full speed: no commit of an old token follows the new one."""
    model = await created(shared)
    fence = await taken(shared)

    async def write(number: int) -> int:
        fenced = await created(shared, f"m{number}")
        try:
            await shared.commit(restarted(fenced), fence=fence)
        except LeaseLost:
            return 0
        return 1

    async def take_over() -> int:
        await asyncio.sleep(0.02)
        await taken(shared, TWO, over=fence.token)
        return 0

    done = await asyncio.gather(*(write(number) for number in range(20)), take_over())
    versions = await shared.model_versions()
    assert sum(done) == sum(1 for version in versions.values() if version == 2)
    with pytest.raises(LeaseLost):
        await shared.commit(restarted(model), fence=fence)
    await shared.close()


async def test_what_a_site_has_is_told_by_its_holder(store: SqlStore) -> None:
    fence = await taken(store)
    inventory = Inventory(cpu=8.0, memory=2**34, devices=(Device(id="0"), Device(id="1", name="H100", memory=2**36)))
    await store.set_inventory(fence, inventory)
    await taken(store, TWO, over=fence.token)
    assert [site.inventory for site in await store.list_sites()] == [inventory]
    with pytest.raises(LeaseLost):
        await store.set_inventory(fence, Inventory())


async def test_models_of_a_site_are_read_alone_and_those_of_none_are_adopted(store: SqlStore) -> None:
    mine = after(await store.commit(placed(creation("mine"), "here")))
    other = after(await store.commit(placed(creation("other"), "there")))
    old = await created(store, "old")
    assert await store.model_versions("here") == {mine.ref: 1}
    assert await store.models_of("there") == [other]
    assert await store.count_models_of() == {"here": 1, "there": 1, "": 1}
    await store.adopt_models("here")
    found = await store.models_of("here")
    if store.shared:
        # Whoever has read it before is told to read it again: its site would be written back.
        assert found == [mine, replace(old, site="here", version=2)]
        assert await store.models_of("there") == [other]
        with pytest.raises(VersionConflict):
            await store.commit(restarted(old))
    else:
        # The database is its home's own, wherever that was before.
        assert [m.name for m in found] == ["mine", "other", "old"]
    assert set(await store.model_versions()) == {mine.ref, other.ref, old.ref}


async def test_a_whole_site_is_read_in_pieces_without_a_gap(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.store.store._CHUNK", 3)
    for count in range(1, 8):
        await store.commit(placed(creation(f"m{count}"), "here"))
        found = await store.models_of("here")
        assert [m.name for m in found] == [f"m{number}" for number in range(1, count + 1)]


async def test_why_a_rollout_was_given_up_stays_with_its_revision(store: SqlStore) -> None:
    model = await created(store)
    failure = Failure(code="crashed", message="It ended.", log=("Traceback", "KeyError"))
    await store.commit(Change(before=model, after=model, given_up=((1, failure),)))
    (revision,) = await store.list_revisions(model.uid)
    assert revision.failure == failure


async def test_others_hear_of_what_is_committed_and_nobody_of_what_is_not(shared: SqlStore, postgres_url: str) -> None:
    other = await SqlStore.open(postgres_url)
    news, own = other.news(), shared.news()
    async with asyncio.timeout(10):
        assert await anext(news) is None
        assert await anext(own) is None
        model = after(await shared.commit(placed(creation("first"), "there")))
        with pytest.raises(VersionConflict):
            await shared.commit(restarted(replace(model, version=7)))
        change = restarted(model)
        await shared.commit(change)
        await created(other, "by-the-other")
        heard = [await anext(news), await anext(news)]
        assert [(item.uid, item.site) for item in heard if item] == [(model.uid, "there")] * 2
        assert heard[1] is not None
        assert heard[1].operations == tuple(o.id for o in change.operations)
        mine = await anext(own)
        assert mine is not None
        assert mine.uid != model.uid, "its own are no news"
    for listener in (news, own):
        await listener.aclose()  # type: ignore[attr-defined]
    await other.close()
    await shared.close()


async def test_a_lost_connection_for_news_is_made_again_and_told(shared: SqlStore, postgres_url: str) -> None:
    import psycopg

    news = shared.news()
    async with asyncio.timeout(10):
        assert await anext(news) is None
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        assert await anext(news) is None
    await news.aclose()  # type: ignore[attr-defined]
    await shared.close()


def restarted(model: object) -> Change:
    from modelyard.domain import commands

    return commands.restart(model, asked())  # type: ignore[arg-type]


def placed(change: Change, site: str) -> Change:
    return replace(change, after=replace(after(change), site=site))


async def test_the_fence_costs_a_reconcilers_write_no_query_of_its_own(store: SqlStore) -> None:
    from sqlalchemy import event as sa_event
    from sqlalchemy.engine import Engine

    model = await created(store, spec=replace(SPEC, replicas=Replicas(max=2)))
    fence = await taken(store)
    counted: list[str] = []

    def count(_c: object, _cursor: object, statement: str, *_: object) -> None:
        counted.append(statement)

    sa_event.listen(Engine, "before_cursor_execute", count)
    try:
        model = after(await store.commit(restarted(model)))
        plain = len(counted)
        await store.commit(restarted(model), fence=fence)
    finally:
        sa_event.remove(Engine, "before_cursor_execute", count)
    assert len(counted) == 2 * plain
