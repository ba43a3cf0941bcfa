"""What to launch: what is missing, as far as it fits, and what the model waits for otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.domain.capacity import Claim, Grant, Room, amount_of
from modelyard.domain.failing import CRASH_LOOP
from modelyard.domain.model import Model, ModelRef, Status, Target, Waiting
from modelyard.domain.observation import Observation
from modelyard.domain.progress import View, on_canary
from modelyard.domain.spec import Strategy

# So much of what is wanted comes new at a time while old instances serve, and always one at least.
_SURGE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """``count`` new instances of ``target``; ``claim`` is what is wanted and ``grant`` what of it fits."""

    target: Target
    count: int = 0
    claim: Claim | None = None
    grant: Grant = Grant(count=0)

    @property
    def asked(self) -> bool:
        """Whether it was asked for room at all: between two tries nothing is."""
        return self.grant.count > 0 or self.grant.shortage is not None


def launch_what_fits(model: Model, status: Status, view: View, room: Room, now: datetime, *, hold: bool) -> Launch:
    """What to launch now: what is missing, as far as it fits and nothing forbids it; with ``hold`` nothing yet."""
    rollout = status.rollout
    paused = rollout is not None and rollout.paused_at is not None
    live = len(view.current) + len(view.old)
    if paused and rollout is not None:
        # A paused rollout goes neither on nor back, but what crashes meanwhile is made good.
        target, missing = rollout.before, max(min(view.want, rollout.count) - live, 0)
    elif rollout is not None and rollout.ramp is not None:
        # The old ones stay until the canary has been judged, so what crashes of them is made good, too.
        scaled = model.spec.autoscaling.target is not None and not rollout.exclusive
        old = max((view.want if scaled else min(view.want, rollout.count)) - len(view.old), 0)
        new = max(on_canary(rollout.ramp, view.want) - len(view.current), 0)
        target, missing = (rollout.before, old) if old else (status.target, new)
    else:
        target, missing = status.target, max(view.want - len(view.current), 0)
    # What fails for good is not tried again, unless others of the same target serve: then it was no such failure.
    failure = status.failure
    serves = view.ready or (paused and view.old_ready)
    blocked = failure is not None and failure.permanent and not serves
    hopeless = status.failures >= CRASH_LOOP
    waits = status.retry_at is not None and status.retry_at > now
    if not missing or blocked or (waits and hopeless):
        return Launch(target=target)
    is_old = rollout is not None and target == rollout.before
    each = rollout.each if rollout is not None and is_old else amount_of(model.target_spec.resources)
    # Between two tries the place is kept: nobody else may take it for the sake of a second.
    lost = min(status.admitted, view.want) - live
    claim = Claim(
        ref=model.ref,
        each=each,
        count=missing,
        since=_since(status, now),
        priority=model.spec.priority,
        kept=lost > 0 or (rollout is not None and status.preempted is None),
        yields=status.preempted is not None or bool(status.instances),
    )
    if waits or hold:
        return Launch(target=target, claim=claim)
    grant = room.grant(claim, now)
    count = grant.count
    if paused and rollout is not None and rollout.exclusive and view.others:
        # The crashed one may still be ending.
        count = 0
    elif takes_turns(model):
        # Old and new together are never more than are wanted.
        count = min(count, max(view.want - len(view.current) - len(view.others), 0))
    elif view.old:
        unready = len(view.current) - len(view.ready)
        count = min(count, max(math.ceil(view.want * _SURGE) - unready, 0))
    left = replace(claim, count=missing - count) if count < missing else None
    return Launch(target=target, count=count, claim=left, grant=grant)


def takes_turns(model: Model) -> bool:
    """Whether a new instance comes only after an old one has gone."""
    return model.target_spec.is_exclusive or model.spec.rollout.strategy is Strategy.REPLACE


def with_launch(status: Status, view: View, launch: Launch, now: datetime) -> Status:
    """What the launch makes of the model's place and of what it waits for."""
    return _waiting(_admitted(status, view, launch), launch, now)


def _admitted(status: Status, view: View, launch: Launch) -> Status:
    failure = status.failure
    given_up = status.failures >= CRASH_LOOP or (failure is not None and failure.permanent and not view.ready)
    if given_up and not view.current and not view.old and not launch.count:
        return replace(status, admitted=0)
    # Both sides of a surge are not twice the place.
    live = min(len(view.current) + len(view.old) + launch.count, view.want)
    return replace(status, admitted=min(max(status.admitted, live), view.want))


def _waiting(status: Status, launch: Launch, now: datetime) -> Status:
    if launch.count:
        status = replace(status, preempted=None)
    shortage = launch.grant.shortage
    if shortage is None:
        return replace(status, waiting=None)
    found = Waiting(
        since=_since(status, now),
        reason=shortage.reason,
        message=shortage.message,
        kinds=shortage.kinds,
        holders=shortage.holders,
    )
    return replace(status, waiting=found)


def _since(status: Status, now: datetime) -> datetime:
    """When it began to wait. After the clock was set back nobody has waited since a time to come."""
    return min(status.waiting.since, now) if status.waiting else now


def victims(
    model: Model, status: Status, observation: Observation, launch: Launch, room: Room, now: datetime
) -> tuple[ModelRef, ...]:
    """Who must make room, if anybody: only for a model that has nothing at all, and not for one that has just
    made room itself (the two would take turns for ever)."""
    if launch.claim is None or launch.count or observation.instances or status.preempted is not None:
        return ()
    if launch.grant.shortage is None or launch.grant.shortage.reason == "QuotaExceeded":
        return ()
    return room.victims(launch.claim, model.spec.preempt, now)
