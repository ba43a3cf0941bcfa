"""Lists: filters, sorts and pages, the same on both databases."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from modelyard.control.ports import MODEL_SORTS, EventQuery, ModelQuery, OperationQuery, Page
from modelyard.domain import commands
from modelyard.domain.commands import Change
from modelyard.domain.errors import InvalidRequest
from modelyard.domain.model import Namespace
from modelyard.domain.spec import Engine
from modelyard.domain.states import State
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, SPEC, after, asked, created, event, stop


async def walk(lister: Callable[[Any], Awaitable[Page[Any]]], query: Any) -> list[Any]:
    """All items, page by page."""
    items: list[Any] = []
    while True:
        page = await lister(query)
        assert len(page.items) <= query.page_size
        items += page.items
        if not page.next_page_token:
            return items
        assert len(page.items) == query.page_size
        query = replace(query, page_token=page.next_page_token)


async def names(store: SqlStore, **query: Any) -> list[str]:
    return [m.name for m in (await store.list_models(ModelQuery(**query))).items]


async def test_models_are_found_by_each_filter_and_by_all_at_once(store: SqlStore) -> None:
    await store.create_namespace(Namespace(name="team", created_at=EPOCH))
    await created(store, "digits", replace(SPEC, labels={"team": "a", "tier": "1"}))
    await created(store, "digits-2", replace(SPEC, labels={"team": "b"}), desired="stopped")
    await created(store, "wine", replace(SPEC, engine=Engine.ONNX, source="/w", labels={"team": "a"}), namespace="team")

    assert await names(store) == ["digits", "digits-2", "wine"]
    assert await names(store, namespace="team") == ["wine"]
    assert await names(store, states=(State.STOPPED,)) == ["digits-2"]
    assert await names(store, states=(State.STOPPED, State.STARTING)) == ["digits", "digits-2", "wine"]
    assert await names(store, engine="onnx") == ["wine"]
    assert await names(store, labels={"team": "a"}) == ["digits", "wine"]
    assert await names(store, labels={"team": "a", "tier": "1"}) == ["digits"]
    assert await names(store, labels={"team": "1"}) == []
    assert await names(store, search="IGIT") == ["digits", "digits-2"]
    everything = {"namespace": "default", "states": (State.STARTING,), "engine": "mock", "labels": {"team": "a"}}
    assert await names(store, **everything, search="dig") == ["digits"]


async def test_no_character_of_a_search_is_special(store: SqlStore) -> None:
    await created(store, "digits")
    for search in ("%", "_", "d%s", "\\", "/", "'", '"', "x" * 100_000, "\x00", "\ud800", "ß", "*"):
        assert await names(store, search=search) == []
        assert await names(store, namespace=search) == []
        assert await names(store, labels={search: search}) == []
        assert await store.get_model(search, search) is None


async def test_labels_follow_the_spec(store: SqlStore) -> None:
    model = await created(store, spec=replace(SPEC, labels={"team": "a", "old": "x"}))
    spec = replace(SPEC, labels={"team": "b", "ünï": "ç%_"})
    await store.commit(commands.update(model, spec, asked()))
    assert await names(store, labels={"team": "a"}) == await names(store, labels={"old": "x"}) == []
    assert await names(store, labels={"team": "b", "ünï": "ç%_"}) == ["m"]


async def test_every_sort_walks_all_models_once_in_order(store: SqlStore) -> None:
    await store.create_namespace(Namespace(name="team", created_at=EPOCH))
    for name in ("a", "a-b", "ab", "b1", "b-1"):
        model = await created(store, name, desired="stopped" if "-" in name else "running")
        if name == "a-b":
            await store.commit(commands.start(model, asked()))
    await created(store, "ab", namespace="team")

    for sort, page_size in itertools.product(MODEL_SORTS, (1, 3, 1000)):
        found = await walk(store.list_models, ModelQuery(sort=sort, page_size=page_size))
        field = sort.removeprefix("-")
        keys = [(str(m.status.state) if field == "state" else getattr(m, field), m.uid) for m in found]
        assert keys == sorted(keys, reverse=sort.startswith("-"))
        assert len({m.uid for m in found}) == 6


async def test_a_walk_meets_every_old_model_once_while_others_are_made(store: SqlStore) -> None:
    old = {(await created(store, f"m{i:02}")).uid for i in range(0, 20, 2)}
    query = ModelQuery(page_size=2)
    seen: list[str] = []
    for i in range(1, 100, 2):
        page = await store.list_models(query)
        seen += [m.uid for m in page.items]
        if not page.next_page_token:
            break
        await created(store, f"m{i % 20:02}" if i < 20 else f"late{i}")
        query = replace(query, page_token=page.next_page_token)
    assert len(seen) == len(set(seen))
    assert old <= set(seen)


async def test_operations_are_the_newest_first_and_filtered(store: SqlStore) -> None:
    a, b = await created(store, "a"), await created(store, "b")
    for _ in range(5):
        a = after(await store.commit(commands.restart(a, asked())))
    await store.commit(stop(b))
    b = await created(store, "c", desired="stopped")

    everything = await walk(store.list_operations, OperationQuery(page_size=2))
    assert len(everything) == 9
    assert [o.created_at for o in everything] == sorted((o.created_at for o in everything), reverse=True)
    of_a = await walk(store.list_operations, OperationQuery(namespace="default", model="a", page_size=2))
    assert [o.kind for o in of_a] == ["restart"] * 5 + ["deploy"]
    done = await walk(store.list_operations, OperationQuery(done=True))
    assert [o.model for o in done] == ["c"]
    assert len(await walk(store.list_operations, OperationQuery(done=False, page_size=3))) == 8
    assert await walk(store.list_operations, OperationQuery(namespace="nobody")) == []


async def test_a_walk_through_operations_is_not_disturbed_by_new_ones(store: SqlStore) -> None:
    model = await created(store)
    for _ in range(4):
        model = after(await store.commit(commands.restart(model, asked())))
    first = await store.list_operations(OperationQuery(page_size=2))
    model = after(await store.commit(commands.restart(model, asked())))
    rest = await walk(store.list_operations, OperationQuery(page_size=2, page_token=first.next_page_token))
    assert [o.kind for o in (*first.items, *rest)] == ["restart"] * 4 + ["deploy"]


async def test_events_are_read_newest_first_or_onwards_from_an_id(store: SqlStore) -> None:
    a, b = await created(store, "a"), await created(store, "b")
    for number in range(6):
        model = (a, b)[number % 2]
        await store.commit(Change(before=model, after=model, events=(event(model, f"T{number}"),)))

    newest_first = await walk(store.list_events, EventQuery(page_size=3))
    assert [e.id for e in newest_first] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [e.type for e in await walk(store.list_events, EventQuery(model_uid=b.uid, page_size=1))] == [
        "T5", "T3", "T1", "Created",
    ]  # fmt: skip
    onwards = await walk(store.list_events, EventQuery(after=3, page_size=2))
    assert [e.id for e in onwards] == [4, 5, 6, 7, 8]
    of_a = await walk(store.list_events, EventQuery(after=0, namespace="default", model="a", page_size=2))
    assert [e.type for e in of_a] == ["Created", "T0", "T2", "T4"]
    for far in (8, 2**63 - 1, 2**70):
        assert (await store.list_events(EventQuery(after=far))).items == ()
    assert len((await store.list_events(EventQuery(after=-(2**70)))).items) == 8


async def test_counts_and_refs_cover_every_model(store: SqlStore) -> None:
    made = [await created(store, n, desired=d) for n, d in (("a", "running"), ("b", "running"), ("c", "stopped"))]
    assert await store.count_models() == {"starting": 2, "stopped": 1}
    assert await store.model_versions() == {m.ref: m.version for m in made}


async def test_a_page_size_out_of_bounds_is_refused(store: SqlStore) -> None:
    for size in (0, -1, 1001):
        for call in (
            store.list_models(ModelQuery(page_size=size)),
            store.list_operations(OperationQuery(page_size=size)),
            store.list_events(EventQuery(page_size=size)),
        ):
            with pytest.raises(InvalidRequest) as refused:
                await call
            assert [p.path for p in refused.value.problems] == ["page_size"]


async def test_an_unknown_sort_is_refused(store: SqlStore) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await store.list_models(ModelQuery(sort="uid; DROP TABLE models"))
    assert [p.path for p in refused.value.problems] == ["sort"]


async def test_a_token_that_is_damaged_or_of_another_query_is_refused(store: SqlStore) -> None:
    for name in ("a", "b", "c"):
        await created(store, name)
    token = (await store.list_models(ModelQuery(page_size=1))).next_page_token
    operation_token = (await store.list_operations(OperationQuery(page_size=1))).next_page_token
    damaged = ["x", "ä", "=", "W10", "bnVsbA", operation_token, token[:-3], token + "AAAA", token[3:], "\x00" * 9]
    damaged += [token[:i] + ("B" if token[i] != "B" else "C") + token[i + 1 :] for i in range(0, len(token) - 1, 5)]
    queries: list[ModelQuery] = [ModelQuery(page_token=t) for t in damaged]
    queries += [
        ModelQuery(page_token=token, sort="-name"),
        ModelQuery(page_token=token, search="a"),
        ModelQuery(page_token=token, labels={"a": "b"}),
        ModelQuery(page_token=token, namespace="default"),
    ]
    for query in queries:
        with pytest.raises(InvalidRequest) as refused:
            await store.list_models(query)
        assert [p.path for p in refused.value.problems] == ["page_token"]
    assert [m.name for m in (await store.list_models(ModelQuery(page_token=token, page_size=5))).items] == ["b", "c"]


@pytest.mark.parametrize("sort", MODEL_SORTS)
@pytest.mark.parametrize("namespace", ["default", None])
async def test_no_page_of_models_sorts_them_all(sqlite_url: str, sort: str, namespace: str | None) -> None:
    """On SQLite, where a page is read on the event loop: the order of each sort is that of an index."""
    store = await SqlStore.open(sqlite_url)
    for name in ("a", "b"):
        await created(store, name)
    asked_of: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked_of.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        await walk(store.list_models, ModelQuery(namespace=namespace, sort=sort, page_size=1))
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
        await store.close()
    assert len(asked_of) == 2, "a first page and one that follows"
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        for statement, parameters in asked_of:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            assert "USING INDEX" in plan[0], plan
            assert not [step for step in plan if "TEMP B-TREE" in step], plan
