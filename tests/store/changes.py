"""Changes for the tests to commit: made by the domain's own commands, with ids that never repeat."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from modelyard.domain import commands
from modelyard.domain.commands import Asked, Change
from modelyard.domain.model import Event, Model, StopMode
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import RunState
from modelyard.store import SqlStore

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
SPEC = Spec(engine=Engine.MOCK)

_ids = itertools.count(1)


def asked(at: datetime | None = None) -> Asked:
    """A second later with every call, unless ``at`` says when."""
    number = next(_ids)
    return Asked(
        actor="tester",
        reason="test",
        at=at or EPOCH + timedelta(seconds=number),
        operation_id=f"op-{number:06}",
    )


def creation(name: str = "m", spec: Spec = SPEC, *, namespace: str = "default", desired: str = "running") -> Change:
    return commands.create(f"uid-{next(_ids):06}", namespace, name, spec, RunState(desired), asked())


async def created(store: SqlStore, name: str = "m", spec: Spec = SPEC, **options: str) -> Model:
    return after(await store.commit(creation(name, spec, **options)))


def stop(model: Model) -> Change:
    return commands.stop(model, StopMode.DRAIN, 30.0, asked())


def after(change: Change) -> Model:
    assert change.after is not None
    return change.after


def event(model: Model, type_: str = "Tested") -> Event:
    return Event(
        at=EPOCH, namespace=model.namespace, model=model.name, model_uid=model.uid, type=type_, reason="test",
        message="A test.", actor="tester",
    )  # fmt: skip
