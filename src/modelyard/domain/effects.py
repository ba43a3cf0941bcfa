"""What a change of each field of a spec does to a model that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from modelyard.domain.differing import differing
from modelyard.domain.spec import Spec


class Effect(StrEnum):
    """From the mildest to the strongest."""

    METADATA = "metadata"  # nothing is interrupted
    FEATURES = "features"  # nothing is interrupted
    AUTOSCALING = "autoscaling"  # instances come or go, none is restarted
    CONTAINER = "container"  # new instances; the caller must acknowledge the restart
    ROLLOUT = "rollout"  # new instances by the rollout's strategy

    @property
    def replaces(self) -> bool:
        """Whether instances are replaced."""
        return self in (Effect.CONTAINER, Effect.ROLLOUT)


# Every field of a spec, by its first name; see :func:`effect_of`.
EFFECTS: Mapping[str, Effect] = {
    "description": Effect.METADATA,
    "labels": Effect.METADATA,
    "follow": Effect.METADATA,
    "groups": Effect.METADATA,
    "public": Effect.METADATA,
    "limits": Effect.METADATA,
    "type": Effect.METADATA,
    "priority": Effect.METADATA,
    "preempt": Effect.METADATA,
    "pin": Effect.METADATA,
    "rollout": Effect.METADATA,
    "traffic": Effect.METADATA,
    "features": Effect.FEATURES,
    "replicas": Effect.AUTOSCALING,
    "autoscaling": Effect.AUTOSCALING,
    "container": Effect.CONTAINER,
    "engine": Effect.ROLLOUT,
    "source": Effect.ROLLOUT,
    "artifact": Effect.ROLLOUT,
    "options": Effect.ROLLOUT,
    "resources": Effect.ROLLOUT,
    "trusted": Effect.ROLLOUT,
    "backend": Effect.ROLLOUT,
    "unresolved": Effect.ROLLOUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field that differs, by its path in the spec; a value that is not there is None."""

    path: str
    before: Any
    after: Any
    effect: Effect


def changes(old: Spec, new: Spec) -> tuple[FieldChange, ...]:
    """Every field that differs, in the order of the spec."""
    found = []
    for part in fields(Spec):
        effect = effect_of(part.name, old, new)
        for path, before, after in differing(part.name, getattr(old, part.name), getattr(new, part.name)):
            found.append(FieldChange(path=path, before=before, after=after, effect=effect))
    return tuple(found)


def needs_new_instances(old: Spec, new: Spec) -> bool:
    """Whether going from ``old`` to ``new`` replaces instances, or only changes what stands beside them."""
    if old is new:
        # As of nearly every model of a page.
        return False
    return any(effect_of(n, old, new).replaces and getattr(old, n) != getattr(new, n) for n in EFFECTS)


def effect_of(name: str, old: Spec, new: Spec) -> Effect:
    """What a change of the field ``name`` does, going from ``old`` to ``new``."""
    if name == "source" and old.artifact is not None and old.artifact == new.artifact:
        # Other words for the same bytes.
        return Effect.METADATA
    return EFFECTS[name]
