"""Policies carried out over weeks of virtual time, by processes that die and come back at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.backends.port import Backend
from modelyard.control.caller import Caller
from modelyard.control.changes import ChangeFeed
from modelyard.control.checks import SpecChecks
from modelyard.control.policies import PolicyDesk
from modelyard.control.policing import Policing
from modelyard.control.ports import EventQuery, OperationQuery
from modelyard.control.service import ModelService
from modelyard.control.stop_many import StopMany
from modelyard.domain import commands
from modelyard.domain.access import Forbidden, Grant, Principal, PrincipalKind, Role, administrator
from modelyard.domain.capacity import Inventory
from modelyard.domain.commands import Asked
from modelyard.domain.enforcing import Forbidden as PolicyForbids
from modelyard.domain.errors import Refused
from modelyard.domain.model import Event, Model, StopMode
from modelyard.domain.policies import Caps, Mode, Policy, Rules
from modelyard.domain.schedules import Weekday
from modelyard.domain.spec import Engine, Resources, Spec
from modelyard.domain.states import RunState, State
from modelyard.domain.windows import Shutdown, ShutdownWindow
from modelyard.store import SqlStore
from modelyard.tasks import spawn, stop

THURSDAY = datetime(2030, 1, 3, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEEKEND = Shutdown(
    timezone="UTC",
    windows=(ShutdownWindow(days=(Weekday.FRIDAY,), start=time(20), until=Weekday.MONDAY, stop=time(6)),),
)
ADMIN = Caller(actor="admin", reason="a demonstration", principal=administrator("admin"))


async def _inventories() -> Mapping[str, Inventory]:
    return {}


class House:
    """A database, and one process after another that carries policies out."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.now = THURSDAY
        self.quiet: dict[str, datetime] = {}
        self.protected: frozenset[str] = frozenset()
        self.reboot()

    def reboot(self) -> None:
        """The process dies; another one begins with what is stored."""
        feed = ChangeFeed(self.store)
        self.desk = PolicyDesk(self.store.policies, self.store, lambda: self.now, shared=False)
        backends: dict[str, Backend] = {}
        checks = SpecChecks(self.store, backends)  # type: ignore[arg-type]
        self.models = ModelService(self.store, feed, checks, lambda: self.now, gate=self.desk)
        self.stop_many = StopMany(self.store, feed, self.models, self.store.bulks, lambda: self.now)
        self.policing = Policing(self.store, self.store.policies, self.models, lambda: self.now, lambda: None)
        self.desk.listeners.append(self.policing.tell)
        feed.watchers.append(lambda uid, _: self.policing.tell(uid))
        self.policing._begin("", lambda uid, now: self.quiet.get(uid), self._protect)

    def _protect(self, uids: frozenset[str]) -> None:
        self.protected = uids

    async def until(self, moment: datetime) -> None:
        """Let time pass: each time that something is due it is done, and instances come and go."""
        while True:
            wake_at = await self.policing.step()
            await self._settle()
            if wake_at is None or wake_at > moment:
                break
            self.now = max(self.now, wake_at)
        self.now = moment
        await self.policing.step()
        await self._settle()

    async def _settle(self) -> None:
        for model in await self.store.models_of(""):
            to = {State.STARTING: State.RUNNING, State.STOPPING: State.STOPPED}.get(model.status.state)
            if to is not None:
                transition = replace(model.status.transition, before=model.status.state, after=to, at=self.now)
                after = replace(model, status=replace(model.status, state=to, transition=transition))
                await self.store.commit(commands.Change(before=model, after=after))

    async def deploy(self, name: str = "pat", spec: Spec | None = None) -> None:
        asked = Asked(actor="admin", reason="", at=self.now, operation_id=f"op-{name}")
        made = commands.create(f"u-{name}", "default", name, spec or Spec(engine=Engine.MOCK), RunState.RUNNING, asked)
        await self.store.commit(made)
        await self._settle()

    async def policy(self, name: str, mode: Mode = Mode.ENFORCE, **rules: object) -> None:
        made = Policy(name=name, mode=mode, rules=Rules(**rules))  # type: ignore[arg-type]
        await self.desk.put(made, ADMIN)

    async def get(self, name: str = "pat") -> Model:
        model = await self.store.get_model("default", name)
        assert model is not None
        return model

    async def state(self, name: str = "pat") -> State:
        return (await self.get(name)).status.state

    async def asked(self, name: str = "pat") -> list[tuple[str, str]]:
        """Who asked for what, oldest first; without the deployment."""
        page = await self.store.list_operations(OperationQuery(model=name, page_size=1000))
        return [(o.actor, str(o.kind)) for o in reversed(page.items) if o.kind != "deploy"]

    async def warnings(self) -> list[Event]:
        page = await self.store.list_events(EventQuery(page_size=1000))
        return [event for event in reversed(page.items) if event.type == "PolicyWarning"]

    async def start(self, caller: Caller = ADMIN) -> None:
        await self.models.start("default", "pat", caller)
        await self._settle()

    async def stop(self, caller: Caller = ADMIN, mode: StopMode = StopMode.DRAIN) -> None:
        await self.models.stop("default", "pat", mode, 30, caller)
        await self._settle()


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    store = await SqlStore.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield House(store)
    await store.close()


