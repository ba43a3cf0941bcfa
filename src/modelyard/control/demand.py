"""What is asked of each model: the gateway's counts, made into averages over time.

Times here are seconds of a clock that never jumps. What a control process that has just begun does not know
yet it says so (None), and nothing is scaled down on a guess.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from modelyard.control.ports import Load, Loads
from modelyard.domain.observation import Demand
from modelyard.domain.spec import Autoscaling, Metric


@dataclass(slots=True)
class _Sample:
    at: float
    requests: float
    busy: float


@dataclass(slots=True)
class _Watched:
    """One model. ``samples`` are running totals that go on when a new gateway begins at nought."""

    since: float
    samples: list[_Sample] = field(default_factory=list)
    averages: deque[tuple[float, float]] = field(default_factory=deque)
    watched_since: float | None = None
    last: Load | None = None
    quiet_at: float | None = None
    in_flight: int = 0
    waiting: int = 0


class DemandBook:
    """Everything that one gateway has told of the models of a site."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._gateway = ""
        self._begun = monotonic()
        self._models: dict[str, _Watched] = {}

    def take(self, loads: Loads) -> None:
        """A report of the gateway."""
        now = self._monotonic()
        anew = loads.gateway != self._gateway
        if anew:
            self._gateway = loads.gateway
            for watched in self._models.values():
                watched.last, watched.in_flight, watched.waiting = None, 0, 0
        for load in loads.models:
            self._add(self._models.setdefault(load.uid, _Watched(since=self._begun)), load, now)

    def _add(self, watched: _Watched, load: Load, now: float) -> None:
        last = watched.last
        samples = watched.samples
        total = samples[-1] if samples else _Sample(self._begun, 0.0, 0.0)
        # Of what was counted before we listened, nobody knows when it was.
        requests = load.requests - last.requests if last else 0
        busy = load.busy - last.busy if last else 0.0
        samples.append(_Sample(now, total.requests + max(requests, 0), total.busy + max(busy, 0.0)))
        watched.last, watched.in_flight, watched.waiting = load, load.in_flight, load.waiting
        busy_now = load.in_flight or load.waiting
        watched.quiet_at = None if busy_now else now - load.quiet

    def forget(self, uid: str) -> None:
        self._models.pop(uid, None)

    def waits(self, uid: str) -> bool:
        """Whether a request is held for it."""
        watched = self._models.get(uid)
        return watched is not None and watched.waiting > 0

    def quiet_since(self, uid: str, now: datetime) -> datetime | None:
        """Since when nobody has called it; None while somebody does, or when that is not known."""
        watched = self._models.get(uid)
        if watched is None or watched.quiet_at is None:
            return None
        return now - timedelta(seconds=self._monotonic() - watched.quiet_at)

    def unused_since(self, uid: str, now: datetime) -> datetime | None:
        """As :meth:`quiet_since`; of a model that nobody has told of, since this process began to listen."""
        if uid in self._models or not self._gateway:
            return self.quiet_since(uid, now)
        return now - timedelta(seconds=self._monotonic() - self._begun)

    def demand(self, uid: str, scaling: Autoscaling, now: datetime) -> Demand:
        """What is asked of a model, in the terms of its own autoscaling."""
        here = self._monotonic()
        watched = self._models.get(uid)
        if watched is None:
            if not self._gateway:
                return Demand()
            watched = self._models[uid] = _Watched(since=self._begun, quiet_at=here)
        quiet = self.quiet_since(uid, now)
        if scaling.target is None:
            watched.samples = watched.samples[-1:]
            return Demand(quiet_since=quiet, waiting=watched.waiting)
        average = self._average(watched, scaling, here)
        return Demand(
            average=average, peak=self._peak(watched, scaling, average, here), quiet_since=quiet,
            waiting=watched.waiting,
        )  # fmt: skip

    def _average(self, watched: _Watched, scaling: Autoscaling, here: float) -> float | None:
        """Over the window that ends now. None while nobody has listened for so long."""
        if here - watched.since < scaling.window:
            return None
        began = here - scaling.window
        samples = watched.samples
        first = bisect_right(samples, began, key=lambda s: s.at) - 1
        if first > 0:
            # Kept: the one from which the window's beginning is reckoned.
            del samples[:first]
        if not samples:
            return 0.0
        metric = scaling.metric
        return max(self._total(watched, metric, here) - self._total(watched, metric, began), 0.0) / scaling.window

    def _total(self, watched: _Watched, metric: Metric, at: float) -> float:
        """The running total at a time, on a straight line between two samples."""

        def value(sample: _Sample) -> float:
            return sample.busy if metric is Metric.CONCURRENCY else sample.requests

        samples = watched.samples
        index = bisect_right(samples, at, key=lambda s: s.at)
        if index == 0:
            return value(samples[0])
        before = samples[index - 1]
        if index == len(samples):
            # Those in flight have been so since the last report.
            growth = watched.in_flight * (at - before.at) if metric is Metric.CONCURRENCY else 0.0
            return value(before) + growth
        after = samples[index]
        share = (at - before.at) / (after.at - before.at) if after.at > before.at else 1.0
        return value(before) + share * (value(after) - value(before))

    def _peak(self, watched: _Watched, scaling: Autoscaling, average: float | None, here: float) -> float | None:
        """The highest average within the scale-down delay; None while not watched for so long."""
        if average is None:
            return None
        if watched.watched_since is None:
            watched.watched_since = here
        averages = watched.averages
        # Those that a later, higher one outlives can never be the highest again.
        while averages and averages[-1][1] <= average:
            averages.pop()
        averages.append((here, average))
        while len(averages) > 1 and averages[0][0] < here - scaling.scale_down_delay:
            averages.popleft()
        if here - watched.watched_since < scaling.scale_down_delay:
            return None
        return averages[0][1]
