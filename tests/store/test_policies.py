"""Policies, overrides and what is remembered of them, in both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from modelyard.control.ports import EventQuery
from modelyard.domain import commands
from modelyard.domain.commands import Asked, event_of
from modelyard.domain.errors import EtagMismatch, NotFound, Refused
from modelyard.domain.model import Model, Namespace, StopMode
from modelyard.domain.policies import Caps, Mark, MarkKind, Mode, Override, Policy, Rules, Selector
from modelyard.domain.schedules import Weekday
from modelyard.domain.spec import BackendName, Engine, Spec
from modelyard.domain.states import RunState
from modelyard.domain.windows import Shutdown, ShutdownWindow
from modelyard.store import SqlStore

NOW = datetime(2030, 1, 5, 12, tzinfo=UTC)
ASKED = Asked(actor="admin", reason="costs", at=NOW, operation_id="op-1")
WEEKEND = Policy(
    name="weekend",
    selector=Selector(namespaces=("vis*",), labels={"team": "a"}, models=("pat-*",)),
    mode=Mode.WARN,
    rules=Rules(
        shutdown=Shutdown(
            timezone="Europe/Berlin", resume=True,
            windows=(ShutdownWindow(days=(Weekday.FRIDAY,), start=time(20), until=Weekday.MONDAY, stop=time(6)),),
        ),
        idle_after=3600.0, max_run_time=7200.0, caps=Caps(gpus=2, memory=2**33, cpu=1.5), require_signature=True,
        allowed_backends=(BackendName.LOCAL,), protected=True,
    ),
    description="Nobody works then.",
)  # fmt: skip


async def model(store: SqlStore) -> Model:
    written = await store.commit(
        commands.create("u", "default", "pat", Spec(engine=Engine.MOCK), RunState.RUNNING, ASKED)
    )
    assert written.after is not None
    return written.after


def exception(hours: float = 4) -> Override:
    return Override(
        policy="weekend", scope="", model_uid="u", reason="a demo", by="admin", created_at=NOW,
        expires_at=NOW + timedelta(hours=hours),
    )  # fmt: skip


async def types(store: SqlStore) -> list[str]:
    return [event.type for event in (await store.list_events(EventQuery())).items]


async def test_a_policy_is_kept_as_it_was_set_and_the_same_again_changes_nothing(store: SqlStore) -> None:
    written, new = await store.policies.put_policy(WEEKEND, None, ASKED)
    assert new
    again, new = await store.policies.put_policy(WEEKEND, None, replace(ASKED, at=NOW + timedelta(hours=1)))
    assert (again, new) == (written, False)
    assert await store.policies.get_policy("", "weekend") == written
    assert replace(written, version=0, created_at=None, changed_at=None, changed_by="") == WEEKEND
    changed, new = await store.policies.put_policy(replace(WEEKEND, mode=Mode.ENFORCE), written.version, ASKED)
    assert (changed.version, changed.mode, new) == (written.version + 1, Mode.ENFORCE, False)
    assert await types(store) == ["PolicySet", "PolicySet"]


async def test_a_change_of_another_version_is_refused(store: SqlStore) -> None:
    with pytest.raises(EtagMismatch):
        await store.policies.put_policy(WEEKEND, 1, ASKED)
    written, _ = await store.policies.put_policy(WEEKEND, 0, ASKED)
    for stale in (0, written.version + 1):
        with pytest.raises(EtagMismatch):
            await store.policies.put_policy(replace(WEEKEND, description="x"), stale, ASKED)
        with pytest.raises(EtagMismatch):
            await store.policies.delete_policy("", "weekend", stale, ASKED)
    assert await store.policies.delete_policy("", "weekend", written.version, ASKED)
    assert not await store.policies.delete_policy("", "weekend", None, ASKED)


async def test_a_policy_that_is_made_anew_has_none_of_the_versions_before(store: SqlStore) -> None:
    first, _ = await store.policies.put_policy(WEEKEND, None, ASKED)
    changed, _ = await store.policies.put_policy(replace(WEEKEND, description="x"), first.version, ASKED)
    await store.policies.delete_policy("", "weekend", None, ASKED)
    moments_later = replace(ASKED, at=NOW + timedelta(milliseconds=1))
    await store.policies.put_policy(replace(WEEKEND, description="another"), None, moments_later)
    for stale in (first.version, changed.version):
        with pytest.raises(EtagMismatch):
            await store.policies.put_policy(WEEKEND, stale, ASKED)
        with pytest.raises(EtagMismatch):
            await store.policies.delete_policy("", "weekend", stale, ASKED)


async def test_no_model_meets_two_policies_of_one_name(store: SqlStore) -> None:
    for name in ("vision", "speech"):
        await store.create_namespace(Namespace(name=name, created_at=NOW))
        await store.policies.put_policy(replace(WEEKEND, namespace=name), None, ASKED)
    with pytest.raises(Refused, match="speech"):
        await store.policies.put_policy(WEEKEND, None, ASKED)
    await store.policies.put_policy(replace(WEEKEND, name="other"), None, ASKED)
    with pytest.raises(Refused, match="installation"):
        await store.policies.put_policy(replace(WEEKEND, namespace="vision", name="other"), None, ASKED)
    assert [p.key for p in await store.policies.policies("", "vision")] == [("", "other"), ("vision", "weekend")]
    with pytest.raises(NotFound):
        await store.policies.put_policy(replace(WEEKEND, namespace="nowhere"), None, ASKED)


async def test_policies_go_with_their_namespace(store: SqlStore) -> None:
    await store.create_namespace(Namespace(name="vision", created_at=NOW))
    await store.policies.put_policy(replace(WEEKEND, namespace="vision"), None, ASKED)
    await store.delete_namespace("vision")
    assert await store.policies.policies() == []


async def test_an_override_takes_the_place_of_the_one_before_and_goes_with_its_policy(store: SqlStore) -> None:
    pat = await model(store)
    with pytest.raises(NotFound):
        await store.policies.put_override(exception(), pat, ASKED)
    await store.policies.put_policy(WEEKEND, None, ASKED)
    await store.policies.put_override(exception(), pat, ASKED)
    await store.policies.put_override(exception(hours=8), pat, ASKED)
    assert await store.policies.overrides("u") == [exception(hours=8)]
    assert await store.tidy() == 0, "it has not expired"
    await store.policies.delete_policy("", "weekend", None, ASKED)
    assert await store.policies.overrides() == []


async def test_one_occasion_leaves_one_event_whoever_asks_how_often(store: SqlStore, other: SqlStore) -> None:
    pat = await model(store)
    mark = Mark(model_uid="u", scope="", policy="weekend", kind=MarkKind.OVER_CAP, at=NOW)
    event = event_of(pat, "PolicyWarning", ASKED, "Too much.", {})
    assert not await store.policies.mark(mark, event), "there is no such policy"
    await store.policies.put_policy(WEEKEND, None, ASKED)
    assert [await one.policies.mark(mark, event) for one in (store, other, store)] == [True, False, False]
    later = replace(mark, at=NOW + timedelta(days=7))
    assert await other.policies.mark(later, event)
    assert await store.policies.marks("u") == [later]
    assert (await types(store)).count("PolicyWarning") == 2
    await store.policies.unmark(later)
    assert await store.policies.marks() == []


async def test_what_is_remembered_goes_with_its_model(store: SqlStore) -> None:
    pat = await model(store)
    await store.policies.put_policy(WEEKEND, None, ASKED)
    await store.policies.put_override(exception(), pat, ASKED)
    await store.policies.mark(Mark(model_uid="u", scope="", policy="weekend", kind=MarkKind.STOPPED, at=NOW))
    gone = commands.delete(pat, StopMode.FORCE, 0.0, None, replace(ASKED, operation_id="op-2"))
    written = await store.commit(gone)
    await store.commit(replace(gone, before=written.after, after=None, operations=(), events=()))
    assert (await store.policies.overrides(), await store.policies.marks()) == ([], [])


async def test_an_operation_keeps_its_warnings(store: SqlStore) -> None:
    change = commands.create("u", "default", "pat", Spec(engine=Engine.MOCK), RunState.RUNNING, ASKED)
    warned = replace(change.operations[0], warnings=("Policy cap would refuse it.",))
    await store.commit(replace(change, operations=(warned,)))
    stored = await store.get_operation("op-1")
    assert stored is not None
    assert stored.warnings == ("Policy cap would refuse it.",)
