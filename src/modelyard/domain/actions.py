"""What a plan is made of: actions for the backend, notes for the history, and the status that goes with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelyard.domain.capacity import Claim
from modelyard.domain.model import ModelRef, Status, Target
from modelyard.domain.observation import Observation

CONTROLLER = "controller"
# From the polite signal to the kill, once nothing is in flight any more (seconds).
TERMINATE_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Converge:
    """Have these instances: so many of each target, besides those named in ``surplus``, which are to end; end
    these and all others within ``grace`` seconds. Only of ``launch`` new ones are launched: what has ended of
    another target since it was counted is for the next pass."""

    members: tuple[tuple[Target, int], ...]
    launch: Target | None = None
    surplus: tuple[str, ...] = ()
    grace: float = TERMINATE_GRACE


@dataclass(frozen=True, slots=True)
class Release:
    """End every instance: ask, and kill what is left after ``grace`` seconds (0: kill now)."""

    grace: float


@dataclass(frozen=True, slots=True)
class Forget:
    """These ended instances have been counted; stop reporting them."""

    exits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Remove:
    """Nothing is left: forget the model in the backend."""


Action = Converge | Release | Forget | Remove


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth an event."""

    type: str
    reason: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What follows. ``serving`` are the ids of the instances that requests may go to; ``claim`` is what
    the model still waits for and ``preempts`` the models that it asks to make room; ``gone`` says that a
    deleted model has left nothing behind and its record may go too."""

    status: Status
    actions: tuple[Action, ...] = ()
    serving: tuple[str, ...] = ()
    wake_at: datetime | None = None
    notes: tuple[Note, ...] = ()
    claim: Claim | None = None
    preempts: tuple[ModelRef, ...] = ()
    gone: bool = False


def forget(observation: Observation) -> tuple[Action, ...]:
    """The acknowledgement of every exit that was observed."""
    return (Forget(tuple(e.id for e in observation.exits)),) if observation.exits else ()
