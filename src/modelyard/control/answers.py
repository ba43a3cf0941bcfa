"""How the requests of each model were answered of late: the gateway's counts, over windows of time.

Times here are seconds of a clock that never jumps. What a control process that has just begun does not know yet it says
so (None). Only models of which the gateway tells something cost anything.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable

from modelyard.control.pace import Pace
from modelyard.control.ports import Answered
from modelyard.control.traffic import TrafficBook
from modelyard.domain.latency import BOUNDS

_NONE = Answered(answers=0, errors=0, buckets=(0,) * (len(BOUNDS) + 1))


class AnswerBook:
    """Looks at what the gateway has told whenever it is asked to."""

    def __init__(self, traffic: TrafficBook, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._traffic = traffic
        self._monotonic = monotonic
        self._gateway = ""
        self._since = 0.0
        # Totals where nothing has changed of late: those missing were at nought when this began.
        self._before: dict[str, Answered] = {}
        # Of the others running totals, each with the time from which on it held.
        self._samples: dict[str, list[tuple[float, Answered]]] = {}
        # When theirs changed last, the longest ago first.
        self._changed: dict[str, float] = {}

    async def look(self, longest: float) -> None:
        """Take down what was told since the last look; ``longest`` is the longest window in seconds that is asked for
        (0: none is, and all is forgotten)."""
        now, traffic = self._monotonic(), self._traffic
        gateway = traffic.gateway if longest else ""
        if gateway != self._gateway:
            # Its counts began anew, and nobody knows when those that it has now were made.
            self._gateway, self._since = gateway, now
            self._before = dict(traffic.answered)
            self._samples.clear()
            self._changed.clear()
            traffic.news.clear()
        if not gateway:
            return
        news, traffic.news = traffic.news, set()
        pace = Pace()
        for uid in news:
            if (counted := traffic.answered.get(uid)) is not None:
                self._take_down(uid, counted, now, now - longest)
            await pace.step()
        while self._changed:
            uid, changed_at = next(iter(self._changed.items()))
            if changed_at > now - longest:
                break
            del self._changed[uid]
            self._before[uid] = self._samples.pop(uid)[-1][1]
            await pace.step()

    def _take_down(self, uid: str, counted: Answered, now: float, oldest: float) -> None:
        samples = self._samples.get(uid) or [(self._since, self._before.get(uid, _NONE))]
        if counted == samples[-1][1]:
            return
        samples.append((now, counted))
        keep = bisect_right(samples, oldest, key=lambda s: s[0]) - 1
        if keep > 0:
            del samples[:keep]
        self._samples[uid] = samples
        self._changed.pop(uid, None)
        self._changed[uid] = now

    def active(self) -> Iterable[str]:
        """The models that were answered anything within the longest window; of the others there is nothing to see."""
        return self._changed.keys()

    def begin_anew(self, uid: str) -> None:
        """What was answered until now says nothing of the model any more: it was stopped, or is gone."""
        self._samples.pop(uid, None)
        self._changed.pop(uid, None)
        if (counted := self._traffic.answered.get(uid)) is not None:
            self._before[uid] = counted
        else:
            self._before.pop(uid, None)

    def within(self, uid: str, window: float) -> tuple[Answered, bool]:
        """What was answered in the last ``window`` seconds, as far as it is known, and whether all of it is."""
        if not self._gateway:
            return _NONE, False
        began = self._monotonic() - window
        samples = self._samples.get(uid)
        if samples is None:
            return _NONE, self._since <= began
        first = samples[max(bisect_right(samples, began, key=lambda s: s[0]) - 1, 0)][1]
        last = samples[-1][1]
        found = Answered(
            answers=max(last.answers - first.answers, 0),
            errors=max(last.errors - first.errors, 0),
            buckets=tuple(max(b - a, 0) for a, b in zip(first.buckets, last.buckets, strict=True)),
        )
        return found, samples[0][0] <= began
