"""The heart: from a model, what is observed, the room there is and the time, to what to do next.

:func:`plan` is pure and total. The loop that calls it pushes the route, writes the returned status (with its
events, in one transaction), and then carries out the actions, each of which is idempotent: a
crash between any two of them is repaired by planning again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from modelyard.domain.model import (
    Condition,
    ConditionType,
    DrainReport,
    Instance,
    InstancePhase,
    Model,
    Released,
    RolledBack,
    Status,
    StopMode,
    StopRequest,
    Target,
    Transition,
)
from modelyard.domain.observation import Capacity, Observation
from modelyard.domain.states import RunState, State

CONTROLLER = "controller"

# Failed launches in a row after which a model is in error (it is still retried, ever more slowly).
CRASH_LOOP = 5
# Failed launches in a row after which an update gives up and goes back to the last good revision.
UPDATE_ATTEMPTS = 3
BACKOFF_BASE = 1.0
BACKOFF_CAP = 300.0
# An instance that has served this long ends the count of failures in a row.
STABLE_AFTER = timedelta(seconds=60)
# How long a replaced instance may finish what it has in flight.
REPLACE_DRAIN = timedelta(seconds=30)
# From the polite signal to the kill, once nothing is in flight any more.
TERMINATE_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Converge:
    """Have exactly these instances: so many of each target; end all others within ``grace`` seconds.

    Where a target has too many, those named in ``surplus`` go first: they have been drained.
    """

    members: tuple[tuple[Target, int], ...]
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
    """What follows. ``serving`` are the ids of the instances that requests may go to; ``gone`` says
    that a deleted model has left nothing behind and its record may go too."""

    status: Status
    actions: tuple[Action, ...] = ()
    serving: tuple[str, ...] = ()
    wake_at: datetime | None = None
    notes: tuple[Note, ...] = ()
    gone: bool = False


def backoff(failures: int) -> float:
    """Seconds until the next try after so many failed launches in a row: 0, 1, 2, 4, … up to 300."""
    if failures <= 1:
        return 0.0
    return float(min(BACKOFF_BASE * 2.0 ** min(failures - 2, 16), BACKOFF_CAP))


def plan(model: Model, observation: Observation, capacity: Capacity, now: datetime) -> Plan:
    """Decide what to do about ``model`` next.

    Args:
        model: the wish and the status last written.
        observation: one look at the backend and the gateway, taken after that write.
        capacity: what the backend has left.
        now: the time, aware.
    """
    if model.desired is RunState.STOPPED:
        return _plan_release(model, observation, now)
    return _plan_run(model, observation, capacity, now)


# ------------------------------------------------------------------------------------------ stopping


def _plan_release(model: Model, observation: Observation, now: datetime) -> Plan:
    status = replace(model.status, instances=observation.instances, failures=0, retry_at=None, replacing_since=None)
    acknowledge = _forget(observation)
    deleting = status.state is State.DELETING
    if not observation.instances:
        if deleting:
            return Plan(status=status, actions=(*acknowledge, Remove()), gone=True)
        if status.state is State.STOPPED:
            return Plan(status=status, actions=acknowledge)
        return _stopped(model, status, observation, now, acknowledge)

    stop = status.stop
    if status.state is State.STOPPED or stop is None:
        # An instance of a stopped model has turned up: it goes, at once, and the state says so meanwhile.
        stop = StopRequest(mode=StopMode.FORCE, timeout=0, at=now, actor=CONTROLLER, reason="leftover instance")
        if not deleting:
            message = f"{len(observation.instances)} leftover instance(s) found; ending them."
            status = _moved(status, State.STOPPING, now, CONTROLLER, "LeftoverInstance", message)
    status = replace(status, stop=stop, peak=_peak(status.peak, observation, now))
    in_flight = sum(observation.closed.get(i.id, 0) for i in observation.instances)
    drained = all(observation.is_drained(i) or i.phase is not InstancePhase.READY for i in observation.instances)
    if not drained and now < stop.deadline:
        message = f"Waiting for {in_flight} request(s) in flight." if in_flight else "Closing the door to new requests."
        return Plan(
            status=_conditions(status, now, progressing=("Draining", message), ready=("Stopping", message)),
            actions=acknowledge,
            wake_at=stop.deadline,
        )
    grace = TERMINATE_GRACE if stop.mode is StopMode.DRAIN else 0.0
    # Past its deadline a drain has had its time: what is still in flight is cut, so the kill is immediate.
    if not drained:
        grace = 0.0
    message = f"Ending {len(observation.instances)} instance(s)."
    return Plan(
        status=_conditions(status, now, progressing=("Releasing", message), ready=("Stopping", message)),
        actions=(*acknowledge, Release(grace)),
    )


def _peak(peak: Released | None, observation: Observation, now: datetime) -> Released:
    """The most that this stop has seen, so that the end can say what was given back."""
    held = Released(
        at=now,
        took_seconds=0,
        instances=len(observation.instances),
        processes=sum(i.processes for i in observation.instances),
        memory=sum(i.memory for i in observation.instances),
        requests=observation.drain,
    )
    if peak is None:
        return held
    return replace(
        held,
        requests=held.requests.at_least(peak.requests),
        instances=max(peak.instances, held.instances),
        processes=max(peak.processes, held.processes),
        memory=max(peak.memory, held.memory),
    )


def _stopped(
    model: Model, status: Status, observation: Observation, now: datetime, actions: tuple[Action, ...]
) -> Plan:
    stop, peak = status.stop, status.peak
    took = (now - stop.at).total_seconds() if stop else 0.0
    released = Released(
        at=now,
        took_seconds=max(took, 0.0),
        instances=peak.instances if peak else 0,
        processes=peak.processes if peak else 0,
        memory=peak.memory if peak else 0,
        requests=observation.drain.at_least(peak.requests) if peak else observation.drain,
    )
    actor, reason = (stop.actor, stop.reason) if stop else (CONTROLLER, "")
    message = f"{released.instances} instance(s) released in {released.took_seconds:.3f} s, verified."
    status = replace(status, stop=None, peak=None, released=released, failure=None)
    status = _moved(status, State.STOPPED, now, actor, reason or "Stopped", message)
    status = _conditions(status, now, ready=("Stopped", "The model is stopped."))
    return Plan(status=status, actions=actions, notes=(_released_note(released),))


def _released_note(released: Released) -> Note:
    requests: DrainReport = released.requests
    return Note(
        "Released",
        "Verified",
        f"Released {released.instances} instance(s), {released.processes} process(es) and {released.memory} bytes "
        f"of memory in {released.took_seconds:.3f} s; requests finished {requests.finished}, "
        f"refused {requests.refused}, cut {requests.cut}.",
    )


# ------------------------------------------------------------------------------------------- running


@dataclass(frozen=True, slots=True)
class _View:
    """The live instances sorted by what they are to the target: wanted (``current``, of which some are
    ``ready``), more of it than wanted (``surplus``), and of another target (``old``). ``replaced``: of
    another target nothing is left, not even one that is ending."""

    current: tuple[Instance, ...]
    ready: tuple[Instance, ...]
    surplus: tuple[Instance, ...]
    old: tuple[Instance, ...]
    old_ready: tuple[Instance, ...]
    replaced: bool


def _view(target: Target, instances: tuple[Instance, ...], want: int) -> _View:
    def ready(group: list[Instance]) -> tuple[Instance, ...]:
        return tuple(i for i in group if i.phase is InstancePhase.READY)

    live = [i for i in instances if i.phase is not InstancePhase.TERMINATING]
    # The longest ready stay: they are warm, and the choice is the same on every pass.
    mine = sorted(
        (i for i in live if i.target == target), key=lambda i: (i.phase is not InstancePhase.READY, i.since, i.id)
    )
    old = [i for i in live if i.target != target]
    replaced = all(i.target == target for i in instances)
    return _View(tuple(mine[:want]), ready(mine[:want]), tuple(mine[want:]), tuple(old), ready(old), replaced)


def _plan_run(model: Model, observation: Observation, capacity: Capacity, now: datetime) -> Plan:
    status = replace(model.status, instances=observation.instances, stop=None, peak=None)
    status, notes = _count_failures(status, observation, now)
    status, went_back = _go_back(status)
    # Replicas are no reason for new instances, so they are read from the newest spec.
    want = model.spec.replicas.min
    view = _view(status.target, observation.instances, want)
    status = _forgive(status, view, want, now)

    missing = max(want - len(view.current), 0)
    waits = status.retry_at is not None and status.retry_at > now
    # What fails for good is not tried again, unless others of the same target serve: then it was no such failure.
    blocked = status.failure is not None and status.failure.permanent and not view.ready
    # The specs at hand are those of the target that was just given up: the next pass has the right ones.
    blocked = blocked or bool(went_back)
    resources = model.target_spec.resources
    shortage = capacity.shortage(resources, missing) if missing and not (waits or blocked) else None
    alone = model.target_spec.is_exclusive
    launch = 0 if waits or blocked or shortage or (alone and not view.replaced) else missing
    # Where the new does not fit beside the old but would without it, the old makes room first.
    given_back = sum(i.reserved for i in view.old)
    fits_then = not capacity.shortage(resources, missing, given_back=given_back)
    make_room = fits_then and (alone or shortage is not None)

    leaving = view.surplus + (view.old if len(view.ready) >= want or make_room else ())
    status = replace(status, replacing_since=(status.replacing_since or now) if leaving else None)
    ended = _ended(status, leaving, observation, now) | {i.id for i in view.old if i.phase is not InstancePhase.READY}
    actions = _forget(observation)
    if launch or ended:
        actions = (*actions, _converge(status.target, observation.instances, ended, launch))

    leaving_ids = {i.id for i in leaving} | ended
    serving = tuple(i.id for i in view.ready + view.old_ready if i.id not in leaving_ids)
    status = _run_state(model, status, view, want, shortage, now)
    wakes = [now if went_back else status.retry_at if waits and not blocked else None]
    if leaving and status.replacing_since:
        wakes.append(status.replacing_since + REPLACE_DRAIN)
    if status.failures and len(view.ready) >= want:
        wakes.append(max(i.since for i in view.ready) + STABLE_AFTER)
    return Plan(
        status=status,
        actions=actions,
        serving=serving,
        wake_at=min((w for w in wakes if w is not None), default=None),
        notes=notes + went_back,
    )


def _ended(status: Status, leaving: tuple[Instance, ...], observation: Observation, now: datetime) -> frozenset[str]:
    """Those of the leaving instances that may go now: all of them, once each is drained or time is up."""
    since = status.replacing_since or now
    if now >= since + REPLACE_DRAIN or all(observation.is_drained(i) for i in leaving):
        return frozenset(i.id for i in leaving)
    return frozenset()


def _converge(target: Target, instances: tuple[Instance, ...], ended: frozenset[str], launch: int) -> Converge:
    """Everything that lives and is not to end, and so many new ones of the target."""
    counts = {target: launch}
    for instance in instances:
        if instance.phase is not InstancePhase.TERMINATING and instance.id not in ended:
            counts[instance.target] = counts.get(instance.target, 0) + 1
    return Converge(tuple((t, n) for t, n in sorted(counts.items()) if n), surplus=tuple(sorted(ended)))


def _count_failures(status: Status, observation: Observation, now: datetime) -> tuple[Status, tuple[Note, ...]]:
    """Count each newly ended instance once; those of a replaced target are noted but do not count."""
    fresh = [e for e in observation.exits if e.id not in status.counted]
    notes: tuple[Note, ...] = ()
    for exit_ in fresh:
        failure = replace(exit_.failure, instance=exit_.id)
        notes += (
            Note(
                "InstanceFailed",
                failure.code,
                failure.message,
                {"instance": exit_.id, "log": list(failure.log)},
            ),
        )
        if exit_.target == status.target:
            failures = status.failures + 1
            retry_at = now + timedelta(seconds=backoff(failures))
            status = replace(status, failures=failures, failure=failure, retry_at=retry_at)
    return replace(status, counted=tuple(e.id for e in observation.exits)), notes


def _go_back(status: Status) -> tuple[Status, tuple[Note, ...]]:
    """An update or restart that keeps failing goes back to the last good target by itself."""
    failure = status.failure
    if status.good is None or status.good == status.target or failure is None or not status.failures:
        return status, ()
    if not failure.permanent and status.failures < UPDATE_ATTEMPTS:
        return status, ()
    good, failed = status.good, RolledBack(target=status.target, failure=failure)
    message = f"Revision {status.target} failed ({failure.message}); going back to {good}, the last good one."
    status = replace(status, target=good, failures=0, retry_at=None, failure=None, rolled_back=failed)
    return status, (Note("RolledBack", failure.code, message, {"log": list(failure.log)}),)


def _forgive(status: Status, view: _View, want: int, now: datetime) -> Status:
    """Instances that have served for a while end the count of failures in a row."""
    if status.failures and len(view.ready) >= want and max(i.since for i in view.ready) + STABLE_AFTER <= now:
        return replace(status, failures=0, retry_at=None)
    return status


def _run_state(model: Model, status: Status, view: _View, want: int, shortage: str | None, now: datetime) -> Status:
    before = model.status
    ready, failure = len(view.ready), status.failure
    count = f"{ready} of {want} instance(s) ready"
    actor = before.transition.actor if before.state is State.STARTING else CONTROLLER
    if ready >= want and view.replaced:
        status = replace(status, good=status.target, metadata=view.ready[0].metadata)
        status = _moved(status, State.RUNNING, now, actor, "Ready", f"{count}.")
        given_up = status.rolled_back
        degraded = ("UpdateFailed", given_up.failure.message) if given_up else None
        if not status.failures:
            status = replace(status, failure=None)
        return _conditions(status, now, ready=("Serving", f"{count}."), serving=True, degraded=degraded)
    if view.old_ready or (ready and (before.state is State.UPDATING or not view.replaced)):
        message = f"Replacing instances: {count} of revision {status.target}."
        status = _moved(status, State.UPDATING, now, CONTROLLER, "Replacing", message)
        degraded = (failure.code, failure.message) if failure and status.failures else None
        return _conditions(
            status,
            now,
            ready=("Serving", message),
            serving=True,
            progressing=("Replacing", message),
            degraded=degraded,
        )
    if ready and before.state is State.RUNNING:
        message = f"{count}; launching the rest."
        degraded = (failure.code, failure.message) if failure and status.failures else None
        return _conditions(
            status, now, ready=("Serving", message), serving=True, progressing=("Launching", message),
            degraded=degraded, shortage=shortage,
        )  # fmt: skip
    return _not_serving(before, status, view, count, shortage, now)


def _not_serving(
    before: Status, status: Status, view: _View, count: str, shortage: str | None, now: datetime
) -> Status:
    failure = status.failure
    if failure and (failure.permanent or status.failures >= CRASH_LOOP):
        again = f" Next try at {status.retry_at:%H:%M:%S} UTC." if status.retry_at and not failure.permanent else ""
        reason = failure.code if failure.permanent else "crash_loop"
        prefix = "" if failure.permanent else f"Failed {status.failures} times in a row: "
        message = f"{prefix}{failure.message}{again}"
        status = _moved(status, State.ERROR, now, CONTROLLER, reason, message)
        return _conditions(status, now, ready=(reason, message), degraded=(reason, message))
    if shortage and not view.current:
        message = f"Waiting for capacity: {shortage}."
        status = _moved(status, State.QUEUED, now, CONTROLLER, "InsufficientCapacity", message)
        return _conditions(status, now, ready=("Queued", message), shortage=message)
    if before.state is State.ERROR and failure and status.failures:
        # A retry out of error stays an error until it succeeds; anything else would flicker.
        return _conditions(
            status, now, ready=(failure.code, failure.message), progressing=("Retrying", f"{count}."),
            degraded=(failure.code, failure.message),
        )  # fmt: skip
    if failure and status.failures:
        message = f"Starting again after: {failure.message}"
        status = _moved(status, State.STARTING, now, CONTROLLER, failure.code, message)
        return _conditions(
            status, now, ready=("Starting", message), progressing=("Restarting", message),
            degraded=(failure.code, failure.message),
        )  # fmt: skip
    message = f"Starting: {count}."
    status = _moved(status, State.STARTING, now, CONTROLLER, "Starting", message)
    return _conditions(status, now, ready=("Starting", message), progressing=("Starting", message))


# ------------------------------------------------------------------------------------------- helpers


def _forget(observation: Observation) -> tuple[Action, ...]:
    return (Forget(tuple(e.id for e in observation.exits)),) if observation.exits else ()


def _moved(status: Status, state: State, now: datetime, actor: str, reason: str, message: str) -> Status:
    if status.state is state:
        return status
    transition = Transition(before=status.state, after=state, at=now, actor=actor, reason=reason, message=message)
    return replace(status, state=state, transition=transition)


def _conditions(
    status: Status,
    now: datetime,
    *,
    ready: tuple[str, str],
    serving: bool = False,
    progressing: tuple[str, str] | None = None,
    degraded: tuple[str, str] | None = None,
    shortage: str | None = None,
) -> Status:
    """Set all conditions; one whose status stays keeps the time at which it last changed."""
    wanted = [
        (ConditionType.READY, serving, *ready),
        (ConditionType.PROGRESSING, progressing is not None, *(progressing or ("Settled", ""))),
        (ConditionType.DEGRADED, degraded is not None, *(degraded or ("Healthy", ""))),
        (
            ConditionType.CAPACITY_AVAILABLE,
            shortage is None,
            "Insufficient" if shortage else "Fits",
            shortage or "",
        ),
    ]
    conditions = []
    for kind, value, reason, message in wanted:
        old = status.condition(kind)
        since = old.since if old and old.status is value else now
        conditions.append(Condition(type=kind, status=value, reason=reason, message=message, since=since))
    return replace(status, conditions=tuple(conditions))
