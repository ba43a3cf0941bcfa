"""How a status says what it is: moves between states, and the conditions beside them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from modelyard.domain.model import Condition, ConditionType, Status, Transition
from modelyard.domain.states import State


def moved(status: Status, state: State, now: datetime, actor: str, reason: str, message: str) -> Status:
    """In ``state``, with the transition that led there; unchanged when it is there already."""
    if status.state is state:
        return status
    transition = Transition(before=status.state, after=state, at=now, actor=actor, reason=reason, message=message)
    return replace(status, state=state, transition=transition)


def with_conditions(
    status: Status,
    now: datetime,
    *,
    ready: tuple[str, str],
    serving: bool = False,
    progressing: tuple[str, str] | None = None,
    degraded: tuple[str, str] | None = None,
) -> Status:
    """Set all conditions; one whose status stays keeps the time at which it last changed. Each is a reason
    and a message; what the model waits for (``status.waiting``) says whether capacity is there."""
    waiting = status.waiting
    wanted = [
        (ConditionType.READY, serving, *ready),
        (ConditionType.PROGRESSING, progressing is not None, *(progressing or ("Settled", ""))),
        (ConditionType.DEGRADED, degraded is not None, *(degraded or ("Healthy", ""))),
        (
            ConditionType.CAPACITY_AVAILABLE,
            waiting is None,
            waiting.reason if waiting else "Fits",
            waiting.message if waiting else "",
        ),
    ]
    conditions = []
    for kind, value, reason, message in wanted:
        old = status.condition(kind)
        since = old.since if old and old.status is value else now
        conditions.append(Condition(type=kind, status=value, reason=reason, message=message, since=since))
    return replace(status, conditions=tuple(conditions))
