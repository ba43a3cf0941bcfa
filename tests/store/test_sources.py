"""Which registered versions models are made of, and which models follow their source."""

from __future__ import annotations

from dataclasses import replace

from modelyard.domain import commands
from modelyard.domain.model import StopMode, Target
from modelyard.domain.spec import Artifact, Follow, Spec
from modelyard.store import SqlStore
from tests.registry.stored import digest
from tests.store.changes import SPEC, after, asked, created


def made_of(number: int, follow: Follow = Follow.OFFER, version: str = "1.0.0") -> Spec:
    artifact = Artifact(version=version, manifest=digest(number))
    return replace(SPEC, source="pat@stable", artifact=artifact, follow=follow)


async def test_every_revision_needs_its_bytes_until_its_model_is_gone(store: SqlStore) -> None:
    model = await created(store, "m", made_of(1))
    await created(store, "other")
    model = after(await store.commit(commands.update(model, made_of(2), asked())))
    assert await store.catalog.manifests_in_use() == {digest(1), digest(2)}
    model = after(await store.commit(commands.delete(model, StopMode.FORCE, 0, None, asked())))
    assert await store.catalog.manifests_in_use() == {digest(1), digest(2)}
    await store.commit(commands.Change(before=model, after=None))
    assert await store.catalog.manifests_in_use() == set()


async def test_served_is_what_is_wished_and_what_a_failed_update_went_back_to(store: SqlStore) -> None:
    model = await created(store, "m", made_of(1))
    await created(store, "stopped", made_of(3), desired="stopped")
    model = after(await store.commit(commands.update(model, made_of(2), asked())))
    back = replace(model, status=replace(model.status, target=Target(1)))
    model = after(await store.commit(commands.Change(before=model, after=back)))
    assert await store.catalog.manifests_served() == {digest(1), digest(2)}
    forward = replace(model, status=replace(model.status, target=Target(2), good=Target(1)))
    model = after(await store.commit(commands.Change(before=model, after=forward)))
    assert await store.catalog.manifests_served() == {digest(1), digest(2)}, "the old instances serve still"
    model = after(await store.commit(commands.stop(model, StopMode.DRAIN, 30, asked())))
    assert await store.catalog.manifests_served() == {digest(1), digest(2)}, "and while they drain"


async def test_those_that_follow_are_found_by_their_site(store: SqlStore) -> None:
    follower = await created(store, "a", made_of(1, Follow.AUTO))
    await created(store, "b", made_of(1))
    await created(store, "c")
    assert await store.following(follower.site) == [follower.uid]
    assert await store.following("elsewhere") == []