def at(day: int, hour: int = 12, minute: int = 0) -> datetime:
    """Of January 2030: the 4th is a Friday."""
    return datetime(2030, 1, day, hour, minute, tzinfo=UTC)


# ------------------------------------------------------------------------------------------- windows


async def test_a_model_is_stopped_when_the_window_begins_and_it_is_said_why(house: House) -> None:
    await house.deploy()
    await house.policy("weekend", shutdown=WEEKEND)
    await house.until(at(4, 19, 59))
    assert await house.state() is State.RUNNING
    await house.until(at(4, 20))
    model = await house.get()
    assert (model.status.state, model.desired) == (State.STOPPED, RunState.STOPPED)
    assert await house.asked() == [("policy:weekend", "stop")]
    page = await house.store.list_operations(OperationQuery(model="pat"))
    assert page.items[0].reason == "Shut down by policy weekend until Monday 2030-01-07 06:00 UTC"
    (event,) = [e for e in (await house.store.list_events(EventQuery())).items if e.type == "PolicyAction"]
    assert (event.actor, event.data["policy"], event.data["action"]) == ("policy:weekend", "weekend", "stop")
    await house.until(at(8))
    assert await house.state() is State.STOPPED, "nothing is started by itself"


async def test_what_a_window_with_resume_has_stopped_runs_again_on_monday_and_nothing_else(house: House) -> None:
    for name in ("pat", "off", "handed"):
        await house.deploy(name)
    await house.models.stop("default", "off", StopMode.DRAIN, 30, ADMIN)
    await house.policy("weekend", shutdown=replace(WEEKEND, resume=True))
    await house.until(at(5))
    assert [await house.state(n) for n in ("pat", "off", "handed")] == [State.STOPPED] * 3
    # Who stops what is stopped wants it to stay so.
    await house.models.stop("default", "handed", StopMode.DRAIN, 30, ADMIN)
    house.reboot()
    await house.until(at(7, 6))
    assert [await house.state(n) for n in ("pat", "off", "handed")] == [State.RUNNING, State.STOPPED, State.STOPPED]
    assert await house.asked() == [("policy:weekend", "stop"), ("policy:weekend", "start")]


async def test_what_was_missed_while_nobody_was_there_is_done_at_once(house: House) -> None:
    await house.deploy()
    await house.policy("weekend", shutdown=replace(WEEKEND, resume=True))
    house.now = at(5)
    house.reboot()
    await house.until(at(5, 13))
    assert await house.asked() == [("policy:weekend", "stop")]
    house.now = at(9)
    house.reboot()
    await house.until(at(9, 13))
    assert await house.asked() == [("policy:weekend", "stop"), ("policy:weekend", "start")]


@given(deaths=st.lists(st.integers(0, 14 * 24 * 60), max_size=6))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_each_weekend_stops_and_starts_once_whenever_processes_die(house: House, deaths: list[int]) -> None:
    name = f"m{len(await house.store.models_of(''))}"
    house.now = THURSDAY
    house.reboot()
    await house.policy("weekend", shutdown=replace(WEEKEND, resume=True))
    await house.deploy(name)
    for minutes in sorted(deaths):
        await house.until(max(THURSDAY + timedelta(minutes=minutes), house.now))
        house.reboot()
    await house.until(THURSDAY + timedelta(days=14))
    assert await house.asked(name) == [("policy:weekend", "stop"), ("policy:weekend", "start")] * 2


