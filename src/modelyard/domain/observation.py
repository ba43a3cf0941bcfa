"""What the world looks like to a plan: instances that live, instances that ended, drained ones, room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from modelyard.domain.model import DrainReport, Failure, Instance, Target
from modelyard.domain.quantities import format_bytes
from modelyard.domain.spec import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """An instance that ended without being asked to. Reported until the backend is told to forget it."""

    id: str
    target: Target
    at: datetime
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look at a model's backend and its traffic.

    ``instances`` holds every instance of which anything is left, terminating ones included: an empty
    tuple is the backend's word that nothing is left. ``closed`` are the instances that the gateway has
    confirmed to send nothing new to, with the number of requests still in flight in each.
    """

    instances: tuple[Instance, ...] = ()
    exits: tuple[Exit, ...] = ()
    closed: Mapping[str, int] = field(default_factory=dict)
    drain: DrainReport = DrainReport()

    def is_drained(self, instance: Instance) -> bool:
        return self.closed.get(instance.id) == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the backend has and what all models' instances hold of it. Memory in bytes."""

    memory: int
    memory_held: int = 0

    def shortage(self, resources: Resources, count: int, *, given_back: int = 0) -> str | None:
        """Why ``count`` more instances do not fit, even with ``given_back`` bytes more; None when they do."""
        need = (resources.memory or 0) * count
        free = self.memory - self.memory_held + given_back
        if need <= free:
            return None
        return (
            f"{format_bytes(need)} of memory needed, {format_bytes(max(free, 0))} free of {format_bytes(self.memory)}"
        )
