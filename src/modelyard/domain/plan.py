"""The heart: from a model, what is observed, the room there is and the time, to what to do next.

:func:`plan` is pure and total. The loop that calls it pushes the route, writes the returned status (with its
events, in one transaction), and then carries out the actions, each of which is idempotent: a
crash between any two of them is repaired by planning again.
"""

from __future__ import annotations

from datetime import datetime

from modelyard.domain.actions import Plan
from modelyard.domain.capacity import Room
from modelyard.domain.model import Model
from modelyard.domain.observation import Observation
from modelyard.domain.release import plan_release
from modelyard.domain.run import plan_run
from modelyard.domain.states import RunState


def plan(model: Model, observation: Observation, room: Room, now: datetime) -> Plan:
    """Decide what to do about ``model`` next.

    Args:
        model: the wish and the status last written.
        observation: one look at the backend and the gateway, taken after that write.
        room: what the site has left, and who else wants it.
        now: the time, aware.
    """
    if model.desired is RunState.STOPPED:
        return plan_release(model, observation, now)
    return plan_run(model, observation, room, now)
