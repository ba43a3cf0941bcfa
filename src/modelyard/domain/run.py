"""Running: which instances there should be, in which order they come and go, and when to give up.

One pass sorts the instances (:class:`View`), works out how many more may be launched (``_launch``) and which
must leave (``_leaving``), and says what that makes of the model (:mod:`modelyard.domain.progress`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelyard.domain.actions import TERMINATE_GRACE, Action, Converge, Note, Plan, forget
from modelyard.domain.capacity import Claim, Grant, Room, add_up, amount_of
from modelyard.domain.failing import (
    CRASH_LOOP,
    STABLE_AFTER,
    count_failures,
    forgive,
    give_up,
)
from modelyard.domain.model import (
    Instance,
    InstancePhase,
    Model,
    ModelRef,
    Preempted,
    Status,
    StopMode,
    Target,
    Waiting,
)
from modelyard.domain.observation import Observation
from modelyard.domain.progress import View, asleep, awake, queued, run_state
from modelyard.domain.scaling import idle_at, wanted
from modelyard.domain.spec import Preempt, Strategy
from modelyard.domain.states import State

# How long a replaced instance may finish what it has in flight.
REPLACE_DRAIN = timedelta(seconds=30)
# So much of what is wanted comes new at a time while old instances serve, and always one at least.
_SURGE = 0.25
# What nobody tells of is looked for this often: whether a model has become unused, or a quota was raised.
_LOOK_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Launch:
    """``count`` new instances of ``target``; ``claim`` is what is wanted and ``grant`` what of it fits."""

    target: Target
    count: int = 0
    claim: Claim | None = None
    grant: Grant = Grant(count=0)


def plan_run(model: Model, observation: Observation, room: Room, now: datetime) -> Plan:
    """What a model that is to run does next."""
    status = replace(model.status, instances=observation.instances, stop=None, peak=None)
    present = {i.id for i in observation.instances}
    doomed = (replace(d, request=d.request.not_after(now)) for d in status.doomed if d.id in present)
    status = replace(status, doomed=tuple(doomed))
    status, notes = count_failures(status, observation, now)
    sleeps = status.state is State.IDLE and model.spec.autoscaling.idle_after is not None
    if sleeps and not observation.demand.waiting:
        return _empty(asleep(status, now), observation, now, notes)
    status, woken = awake(status, observation.demand, now)
    status = _preempted(model, status, observation, room, now)
    if status.preempted is not None and observation.instances:
        return _empty(queued(status, now), observation, now, notes)
    return _run(model, status, observation, room, now, notes + woken)


def _run(
    model: Model, status: Status, observation: Observation, room: Room, now: datetime, notes: tuple[Note, ...]
) -> Plan:
    # Replicas are no reason for new instances, so they are read from the newest spec.
    mine = tuple(i for i in observation.instances if i.target == status.target and i.phase is InstancePhase.READY)
    scale = wanted(model, observation.demand, mine, now)
    status = replace(status, scale=scale.scale)
    # An update that asked for more of another kind may have gone back to one that lives once.
    want = 1 if model.target_spec.is_exclusive else scale.count
    view = View.of(status, observation.instances, want)
    status = _progressed(status, view, now)
    status, went_back = give_up(model.spec.rollout.progress_deadline, status, now)
    if went_back:
        # The specs at hand are those of the target that was just given up: the next pass has the right ones.
        view = View.of(status, observation.instances, want)
    status = forgive(status, view.ready, view.want, now)

    launch = _launch(model, status, view, room, now, hold=bool(went_back))
    making_room = _make_room(model, view, launch, room, now)
    leaving = _leaving(status, view, making_room)
    status = _with_strategy(model, status, view, launch, making_room)
    status = replace(status, replacing_since=(status.replacing_since or now) if leaving else None)
    ended = _ended(status, leaving, observation, now)
    actions = forget(observation)
    if launch.count or ended:
        forced = {d.id for d in status.doomed if d.request.mode is StopMode.FORCE}
        grace = 0.0 if ended and ended <= forced else TERMINATE_GRACE
        actions = (*actions, _converge(launch.target, observation.instances, ended, launch.count, grace))
    status = _admitted(status, view, launch)
    status = _waiting(status, launch, now)
    gone = {i.id for i in leaving} | ended
    serving = tuple(i.id for i in view.ready + view.old_ready if i.id not in gone)
    before = model.status
    status = run_state(before, status, view, now)
    sleep_at = idle_at(model, observation.demand, view.ready) if status.state is State.RUNNING else None
    if sleep_at is not None and sleep_at <= now and view.settled:
        return _empty(asleep(status, now), observation, now, notes)
    return Plan(
        status=status,
        actions=actions,
        serving=serving,
        wake_at=now if went_back else _wake_at(model, status, view, launch, [scale.wake_at, sleep_at], now),
        notes=notes + went_back,
        claim=launch.claim,
        preempts=_victims(model, status, observation, launch, room, now),
    )


# ------------------------------------------------------------------------------------------ launching


def _launch(model: Model, status: Status, view: View, room: Room, now: datetime, *, hold: bool) -> _Launch:
    """What to launch now: what is missing, as far as it fits and nothing forbids it; with ``hold`` nothing yet."""
    rollout = status.rollout
    paused = rollout is not None and rollout.paused_at is not None
    live = len(view.current) + len(view.old)
    if paused and rollout is not None:
        # A paused rollout goes neither on nor back, but what crashes meanwhile is made good.
        target, missing = rollout.before, max(min(view.want, rollout.count) - live, 0)
    else:
        target, missing = status.target, max(view.want - len(view.current), 0)
    # What fails for good is not tried again, unless others of the same target serve: then it was no such failure.
    failure = status.failure
    blocked = failure is not None and failure.permanent and not view.ready and not paused
    hopeless = status.failures >= CRASH_LOOP
    waits = status.retry_at is not None and status.retry_at > now
    if not missing or blocked or (waits and hopeless):
        return _Launch(target=target)
    each = rollout.each if paused and rollout is not None else amount_of(model.target_spec.resources)
    # Between two tries the place is kept: nobody else may take it for the sake of a second.
    lost = min(status.admitted, view.want) - live
    claim = Claim(
        ref=model.ref,
        each=each,
        count=missing,
        since=_since(status, now),
        priority=model.spec.priority,
        kept=lost > 0 or rollout is not None,
        gave_way=status.preempted is not None,
    )
    if waits or hold:
        return _Launch(target=target, claim=claim)
    grant = room.grant(claim, now)
    count = grant.count
    if _replaces(model):
        # Old and new together are never more than are wanted.
        count = min(count, max(view.want - len(view.current) - len(view.others), 0))
    elif view.old:
        unready = len(view.current) - len(view.ready)
        count = min(count, max(math.ceil(view.want * _SURGE) - unready, 0))
    left = replace(claim, count=missing - count) if count < missing else None
    return _Launch(target=target, count=count, claim=left, grant=grant)


def _replaces(model: Model) -> bool:
    return model.target_spec.is_exclusive or model.spec.rollout.strategy is Strategy.REPLACE


def _admitted(status: Status, view: View, launch: _Launch) -> Status:
    failure = status.failure
    given_up = status.failures >= CRASH_LOOP or (failure is not None and failure.permanent and not view.ready)
    if given_up and not view.current and not view.old and not launch.count:
        return replace(status, admitted=0)
    # Both sides of a surge are not twice the place.
    live = min(len(view.current) + len(view.old) + launch.count, view.want)
    return replace(status, admitted=min(max(status.admitted, live), view.want))


def _waiting(status: Status, launch: _Launch, now: datetime) -> Status:
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


def _victims(
    model: Model, status: Status, observation: Observation, launch: _Launch, room: Room, now: datetime
) -> tuple[ModelRef, ...]:
    """Who must make room, if anybody: only for a model that has nothing at all, and not for one that has just
    made room itself (the two would take turns for ever)."""
    if launch.claim is None or launch.count or observation.instances or status.preempted is not None:
        return ()
    if launch.grant.shortage is None or launch.grant.shortage.reason == "QuotaExceeded":
        return ()
    return room.victims(launch.claim, model.spec.preempt, now)


# ------------------------------------------------------------------------------------------- leaving


def _leaving(status: Status, view: View, making_room: int) -> tuple[Instance, ...]:
    """Those that get no new request and end once they are drained; so many of the old ones ``making_room``."""
    doomed = tuple(i for i in view.doomed if i.phase is not InstancePhase.TERMINATING)
    rollout = status.rollout
    if rollout is not None and rollout.paused_at is not None:
        return doomed
    if rollout is not None and rollout.forced:
        return doomed + view.surplus + view.old
    # Each new instance that is ready takes the place of an old one.
    keep = max(view.want - len(view.ready), 0)
    # What has never served has nothing to finish.
    unready = sum(1 for i in view.old if i.phase is not InstancePhase.READY)
    retire = max(len(view.old) - keep, unready, making_room)
    return doomed + view.surplus + view.old[:retire]


def _make_room(model: Model, view: View, launch: _Launch, room: Room, now: datetime) -> int:
    """How many old instances go before the next new one can come."""
    if not view.old or len(view.current) + launch.count >= view.want:
        return 0
    if launch.count or launch.claim is None or any(i.phase is not InstancePhase.READY for i in view.current):
        # One step at a time: the next when this one serves.
        return 0
    going = [i for i in view.others if i.phase is InstancePhase.TERMINATING]
    if going:
        return 0
    if _replaces(model):
        return 1
    if model.spec.rollout.strategy is Strategy.SURGE or launch.grant.shortage is None:
        return 0
    one = replace(launch.claim, count=1)
    for count in range(1, len(view.old) + 1):
        given_back = add_up(i.held for i in view.old[:count])
        if room.grant(one, now, given_back=given_back).count:
            return count
    return 0


def _with_strategy(model: Model, status: Status, view: View, launch: _Launch, making_room: int) -> Status:
    """What the rollout has turned out to do."""
    rollout = status.rollout
    if rollout is None or rollout.paused_at is not None or not view.old:
        return status
    if making_room or _replaces(model):
        return replace(status, rollout=replace(rollout, strategy=str(Strategy.REPLACE)))
    if launch.count:
        return replace(status, rollout=replace(rollout, strategy=str(Strategy.SURGE)))
    return status


def _ended(status: Status, leaving: tuple[Instance, ...], observation: Observation, now: datetime) -> frozenset[str]:
    """Those of the leaving instances that may go now: each once it is drained or its time is up."""
    deadlines = {d.id: d.request.deadline for d in status.doomed}
    since = min(status.replacing_since or now, now)
    return frozenset(
        i.id
        for i in leaving
        if i.phase is not InstancePhase.READY
        or observation.is_drained(i)
        or now >= deadlines.get(i.id, since + REPLACE_DRAIN)
    )


def _converge(
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


def _empty(status: Status, observation: Observation, now: datetime, notes: tuple[Note, ...]) -> Plan:
    """Hold nothing: an idle model, or one that makes room. What is in flight is finished first."""
    live = tuple(i for i in observation.instances if i.phase is not InstancePhase.TERMINATING)
    status = replace(
        status, replacing_since=(status.replacing_since or now) if live else None, rollout=None, admitted=0
    )
    ended = _ended(status, live, observation, now)
    actions: tuple[Action, ...] = forget(observation)
    if ended:
        actions = (*actions, _converge(status.target, observation.instances, ended, 0))
    wake_at = status.replacing_since + REPLACE_DRAIN if status.replacing_since else None
    return Plan(status=status, actions=actions, wake_at=wake_at, notes=notes)


# ------------------------------------------------------------------------------------------- helpers


def _preempted(model: Model, status: Status, observation: Observation, room: Room, now: datetime) -> Status:
    if room.preempted_by is None or status.preempted is not None or not observation.instances or model.spec.pin:
        return status
    by = room.preempted_by
    waiting = Waiting(since=now, reason="Preempted", message=f"It made room for {by}", holders=(by,))
    return replace(status, preempted=Preempted(by=by, at=now), waiting=waiting)


def _progressed(status: Status, view: View, now: datetime) -> Status:
    """Keep the rollout's count of what is ready, which its deadline goes by."""
    rollout = status.rollout
    if rollout is None:
        return status
    if status.good == status.target:
        return replace(status, rollout=None)
    if len(view.ready) > rollout.ready or rollout.progressed_at > now:
        # A clock that was set back must not make the deadline longer than it is.
        rollout = replace(rollout, progressed_at=now)
    return replace(status, rollout=replace(rollout, ready=len(view.ready)))


def _wake_at(
    model: Model, status: Status, view: View, launch: _Launch, others: list[datetime | None], now: datetime
) -> datetime | None:
    wakes = list(others)
    if status.retry_at is not None and status.retry_at > now and len(view.current) < view.want:
        wakes.append(status.retry_at)
    if status.replacing_since is not None:
        wakes.append(status.replacing_since + REPLACE_DRAIN)
    wakes += [d.request.deadline for d in status.doomed]
    if status.failures and len(view.ready) >= view.want:
        wakes.append(max(i.since for i in view.ready) + STABLE_AFTER)
    rollout = status.rollout
    if rollout is not None and rollout.paused_at is None and not rollout.forced:
        wakes.append(rollout.progressed_at + timedelta(seconds=model.spec.rollout.progress_deadline))
    over_quota = status.waiting is not None and status.waiting.reason == "QuotaExceeded"
    if launch.claim is not None and (over_quota or model.spec.preempt is not Preempt.NEVER):
        wakes.append(now + _LOOK_AGAIN)
    # What is due has been done in this pass; what holds it up sends news of its own.
    return min((w for w in wakes if w is not None and w > now), default=None)
