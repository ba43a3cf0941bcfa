"""How often callers may ask: rates, kept by the generic cell rate algorithm (ITU-T I.371, ATM Forum TM 4.0).

It admits exactly what a bucket of tokens would, and keeps one number a rate: the time at which its bucket would be
full again. A bucket that is full is the same as none, so those are forgotten.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from typing import Final

from modelyard.domain.errors import ModelyardError
from modelyard.domain.rates import Rate

# Above so many buckets the full ones are dropped; if too few of them are full, those that soonest will be.
_MAX_BUCKETS: Final = 65_536
# Seconds by which sums of floats may be off.
_EPSILON: Final = 1e-9


class RateLimited(ModelyardError):
    """More was asked than this rate allows."""

    code = "rate_limited"
    http_status = 429
    title = "Too many requests"

    def __init__(self, what: str, rate: Rate, wait: float) -> None:
        # Whole seconds, as the header has them.
        self.retry_after = max(1, math.ceil(wait))
        super().__init__(
            f"{what} may be asked {rate.per_second:g} times a second, {rate.room:g} times at once. Try again in "
            f"{self.retry_after} s.",
            retry_after=self.retry_after,
        )


class RateLimits:
    """Counts requests by whatever names a rate: a key, a model. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = _MAX_BUCKETS) -> None:
        self._clock = clock
        self._most = most
        # When each bucket is full again.
        self._full_at: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, *asked: tuple[Hashable, Rate]) -> tuple[int, float] | None:
        """Count one request against each of ``asked``, or against none: then which of them it is too much for (its
        place in ``asked``), and the seconds until it is not."""
        now = self._clock()
        waits = [self._wait(bucket, rate, now) for bucket, rate in asked]
        longest = max(range(len(waits)), key=waits.__getitem__, default=None)
        if longest is not None and waits[longest] > _EPSILON:
            return longest, waits[longest]
        for bucket, rate in asked:
            self._full_at[bucket] = max(self._full_at.get(bucket, now), now) + 1 / rate.per_second
        if len(self._full_at) > self._most:
            self._forget(now)
        return None

    def _wait(self, bucket: Hashable, rate: Rate, now: float) -> float:
        """Seconds until it has room for one more."""
        return self._full_at.get(bucket, now) - now - (rate.room - 1) / rate.per_second

    def _forget(self, now: float) -> None:
        left = [(at, bucket) for bucket, at in self._full_at.items() if at > now]
        if len(left) > self._most // 2:
            # The ones longest from being full are those that are asked the most.
            left = sorted(left, key=lambda item: item[0])[-(self._most // 2) :]
        self._full_at = {bucket: at for at, bucket in left}
