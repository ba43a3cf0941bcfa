"""Secrets under a key that is not the newest: found, and sealed anew, whatever interrupts it."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import sqlalchemy as sa

from modelyard.access.secrets import SecretBox, SecretLost
from modelyard.control.access_ports import SealAgain
from modelyard.control.outbox import Kept, opened, sealed
from modelyard.control.resealing import Former, Resealing
from modelyard.domain.commands import update
from modelyard.domain.model import Model
from modelyard.domain.secrets import Secret
from modelyard.domain.spec import Container, Spec
from modelyard.domain.webhooks import Webhook
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, SPEC, after, asked, created

OLD, NEW, GONE = os.urandom(32), os.urandom(32), os.urandom(32)


def box(*keys: bytes) -> SecretBox:
    return SecretBox(lambda: keys)


def spec(sealer: SecretBox, **values: str) -> Spec:
    container = Container(
        # What only looks like a sealed value is none.
        environment={"A": sealer.seal("default", "A", "x").sealed},
        secrets={name: sealer.seal("default", name, value) for name, value in values.items()},
    )
    return replace(SPEC, container=container)


def values(model: Spec, opener: SecretBox) -> dict[str, str]:
    return opener.open_all("default", model.container.secrets)


async def made(store: SqlStore, sealer: SecretBox) -> Model:
    """A model of two revisions with one secret in common, and a webhook."""
    first = spec(sealer, TOKEN="t1", PASSWORD="p")
    model = await created(store, "a", first)
    others = {**first.container.secrets, "TOKEN": sealer.seal("default", "TOKEN", "t2")}
    second = replace(first, container=replace(first.container, secrets=others))
    hook = Webhook(namespace="default", name="on-call", url="https://hooks.example", created_at=EPOCH, updated_at=EPOCH)
    kept = Kept(["s"], "https://hooks.example/x", {"A": "b"})
    await store.alerts.put_webhook(replace(hook, sealed=sealed(sealer, hook, kept)), None)
    return after(await store.commit(update(model, second, asked())))


async def documents(store: SqlStore) -> str:
    """Everything in the database, as text."""

    def read(connection: sa.Connection) -> str:
        names = sa.inspect(connection).get_table_names()
        return "".join(str(connection.execute(sa.text(f'SELECT * FROM "{name}"')).all()) for name in names)

    return await store._database.read(read)


async def test_everything_is_sealed_anew_under_the_newest_key_so_that_the_old_one_can_go(store: SqlStore) -> None:
    before = await made(store, box(OLD))
    both = box(NEW, OLD)
    resealing, old = Resealing(store.sealed, both), both.names[1]
    assert await resealing.formers() == [Former(old, 7, True)]
    # Three of the six in specs are different ones.
    assert await resealing.run() == 4
    assert await resealing.formers() == []
    assert await resealing.run() == 0
    model = await store.get_model("default", "a")
    assert model is not None
    revisions = {r.generation: r.spec for r in await store.list_revisions(model.uid)}
    assert values(revisions[1], box(NEW)) == {"TOKEN": "t1", "PASSWORD": "p"}
    assert values(revisions[2], box(NEW)) == values(model.spec, box(NEW)) == {"TOKEN": "t2", "PASSWORD": "p"}
    # What was the same is the same: nothing seems to have changed that has not.
    assert model == replace(before, spec=model.spec, target_spec=model.target_spec)
    assert model.spec == revisions[2]
    assert revisions[1].container.secrets["PASSWORD"] == model.spec.container.secrets["PASSWORD"]
    (hook,) = await store.alerts.webhooks()
    assert opened(box(NEW), hook, EPOCH).headers == {"A": "b"}
    # Once, in what only looks like one.
    assert (await documents(store)).count(old) == (await documents(store)).count(f'"A":"v1.{old}')


class Ends(Exception):
    """The process does."""


def ending(sealer: SecretBox, survives: int) -> SealAgain:
    """``sealer``'s, for so many values."""
    left = iter(range(survives))

    def again(namespace: str, variable: str, text: str) -> str:
        if next(left, None) is None:
            raise Ends
        return sealer.again(namespace, variable, text)

    return again


async def test_a_run_that_ends_anywhere_leaves_everything_to_be_opened_and_is_made_up_for(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.store.sealed._CHUNK", 1)
    await made(store, box(OLD))
    await created(store, "b", spec(box(OLD), TOKEN="b"))
    both, left = box(NEW, OLD), [9]
    # Each goes through what the one before it has sealed anew once more.
    for survives in range(5):
        with pytest.raises(Ends):
            await store.sealed.seal_again(ending(both, survives))
        left.append(sum(former.count for former in await Resealing(store.sealed, both).formers()))
        for name, wanted in (("a", {"TOKEN": "t2", "PASSWORD": "p"}), ("b", {"TOKEN": "b"})):
            model = await store.get_model("default", name)
            assert model is not None
            assert values(model.spec, both) == wanted
    # A model's are there all at once, with its revisions.
    assert left == [9, 9, 9, 9, 3, 1]
    await Resealing(store.sealed, both).run()
    assert await Resealing(store.sealed, both).formers() == []


async def test_what_cannot_be_opened_stays_and_is_told(store: SqlStore, caplog: pytest.LogCaptureFixture) -> None:
    await created(store, "a", spec(box(GONE), TOKEN="t"))
    await created(store, "b", spec(box(OLD), TOKEN="b"))
    both = box(NEW, OLD)
    assert await Resealing(store.sealed, both).run() == 1
    assert "TOKEN cannot be opened" in caplog.text
    assert await Resealing(store.sealed, both).formers() == [Former(box(GONE).names[0], 2, False)]
    model = await store.get_model("default", "a")
    assert model is not None
    assert values(model.spec, box(GONE)) == {"TOKEN": "t"}
    with pytest.raises(SecretLost):
        values(model.spec, both)


async def test_with_one_key_nothing_is_looked_at_and_without_secrets_no_key_is_made() -> None:
    class Untouched:
        async def seal_again(self, again: SealAgain) -> int:
            raise AssertionError

        async def count_by_key(self) -> dict[str, int]:
            return {}

    def none() -> tuple[bytes, ...]:
        raise AssertionError

    assert await Resealing(Untouched(), box(NEW)).run() == 0
    assert await Resealing(Untouched(), SecretBox(none)).formers() == []


def test_what_is_under_the_newest_key_already_stays_as_it_is() -> None:
    both = box(NEW, OLD)
    newest = both.seal("default", "A", "x").sealed
    assert both.again("default", "A", newest) == newest
    anew = both.again("default", "A", box(OLD).seal("default", "A", "x").sealed)
    assert box(NEW).open("default", "A", Secret(anew)) == "x"
