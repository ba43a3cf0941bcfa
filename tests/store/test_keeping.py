"""Pins, and whose the versions in a cache are, the same on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from modelyard.domain.errors import NotFound
from modelyard.domain.keeping import Pin
from modelyard.domain.model import Namespace
from modelyard.domain.names import parse_pick
from modelyard.registry.ports import Known
from modelyard.store import SqlStore
from modelyard.store.engine import parse_url
from tests.registry.shelves import ME, Shelves, digest
from tests.store.changes import EPOCH


def pin(reference: str = "pat@stable", *, preload: bool = False) -> Pin:
    named = parse_pick(*reference.split("@"))  # type: ignore[arg-type]
    return Pin(site="here", namespace="default", reference=named, preload=preload, at=EPOCH, by="tester", reason="why")


async def test_a_pin_is_kept_once_for_its_site_and_taken_back_by_itself(store: SqlStore) -> None:
    first, later = pin(), replace(pin("pat@^1.4", preload=True), at=EPOCH + timedelta(seconds=1))
    assert await store.pins.add(later)
    assert await store.pins.add(first)
    assert not await store.pins.add(replace(first, reason="another", at=EPOCH + timedelta(days=1)))
    assert await store.pins.add(replace(first, site="there"))
    assert await store.pins.of_site("here") == [first, later]
    preload = replace(first, preload=True)
    assert await store.pins.add(preload)
    assert await store.pins.remove("here", "default", "pat@stable", preload=False)
    assert not await store.pins.remove("here", "default", "pat@stable", preload=False)
    assert await store.pins.of_site("here") == [preload, later]
    assert len(await store.pins.of_site("there")) == 1


async def test_pins_go_with_their_namespace_and_none_is_made_in_one_that_is_not_there(store: SqlStore) -> None:
    await store.create_namespace(Namespace(name="team", created_at=EPOCH))
    await store.pins.add(replace(pin(), namespace="team"))
    await store.delete_namespace("team")
    assert await store.pins.of_site("here") == []
    with pytest.raises(NotFound, match="team"):
        await store.pins.add(replace(pin(), namespace="team"))


async def test_versions_are_found_by_their_bytes_whoever_published_them(store: SqlStore) -> None:
    shelves = Shelves(store)
    for name in ("pat", "other"):
        await shelves.register(name)
        await shelves.publish("1.0.0", name=name, manifest=1)
    await shelves.publish("1.10.0", manifest=1)
    await shelves.publish("1.9.0", manifest=2)
    await shelves.catalog.delete_version("default", "pat", "1.9.0", ME)
    one = [Known(namespace="default", name=n, version=v) for n, v in (("other", "1.0.0"), ("pat", "1.0.0"))]
    many = {digest(number) for number in range(1, 1200)}
    assert await store.pins.versions_of(many) == {
        digest(1): [*one, Known(namespace="default", name="pat", version="1.10.0")],
        digest(2): [Known(namespace="default", name="pat", version="1.9.0", deleted=True)],
    }
    assert await store.pins.versions_of([]) == {}
    await shelves.catalog.delete("default", "other", ME)
    assert [known.deleted for known in (await store.pins.versions_of([digest(1)]))[digest(1)]] == [True, False, False]


async def test_it_is_known_which_models_are_made_of_which_bytes(store: SqlStore) -> None:
    shelves = Shelves(store)
    await shelves.serve("live", "pat@stable", "1.0.0")
    await shelves.serve("plain", "file:///models/digits.onnx")
    assert await store.pins.served() == {digest(1): {("default", "live")}}
    assert await store.catalog.manifests_served() == {digest(1)}


async def test_the_database_refuses_a_pin_of_nothing(store: SqlStore, url: str) -> None:
    engine = sa.create_engine(parse_url(url))
    row = "('here', 'default', '{}', {}, '2030-01-01 00:00:00', '', '')"
    with engine.connect() as connection:
        for wrong in (row.format("pat", "false"), row.format("@stable", "false"), row.format("pat@", "true")):
            with pytest.raises(sa.exc.IntegrityError):
                connection.exec_driver_sql(f"INSERT INTO pins VALUES {wrong}")
            connection.rollback()
    engine.dispose()
