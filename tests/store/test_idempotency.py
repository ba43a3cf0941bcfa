"""A key leads to the operation of the request it came with first; it is written with the change or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelyard.control.ports import Idempotency
from modelyard.domain import commands
from modelyard.domain.commands import Change
from modelyard.domain.errors import AlreadyExists, IdempotencyMismatch, VersionConflict
from modelyard.domain.operations import succeed
from modelyard.domain.states import RunState
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, SPEC, after, asked, created, creation

KEY = Idempotency(scope="admin POST /models", key="k", fingerprint="f")


async def test_a_key_leads_to_its_operation_as_it_is_now(store: SqlStore) -> None:
    assert await store.recall(KEY) is None
    change = creation()
    model = after(await store.commit(change, KEY))
    assert await store.recall(KEY) == change.operations[0]
    done = succeed(change.operations[0], EPOCH, {"state": "running"})
    await store.commit(Change(before=model, after=model, operations=(done,)))
    assert await store.recall(KEY) == done


async def test_a_key_is_its_scopes_own_and_its_requests_own(store: SqlStore) -> None:
    await store.commit(creation(), KEY)
    assert await store.recall(replace(KEY, scope="other")) is None
    with pytest.raises(IdempotencyMismatch):
        await store.recall(replace(KEY, fingerprint="g"))
    with pytest.raises(IdempotencyMismatch):
        await store.commit(creation("n"), replace(KEY, fingerprint="g"))
    with pytest.raises(VersionConflict, match="Idempotency-Key"):
        await store.commit(creation("n"), KEY)
    assert len(await store.model_versions()) == 1


async def test_a_fingerprint_is_compared_under_the_key_that_it_was_made_under(store: SqlStore) -> None:
    kept = replace(KEY, fingerprint="old.f", others=())
    await store.commit(creation(), kept)
    # The home has another key by now, and still the old one.
    assert await store.recall(replace(KEY, fingerprint="new.f", others=("old.f",))) is not None
    with pytest.raises(IdempotencyMismatch):
        await store.recall(replace(KEY, fingerprint="new.f", others=("old.g",)))
    # Another home on the same database has a key of its own, and cannot tell.
    assert await store.recall(replace(KEY, fingerprint="theirs.g")) is not None


async def test_a_change_that_fails_leaves_no_key(store: SqlStore) -> None:
    await created(store)
    with pytest.raises(AlreadyExists):
        await store.commit(creation(), KEY)
    assert await store.recall(KEY) is None


async def test_of_requests_with_one_key_at_once_one_is_carried_out(store: SqlStore, other: SqlStore) -> None:
    changes = [creation() for _ in range(8)]
    outcomes = await asyncio.gather(
        *((store, other)[i % 2].commit(change, KEY) for i, change in enumerate(changes)), return_exceptions=True
    )
    assert sorted(type(o).__name__ for o in outcomes) == ["Change"] + ["VersionConflict"] * 7
    won = next(c for c, o in zip(changes, outcomes, strict=True) if isinstance(o, Change))
    assert await other.recall(KEY) == won.operations[0]


async def test_keys_are_forgotten_after_a_day_and_nothing_else_is(store: SqlStore) -> None:
    now = datetime.now(UTC)
    for name, age in (("old", timedelta(hours=24, minutes=1)), ("new", timedelta(hours=23))):
        change = commands.create(f"uid-{name}", "default", name, SPEC, RunState.RUNNING, asked(now - age))
        await store.commit(change, replace(KEY, key=name))
    assert await store.tidy() == 1
    assert await store.tidy() == 0
    assert await store.recall(replace(KEY, key="old")) is None
    assert await store.recall(replace(KEY, key="new")) is not None
    assert len(await store.model_versions()) == await store.last_event_id() == 2
