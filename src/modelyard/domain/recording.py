"""What the record of who did what says of a change: of the fields that it changed, and of what the house decided by
itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from modelyard.domain.actions import CONTROLLER
from modelyard.domain.audit import ActorKind, Outcome, Record
from modelyard.domain.bulk import Bulk, BulkAction, Item
from modelyard.domain.commands import Change
from modelyard.domain.differing import differing
from modelyard.domain.errors import ModelyardError, Unavailable
from modelyard.domain.masking import masked, scrubbed
from modelyard.domain.model import Event, Model
from modelyard.domain.operations import OperationKind, OperationState
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
# What happens is told by events; these are nobody's decision.
_HAPPENINGS: Final = frozenset({
    "StateChanged", "InstanceFailed", "Released", "CanaryServes", "UpdateFailed", "LeftoverInstance",
    "StatusUnreadable", "PolicyAction", "PolicyWarning", "ScheduleCaughtUp", "ScheduleRecovered",
    "SiteDown", "SiteSilent",
})  # fmt: skip
# Decisions by their events, called as the API calls the same; of commands see _action.
_ACTIONS: Final[Mapping[str, str]] = {
    "Created": "models.deploy",
    "SpecChanged": "models.update",
    "Woken": "models.wake",
    "RolledBack": "models.rollback",
    "RolloutForced": "models.force_rollout",
    "RolloutPaused": "models.pause_rollout",
    "RolloutResumed": "models.resume_rollout",
    "CanaryPromoted": "models.promote_canary",
    "CanarySet": "models.set_canary",
    "CanaryStep": "models.step_canary",
    "CannotFollow": "models.follow_alias",
    "ScheduleFailed": "models.follow_schedule",
    "ScheduleSaved": "models.set_schedule",
    "ScheduleRemoved": "models.remove_schedule",
    "ScheduleEnabled": "models.enable_schedule",
    "ScheduleDisabled": "models.disable_schedule",
    "ScheduleExtended": "models.extend_schedule",
    "ScheduleExtensionEnded": "models.end_extension",
    "PolicyOverridden": "models.override_policy",
    "PolicyOverrideSet": "models.set_override",
    "PolicyOverrideDeleted": "models.end_override",
    "PolicySet": "policies.set",
    "PolicyDeleted": "policies.delete",
    "ModelRegistered": "registered_models.create",
    "RegisteredModelChanged": "registered_models.update",
    "RegisteredModelDeleted": "registered_models.delete",
    "RegisteredModelRestored": "registered_models.restore",
    "RegisteredModelPurged": "registered_models.purge",
    "VersionPublished": "versions.publish",
    "VersionChanged": "versions.update",
    "VersionDeleted": "versions.delete",
    "VersionRestored": "versions.restore",
    "VersionPurged": "versions.purge",
    "VersionSigned": "versions.sign",
    "AliasMoved": "aliases.set",
    "AliasRemoved": "aliases.remove",
    "KeyTrusted": "signing_keys.trust",
    "KeyRevoked": "signing_keys.revoke",
    "SignaturesRequired": "signatures.require",
    "SignaturesNotRequired": "signatures.require",
    "SiteChanged": "doctor.clear",
}
# Nobody refuses; it could not be done.
_TROUBLE: Final = frozenset({ModelyardError.code, Unavailable.code, "busy"})
# What was tried and did not succeed.
_FAILURES: Final = frozenset({"CannotFollow", "ScheduleFailed"})
# Changes of state that are decisions, by the reason of their transition.
_DECIDED_STATES: Final[Mapping[str, str]] = {"Unused": "models.idle", "Preempted": "models.preempt"}
_SCALE: Final = "models.scale"
# All that is on record without a request.
BY_ITSELF: Final = (
    *(f"models.{kind}" for kind in OperationKind if kind is not OperationKind.BULK),
    *_ACTIONS.values(),
    *_DECIDED_STATES.values(),
    _SCALE,
)


def kind_of(actor: str) -> ActorKind:
    """What acts under this name, where nobody has shown who it is."""
    if actor.startswith(_POLICY):
        return ActorKind.POLICY
    if actor.startswith(_KEY):
        return ActorKind.KEY
    return _KINDS.get(actor, ActorKind.PERSON)


def thing_of(action: str) -> str:
    """What an action is done to: ``model``, ``policy``, ``alias``."""
    things = action.partition(".")[0]
    if things.endswith("ies"):
        return f"{things[:-3]}y"
    return things.removesuffix("es") if things.endswith("ses") else things.removesuffix("s")


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
            yield _decided(event, decided, change, actor=AUTOSCALER if idles else event.actor)
        elif event.type not in _HAPPENINGS:
            yield _decided(event, _action(event.type), change)
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
            yield _decided(event, _action(event.type), None)


def refused_of_many(many: Bulk, item: Item, at: datetime) -> Record:
    """Of a request on many models: one that was not done, when its turn had come."""
    operation, order = many.operation, many.order
    action = {
        BulkAction.LABEL: _ACTIONS["SpecChanged"],
        BulkAction.SCHEDULE: f"models.{order.schedule_edit}_schedule",
    }.get(order.action, f"models.{order.action}")
    return Record(
        at=at, actor=operation.actor, actor_kind=kind_of(operation.actor), action=action,
        namespace=item.model.namespace, kind="model", name=item.model.name, reason=scrubbed(operation.reason),
        outcome=Outcome.FAILED if item.code in _TROUBLE else Outcome.REFUSED, code=item.code,
        change={"operation": operation.id, "message": scrubbed(item.message)},
    )  # fmt: skip


def _decided(event: Event, action: str, change: Change | None, actor: str | None = None) -> Record:
    actor = event.actor if actor is None else actor
    said = {} if change is None else changed(change)
    if change is None or not said:
        said |= told([event])
    failed = event.type in _FAILURES
    return Record(
        at=event.at, actor=actor, actor_kind=kind_of(actor), action=action, namespace=event.namespace,
        kind=thing_of(action), name=event.model,
        reason=scrubbed(event.reason if event.reason != event.type else event.message),
        outcome=Outcome.FAILED if failed else Outcome.DONE, code=str(event.data.get("code", "")) if failed else "",
        change=said,
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
        at=scale.changed_at, actor=AUTOSCALER, actor_kind=ActorKind.AUTOSCALER, action=_SCALE,
        namespace=after.namespace, kind="model", name=after.name, reason=scrubbed(scale.reason),
        change={"fields": {"instances": {"before": count, "after": scale.desired}}},
    )  # fmt: skip


def _action(event_type: str) -> str:
    """``StartRequested`` is ``models.start``."""
    if event_type in _ACTIONS:
        return _ACTIONS[event_type]
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in event_type.removesuffix("Requested"))
    return f"models.{words.removeprefix('_')}"
