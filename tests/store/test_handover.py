"""What a site that is gone for good leaves behind goes to another, and nothing of an earlier tenure counts then."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from modelyard.access.secrets import SecretBox
from modelyard.backends.port import Backend
from modelyard.control.absences import Absences
from modelyard.control.changes import ChangeFeed
from modelyard.control.doctor import SILENT_FOR, Doctor
from modelyard.control.ports import EventQuery, Fence, Holder, LeaseLost, News, Premises
from modelyard.control.reconciler import Reconciler
from modelyard.control.resealing import Resealing
from modelyard.domain.capacity import Inventory
from modelyard.domain.errors import NotFound, Refused, VersionConflict
from modelyard.domain.model import Event, Model
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, after, creation, event
from tests.store.test_sites import placed, restarted

GONE = Premises(id="gone", machine="m2", home="/data/gone", url="http://there:8900")
DEAD = Holder(machine="m2 boot", pid=1, ticks=11)


@pytest.fixture
async def shared(postgres_url: str) -> SqlStore:
    return await SqlStore.open(postgres_url)


def told(model: Model) -> Event:
    return replace(event(model, "SiteChanged"), data={"from": model.site})


async def left_behind(store: SqlStore) -> tuple[Fence, Model]:
    """A model of a site whose process has died without a word."""
    fence = await store.take_site(GONE, DEAD, 60.0)
    assert fence is not None
    model = after(await store.commit(placed(creation("m"), "gone")))
    await store.set_inventory(fence, Inventory(cpu=8))
    await store.renew_site(fence, 0.0)
    return fence, model


def doctor(store: SqlStore, *, late: bool = True) -> Doctor:
    """Of the site "here", by a clock that is well behind or ahead of the database's."""
    backends: dict[str, Backend] = {}
    now = EPOCH if late else EPOCH.replace(year=2020)
    box = SecretBox(lambda: (bytes(32),))
    resealing = Resealing(store.sealed, box)
    return Doctor(store, store, ChangeFeed(store), backends, lambda: now, site="here", resealing=resealing)  # type: ignore[arg-type]


async def test_its_models_go_with_an_event_each_and_its_old_holder_writes_nothing_more(shared: SqlStore) -> None:
    fence, model = await left_behind(shared)
    await shared.give_models("gone", "here", 0.0, told)
    (moved,) = await shared.models_of("here")
    assert moved == replace(model, site="here", version=model.version + 1)
    assert await shared.models_of("gone") == []
    (newest, *_) = (await shared.list_events(EventQuery(model_uid=model.uid))).items
    assert (newest.type, newest.data) == ("SiteChanged", {"from": "gone"})
    for write in (shared.renew_site(fence, 60.0), shared.commit(restarted(moved), fence=fence)):
        with pytest.raises(LeaseLost):
            await write
    with pytest.raises(VersionConflict):
        await shared.commit(restarted(model))
    site = await shared.get_site("gone")
    assert site is not None
    assert (site.holder, site.inventory, site.token) == (None, None, fence.token + 1)
    # It comes back after all, with nothing to do.
    assert await shared.take_site(GONE, DEAD, 60.0) == Fence(site="gone", token=fence.token + 2)
    await shared.close()


async def test_one_that_is_held_or_was_heard_of_lately_keeps_its_models(shared: SqlStore) -> None:
    fence, _ = await left_behind(shared)
    with pytest.raises(Refused, match="heard of"):
        await shared.give_models("gone", "here", SILENT_FOR, told)
    await shared.renew_site(fence, 60.0)
    with pytest.raises(Refused, match="its models are its own"):
        await shared.give_models("gone", "here", 0.0, told)
    with pytest.raises(NotFound):
        await shared.give_models("nowhere", "here", 0.0, told)
    assert len(await shared.models_of("gone")) == 1
    await shared.renew_site(fence, 60.0)
    await shared.close()


async def test_the_doctor_finds_it_and_gives_it_up_only_by_name(
    shared: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = await left_behind(shared)
    assert await doctor(shared, late=False).examine() == [], "it may come back any moment"
    (found,) = await doctor(shared).examine()
    assert (found.kind, found.id) == ("site", "gone")
    assert "/data/gone" in found.message
    assert "1 model(s)" in found.message
    assert "modelyard doctor --fix --site gone" in found.message
    (left,) = await doctor(shared).clear([found], "admin", named=False)
    assert left.error is not None
    assert "by name" in left.error.message
    (early,) = await doctor(shared).clear([found], "admin", named=True)
    assert early.error is not None, "the database's clock counts"
    assert await shared.models_of("here") == []
    monkeypatch.setattr("modelyard.control.doctor.SILENT_FOR", 0.0)
    (cleared,) = await doctor(shared).clear([found], "admin", named=True)
    assert cleared.error is None
    assert [m.uid for m in await shared.models_of("here")] == [model.uid]
    (newest, *_) = (await shared.list_events(EventQuery(model_uid=model.uid))).items
    assert (newest.type, newest.actor) == ("SiteChanged", "admin")
    assert "nothing was verified" in newest.message
    assert await doctor(shared).examine() == []
    await shared.close()


async def test_models_of_a_site_that_is_not_heard_of_are_told_apart(shared: SqlStore) -> None:
    fence, model = await left_behind(shared)
    own = after(await shared.commit(placed(creation("own"), "here")))
    absences = Absences(shared, "here")
    assert await absences.of([own]) == {}
    absence = (await absences.of([own, model]))["gone"]
    assert absence.reason == "SiteSilent"
    assert "home /data/gone on machine m2, at http://there:8900" in absence.message
    await shared.release_site(fence, down=True)
    assert (await Absences(shared, "here").of([model]))["gone"].reason == "SiteDown"
    again = await shared.take_site(GONE, DEAD, 60.0)
    assert again is not None
    assert await Absences(shared, "here").of([model]) == {}
    await shared.close()


async def test_on_a_database_of_ones_own_no_site_is_absent(sqlite_url: str) -> None:
    store = await SqlStore.open(sqlite_url)
    _, model = await left_behind(store)
    assert await Absences(store, "here").of([model]) == {}
    assert await doctor(store).examine() == []
    await store.close()


async def test_news_of_another_sites_models_cost_the_reconciler_no_query(store: SqlStore) -> None:
    asked: list[str] = []

    class Counting:
        async def get_model_by_uid(self, uid: str) -> None:
            asked.append(uid)

    feed = ChangeFeed(store)
    reconciler = Reconciler(Counting(), feed, {}, None, lambda: EPOCH, site="here")  # type: ignore[arg-type]
    feed.on_news = reconciler.heard
    for uid, site in (("a", "there"), ("b", "here"), ("c", "")):
        feed.on_news(News(uid=uid, site=site))
    async with asyncio.timeout(5):
        while len(asked) < 2:
            await asyncio.sleep(0)
    assert asked == ["b", "c"]
