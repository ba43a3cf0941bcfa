"""What a namespace holds on other sites, as one site asks it."""

from __future__ import annotations

from dataclasses import replace

from modelyard.domain.commands import Change
from modelyard.domain.model import Amount, Instance, InstancePhase, Namespace
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, after, creation


async def holds(store: SqlStore, name: str, site: str, amount: Amount, namespace: str = "default") -> None:
    """A model of ``site`` with two instances that hold ``amount`` each."""
    change = creation(name, namespace=namespace)
    made = after(await store.commit(replace(change, after=replace(after(change), site=site))))
    instances = tuple(
        Instance(id=id_, target=made.status.target, phase=InstancePhase.READY, since=EPOCH, address="", held=amount)
        for id_ in ("i1", "i2")
    )
    await store.commit(Change(before=made, after=replace(made, status=replace(made.status, instances=instances))))


async def test_instances_of_the_namespace_on_other_sites_count(postgres_url: str) -> None:
    store = await SqlStore.open(postgres_url)
    try:
        await store.create_namespace(Namespace(name="team", created_at=EPOCH))
        await holds(store, "mine", "here", Amount(devices=1), "team")
        await holds(store, "theirs", "there", Amount(devices=2, memory=5), "team")
        await holds(store, "others", "there", Amount(devices=4))
        assert await store.held_elsewhere("team", "here") == Amount(devices=4, memory=10)
        assert await store.held_elsewhere("team", "there") == Amount(devices=2)
        assert await store.held_elsewhere("none", "here") == Amount()
    finally:
        await store.close()


async def test_a_database_of_one_home_knows_of_no_other_site(sqlite_url: str) -> None:
    store = await SqlStore.open(sqlite_url)
    try:
        await holds(store, "old", "moved", Amount(devices=1))
        assert await store.held_elsewhere("default", "here") == Amount()
    finally:
        await store.close()