@pytest.mark.parametrize("last", ["mark", "stop", "start", "unmark"])
async def test_a_process_that_dies_between_two_writes_leaves_nothing_undone_or_doubled(
    house: House, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.deploy()
    await house.policy("weekend", shutdown=replace(WEEKEND, resume=True))
    owner = house.store.policies if last in ("mark", "unmark") else house.models
    original = getattr(owner, last)

    class Died(BaseException):
        pass

    async def then_die(*arguments: object) -> None:
        await original(*arguments)
        raise Died

    monkeypatch.setattr(owner, last, then_die)
    with pytest.raises(Died):
        await house.until(at(8))
    monkeypatch.undo()
    house.reboot()
    await house._settle()
    await house.until(at(8))
    assert await house.asked() == [("policy:weekend", "stop"), ("policy:weekend", "start")]
    assert await house.store.policies.marks() == []


async def test_a_start_in_a_window_needs_an_override_and_holds_until_that_expires(house: House) -> None:
    await house.deploy()
    await house.policy("weekend", shutdown=WEEKEND)
    await house.until(at(5))
    with pytest.raises(PolicyForbids, match="until Monday 2030-01-07 06:00 UTC") as refusal:
        await house.start()
    assert (refusal.value.code, refusal.value.extra["policies"]) == ("policy", ["weekend"])
    await house.desk.override(await house.get(), "weekend", at(5, 16), ADMIN)
    await house.start()
    house.reboot()
    await house.until(at(5, 15, 59))
    assert await house.state() is State.RUNNING
    await house.until(at(5, 16))
    assert await house.state() is State.STOPPED
    assert await house.asked() == [("policy:weekend", "stop"), ("admin", "start"), ("policy:weekend", "stop")]


async def test_a_schedule_meets_the_window_as_anybody_does(house: House) -> None:
    await house.deploy()
    await house.policy("weekend", shutdown=WEEKEND)
    await house.until(at(5))
    with pytest.raises(PolicyForbids):
        await house.start(Caller(actor="schedule"))


# ------------------------------------------------------------------------------------------- time


async def test_a_model_has_notice_before_its_time_is_up_and_a_new_start_begins_anew(house: House) -> None:
    await house.deploy()
    await house.policy("short", max_run_time=3 * 3600.0)
    await house.until(THURSDAY + 2 * HOUR)
    assert await house.warnings() == []
    for minutes in (50, 55):
        await house.until(THURSDAY + 2 * HOUR + timedelta(minutes=minutes))
        house.reboot()
    assert [w.actor for w in await house.warnings()] == ["policy:short"], "once, whoever was there"
    await house.until(THURSDAY + 3 * HOUR)
    assert await house.state() is State.STOPPED
    house.now += HOUR
    await house.start()
    await house.until(THURSDAY + 6 * HOUR)
    assert await house.state() is State.RUNNING
    await house.until(THURSDAY + 7 * HOUR)
    assert await house.asked() == [("policy:short", "stop"), ("admin", "start"), ("policy:short", "stop")]


async def test_a_model_that_is_used_is_not_stopped_for_being_idle(house: House) -> None:
    await house.deploy()
    await house.deploy("busy")
    await house.policy("idle", idle_after=3600.0)
    house.quiet = {"u-pat": THURSDAY + timedelta(minutes=30)}
    await house.until(THURSDAY + HOUR)
    assert await house.state() is State.RUNNING, "its last request was half an hour ago"
    await house.until(THURSDAY + 2 * HOUR)
    assert (await house.state(), await house.state("busy")) == (State.STOPPED, State.RUNNING)
    assert await house.asked() == [("policy:idle", "stop")]


# ------------------------------------------------------------------------------------------- warnings


async def test_what_only_warns_says_so_once_a_weekend_and_stops_nothing(house: House) -> None:
    await house.deploy()
    await house.policy("weekend", Mode.WARN, shutdown=WEEKEND)
    for _ in range(3):
        house.reboot()
        await house.until(at(6))
    await house.until(at(13))
    assert len(await house.warnings()) == 2
    assert (await house.state(), await house.asked()) == (State.RUNNING, [])


async def test_what_a_policy_warns_of_passes_with_a_warning_of_the_operation(house: House) -> None:
    await house.deploy()
    await house.policy("weekend", Mode.WARN, shutdown=WEEKEND)
    await house.stop()
    house.now = at(5)
    operation = await house.models.start("default", "pat", ADMIN)
    (warning,) = operation.warnings
    assert "Policy weekend of the installation keeps pat shut down" in warning
    assert [w.message for w in await house.warnings()] == [warning]


async def test_what_runs_over_a_cap_that_came_later_goes_on_and_is_told_of_once(house: House) -> None:
    await house.deploy(spec=Spec(engine=Engine.MOCK, resources=Resources(gpus=4)))
    await house.policy("cap", caps=Caps(gpus=2))
    await house.until(at(4))
    house.reboot()
    await house.until(at(5))
    assert await house.state() is State.RUNNING
    assert len(await house.warnings()) == 1
    with pytest.raises(PolicyForbids, match="2 GPU"):
        await house.models.restart("default", "pat", ADMIN)


# ------------------------------------------------------------------------------------------- protected


async def test_a_protected_model_is_ended_by_those_who_may_override_that_and_say_why(house: House) -> None:
    await house.deploy()
    await house.policy("keep", protected=True)
    await house.until(THURSDAY + HOUR)
    assert house.protected == {"u-pat"}
    operator = Principal(
        name="kim", kind=PrincipalKind.PERSON, grants=(Grant("default", Role.ADMINISTRATOR),)
    )  # fmt: skip
    kim = Caller(actor="kim", reason="why", principal=operator)
    for caller in (ADMIN, kim, Caller(actor="schedule", reason="why")):
        with pytest.raises(Refused, match="protects pat from being stopped"):
            await house.stop(caller)
    with pytest.raises(Refused, match="protects pat from being deleted"):
        await house.models.delete("default", "pat", StopMode.FORCE, 30, ADMIN)
    with pytest.raises(Forbidden):
        await house.stop(replace(kim, override=True))
    with pytest.raises(Refused):
        await house.stop(kim, StopMode.FORCE)
    await house.stop(replace(ADMIN, override=True))
    assert await house.state() is State.STOPPED


async def test_an_emergency_stop_of_an_administrator_of_the_installation_always_works(house: House) -> None:
    await house.deploy()
    await house.policy("keep", protected=True)
    done = await house.stop_many.stop(None, [], {}, StopMode.FORCE, 0, ADMIN)
    assert [one.error for one in done] == [None]
    events = (await house.store.list_events(EventQuery())).items
    assert "PolicyOverridden" in {event.type for event in events}


async def test_a_protected_model_outlives_weekends(house: House) -> None:
    await house.deploy()
    await house.policy("weekend", shutdown=WEEKEND)
    await house.policy("keep", protected=True)
    await house.until(at(14))
    assert await house.asked() == []
    await house.desk.delete("", "keep", ADMIN)
    await house.until(at(19))
    assert await house.asked() == [("policy:weekend", "stop")]


async def test_without_policies_nothing_is_looked_at(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.deploy()

    async def never(*_: object) -> None:
        raise AssertionError("models are read though no policy is for any")

    monkeypatch.setattr(house.store, "models_of", never)
    monkeypatch.setattr(house.store, "get_model_by_uid", never)
    assert await house.policing.step() is None
    house.policing.tell("u-pat")
    assert await house.policing.step() is None


async def test_after_its_tenure_it_keeps_nothing_of_what_it_is_told(house: House) -> None:
    await house.deploy()
    await house.policy("weekend", shutdown=WEEKEND)
    running = spawn(house.policing.run("", lambda uid, now: None, lambda uids: None), "policing")
    async with asyncio.timeout(10):
        while not house.policing._policies:
            await asyncio.sleep(0.01)
    await stop(running)
    house.policing.tell("u-pat")
    assert not house.policing._told
