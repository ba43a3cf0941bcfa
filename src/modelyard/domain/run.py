"""Running: which instances there should be, in which order they come and go, and when to give up.

One pass sorts the instances (:class:`~modelyard.domain.progress.View`), works out what to launch
(:mod:`modelyard.domain.launching`) and what leaves (:mod:`modelyard.domain.leaving`), and says what that makes of
the model (:mod:`modelyard.domain.progress`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from modelyard.domain.actions import TERMINATE_GRACE, Action, Note, Plan, forget
from modelyard.domain.capacity import Room
from modelyard.domain.failing import STABLE_AFTER, count_failures, forgive, give_up
from modelyard.domain.launching import Launch, launch_what_fits, victims, with_launch
from modelyard.domain.leaving import REPLACE_DRAIN, converge, leaving_since, make_room, may_end, to_leave, with_strategy
from modelyard.domain.model import InstancePhase, Model, Preempted, Rollout, Status, StopMode, Waiting
from modelyard.domain.observation import Observation
from modelyard.domain.progress import View, asleep, awake, queued, run_state
from modelyard.domain.ramping import ramp
from modelyard.domain.release import STUCK_AFTER
from modelyard.domain.scaling import idle_at, wanted
from modelyard.domain.spec import Preempt
from modelyard.domain.states import State

# What nobody tells of is looked for this often: whether a model has become unused, or a quota was raised.
_LOOK_AGAIN = timedelta(seconds=5)


def plan_run(model: Model, observation: Observation, room: Room, now: datetime) -> Plan:
    """What a model that is to run does next."""
    observation = _by_our_clock(observation, model.status, now)
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


def _by_our_clock(observation: Observation, status: Status, now: datetime) -> Observation:
    """After the clock was set back nothing has been as it is since a time to come; what was once found to be so stays
    as it was found."""
    if all(i.since <= now for i in observation.instances):
        return observation
    known = {(i.id, i.phase): i.since for i in status.instances}
    instances = tuple(
        i if i.since <= now else replace(i, since=min(known.get((i.id, i.phase), now), now))
        for i in observation.instances
    )
    return replace(observation, instances=instances)


def _run(
    model: Model, status: Status, observation: Observation, room: Room, now: datetime, notes: tuple[Note, ...]
) -> Plan:
    # Replicas are no reason for new instances, so they are read from the newest spec.
    rollout, targets = status.rollout, {status.target}
    if rollout is not None and rollout.ramp is not None:
        targets.add(rollout.before)
    mine = tuple(i for i in observation.instances if i.target in targets and i.phase is InstancePhase.READY)
    scale = wanted(model, observation.demand, mine, now)
    status = replace(status, scale=scale.scale)
    # An update that asked for more of another kind may have gone back to one that lives once.
    want = 1 if model.target_spec.is_exclusive else scale.count
    view = View.of(status, observation.instances, want)
    status = _progressed(_with_good(status, view, now), view, now)
    canary = ramp(model, status, view, observation.canary, now)
    deadline, ready = model.spec.rollout.progress_deadline, canary.holds or len(view.ready) >= view.want
    status, went_back = give_up(deadline, canary.status, now, ready=ready, judged=canary.failure)
    if went_back:
        # The specs at hand are those of the target that was just given up: the next pass has the right ones.
        view = View.of(status, observation.instances, want)
    status = forgive(status, view.ready, view.want, now)

    launch = launch_what_fits(model, status, view, room, now, hold=bool(went_back))
    room_for = make_room(model, status, view, launch, room, now)
    leaving = to_leave(status, view, room_for)
    status = with_strategy(model, status, view, launch, room_for)
    status = replace(status, leaving=leaving_since(status, leaving, now))
    ended = may_end(status, leaving, observation, now)
    actions = forget(observation)
    if launch.count or ended:
        forced = {d.id for d in status.doomed if d.request.mode is StopMode.FORCE}
        grace = 0.0 if ended and ended <= forced else TERMINATE_GRACE
        actions = (*actions, converge(launch.target, observation.instances, ended, launch.count, grace))
    gone = {i.id for i in leaving} | ended
    serving = tuple(i.id for i in view.ready + view.old_ready if i.id not in gone)
    status = run_state(model.status, with_launch(status, view, launch, now), view, now)
    sleep_at = idle_at(model, status, observation.demand, view.ready) if status.state is State.RUNNING else None
    if sleep_at is not None and sleep_at <= now and not view.others:
        return _empty(asleep(status, now), observation, now, notes)
    return Plan(
        status=status,
        actions=actions,
        serving=serving,
        wake_at=now
        if went_back
        else _wake_at(model, status, view, launch, [scale.wake_at, sleep_at, canary.wake_at], now),
        notes=notes + canary.notes + went_back,
        claim=launch.claim,
        preempts=victims(model, status, observation, launch, room, now),
    )


def _empty(status: Status, observation: Observation, now: datetime, notes: tuple[Note, ...]) -> Plan:
    """Hold nothing: an idle model, or one that makes room. What is in flight is finished first."""
    live = tuple(i for i in observation.instances if i.phase is not InstancePhase.TERMINATING)
    paused = status.rollout is not None and status.rollout.paused_at is not None
    rollout = status.rollout if paused else None
    status = replace(status, leaving=leaving_since(status, live, now), rollout=rollout, admitted=0)
    ended = may_end(status, live, observation, now)
    actions: tuple[Action, ...] = forget(observation)
    if ended:
        actions = (*actions, converge(status.target, observation.instances, ended, 0))
    wakes = [leaving.since + REPLACE_DRAIN for leaving in status.leaving]
    return Plan(status=status, actions=actions, wake_at=min((w for w in wakes if w > now), default=None), notes=notes)


# ------------------------------------------------------------------------------------------- helpers


def _preempted(model: Model, status: Status, observation: Observation, room: Room, now: datetime) -> Status:
    claim = room.preempted_by
    if claim is None or status.preempted is not None or not observation.instances or not claim.may_displace(model.spec):
        return status
    by = claim.ref
    called = str(by) if by.may_be_named_to(model.ref) else "another model"
    waiting = Waiting(since=now, reason="Preempted", message=f"It made room for {called}", holders=(by,))
    return replace(status, preempted=Preempted(by=by, at=now, called=called), waiting=waiting)


def _with_good(status: Status, view: View, now: datetime) -> Status:
    """What serves of an earlier target is what a failed update goes back to, even if all of it was never seen to be
    ready: the update came first, or the control process was away."""
    if status.good is not None or not view.old_ready:
        return status
    before = max(i.target for i in view.old_ready)
    old = [i for i in view.old_ready if i.target == before]
    # A server that its user brought may have one port only; whether it has is known of the newest revision alone.
    exclusive = not old[0].address.startswith("unix:")
    rollout = Rollout(
        before=before, after=status.target, began_at=now, progressed_at=now, each=old[0].held, exclusive=exclusive,
        count=len(old),
    )  # fmt: skip
    return replace(status, good=before, rollout=rollout)


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
    model: Model, status: Status, view: View, launch: Launch, others: list[datetime | None], now: datetime
) -> datetime | None:
    wakes = list(others)
    if status.retry_at is not None and status.retry_at > now and len(view.current) < view.want:
        wakes.append(status.retry_at)
    wakes += [leaving.since + REPLACE_DRAIN for leaving in status.leaving]
    wakes += [i.since + STUCK_AFTER for i in view.others if i.phase is InstancePhase.TERMINATING]
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
