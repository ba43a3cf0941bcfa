"""How the requests of each model were answered of late: the gateway's counts, over windows of time.

Times here are seconds of a clock that never jumps. What a control process that has just begun does not know yet it says
so (None).
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from modelyard.control.ports import Answered
from modelyard.control.traffic import TrafficBook
from modelyard.domain.latency import BOUNDS

_NONE = Answered(answers=0, errors=0, buckets=(0,) * (len(BOUNDS) + 1))


@dataclass(slots=True)
class _Watched:
    """Running totals, each with the time from which on it held."""

    since: float
    samples: list[tuple[float, Answered]] = field(default_factory=list)


class AnswerBook:
    """Looks at what the gateway has told whenever it is asked to."""

    def __init__(self, traffic: TrafficBook, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._traffic = traffic
        self._monotonic = monotonic
        self._gateway = ""
        self._looked_at: float | None = None
        self._models: dict[str, _Watched] = {}

    def look(self, uids: Iterable[str], longest: float) -> None:
        """Take down the counts of these models, and forget all others; ``longest`` is the longest window in seconds
        that is asked for."""
        now, traffic = self._monotonic(), self._traffic
        if traffic.gateway != self._gateway:
            # Its counts began anew, and nobody knows when those that it has now were made.
            self._gateway, self._looked_at = traffic.gateway, None
            self._models.clear()
        if not self._gateway:
            return
        before, self._models = self._models, {}
        for uid in uids:
            counted = traffic.answered.get(uid)
            watched = before.get(uid)
            if watched is None:
                # One that is new since the last look began at nought then.
                first = self._looked_at is None or counted is None
                start = (now, counted or _NONE) if first else (self._looked_at or now, _NONE)
                watched = _Watched(since=start[0], samples=[start])
            self._models[uid] = watched
            samples = watched.samples
            if counted is not None and counted != samples[-1][1]:
                samples.append((now, counted))
            keep = bisect_right(samples, now - longest, key=lambda s: s[0]) - 1
            if keep > 0:
                del samples[:keep]
        self._looked_at = now

    def within(self, uid: str, window: float) -> tuple[Answered, bool]:
        """What was answered in the last ``window`` seconds, as far as it is known, and whether all of it is."""
        watched = self._models.get(uid)
        if watched is None:
            return _NONE, False
        began = self._monotonic() - window
        samples = watched.samples
        first = samples[max(bisect_right(samples, began, key=lambda s: s[0]) - 1, 0)][1]
        last = samples[-1][1]
        found = Answered(
            answers=max(last.answers - first.answers, 0),
            errors=max(last.errors - first.errors, 0),
            buckets=tuple(max(b - a, 0) for a, b in zip(first.buckets, last.buckets, strict=True)),
        )
        return found, watched.since <= began
