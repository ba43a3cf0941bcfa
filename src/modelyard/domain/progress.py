"""How far a running model has come: its instances sorted by what they are to its target, and the state, the
conditions and the sentence that follow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.domain.actions import CONTROLLER, Note
from modelyard.domain.conditions import moved, with_conditions
from modelyard.domain.failing import CRASH_LOOP
from modelyard.domain.model import CanaryProgress, Instance, InstancePhase, Status
from modelyard.domain.observation import Demand
from modelyard.domain.release import STUCK, STUCK_AFTER, what_is_left
from modelyard.domain.states import State

GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class View:
    """The instances of a model that wants ``want`` of its target.

    Of those that live: ``current`` are wanted (of which some are ``ready``), ``surplus`` is more of the same than
    wanted, ``old`` is of another target, those that are not ready first; ``doomed`` are to be replaced at
    somebody's request. ``others`` is everything but the current: what is ending, too.
    """

    want: int
    current: tuple[Instance, ...]
    ready: tuple[Instance, ...]
    surplus: tuple[Instance, ...]
    old: tuple[Instance, ...]
    old_ready: tuple[Instance, ...]
    doomed: tuple[Instance, ...]
    others: tuple[Instance, ...]
    replaced: bool

    @classmethod
    def of(cls, status: Status, instances: tuple[Instance, ...], want: int) -> View:
        named = {d.id for d in status.doomed}
        live = [i for i in instances if i.phase is not InstancePhase.TERMINATING and i.id not in named]
        # The longest ready stay: they are warm, and the choice is the same on every pass.
        mine = sorted(
            (i for i in live if i.target == status.target),
            key=lambda i: (i.phase is not InstancePhase.READY, i.since, i.id),
        )
        old = sorted(
            (i for i in live if i.target != status.target),
            key=lambda i: (i.phase is InstancePhase.READY, i.since, i.id),
        )
        kept = {i.id for i in mine[:want]}
        return cls(
            want=want,
            current=tuple(mine[:want]),
            ready=_ready(mine[:want]),
            surplus=tuple(mine[want:]),
            old=tuple(old),
            old_ready=_ready(old),
            doomed=tuple(i for i in instances if i.id in named),
            others=tuple(i for i in instances if i.id not in kept),
            replaced=all(i.target == status.target for i in instances),
        )

    def is_complete(self, now: datetime, *, short: bool) -> bool:
        """As many serve as are wanted (or as fit, where there is no room for the rest: ``short``), and nothing of
        another target is left, not even ending, but for what does not die."""
        all_there = len(self.ready) >= self.want
        as_many_as_fit = short and len(self.ready) == len(self.current) > 0
        return (self.replaced or bool(self.stuck(now))) and (all_there or as_many_as_fit)

    def stuck(self, now: datetime) -> tuple[Instance, ...]:
        """What is ending and does not end, if nothing else is left beside the current ones."""
        ending = all(i.phase is InstancePhase.TERMINATING and i.since + STUCK_AFTER <= now for i in self.others)
        return self.others if ending else ()


def on_canary(progress: CanaryProgress, want: int) -> int:
    """How many new instances a canary needs for its share of the requests, where ``want`` serve all of them."""
    return max(math.ceil(want * progress.wanted / 100), 1)


def _ready(group: list[Instance]) -> tuple[Instance, ...]:
    return tuple(i for i in group if i.phase is InstancePhase.READY)


# ------------------------------------------------------------------------------------- idle and queued


def asleep(status: Status, now: datetime) -> Status:
    """Idle: it holds nothing and starts with the next request."""
    message = "Nobody has called it; the next request starts it."
    # It wakes as many as the spec says: what was asked of it before it slept is over.
    scale = status.scale if status.scale is not None and status.scale.suspended else None
    status = replace(status, waiting=None, preempted=None, awake_since=None, scale=scale)
    status = moved(status, State.IDLE, now, CONTROLLER, "Unused", message)
    releasing = ("Releasing", f"Ending {len(status.instances)} instance(s).") if status.instances else None
    return with_conditions(status, now, ready=("Idle", message), progressing=releasing)


def awake(status: Status, demand: Demand, now: datetime) -> tuple[Status, tuple[Note, ...]]:
    """No longer idle, if it was: somebody calls, or it may not be idle any more."""
    if status.state is not State.IDLE:
        return status, ()
    message = f"Woken by {demand.waiting} request(s)." if demand.waiting else "It is not to go idle any more."
    status = replace(status, awake_since=now)
    return moved(status, State.STARTING, now, GATEWAY, "Woken", message), (Note("Woken", "Woken", message),)


def queued(status: Status, now: datetime) -> Status:
    """In the queue, having given up its place."""
    assert status.preempted is not None
    message = f"Made room for {status.preempted.called}; starts again once there is room."
    status = moved(status, State.QUEUED, now, CONTROLLER, "Preempted", message)
    releasing = ("Releasing", f"Ending {len(status.instances)} instance(s).") if status.instances else None
    return with_conditions(status, now, ready=("Preempted", message), progressing=releasing)


# ------------------------------------------------------------------------------------------- the state


def run_state(before: Status, status: Status, view: View, now: datetime) -> Status:
    """The state that the instances amount to. ``before`` is what was last written."""
    ready, failure = len(view.ready), status.failure
    count = f"{ready} of {view.want} instance(s) ready"
    stuck = view.stuck(now)
    left = (STUCK, what_is_left(stuck)) if stuck else None
    degraded = (failure.code, failure.message) if failure and status.failures else left
    ramping = status.rollout is not None and status.rollout.ramp is not None
    if not ramping and view.is_complete(now, short=status.waiting is not None):
        # Commands and requests name who started it; what becomes of it later is nobody's wish.
        actor = status.transition.actor if status.state is State.STARTING else CONTROLLER
        status = replace(status, good=status.target, rollout=None, metadata=view.ready[0].metadata)
        message = f"{count}; {_short_of(status)}." if status.waiting is not None else f"{count}."
        status = moved(status, State.RUNNING, now, actor, "Ready", message)
        given_up = status.rolled_back
        if not status.failures:
            status = replace(status, failure=None)
        failed = ("UpdateFailed", given_up.failure.message) if given_up else left
        return with_conditions(status, now, ready=("Serving", message), serving=True, degraded=failed)
    if view.old_ready or (ready and (before.state is State.UPDATING or not view.replaced)):
        message = _replacing(status, count)
        status = moved(status, State.UPDATING, now, CONTROLLER, "Replacing", message)
        return with_conditions(
            status, now, ready=("Serving", message), serving=True, progressing=("Replacing", message),
            degraded=degraded,
        )  # fmt: skip
    if ready and before.state is State.RUNNING:
        message = f"{count}; launching the rest."
        return with_conditions(
            status, now, ready=("Serving", message), serving=True, progressing=("Launching", message),
            degraded=degraded,
        )  # fmt: skip
    return _not_serving(before, status, view, count, now)


def _replacing(status: Status, count: str) -> str:
    rollout = status.rollout
    message = f"Replacing instances: {count} of revision {status.target.generation}"
    if rollout is not None and rollout.paused_at is not None:
        return f"{message}; paused, resume it or cancel it."
    if rollout is not None and rollout.ramp is not None:
        message = f"{message}; canary: {rollout.ramp.percent} % of the requests go to it"
    return f"{message}; {_short_of(status)}." if status.waiting is not None else f"{message}."


def _short_of(status: Status) -> str:
    assert status.waiting is not None
    what = "the namespace's quota" if status.waiting.reason == "QuotaExceeded" else "capacity"
    return f"waiting for {what}: {status.waiting.message}"


def _not_serving(before: Status, status: Status, view: View, count: str, now: datetime) -> Status:
    failure = status.failure
    in_the_queue = status.waiting is not None and not view.current
    if failure and (failure.permanent or (status.failures >= CRASH_LOOP and not in_the_queue)):
        again = f" Next try at {status.retry_at:%H:%M:%S} UTC." if status.retry_at and not failure.permanent else ""
        reason = failure.code if failure.permanent else "crash_loop"
        prefix = "" if failure.permanent else f"Failed {status.failures} times in a row: "
        message = f"{prefix}{failure.message}{again}"
        status = moved(status, State.ERROR, now, CONTROLLER, reason, message)
        return with_conditions(status, now, ready=(reason, message), degraded=(reason, message))
    if status.rollout is not None and (view.others or view.current):
        # Between the old and the new nothing serves for a moment. What is short then is held by its own old ones.
        status = replace(status, waiting=None) if view.others else status
        message = _replacing(status, count)
        status = moved(status, State.UPDATING, now, CONTROLLER, "Replacing", message)
        degraded = (failure.code, failure.message) if failure and status.failures else None
        return with_conditions(
            status, now, ready=("Replacing", message), progressing=("Replacing", message), degraded=degraded
        )
    if in_the_queue:
        return _in_the_queue(status, now)
    if before.state is State.ERROR and failure and status.failures:
        # A retry out of error stays an error until it succeeds; anything else would flicker.
        return with_conditions(
            status, now, ready=(failure.code, failure.message), progressing=("Retrying", f"{count}."),
            degraded=(failure.code, failure.message),
        )  # fmt: skip
    if failure and status.failures:
        message = f"Starting again after: {failure.message}"
        status = moved(status, State.STARTING, now, CONTROLLER, failure.code, message)
        return with_conditions(
            status, now, ready=("Starting", message), progressing=("Restarting", message),
            degraded=(failure.code, failure.message),
        )  # fmt: skip
    message = f"Starting: {count}."
    status = moved(status, State.STARTING, now, CONTROLLER, "Starting", message)
    return with_conditions(status, now, ready=("Starting", message), progressing=("Starting", message))


def _in_the_queue(status: Status, now: datetime) -> Status:
    assert status.waiting is not None
    message = _short_of(status)
    message = f"{message[0].upper()}{message[1:]}."
    if status.preempted is not None:
        message = f"Made room for {status.preempted.called}. {message}"
    failure = status.failure if status.failures else None
    status = moved(status, State.QUEUED, now, CONTROLLER, status.waiting.reason, message)
    degraded = (failure.code, failure.message) if failure else None
    return with_conditions(status, now, ready=("Queued", message), degraded=degraded)
