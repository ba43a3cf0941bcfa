"""Any history that the domain's commands and the plan can write, the store takes and gives back.

This is what shows that the database's checks (state and desired run state, target and generation, one
running delete) hold for everything the domain does.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.control.ports import EventQuery
from modelyard.domain import commands, steering
from modelyard.domain.capacity import Inventory, Ledger, Room
from modelyard.domain.commands import Change
from modelyard.domain.errors import Refused
from modelyard.domain.model import Event, Failure, Instance, InstancePhase, Model, StopMode
from modelyard.domain.observation import Exit, Observation
from modelyard.domain.operations import OperationKind, cancel, settle
from modelyard.domain.plan import plan
from modelyard.store import SqlStore
from tests.store.changes import EPOCH, SPEC, after, asked, creation

WISHES = ("start", "restart", "stop", "kill", "update", "describe", "delete", "cancel")
SIGHTS = ("nothing", "ready", "starting", "failed", "broken", "no room")


async def _wish(store: SqlStore, model: Model, wish: str) -> Change:
    ask = asked()
    match wish:
        case "start":
            return commands.start(model, ask)
        case "restart":
            return commands.restart(model, ask)
        case "stop":
            return commands.stop(model, StopMode.DRAIN, 30, ask)
        case "kill":
            return commands.stop(model, StopMode.FORCE, 0, ask)
        case "update":
            return commands.update(model, replace(model.spec, options={"latency_ms": model.generation}), ask)
        case "describe":
            return commands.update(model, replace(model.spec, labels={"g": str(model.generation)}), ask)
        case "delete":
            return commands.delete(model, StopMode.FORCE, 0, None, ask)
    running = await store.running_operations(model.uid)
    if not running:
        raise Refused("nothing", "Nothing to cancel.")
    return steering.cancel_operation(model, running[0], ask)


async def _see(store: SqlStore, model: Model, sight: str) -> Change:
    """What the reconciler writes when this is what it sees."""
    now, target = asked().at, model.status.target
    one = Instance(id="i", target=target, phase=InstancePhase.READY, address="unix:/i", since=now)
    failure = Failure(code="crashed", message="It crashed.", permanent=sight == "broken", log=("last line",))
    exits = (Exit(id=str(now), target=target, at=now, failure=failure),)
    observation = {
        "ready": Observation(instances=(one,), closed={"i": 0}),
        "starting": Observation(instances=(replace(one, phase=InstancePhase.STARTING),)),
        "failed": Observation(exits=exits),
        "broken": Observation(exits=exits),
    }.get(sight, Observation())
    full = replace(model, target_spec=replace(model.target_spec, resources=replace(SPEC.resources, memory=2**30)))
    inventory = Inventory(cpu=64, memory=0 if sight == "no room" else 2**40)
    decided = plan(full, observation, Room(ledger=Ledger(inventory=inventory)), now)
    new = None if decided.gone else replace(model, status=decided.status, updated_at=now)
    events = [
        Event(
            at=now, namespace=model.namespace, model=model.name, model_uid=model.uid, type=note.type,
            reason=note.reason, message=note.message, actor="controller", data=note.data,
        )
        for note in decided.notes
    ]  # fmt: skip
    operations = [settle(o, new, now) for o in await store.running_operations(model.uid)]
    given_up = ((target.generation, failure),) if new is not None and sight == "broken" else ()
    return Change(before=model, after=new, given_up=given_up, operations=tuple(operations), events=tuple(events))


async def _with_one_delete(store: SqlStore, model: Model, change: Change) -> Change:
    """A second delete takes the place of the first."""
    if not any(o.kind is OperationKind.DELETE for o in change.operations):
        return change
    first = [o for o in await store.running_operations(model.uid) if o.kind is OperationKind.DELETE]
    ended = tuple(cancel(o, EPOCH, "Superseded.") for o in first)
    fresh = tuple(o for o in change.operations if o.id not in {e.id for e in ended})
    return replace(change, operations=(*ended, *fresh))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(st.sampled_from(WISHES + SIGHTS), min_size=5, max_size=30),
    desired=st.sampled_from(["running", "stopped"]),
)
async def test_any_history_is_stored_and_read_back(store: SqlStore, steps: list[str], desired: str) -> None:
    change = creation(desired=desired)
    name = after(change).uid
    model: Model | None = after(await store.commit(replace(change, after=replace(after(change), name=name))))
    specs, failed, events = {1: SPEC}, set[int](), await store.last_event_id()
    for step in steps:
        assert model is not None
        try:
            change = await (_wish if step in WISHES else _see)(store, model, step)
        except Refused:
            continue
        if step == "delete":
            change = await _with_one_delete(store, model, change)
        written = await store.commit(change)
        if change.revision is not None:
            specs[change.revision.generation] = change.revision.spec
        failed |= {generation for generation, _ in change.given_up}
        assert await store.get_model("default", name) == written.after
        for operation in change.operations:
            assert await store.get_operation(operation.id) == operation
        assert [e.id for e in written.events] == list(range(events + 1, events + 1 + len(change.events)))
        events += len(change.events)
        model = written.after
        if model is None:
            assert await store.running_operations(name) == []
            assert await store.list_revisions(name) == []
            break
        revisions = await store.list_revisions(name)
        assert {r.generation: r.spec for r in revisions} == specs
        assert {r.generation for r in revisions if r.failure is not None} == failed
        assert model.target_spec == specs[model.status.target.generation]
    history = (await store.list_events(EventQuery(model_uid=name, page_size=1000))).items
    assert history[-1].type == "Created"
