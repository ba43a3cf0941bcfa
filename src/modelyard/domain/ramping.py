"""A canary within a rollout: when it begins, how many new instances each step needs, and what its judgement makes of
the rollout. The judgement itself is :mod:`modelyard.domain.canary`'s."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.domain.actions import Note
from modelyard.domain.canary import Abort, Advance, Evidence, decide
from modelyard.domain.launching import takes_turns
from modelyard.domain.model import CanaryProgress, Failure, Model, Rollout, Status, Target
from modelyard.domain.progress import View, on_canary
from modelyard.domain.spec import Canary, Spec, Strategy

ABORTED = "canary_aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """``failure``: why the rollout is to go back; ``holds``: the step has the instances that it needs, so that the
    rollout makes all the progress that it is to make now."""

    status: Status
    failure: Failure | None = None
    holds: bool = False
    notes: tuple[Note, ...] = ()
    wake_at: datetime | None = None


def ramp(model: Model, status: Status, view: View, evidence: Evidence | None, now: datetime) -> Ramp:
    """Take the canary of a rollout one step on, if it is time."""
    status = _begun(model, status, view, now)
    rollout, canary = status.rollout, model.spec.rollout.canary
    progress = rollout.ramp if rollout is not None else None
    if rollout is None or progress is None:
        return Ramp(status=status)
    if canary is None:
        # Taken out of the spec on the way.
        return _promoted(status, rollout, progress, "rollout.canary was removed.", now)
    if rollout.paused_at is not None:
        return Ramp(status=status, holds=True)
    progress = replace(progress, since=min(progress.since, now))
    notes: tuple[Note, ...] = ()
    if progress.percent == progress.wanted:
        judged = decide(canary, progress, evidence, now)
        if isinstance(judged, Abort):
            message = f"The canary at {progress.percent} % was aborted: {judged.why}."
            return Ramp(status=status, failure=Failure(code=ABORTED, message=message))
        if not isinstance(judged, Advance):
            return Ramp(status=_with(status, rollout, progress), holds=True, wake_at=judged.until)
        if judged.percent is None:
            return _promoted(status, rollout, progress, judged.why, now)
        notes = (Note("CanaryStep", "Canary", f"From {progress.percent} % to {judged.percent} %: {judged.why}"),)
        progress = replace(progress, wanted=judged.percent)
    holds = len(view.ready) >= on_canary(progress, view.want)
    if holds:
        progress = replace(progress, percent=progress.wanted, mark=progress.mark + 1, since=now)
        message = f"Revision {rollout.after.generation} gets {progress.percent} % of the requests."
        notes += (Note("CanaryServes", "Canary", message),)
    return Ramp(
        status=_with(status, rollout, progress), holds=holds, notes=notes, wake_at=_next_look(canary, progress, now)
    )


def _next_look(canary: Canary, progress: CanaryProgress, now: datetime) -> datetime | None:
    judged = decide(canary, progress, None, now) if progress.percent == progress.wanted else None
    return None if judged is None or isinstance(judged, (Abort, Advance)) else judged.until


def _begun(model: Model, status: Status, view: View, now: datetime) -> Status:
    """A canary begins with its rollout, where old and new can serve side by side: not while it is under way."""
    rollout, canary = status.rollout, model.spec.rollout.canary
    if rollout is None or rollout.canary is not None or canary is None or rollout.forced:
        return status
    if takes_turns(model) or view.ready or not view.old_ready:
        return status
    return replace(status, rollout=replace(rollout, canary=first_step(model.spec, rollout.before, rollout.after, now)))


def first_step(spec: Spec, before: Target, after: Target, now: datetime) -> CanaryProgress | None:
    """How the canary of a rollout to ``spec`` begins, if it has one: there is nothing to compare where the revision
    stays the same, nor where no two instances live side by side."""
    canary = spec.rollout.canary
    alone = spec.is_exclusive or spec.rollout.strategy is Strategy.REPLACE
    if canary is None or alone or before.generation == after.generation:
        return None
    return CanaryProgress(wanted=canary.steps[0], since=now)


def _promoted(status: Status, rollout: Rollout, progress: CanaryProgress, why: str, now: datetime) -> Ramp:
    """The deadline counts from here on."""
    rollout = replace(rollout, progressed_at=now)
    note = Note("CanaryPromoted", "Canary", f"Promoted from {progress.percent} %: {why}")
    return Ramp(status=_with(status, rollout, replace(progress, promoted=True)), notes=(note,))


def _with(status: Status, rollout: Rollout, progress: CanaryProgress) -> Status:
    return replace(status, rollout=replace(rollout, canary=progress))
