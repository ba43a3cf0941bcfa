"""What goes in comes out: any object of the domain, whatever it holds, on either database."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.control.ports import EventQuery
from modelyard.domain.commands import Change
from modelyard.domain.model import (
    Condition,
    ConditionType,
    DrainReport,
    Event,
    Failure,
    Instance,
    InstancePhase,
    Model,
    Released,
    Revision,
    Status,
    StopMode,
    StopRequest,
    Target,
    Transition,
)
from modelyard.domain.operations import Operation, OperationKind, OperationState, Step
from modelyard.domain.spec import Container, Engine, Limits, Replicas, Resources, Spec
from modelyard.domain.spec import HealthCheck as Check
from modelyard.domain.states import RunState, State
from modelyard.store import SqlStore
from modelyard.store.codec import clean, decode_mapping, encode
from modelyard.store.salvage import decode_spec, decode_status
from tests.store.changes import EPOCH, SPEC, creation

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
# Columns of their own hold no NUL (PostgreSQL); inside a document there is no such limit.
prose = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
sizes = st.integers(0, 2**63 - 1)
times = st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC))
plain: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
mappings = st.dictionaries(text, plain, max_size=3)
labels = st.dictionaries(prose, prose, max_size=2)
words = st.lists(text, max_size=3).map(tuple)
targets = st.builds(Target, st.just(1), st.integers(0, 99))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


checks = st.builds(
    Check, command=words, path=maybe(text), interval=numbers, start_period=numbers, timeout=numbers, retries=sizes
)
containers = st.builds(
    Container, environment=st.dictionaries(text, text, max_size=2), working_dir=maybe(text),
    shared_memory=maybe(sizes), health_check=checks,
)  # fmt: skip
specs = st.builds(
    Spec, engine=st.sampled_from(Engine), source=maybe(text), options=mappings,
    resources=st.builds(Resources, cpu=maybe(numbers), memory=maybe(sizes), gpus=sizes),
    replicas=st.builds(Replicas, min=sizes, max=sizes), container=containers,
    limits=st.builds(Limits, request_timeout=numbers, max_body=sizes, max_queue=sizes), public=st.booleans(),
    trusted=st.booleans(), description=text, labels=labels,
)  # fmt: skip
transitions = st.builds(
    Transition, before=maybe(st.sampled_from(State)), after=st.sampled_from(State), at=times, actor=text,
    reason=text, message=text,
)  # fmt: skip
conditions = st.builds(
    Condition, type=st.sampled_from(ConditionType), status=st.booleans(), reason=text, message=text, since=times
)
instances = st.builds(
    Instance, id=text, target=targets, phase=st.sampled_from(InstancePhase), address=text, since=times,
    pid=maybe(sizes), memory=sizes, processes=sizes, message=text, metadata=mappings,
)  # fmt: skip
failures = st.builds(Failure, code=text, message=text, permanent=st.booleans(), instance=maybe(text), log=words)
releases = st.builds(
    Released, at=times, took_seconds=numbers, instances=sizes, processes=sizes, memory=sizes,
    requests=st.builds(DrainReport, finished=sizes, refused=sizes, cut=sizes),
)  # fmt: skip
stops = st.builds(StopRequest, mode=st.sampled_from(StopMode), timeout=numbers, at=times, actor=text, reason=text)
statuses = st.builds(
    Status, state=st.sampled_from(State), target=targets, transition=transitions, good=maybe(targets),
    conditions=st.lists(conditions, max_size=2).map(tuple), instances=st.lists(instances, max_size=2).map(tuple),
    failures=sizes, failure=maybe(failures), retry_at=maybe(times), counted=words,
    stop=maybe(stops), peak=maybe(releases), released=maybe(releases), metadata=mappings,
)  # fmt: skip
operations = st.builds(
    Operation, id=st.just(""), kind=st.sampled_from(OperationKind), namespace=prose, model=prose,
    model_uid=st.just(""), actor=prose, reason=prose, created_at=times, updated_at=times,
    state=st.sampled_from(OperationState), target=maybe(targets),
    steps=st.lists(st.builds(Step, name=text, at=times, message=text), max_size=2).map(tuple),
    result=maybe(mappings), error=maybe(mappings),
)  # fmt: skip
events = st.builds(
    Event, at=times, namespace=prose, model=prose, model_uid=prose, type=prose, reason=prose, message=prose,
    actor=prose, data=mappings,
)  # fmt: skip


def _model(spec: Spec, status: Status, at: datetime) -> Model:
    off = status.state in (State.STOPPED, State.STOPPING, State.DELETING)
    return Model(
        uid="", namespace="default", name="", spec=spec, target_spec=spec, generation=1,
        desired=RunState.STOPPED if off else RunState.RUNNING, status=status, created_at=at, updated_at=at, site="here",
    )  # fmt: skip


models = st.builds(_model, specs, statuses, times)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(model=models, operation=operations, new=st.lists(events, max_size=2), actor=prose, reason=prose)
async def test_any_change_is_read_back_as_it_was_written(
    store: SqlStore, model: Model, operation: Operation, new: list[Event], actor: str, reason: str
) -> None:
    # The same draw may come again in the same database: hypothesis replays what it finds.
    uid = secrets.token_hex(8)
    model, operation = replace(model, uid=uid, name=uid), replace(operation, id=uid, model_uid=uid)
    revision = Revision(
        model_uid=model.uid, generation=1, spec=model.spec, created_at=model.created_at, actor=actor, reason=reason
    )
    before = await store.last_event_id()
    change = Change(before=None, after=model, revision=revision, operations=(operation,), events=tuple(new))
    written = await store.commit(change)
    assert written.after == replace(model, version=1)
    assert await store.get_model_by_uid(model.uid) == written.after
    assert await store.list_revisions(model.uid) == [revision]
    assert await store.get_revision_spec(model.uid, 1) == model.spec
    assert await store.get_operation(operation.id) == operation
    assert (await store.list_events(EventQuery(after=before))).items == written.events
    assert [replace(e, id=0) for e in written.events] == new


async def test_text_that_a_database_cannot_hold_never_blocks_a_write(store: SqlStore) -> None:
    """A worker may log any bytes, and they end up in failures, messages and reasons."""
    bad = "a\x00b\udcff"
    change = creation()
    assert change.after is not None
    status = replace(change.after.status, failure=Failure(code="crashed", message=bad, log=(bad,)))
    event = replace(change.events[0], message=bad, data={bad: [bad]})
    operation = replace(change.operations[0], reason=bad, error={"log": [bad]})
    await store.commit(
        replace(change, after=replace(change.after, status=status), operations=(operation,), events=(event,))
    )
    model = await store.get_model("default", "m")
    assert model is not None
    assert model.status.failure == Failure(code="crashed", message="a\x00b?", log=("a\x00b?",))
    found = (await store.list_events(EventQuery())).items[0]
    assert (found.message, found.data) == ("a\ufffdb?", {"a\x00b?": ["a\x00b?"]})
    assert clean("plain") == "plain"


def test_a_document_of_another_version_loads() -> None:
    document = decode_mapping(encode(SPEC))
    del document["limits"], document["labels"]
    document["resources"] = {"cpu": 2.0, "tpus": 4}
    document["invented_later"] = {"a": [1]}
    assert decode_spec(encode(document)) == replace(SPEC, resources=Resources(cpu=2.0))

    change = creation()
    assert change.after is not None
    required = {"state", "target", "transition"}
    old = {k: v for k, v in decode_mapping(encode(change.after.status)).items() if k in required}
    # When it was started was not written down then.
    expected = replace(change.after.status, run_since=None)
    assert decode_status(encode(old), "starting", 1, EPOCH) == expected


def test_any_mapping_can_be_stored_and_nothing_unknown_is() -> None:
    assert decode_mapping(encode({"a": MappingProxyType({"b": 1})})) == {"a": {"b": 1}}
    with pytest.raises(TypeError, match="cannot be stored"):
        encode({"a": object()})


async def test_times_keep_their_moment_whatever_zone_they_are_given_in(store: SqlStore) -> None:
    from datetime import timedelta, timezone

    there = EPOCH.astimezone(timezone(timedelta(hours=5, minutes=30))) + timedelta(microseconds=1)
    change = creation()
    assert change.after is not None
    await store.commit(replace(change, after=replace(change.after, created_at=there)))
    model = await store.get_model("default", "m")
    assert model is not None
    assert (model.created_at, model.created_at.tzinfo) == (there, UTC)
