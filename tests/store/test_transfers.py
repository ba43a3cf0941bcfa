"""The record of transfers, the same on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from modelyard.control.ports import Idempotency
from modelyard.domain.errors import AlreadyExists, IdempotencyMismatch, InvalidRequest, VersionConflict
from modelyard.domain.registry import Content, Framework, Identity, Notes, Tensor
from modelyard.domain.registry import Signature as Sig
from modelyard.domain.transfers import (
    Bump,
    Order,
    Phase,
    Transfer,
    TransferError,
    advance,
    cancel,
    enter,
    fail,
    take_up,
)
from modelyard.registry.ports import TransferQuery
from modelyard.store import SqlStore
from tests.domain.test_transfers import NOW, transfer

ORDER = Order(
    bump=Bump.MINOR, aliases=("stable",), include=("*.onnx",),
    identity=Identity(
        content=Content(manifest="", size=0, files=0), framework=Framework(name="onnx"), trust=("code",),
        signature=Sig(inputs=(Tensor(name="x", datatype="FP32", shape=(-1, 4)),)),
    ),
    notes=Notes(description="Ö", metrics={"a": 0.5}, labels={"k": "v"}, card="# Card"),
)  # fmt: skip


def free(number: int, namespace: str = "default") -> Transfer:
    """One that is not in the way of others: its number is found later."""
    return replace(transfer(number, namespace), order=ORDER)


async def test_a_transfer_is_read_as_it_was_written(store: SqlStore) -> None:
    one = free(1)
    await store.transfers.add(one)
    assert await store.transfers.get(one.id) == one
    taken = take_up(one, "c1", NOW)
    await store.transfers.write(one, taken)
    moved = advance(taken, 2**40, 2**41, 123.5, NOW + timedelta(seconds=1))
    await store.transfers.write(taken, moved)
    over = fail(moved, TransferError(code="x", message="Gone wrong."), NOW)
    assert await store.transfers.get(one.id) == moved
    await store.transfers.write(moved, over)
    assert await store.transfers.get(one.id) == over
    assert await store.transfers.get("tr-none") is None


async def test_whoever_has_an_older_claim_or_comes_after_a_cancellation_writes_nothing(
    store: SqlStore, other: SqlStore
) -> None:
    one = free(1)
    await store.transfers.add(one)
    first = take_up(one, "c1", NOW)
    await store.transfers.write(one, first)
    second = take_up(first, "c2", NOW)
    await other.transfers.write(first, second)
    with pytest.raises(VersionConflict):
        await store.transfers.write(first, advance(first, 1, 2, 1.0, NOW))
    cancelled = cancel(second, "admin", NOW)
    await store.transfers.write(second, cancelled)
    for late in (advance(second, 1, 2, 1.0, NOW), enter(second, Phase.PUBLISHING, NOW)):
        with pytest.raises(VersionConflict):
            await other.transfers.write(second, late)
    assert await store.transfers.get(one.id) == cancelled


async def test_one_transfer_at_a_time_is_under_way_to_a_version(store: SqlStore, other: SqlStore) -> None:
    first, second = (replace(transfer(n), version="1.0.0") for n in (1, 2))
    outcomes = await asyncio.gather(
        store.transfers.add(first), other.transfers.add(second), return_exceptions=True
    )  # fmt: skip
    assert sorted(type(outcome) for outcome in outcomes if outcome is not None) == [AlreadyExists]
    made = first if outcomes[0] is None else second
    with pytest.raises(AlreadyExists, match=made.id):
        await store.transfers.add(replace(transfer(3), version="1.0.0"))
    await store.transfers.add(replace(transfer(4, "team"), version="1.0.0"))
    unnumbered = free(5)
    await store.transfers.add(unnumbered)
    with pytest.raises(AlreadyExists):
        await store.transfers.write(unnumbered, replace(unnumbered, version="1.0.0"))
    await store.transfers.write(made, cancel(made, "admin", NOW))
    await store.transfers.add(replace(transfer(6), version="1.0.0"))


async def test_a_key_leads_to_the_transfer_that_it_made(store: SqlStore) -> None:
    key = Idempotency(scope="admin POST /x", key="k", fingerprint="f")
    assert await store.transfers.recall(key) is None
    one = free(1)
    await store.transfers.add(one, key)
    assert await store.transfers.recall(key) == one
    with pytest.raises(VersionConflict):
        await store.transfers.add(free(2), key)
    assert await store.transfers.get("tr-0002") is None, "nothing of it is left"
    with pytest.raises(IdempotencyMismatch):
        await store.transfers.recall(replace(key, fingerprint="another"))


async def test_lists_are_newest_first_page_after_page_and_filtered(store: SqlStore) -> None:
    made = [free(n, "team" if n % 3 == 0 else "default") for n in range(9)]
    for one in made:
        await store.transfers.add(one)
    for one in made[:4]:
        await store.transfers.write(one, cancel(one, "admin", NOW))
    seen: list[str] = []
    query = TransferQuery(page_size=2)
    while True:
        page = await store.transfers.list(query)
        seen += [t.id for t in page.items]
        if not page.next_page_token:
            break
        query = replace(query, page_token=page.next_page_token)
    assert seen == [one.id for one in reversed(made)]
    for asked, wanted in (
        (TransferQuery(namespace="team"), [0, 3, 6]),
        (TransferQuery(done=True), [0, 1, 2, 3]),
        (TransferQuery(done=False, namespace="team"), [6]),
        (TransferQuery(model="tap"), []),
    ):
        found = [t.id for t in (await store.transfers.list(asked)).items]
        assert found == [made[n].id for n in reversed(wanted)]
    with pytest.raises(InvalidRequest):
        await store.transfers.list(TransferQuery(page_token="nonsense"))


async def test_a_site_finds_what_it_has_to_carry_out_the_oldest_first(store: SqlStore) -> None:
    made = [replace(free(n), site="here" if n else "there") for n in range(5)]
    for one in reversed(made):
        await store.transfers.add(one)
    await store.transfers.write(made[2], take_up(made[2], "c", NOW))
    await store.transfers.write(made[3], cancel(made[3], "admin", NOW))
    assert [t.id for t in await store.transfers.active("here")] == [made[n].id for n in (1, 2, 4)]
