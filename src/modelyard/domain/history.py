"""What became of a model's requests over time, and what its instances held: samples that can be added up to any step.

Times are whole seconds of the epoch. A sample is of a stretch of time and says nothing of how long that was: whoever
keeps it knows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import add, sub
from typing import Final

from modelyard.domain.latency import BOUNDS, quantile
from modelyard.domain.model import Event

MINUTE: Final = 60
HOUR: Final = 3600
# Minutes are kept for so long, in seconds; then hours take their place. More than a day, so that whoever asks for one
# has minutes of all of it.
MINUTES_KEPT: Final = 26 * HOUR
# What instances hold counts as unchanged for so long after it was last written, in seconds. While there are any it is
# written again before that; where nobody wrote it, nobody knows it.
HOLDS_FOR: Final = 15 * MINUTE
# Steps that are nice to read, in seconds.
STEPS: Final = (5, 15, 30, MINUTE, 300, 900, HOUR, 6 * HOUR, 24 * HOUR)
# Points that are told at most, and those that one who names no step is told about.
MAX_POINTS: Final = 2000
_USUAL_POINTS: Final = 360

_NO_TIMES: Final = (0,) * (len(BOUNDS) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """So many ``requests`` were answered, of them ``errors`` with 5xx and ``rejected`` with 4xx (who went away before
    the answer among them); ``busy``: seconds that all requests together spent in instances; ``buckets``: how long those
    took that reached one (see :mod:`modelyard.domain.latency`). ``instances`` were there at the most, and held
    ``memory`` bytes at the most; None: not known."""

    requests: int = 0
    errors: int = 0
    rejected: int = 0
    busy: float = 0.0
    buckets: tuple[int, ...] = _NO_TIMES
    instances: int | None = None
    memory: int | None = None

    @property
    def counts_nothing(self) -> bool:
        return not (self.requests or self.busy or any(self.buckets))

    def plus(self, other: Sample) -> Sample:
        """Of both stretches of time together."""
        return Sample(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            rejected=self.rejected + other.rejected,
            busy=self.busy + other.busy,
            buckets=tuple(map(add, self.buckets, other.buckets)),
            instances=_most(self.instances, other.instances),
            memory=_most(self.memory, other.memory),
        )

    def since(self, earlier: Sample) -> Sample:
        """Of running totals: what came after ``earlier``. Totals that are lower than before have begun anew."""
        buckets = tuple(map(sub, self.buckets, earlier.buckets))
        requests, busy = self.requests - earlier.requests, self.busy - earlier.busy
        errors, rejected = self.errors - earlier.errors, self.rejected - earlier.rejected
        if min(requests, errors, rejected, busy, *buckets) < 0:
            return self
        return Sample(requests=requests, errors=errors, rejected=rejected, busy=busy, buckets=buckets)

    def took(self, share: float) -> float | None:
        """Seconds within which this share of the requests was answered; None: there were none."""
        return quantile(self.buckets, share)


NOTHING: Final = Sample()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """From ``start`` up to, but without, ``end``, in points of ``step`` seconds; the last one may be shorter."""

    start: int
    end: int
    step: int

    @property
    def times(self) -> Sequence[int]:
        """When the points begin."""
        return range(self.start, self.end, self.step)

    @property
    def lengths(self) -> Sequence[int]:
        """How many seconds long each point is."""
        return [min(self.step, self.end - at) for at in self.times]

    def points(self, samples: Iterable[tuple[int, Sample]]) -> list[Sample]:
        """What each point comes to: samples by when they begin; those outside count nowhere."""
        found = [NOTHING] * len(self.times)
        for at, sample in samples:
            if self.start <= at < self.end:
                place = (at - self.start) // self.step
                found[place] = found[place].plus(sample)
        return found

    def holdings(self, samples: Iterable[tuple[int, int, Sample]]) -> list[tuple[int | None, int | None]]:
        """Instances and memory at each point: the most that was written in it, else what was last written before it,
        for as long as that holds. ``samples`` are when each begins, how long it is and the sample; of any order, and
        from before the start too."""
        known = sorted(((at, length, s) for at, length, s in samples if s.instances is not None), key=lambda k: k[0])
        begins = [at for at, _, _ in known]
        found: list[tuple[int | None, int | None]] = []
        for at in self.times:
            first, after = bisect_right(begins, at - 1), bisect_right(begins, min(at + self.step, self.end) - 1)
            instances: int | None = None
            memory: int | None = None
            for _, _, sample in known[first:after]:
                instances, memory = _most(instances, sample.instances), _most(memory, sample.memory)
            if first == after and first > 0:
                began, length, last = known[first - 1]
                # What is not there stays so until something is.
                if last.instances == 0 or at < began + length + HOLDS_FOR:
                    instances, memory = last.instances, last.memory
            found.append((instances, memory))
        return found


def below(at: int, step: int) -> int:
    """The multiple of ``step`` that ``at`` lies at or after."""
    return at - at % step


def fitting_step(seconds: int, finest: int, wanted: int | None = None) -> int:
    """The step for that many seconds of which there is nothing finer than ``finest``: a multiple of it that is at least
    ``wanted``, or (None) one that makes a readable number of points."""
    if wanted is None:
        wanted = max(seconds // _USUAL_POINTS, 1)
        wanted = next((step for step in STEPS if step >= wanted), below(wanted, STEPS[-1]) + STEPS[-1])
    return -(-wanted // finest) * finest


def _most(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


# ------------------------------------------------------------------------------------------- marks


class MarkKind(StrEnum):
    """What a mark in a history stands for."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    SCALE = "scale"
    RESTART = "restart"
    START = "start"
    STOP = "stop"
    IDLE = "idle"
    FAILURE = "failure"


_BY_TYPE: Final = {
    "Created": MarkKind.DEPLOY,
    "SpecChanged": MarkKind.DEPLOY,
    "RolledBack": MarkKind.ROLLBACK,
    "RestartRequested": MarkKind.RESTART,
    "InstanceFailed": MarkKind.FAILURE,
}
_BY_STATE: Final = {
    "running": MarkKind.START,
    "stopped": MarkKind.STOP,
    "idle": MarkKind.IDLE,
    "error": MarkKind.FAILURE,
}
_CHANGED: Final = "StateChanged"
# The types of events that may be marks.
MARKED: Final = (*_BY_TYPE, _CHANGED)
_SCALES: Final = ("spec.replicas", "spec.autoscaling")


def mark_of(event: Event) -> MarkKind | None:
    """What the event is in a history; None: nothing to see there."""
    if event.type == _CHANGED:
        # The end of an update is no start: it has served all the while.
        return None if event.data.get("from") == "updating" else _BY_STATE.get(str(event.data.get("to")))
    fields = event.data.get("fields") or ()
    if event.type == "SpecChanged" and fields and all(str(path).startswith(_SCALES) for path in fields):
        return MarkKind.SCALE
    return _BY_TYPE.get(event.type)
