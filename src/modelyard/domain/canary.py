"""What a canary does next: go on to a larger share of the requests, wait, or go back.

:func:`decide` is pure. Its bounds are :class:`~modelyard.domain.spec.Canary`'s. Evidence is of the present step alone,
of both revisions over the same time: what went wrong for everybody is held against nobody. Going back needs proof, as
the canary is looked at twice a second: the one-sided 99.9 % limit of the difference of the error rates (Newcombe), or
of the share of requests above the old revision's 95th percentile (:func:`~modelyard.domain.significance.is_slower`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from modelyard.domain.model import CanaryProgress
from modelyard.domain.quantities import format_duration
from modelyard.domain.significance import LATENCY_QUANTILE, Z_STRICT, Counts, difference, is_slower
from modelyard.domain.spec import Canary


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The requests of the step ``mark``, as far as the gateway has told of them: of the old revision and the new."""

    mark: int
    old: Counts
    new: Counts


@dataclass(frozen=True, slots=True)
class Advance:
    """Go on to ``percent``; None: the new revision is good."""

    percent: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Stay; ``until`` is when to look again if no request comes before."""

    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Go back: the new revision breaks a bound."""

    why: str


Verdict = Advance | Wait | Abort


def decide(canary: Canary, progress: CanaryProgress, evidence: Evidence | None, now: datetime) -> Verdict:
    """Judge the step that ``progress`` is in. ``evidence``: None, or of another step, while there is none."""
    known = evidence if evidence is not None and evidence.mark == progress.mark else None
    old, new = (known.old, known.new) if known else (Counts(), Counts())
    judged = new.requests >= canary.min_requests
    broken = _broken(canary, old, new) if judged else ""
    if broken:
        return Abort(broken)
    since = min(progress.since, now)
    due = since + timedelta(seconds=canary.interval)
    end = since + timedelta(seconds=max(canary.max_wait, canary.interval))
    if now < due:
        return Wait(due, f"at least {format_duration(canary.interval)}")
    if not judged:
        seen = f"{new.requests} of {canary.min_requests} requests"
        if now < end:
            return Wait(end, f"{seen} yet")
        return _advance(canary, progress, f"Not judged: {seen} in {format_duration(canary.max_wait)}.")
    doubt = _doubt(canary, old, new)
    if not doubt:
        return _advance(canary, progress, f"Within its bounds over {new.requests} requests.")
    if now < end:
        return Wait(end, f"{doubt}, not shown yet")
    return Abort(f"{doubt}, for {format_duration(canary.max_wait)} (rollout.canary.max_wait)")


def _advance(canary: Canary, progress: CanaryProgress, why: str) -> Advance:
    return Advance(next((step for step in canary.steps if step > progress.wanted), None), why)


def _broken(canary: Canary, old: Counts, new: Counts) -> str:
    """Which bound is shown to be broken; empty: none."""
    low, _ = difference(new.failed, new.requests, old.failed, old.requests, Z_STRICT)
    if low > canary.max_error_rate:
        return _error_words(canary, old, new)
    if min(old.measured, new.measured) >= canary.min_requests and is_slower(new, old, canary.max_latency_ratio):
        return _latency_words(canary, old, new)
    return ""


def _doubt(canary: Canary, old: Counts, new: Counts) -> str:
    """Which bound the bare numbers are beyond, whether or not chance explains it."""
    if old.requests and (new.error_rate or 0.0) - (old.error_rate or 0.0) > canary.max_error_rate:
        return _error_words(canary, old, new)
    if min(old.measured, new.measured) < canary.min_requests:
        return ""
    slow, usual = new.quantile(LATENCY_QUANTILE), old.quantile(LATENCY_QUANTILE)
    if slow is not None and usual is not None and slow > usual * canary.max_latency_ratio:
        return _latency_words(canary, old, new)
    return ""


def _error_words(canary: Canary, old: Counts, new: Counts) -> str:
    return (
        f"{new.failed} of {new.requests} requests failed on the new revision, {old.failed} of {old.requests} on the "
        f"old one; {canary.max_error_rate:.3g} more are allowed (rollout.canary.max_error_rate)"
    )


def _latency_words(canary: Canary, old: Counts, new: Counts) -> str:
    slow, usual = new.quantile(LATENCY_QUANTILE) or 0.0, old.quantile(LATENCY_QUANTILE) or 0.0
    return (
        f"the 95th percentile of the new revision is {slow * 1000:.3g} ms over {new.measured} requests, the old one's "
        f"{usual * 1000:.3g} ms over {old.measured}; {canary.max_latency_ratio:g} times is allowed "
        "(rollout.canary.max_latency_ratio)"
    )
