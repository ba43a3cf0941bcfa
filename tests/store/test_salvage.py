"""A document of another version blocks neither its model nor a list, and what is not known of it is not lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from modelyard.control.ports import ModelQuery
from modelyard.domain import commands
from modelyard.domain.commands import Change
from modelyard.domain.model import Model, StopMode
from modelyard.domain.spec import Engine, Preempt, Resources, Spec
from modelyard.domain.states import State
from modelyard.store import SqlStore
from modelyard.store.codec import encode
from modelyard.store.engine import parse_url
from modelyard.store.salvage import decode_spec, decode_status
from tests.store.changes import EPOCH, SPEC, after, asked, created, stop


def rewrite(url: str, table: str, column: str, edit: Callable[[Any], Any]) -> None:
    """As another version would have written the one row that there is."""
    engine = sa.create_engine(parse_url(url))
    with engine.begin() as connection:
        text = connection.exec_driver_sql(f"SELECT CAST({column} AS TEXT) FROM {table}").scalar_one()
        new = "CAST(:new AS JSON)" if connection.dialect.name == "postgresql" else ":new"
        connection.execute(sa.text(f"UPDATE {table} SET {column} = {new}"), {"new": json.dumps(edit(json.loads(text)))})
    engine.dispose()


def raw(url: str, column: str) -> Any:
    engine = sa.create_engine(parse_url(url))
    with engine.connect() as connection:
        text = connection.exec_driver_sql(f"SELECT CAST({column} AS TEXT) FROM models").scalar_one()
    engine.dispose()
    return json.loads(text)


async def unknown_engine(store: SqlStore, url: str) -> Model:
    """A model whose spec, and revision, name an engine that is none here."""
    await created(store, spec=replace(SPEC, description="mine", labels={"a": "b"}, resources=Resources(memory=2**30)))

    def edit(spec: dict[str, Any]) -> dict[str, Any]:
        return {**spec, "engine": "foo", "invented": {"later": [1]}}

    rewrite(url, "models", "spec", edit)
    rewrite(url, "revisions", "spec", edit)
    model = await store.get_model("default", "m")
    assert model is not None
    return model


async def test_a_spec_with_an_unknown_engine_says_so_and_keeps_the_rest(store: SqlStore, url: str) -> None:
    model = await unknown_engine(store, url)
    assert model.spec.unresolved.startswith("This version of Modelyard has no engine 'foo'. Stop or delete the model")
    assert (model.spec.description, model.spec.labels) == ("mine", {"a": "b"})
    assert model.spec.resources.memory == 2**30
    assert [m.name for m in (await store.list_models(ModelQuery())).items] == ["m"]
    (revision,) = await store.list_revisions(model.uid)
    assert revision.spec == model.spec == await store.get_revision_spec(model.uid, 1)


async def test_writes_of_the_status_leave_the_document_as_it_is(store: SqlStore, url: str) -> None:
    model = await unknown_engine(store, url)
    before = raw(url, "spec")
    stopping = after(await store.commit(stop(model)))
    assert stopping.status.state is State.STOPPING
    stopped = replace(stopping, status=replace(stopping.status, state=State.STOPPED))
    stopped = after(await store.commit(Change(before=stopping, after=stopped)))
    assert raw(url, "spec") == before
    assert before["invented"] == {"later": [1]}
    assert [m.name for m in (await store.list_models(ModelQuery(engine="mock"))).items] == ["m"], "the column stays too"


async def test_such_a_model_is_updated_with_a_whole_new_spec(store: SqlStore, url: str) -> None:
    model = await unknown_engine(store, url)
    new = Spec(engine=Engine.MOCK, description="new")
    updated = after(await store.commit(commands.update(model, new, asked())))
    assert (updated.spec, updated.generation) == (new, 2)
    assert "unresolved" not in raw(url, "spec") or raw(url, "spec")["unresolved"] == ""
    assert [bool(r.spec.unresolved) for r in await store.list_revisions(model.uid)] == [False, True]


async def test_such_a_model_is_deleted(store: SqlStore, url: str) -> None:
    model = await unknown_engine(store, url)
    deleting = after(await store.commit(commands.delete(model, StopMode.FORCE, 0, None, asked())))
    await store.commit(Change(before=deleting, after=None))
    assert await store.get_model("default", "m") is None


@pytest.mark.parametrize(
    ("change", "sentence", "kept"),
    [
        ({"backend": "moon"}, "has no backend 'moon'", {"priority": 7}),
        ({"preempt": "always"}, "cannot read preempt of the stored spec ('always')", {"preempt": Preempt.NEVER}),
        ({"replicas": {"min": "two", "max": 3}}, "cannot read replicas.min", {"priority": 7}),
        ({"resources": "many"}, "cannot read resources", {"resources": Resources()}),
        ({"autoscaling": {"metric": "tokens", "window": 9}}, "cannot read autoscaling.metric", {"priority": 7}),
        ({"container": {"health_check": {"retries": "x", "interval": 2}}}, "health_check.retries", {"priority": 7}),
        ({"engine": None}, "has no engine None", {"engine": Engine.COMMAND}),
    ],
)
def test_every_part_that_cannot_be_read_is_named_and_the_rest_kept(
    change: dict[str, Any], sentence: str, kept: dict[str, Any]
) -> None:
    document = json.loads(encode(replace(SPEC, priority=7)))
    spec = decode_spec(json.dumps({**document, **change}))
    assert sentence in spec.unresolved
    for name, value in kept.items():
        assert getattr(spec, name) == value
    if "replicas" in change:
        assert spec.replicas.max == 3
    if "autoscaling" in change:
        assert spec.autoscaling.window == 9


@pytest.mark.parametrize("document", ["", "[]", "nothing", "{", '"engine"', "{}"])
def test_a_document_that_is_none_is_unresolved(document: str) -> None:
    assert "cannot" in decode_spec(document).unresolved or "missing" in decode_spec(document).unresolved


async def test_a_status_with_unknown_values_is_listed_without_them(store: SqlStore, url: str) -> None:
    model = await created(store)

    def edit(status: dict[str, Any]) -> dict[str, Any]:
        condition = {"type": "Enchanted", "status": True, "reason": "", "message": "", "since": "2030-01-01T00:00:00Z"}
        return {**status, "state": "hovering", "conditions": [condition, {**condition, "type": "Ready"}], "failures": 3}

    rewrite(url, "models", "status", edit)
    (listed,) = (await store.list_models(ModelQuery(sort="state"))).items
    assert listed.status.state is model.status.state, "the column is what the database guards"
    assert [str(c.type) for c in listed.status.conditions] == ["Ready"]
    assert listed.status.failures == 3
    assert after(await store.commit(stop(listed))).status.state is State.STOPPING


def test_a_stop_whose_terms_are_not_known_goes_on() -> None:
    status = decode_status('{"stop": {"mode": "gently"}, "instances": 4}', "stopping", 5, EPOCH)
    assert (status.state, status.target.generation, status.instances) == (State.STOPPING, 5, ())
    assert status.stop is not None
    assert status.stop.mode is StopMode.DRAIN
    assert status.transition.reason == "StatusUnreadable"
