"""What is counted of each arm of a model's traffic: the two revisions of a canary, the models of a split, the shadows.

Arms are counted beside the model's own numbers, and only while there are any. Their latencies are kept in finer
buckets than those shown to Prometheus, as they are compared with each other.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

from modelyard.domain.significance import BOUNDS
from modelyard.gateway.metrics import ModelStats
from modelyard.gateway.routes import Route

REVISION: Final = "revision"
MODEL: Final = "model"
SHADOW: Final = "shadow"

Key = tuple[str, str]


class Arm:
    """One arm. ``errors``: answers of 5xx, timeouts, and requests lost with an instance of it. ``missed``: requests
    that were meant for it and did not go to it, by why. What :meth:`read` tells begins with the present ``mark``."""

    __slots__ = ("_base", "buckets", "errors", "kind", "mark", "missed", "name", "requests", "seconds", "stats")

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        self.stats = ModelStats()
        self.requests = self.errors = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.missed: dict[str, int] = {}
        self.mark = 0
        self._base: tuple[int, int, float, list[int]] = (0, 0, 0.0, list(self.buckets))

    def count(self, status: int, seconds: float | None, *, error: bool) -> None:
        """A request has come to its end; ``seconds`` is None where nothing answered it."""
        self.requests += 1
        self.errors += error
        self.stats.count(status)
        if seconds is not None:
            self.seconds += seconds
            self.buckets[bisect_left(BOUNDS, seconds)] += 1
            self.stats.observe(seconds)

    def miss(self, why: str) -> None:
        self.missed[why] = self.missed.get(why, 0) + 1

    def begin(self, mark: int) -> None:
        """From here on another step's requests are counted, if ``mark`` is another."""
        if mark != self.mark:
            self.mark = mark
            self._base = (self.requests, self.errors, self.seconds, list(self.buckets))

    def read(self) -> dict[str, Any]:
        """As the control process is told."""
        requests, errors, seconds, buckets = self._base
        return {
            "kind": self.kind,
            "name": self.name,
            "mark": self.mark,
            "requests": self.requests - requests,
            "errors": self.errors - errors,
            "seconds": self.seconds - seconds,
            "buckets": [now - then for now, then in zip(self.buckets, buckets, strict=True)],
            "missed": self.missed,
        }


class Arms(dict[Key, Arm]):
    """The arms of one model: those that its route asks for."""

    def agree(self, route: Route) -> None:
        """Have the arms of ``route``: those that were there before go on counting."""
        keys: list[Key] = []
        if route.canary is not None:
            keys += [(REVISION, str(route.canary.before)), (REVISION, str(route.canary.after))]
        if route.traffic is not None:
            if route.traffic.split or route.traffic.shadow:
                keys.append((MODEL, route.name))
            keys += [(MODEL, name) for name in route.traffic.split]
            keys += [(SHADOW, name) for name in route.traffic.shadow]
        for key in self.keys() - set(keys):
            del self[key]
        for key in keys:
            if key not in self:
                self[key] = Arm(*key)
        if route.canary is not None:
            for key in keys[:2]:
                self[key].begin(route.canary.mark)
