"""What the record of who did what says of a change: of the fields that it changed, and of what the house decided by
itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from modelyard.domain.actions import CONTROLLER
from modelyard.domain.audit import ActorKind, Outcome, Record
from modelyard.domain.commands import Change
from modelyard.domain.differing import differing
from modelyard.domain.masking import masked, scrubbed
from modelyard.domain.model import Event, Model
from modelyard.domain.operations import OperationState
from modelyard.domain.states import State

AUTOSCALER: Final = "autoscaler"
_POLICY: Final = "policy:"
_KEY: Final = "key:"
_KINDS: Final[Mapping[str, ActorKind]] = {
    "admin": ActorKind.ADMINISTRATOR,
    "schedule": ActorKind.SCHEDULE,
    AUTOSCALER: ActorKind.AUTOSCALER,
    "gateway": ActorKind.AUTOSCALER,  # it wakes models
    CONTROLLER: ActorKind.CONTROLLER,
    "registry": ActorKind.CONTROLLER,  # it has models follow their aliases
    "policy": ActorKind.POLICY,
}
# What happens to a model is told by events; these are nobody's decision.
_HAPPENINGS: Final = frozenset({"StateChanged", "InstanceFailed", "Released", "CanaryServes"})
_OF_REGISTRY: Final = ("ModelRegistered", "RegisteredModel", "Version", "Alias", "Key", "Signature")
# Decisions as the API calls the same.
_ACTIONS: Final[Mapping[str, str]] = {"Created": "create", "SpecChanged": "update", "Woken": "wake"}
# Changes of state that are decisions, by the reason of their transition.
_DECIDED_STATES: Final[Mapping[str, str]] = {"Unused": "idle", "Preempted": "preempt"}


def kind_of(actor: str) -> ActorKind:
    """What acts under this name, where nobody has shown who it is."""
    if actor.startswith(_POLICY):
        return ActorKind.POLICY
    if actor.startswith(_KEY):
        return ActorKind.KEY
    return _KINDS.get(actor, ActorKind.PERSON)


def changed(change: Change) -> dict[str, Any]:
    """What ``change`` made different: each field of the wish with its values before and after, and the operation."""
    found: dict[str, Any] = {}
    before, after = change.before, change.after
    fields = _fields(before, after) if before is not None and after is not None else {}
    if change.schedule is not None:
        old, new = change.schedule.before, change.schedule.after
        fields |= fields_of("schedule", old and old.schedule, new and new.schedule)
        fields |= fields_of("schedule.extension", old and old.extension, new and new.extension)
    if fields:
        found["fields"] = fields
    begun = [o for o in change.operations if o.state is not OperationState.FAILED]
    if begun:
        found["operation"] = begun[-1].id
    if after is not None and (before is None or before.generation != after.generation):
        found["generation"] = after.generation
    return found


def fields_of(path: str, before: object, after: object) -> dict[str, Any]:
    """Each field at or below ``path`` in which two values differ, with both."""
    return {
        at: {"before": masked(old, at), "after": masked(new, at)} for at, old, new in differing(path, before, after)
    }


def _fields(before: Model, after: Model) -> dict[str, Any]:
    found = {} if before.spec is after.spec else fields_of("spec", before.spec, after.spec)
    if before.desired is not after.desired:
        found["desired"] = {"before": str(before.desired), "after": str(after.desired)}
    return found


def told(events: Iterable[Event]) -> dict[str, Any]:
    """What events say of a change."""
    return {event.type: masked(event.data) for event in events}


def decisions(change: Change) -> Iterator[Record]:
    """What of a change that no request has made is somebody's decision: a command of a schedule or a policy, scaling,
    going idle, waking, going back, making room; and the operations that came to nothing."""
    for event in change.events:
        if event.type == "StateChanged" and (decided := _DECIDED_STATES.get(event.reason)) is not None:
            idles = event.data.get("to") == State.IDLE
            yield _decided(event, f"models.{decided}", change, actor=AUTOSCALER if idles else event.actor)
        elif event.type not in _HAPPENINGS:
            yield _decided(event, f"models.{_action(event.type)}", change)
    if (scaled := _scaled(change)) is not None:
        yield scaled
    for operation in change.operations:
        if operation.state is OperationState.FAILED and operation.error is not None:
            yield Record(
                at=operation.updated_at, actor=operation.actor, actor_kind=kind_of(operation.actor),
                action=f"models.{operation.kind}", namespace=operation.namespace, kind="model", name=operation.model,
                reason=scrubbed(operation.reason), outcome=Outcome.FAILED, code=str(operation.error.get("code", "")),
                change={"operation": operation.id},
            )  # fmt: skip


def happenings(events: Iterable[Event]) -> Iterator[Record]:
    """As :func:`decisions`, of events that come without a model's change: those of the registry, and of policies."""
    for event in events:
        if event.type not in _HAPPENINGS:
            part = "registry" if event.type.startswith(_OF_REGISTRY) else "models"
            yield _decided(event, f"{part}.{_action(event.type)}", None)


def _decided(event: Event, action: str, change: Change | None, actor: str | None = None) -> Record:
    actor = event.actor if actor is None else actor
    said = {} if change is None else changed(change)
    if change is None or not said:
        said |= told([event])
    return Record(
        at=event.at, actor=actor, actor_kind=kind_of(actor), action=action, namespace=event.namespace,
        kind="registry" if action.startswith("registry.") else "model", name=event.model,
        reason=scrubbed(event.reason if event.reason != event.type else event.message), change=said,
    )  # fmt: skip


def _scaled(change: Change) -> Record | None:
    before, after = change.before, change.after
    if before is None or after is None or after.status.scale is None or after.status.scale.suspended:
        return None
    scale, had = after.status.scale, before.status.scale
    count = before.spec.base if had is None else had.desired
    if scale == had or scale.desired == count:
        return None
    return Record(
        at=scale.changed_at, actor=AUTOSCALER, actor_kind=ActorKind.AUTOSCALER, action="models.scale",
        namespace=after.namespace, kind="model", name=after.name, reason=scrubbed(scale.reason),
        change={"fields": {"instances": {"before": count, "after": scale.desired}}},
    )  # fmt: skip


def _action(event_type: str) -> str:
    """``StartRequested`` is ``start``, ``RolledBack`` is ``rolled_back``."""
    if event_type in _ACTIONS:
        return _ACTIONS[event_type]
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in event_type.removesuffix("Requested"))
    return words.removeprefix("_")
