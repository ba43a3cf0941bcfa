"""What the world looks like to a plan: instances that live, instances that ended, drained ones, requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from modelyard.domain.canary import Evidence
from modelyard.domain.model import DrainReport, Failure, Instance, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """An instance that ended without being asked to. Reported until the backend is told to forget it."""

    id: str
    target: Target
    at: datetime
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What callers want of a model, as the gateway has seen it.

    ``average`` is the metric of the model's autoscaling (requests in flight, or a second) over its window, all
    instances together, and ``peak`` the highest such average within its scale-down delay; both None while
    they are not known for so long. ``quiet_since``: since when there has been no request, None while there is
    one or when that is not known. ``waiting``: requests held until the model serves.
    """

    average: float | None = None
    peak: float | None = None
    quiet_since: datetime | None = None
    waiting: int = 0


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
    demand: Demand = Demand()
    canary: Evidence | None = None

    def is_drained(self, instance: Instance) -> bool:
        return self.closed.get(instance.id) == 0
