"""Stopping and deleting: close the door, wait for what is in flight, end what is left, and say so only when
the backend has confirmed that nothing is."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from modelyard.domain.actions import CONTROLLER, TERMINATE_GRACE, Action, Note, Plan, Release, Remove, forget
from modelyard.domain.conditions import moved, with_conditions
from modelyard.domain.model import (
    DrainReport,
    Instance,
    InstancePhase,
    Model,
    Released,
    Status,
    StopMode,
    StopRequest,
)
from modelyard.domain.observation import Observation
from modelyard.domain.states import State

# An end that has not come so long after its deadline is stuck: its operation ends with what is left.
STUCK_AFTER = timedelta(seconds=60)
STUCK = "Stuck"


def plan_release(model: Model, observation: Observation, now: datetime) -> Plan:
    """What a model that is not to run does next."""
    status = replace(
        model.status, instances=observation.instances, failures=0, retry_at=None, leaving=(), rollout=None,
        waiting=None, preempted=None, awake_since=None, doomed=(), admitted=0,
    )  # fmt: skip
    acknowledge = forget(observation)
    deleting = status.state is State.DELETING
    if not observation.instances:
        if deleting:
            return Plan(status=status, actions=(*acknowledge, Remove()), gone=True)
        if status.state is State.STOPPED:
            return Plan(status=status, actions=acknowledge)
        return _stopped(model, status, observation, now, acknowledge)

    stop = status.stop.not_after(now) if status.stop is not None else None
    if status.state is State.STOPPED or stop is None:
        # An instance of a stopped model has turned up: it goes, at once, and the state says so meanwhile.
        stop = StopRequest(mode=StopMode.FORCE, timeout=0, at=now, actor=CONTROLLER, reason="leftover instance")
        if not deleting:
            message = f"{len(observation.instances)} leftover instance(s) found; ending them."
            status = moved(status, State.STOPPING, now, CONTROLLER, "LeftoverInstance", message)
    status = replace(status, stop=stop, peak=_peak(status.peak, observation, now))
    in_flight = sum(observation.closed.get(i.id, 0) for i in observation.instances)
    drained = all(observation.is_drained(i) or i.phase is not InstancePhase.READY for i in observation.instances)
    if not drained and now < stop.deadline:
        message = f"Waiting for {in_flight} request(s) in flight." if in_flight else "Closing the door to new requests."
        return Plan(
            status=with_conditions(status, now, progressing=("Draining", message), ready=("Stopping", message)),
            actions=acknowledge,
            wake_at=stop.deadline,
        )
    # Past its deadline a drain has had its time, and what is still in flight is cut; nor does a process that has
    # nothing in flight and does not go get more time than that.
    grace = min(TERMINATE_GRACE, max((stop.deadline - now).total_seconds(), 0.0)) if drained else 0.0
    message = f"Ending {len(observation.instances)} instance(s)."
    # Counted from when each began to end, not from the stop: nobody may have been there to end it for long.
    began = [i.since if i.phase is InstancePhase.TERMINATING else now for i in observation.instances]
    stuck_at = max(stop.deadline, *began) + timedelta(seconds=TERMINATE_GRACE) + STUCK_AFTER
    degraded = (STUCK, what_is_left(observation.instances)) if now >= stuck_at else None
    return Plan(
        status=with_conditions(
            status, now, progressing=("Releasing", message), ready=("Stopping", message), degraded=degraded
        ),
        actions=(*acknowledge, Release(grace)),
        wake_at=None if degraded else stuck_at,
    )


def what_is_left(instances: tuple[Instance, ...]) -> str:
    """A sentence on instances that do not end."""
    left = [
        f"instance {i.id} ({i.processes} process(es), the main one {i.pid}){': ' + i.message if i.message else ''}"
        for i in instances
    ]
    return (
        f"Still there, though killed: {'; '.join(left)}. A process that waits for a device or a network drive ends "
        "only when that answers ('ps -o pid,stat,wchan -p PID' shows what it waits for). No request goes to it."
    )


def _peak(peak: Released | None, observation: Observation, now: datetime) -> Released:
    """The most that this stop has seen, so that the end can say what was given back."""
    held = Released(
        at=now,
        took_seconds=0,
        instances=len(observation.instances),
        processes=sum(i.processes for i in observation.instances),
        memory=sum(i.memory for i in observation.instances),
        devices=tuple(sorted({d for i in observation.instances for d in i.devices})),
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
        devices=tuple(sorted({*peak.devices, *held.devices})),
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
        devices=peak.devices if peak else (),
        requests=observation.drain.at_least(peak.requests) if peak else observation.drain,
    )
    actor, reason = (stop.actor, stop.reason) if stop else (CONTROLLER, "")
    message = f"{released.instances} instance(s) released in {released.took_seconds:.3f} s, verified."
    status = replace(status, stop=None, peak=None, released=released, failure=None)
    status = moved(status, State.STOPPED, now, actor, reason or "Stopped", message)
    status = with_conditions(status, now, ready=("Stopped", _stopped_because(actor, reason)))
    return Plan(status=status, actions=actions, notes=(_released_note(released),))


def _stopped_because(actor: str, reason: str) -> str:
    """As its callers are told: of a policy they should know when and why."""
    return f"The model is stopped: {reason}." if actor.startswith("policy:") and reason else "The model is stopped."


def _released_note(released: Released) -> Note:
    requests: DrainReport = released.requests
    return Note(
        "Released",
        "Verified",
        f"Released {released.instances} instance(s), {released.processes} process(es), "
        f"{released.memory / 2**20:.0f} MiB of memory and {len(released.devices)} device(s) in "
        f"{released.took_seconds:.3f} s; requests finished {requests.finished}, refused {requests.refused}, "
        f"cut {requests.cut}.",
    )
