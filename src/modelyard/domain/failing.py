"""Failed launches: counted once each, tried again ever more slowly, and when a target is given up for the last
good one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from modelyard.domain.actions import Note
from modelyard.domain.model import Failure, Instance, RolledBack, Status
from modelyard.domain.observation import Observation
from modelyard.domain.quantities import format_duration

# Failed launches in a row after which a model is in error (it is still retried, ever more slowly).
CRASH_LOOP = 5
# Failed launches in a row after which an update gives up and goes back to the last good revision.
UPDATE_ATTEMPTS = 3
BACKOFF_BASE = 1.0
BACKOFF_CAP = 300.0
# An instance that has served this long ends the count of failures in a row.
STABLE_AFTER = timedelta(seconds=60)


def backoff(failures: int) -> float:
    """Seconds until the next try after so many failed launches in a row: 0, 1, 2, 4, … up to 300."""
    if failures <= 1:
        return 0.0
    return float(min(BACKOFF_BASE * 2.0 ** min(failures - 2, 16), BACKOFF_CAP))


def count_failures(status: Status, observation: Observation, now: datetime) -> tuple[Status, tuple[Note, ...]]:
    """Count each newly ended instance once; those of a target that is not launched now are noted but do not
    count."""
    rollout = status.rollout
    launched = {rollout.before if rollout is not None and rollout.paused_at is not None else status.target}
    if rollout is not None and rollout.ramp is not None:
        # Beside a canary both are.
        launched = {rollout.before, rollout.after}
    fresh = [e for e in observation.exits if e.id not in status.counted]
    notes: tuple[Note, ...] = ()
    for exit_ in fresh:
        failure = replace(exit_.failure, instance=exit_.id)
        notes += (
            Note("InstanceFailed", failure.code, failure.message, {"instance": exit_.id, "log": list(failure.log)}),
        )
        if exit_.target in launched:
            failures = status.failures + 1
            retry_at = now + timedelta(seconds=backoff(failures))
            status = replace(status, failures=failures, failure=failure, retry_at=retry_at)
    latest = now + timedelta(seconds=backoff(status.failures))
    if status.retry_at is not None and status.retry_at > latest:
        # The clock was set back: nobody waits for the old time to come again.
        status = replace(status, retry_at=latest)
    return replace(status, counted=tuple(e.id for e in observation.exits)), notes


def give_up(
    progress_deadline: float, status: Status, now: datetime, *, ready: bool, judged: Failure | None = None
) -> tuple[Status, tuple[Note, ...]]:
    """An update or restart that keeps failing, or gets nowhere for ``progress_deadline`` seconds, goes back to
    the last good target by itself. One whose instances are all ``ready`` has got where it wants: old ones that
    take their time to end are no reason to go back. ``judged``: what else was found against it."""
    rollout = status.rollout
    if status.good is None or status.good == status.target or (rollout is not None and rollout.forced):
        return status, ()
    failure = judged or _why_to_give_up(progress_deadline, status, now, ready=ready)
    if failure is None:
        return status, ()
    good, failed = status.good, RolledBack(target=status.target, failure=failure)
    name = f"Revision {failed.target.generation}"
    if failed.target.generation == good.generation:
        name = f"Launching revision {good.generation} anew"
    message = (
        f"{name} failed ({failure.message}); going back to the last good instances, of revision {good.generation}."
    )
    status = replace(
        status, target=good, failures=0, retry_at=None, failure=None, rollout=None, rolled_back=failed,
    )  # fmt: skip
    return status, (Note("RolledBack", failure.code, message, {"log": list(failure.log)}),)


def _why_to_give_up(progress_deadline: float, status: Status, now: datetime, *, ready: bool) -> Failure | None:
    failure, rollout = status.failure, status.rollout
    if rollout is not None and rollout.paused_at is not None:
        return None
    if failure is not None and status.failures and (failure.permanent or status.failures >= UPDATE_ATTEMPTS):
        return failure
    if rollout is None or ready:
        return None
    if now < rollout.progressed_at + timedelta(seconds=progress_deadline):
        return None
    waits = f" It waited for capacity: {status.waiting.message}." if status.waiting else ""
    last = f" The last failure was: {failure.message}" if failure is not None else ""
    message = (
        f"The rollout made no progress for {format_duration(progress_deadline)} (rollout.progress_deadline); "
        f"{rollout.ready} new instance(s) were ready.{waits}{last}"
    )
    return Failure(code="progress_deadline_exceeded", message=message, log=failure.log if failure else ())


def forgive(status: Status, ready: tuple[Instance, ...], want: int, now: datetime) -> Status:
    """Instances that have served for a while end the count of failures in a row."""
    if status.failures and ready and len(ready) >= want and max(i.since for i in ready) + STABLE_AFTER <= now:
        return replace(status, failures=0, retry_at=None)
    return status
