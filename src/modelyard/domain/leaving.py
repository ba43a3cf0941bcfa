"""Who leaves: what is too much, what is replaced, what must make room; and when each may end."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from modelyard.domain.actions import TERMINATE_GRACE, Converge
from modelyard.domain.capacity import Room, add_up
from modelyard.domain.launching import Launch, takes_turns
from modelyard.domain.model import Instance, InstancePhase, Leaving, Model, Status, Target
from modelyard.domain.observation import Observation
from modelyard.domain.progress import View
from modelyard.domain.spec import Strategy

# How long a replaced instance may finish what it has in flight.
REPLACE_DRAIN = timedelta(seconds=30)


def to_leave(status: Status, view: View, making_room: int) -> tuple[Instance, ...]:
    """Those that get no new request and end once they are drained; so many of the old ones ``making_room``."""
    doomed = tuple(i for i in view.doomed if i.phase is not InstancePhase.TERMINATING)
    rollout = status.rollout
    if rollout is not None and rollout.paused_at is not None:
        return doomed
    if rollout is not None and rollout.forced:
        return doomed + view.surplus + view.old
    if rollout is not None and rollout.ramp is not None:
        # Until the canary has been judged all the old ones stay, so that going back costs nothing.
        return doomed + view.surplus + view.old[: max(len(view.old) - view.want, 0)]
    # Each new instance that is ready takes the place of an old one.
    keep = max(view.want - len(view.ready), 0)
    # What has never served has nothing to finish.
    unready = sum(1 for i in view.old if i.phase is not InstancePhase.READY)
    retire = max(len(view.old) - keep, unready, making_room)
    return doomed + view.surplus + view.old[:retire]


def make_room(model: Model, status: Status, view: View, launch: Launch, room: Room, now: datetime) -> int:
    """How many old instances go before the next new one can come."""
    if not view.old or len(view.current) + launch.count >= view.want:
        return 0
    if status.rollout is not None and status.rollout.ramp is not None:
        return 0
    if launch.count or launch.claim is None or any(i.phase is not InstancePhase.READY for i in view.current):
        # One step at a time: the next when this one serves.
        return 0
    going = [i for i in view.others if i.phase is InstancePhase.TERMINATING]
    if going:
        return 0
    if takes_turns(model):
        # Where a place is free already, or nothing is launched before a while, nobody has to go for it.
        full = len(view.current) + len(view.others) >= view.want
        return 1 if full and launch.asked else 0
    if model.spec.rollout.strategy is Strategy.SURGE or launch.grant.shortage is None:
        return 0
    one = replace(launch.claim, count=1)
    for count in range(1, len(view.old) + 1):
        given_back = add_up(i.held for i in view.old[:count])
        if room.grant(one, now, given_back=given_back).count:
            return count
    return 0


def with_strategy(model: Model, status: Status, view: View, launch: Launch, making_room: int) -> Status:
    """What the rollout has turned out to do."""
    rollout = status.rollout
    if rollout is None or rollout.paused_at is not None or not view.old:
        return status
    if making_room or takes_turns(model):
        return replace(status, rollout=replace(rollout, strategy=str(Strategy.REPLACE)))
    if launch.count:
        return replace(status, rollout=replace(rollout, strategy=str(Strategy.SURGE)))
    return status


def leaving_since(status: Status, leaving: tuple[Instance, ...], now: datetime) -> tuple[Leaving, ...]:
    """Each with the time at which its door was closed, which nothing that leaves later moves."""
    known = {one.id: one.since for one in status.leaving}
    return tuple(Leaving(id=i.id, since=min(known.get(i.id, now), now)) for i in leaving)


def may_end(status: Status, leaving: tuple[Instance, ...], observation: Observation, now: datetime) -> frozenset[str]:
    """Those of the leaving instances that may go now: each once it is drained or its time is up."""
    deadlines = {one.id: one.since + REPLACE_DRAIN for one in status.leaving}
    deadlines |= {d.id: d.request.deadline for d in status.doomed}
    return frozenset(
        i.id
        for i in leaving
        if i.phase is not InstancePhase.READY or observation.is_drained(i) or now >= deadlines[i.id]
    )


def converge(
    target: Target, instances: tuple[Instance, ...], ended: frozenset[str], launch: int, grace: float = TERMINATE_GRACE
) -> Converge:
    """Everything that lives and is not to end, and so many new ones of the target."""
    counts = {target: launch}
    for instance in instances:
        if instance.phase is not InstancePhase.TERMINATING and instance.id not in ended:
            counts[instance.target] = counts.get(instance.target, 0) + 1
    return Converge(
        tuple((t, n) for t, n in sorted(counts.items()) if n),
        launch=target if launch else None,
        surplus=tuple(sorted(ended)),
        grace=grace,
    )
