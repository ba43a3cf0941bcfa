"""Namespaces: made, listed, deleted when empty."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain.errors import AlreadyExists, NotFound, Refused
from modelyard.domain.model import Namespace, Quota
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, created


async def test_the_default_namespace_is_there_from_the_start(store: SqlStore) -> None:
    assert [n.name for n in await store.list_namespaces()] == ["default"]


async def test_namespaces_are_listed_by_name_as_they_were_made(store: SqlStore) -> None:
    made = [Namespace(name=name, created_at=EPOCH, description=f"of {name}") for name in ("z", "a-b", "ab")]
    for namespace in made:
        await store.create_namespace(namespace)
    listed = await store.list_namespaces()
    assert [n.name for n in listed] == ["a-b", "ab", "default", "z"]
    assert await store.get_namespace("z") == made[0]
    with pytest.raises(AlreadyExists, match="'z'"):
        await store.create_namespace(made[0])


async def test_only_an_empty_namespace_is_deleted(store: SqlStore) -> None:
    await store.create_namespace(Namespace(name="team", created_at=EPOCH))
    await created(store, namespace="team")
    with pytest.raises(Refused, match=r"1 model\(s\)") as refused:
        await store.delete_namespace("team")
    assert refused.value.code == "not_empty"
    with pytest.raises(NotFound):
        await store.delete_namespace("nobody")
    await store.create_namespace(Namespace(name="empty", created_at=EPOCH))
    await store.delete_namespace("empty")
    assert await store.get_namespace("empty") is None


async def test_a_quota_is_part_of_its_namespace_and_can_be_changed(store: SqlStore) -> None:
    team = Namespace(name="team", created_at=EPOCH, quota=Quota(memory=2**30))
    await store.create_namespace(team)
    assert await store.get_namespace("team") == team
    changed = await store.change_namespace("team", lambda n: replace(n, quota=Quota(cpu=1.5, gpus=0)))
    assert changed.quota == Quota(cpu=1.5, gpus=0)
    assert [n.quota for n in await store.list_namespaces()] == [Quota(), changed.quota]
    with pytest.raises(NotFound):
        await store.change_namespace("nobody", lambda n: n)
