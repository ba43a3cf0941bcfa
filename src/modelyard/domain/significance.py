"""How one arm of a model's traffic compares with another: error rates, latencies, and what chance alone explains.

Everything here works on counts, never on single requests: how many there were, how many failed, and how many took how
long, by buckets. Nothing is assumed of the shape of latencies.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

# Upper ends of the latency buckets in seconds: sixteen to each power of ten from 100 us to 100 s, so that a bucket is
# 15 % wide. What took longer is in one more bucket.
BOUNDS: Final = tuple(1e-4 * 10 ** (i / 16) for i in range(97))

# Standard normal quantiles: of a 95 % interval, and one-sided at 0.1 %. A rollout looks at its canary twice a second,
# so that what is rare at one look is not rare at many.
Z_95: Final = 1.959964
Z_STRICT: Final = 3.090232
# Below so many requests of each arm nothing is said of a difference.
ENOUGH: Final = 100
LATENCY_QUANTILE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Requests of one arm. ``errors``: answers of 5xx, timeouts and requests that were cut; ``seconds`` and
    ``buckets`` (by :data:`BOUNDS`) are of those that were answered."""

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    buckets: tuple[int, ...] = ()

    @property
    def failed(self) -> int:
        """At most every request: one that was lost and asked again counts its loss beside its answer."""
        return min(self.errors, self.requests)

    @property
    def error_rate(self) -> float | None:
        return self.failed / self.requests if self.requests else None

    @property
    def measured(self) -> int:
        """Requests with a latency."""
        return sum(self.buckets)

    @property
    def mean(self) -> float | None:
        return self.seconds / self.measured if self.measured else None

    def quantile(self, share: float) -> float | None:
        """The latency below which ``share`` of the requests stayed, in seconds: on a straight line in its bucket."""
        total = self.measured
        if not total:
            return None
        rank, below = share * total, 0
        for index, count in enumerate(self.buckets):
            if count and below + count >= rank:
                if index == len(BOUNDS):
                    return BOUNDS[-1]
                low = BOUNDS[index - 1] if index else 0.0
                return low + (BOUNDS[index] - low) * (rank - below) / count
            below += count
        return BOUNDS[-1]


# ------------------------------------------------------------------------------------------- proportions


def wilson(successes: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927); of none at all, all there may be."""
    if not total:
        return 0.0, 1.0
    p, square = successes / total, z * z
    middle = p + square / (2 * total)
    half = z * math.sqrt(p * (1 - p) / total + square / (4 * total * total))
    scale = 1 + square / total
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def difference(one: int, of_one: int, other: int, of_other: int, z: float = Z_95) -> tuple[float, float]:
    """The interval of the difference ``one/of_one - other/of_other`` (Newcombe 1998, method 10, of two Wilson
    intervals): it keeps its promise with few requests and with none that failed, where the textbook's does not."""
    if not of_one or not of_other:
        return -1.0, 1.0
    p, q = one / of_one, other / of_other
    low_p, high_p = wilson(one, of_one, z)
    low_q, high_q = wilson(other, of_other, z)
    return (
        p - q - math.sqrt((p - low_p) ** 2 + (high_q - q) ** 2),
        p - q + math.sqrt((high_p - p) ** 2 + (q - low_q) ** 2),
    )


def two_proportions(one: int, of_one: int, other: int, of_other: int) -> float:
    """The two-sided p-value of the pooled two-proportion z-test."""
    if not of_one or not of_other:
        return 1.0
    pooled = (one + other) / (of_one + of_other)
    variance = pooled * (1 - pooled) * (1 / of_one + 1 / of_other)
    if not variance:
        return 1.0
    return _two_sided((one / of_one - other / of_other) / math.sqrt(variance))


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


# ------------------------------------------------------------------------------------------- latencies


def mann_whitney(one: Sequence[int], other: Sequence[int]) -> tuple[float, float]:
    """The chance that a request of ``one`` takes longer than one of ``other`` (a half: neither does), and the
    two-sided p-value of the Mann-Whitney test with its correction for ties: all of a bucket are tied."""
    n, m = sum(one), sum(other)
    if not n or not m:
        return 0.5, 1.0
    total, below, u, ties = n + m, 0, 0.0, 0.0
    for a, b in zip(one, other, strict=True):
        u += a * (below + b / 2)
        below += b
        ties += (a + b) ** 3 - (a + b)
    variance = n * m / 12 * ((total + 1) - ties / (total * (total - 1)))
    p = _two_sided((u - n * m / 2) / math.sqrt(variance)) if variance > 0 else 1.0
    return u / (n * m), p


def is_slower(one: Counts, other: Counts, ratio: float, z: float = Z_STRICT) -> bool:
    """Whether ``one``'s 95th percentile is shown to be more than ``ratio`` times ``other``'s: more than a twentieth of
    its requests took longer than ``ratio`` times the most that the other's percentile may be.

    A test of counts alone (the order-statistic interval of a quantile, the Wilson interval of a share); where a bucket
    leaves it open, nothing is shown."""
    share, n = LATENCY_QUANTILE, other.measured
    if not n or not one.measured:
        return False
    upper = share + z * math.sqrt(share * (1 - share) / n)
    if upper >= 1:
        return False
    within = list(accumulate(other.buckets))
    index = next(i for i, count in enumerate(within) if count >= upper * n)
    if index >= len(BOUNDS):
        return False
    above = bisect_right(BOUNDS, BOUNDS[index] * ratio) + 1
    slow = sum(one.buckets[above:])
    return wilson(slow, one.measured, z)[0] > 1 - share


# ------------------------------------------------------------------------------------------- the read-out


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is known of the difference between an arm and the front one. ``enough`` is False while there are too few
    requests of either: the numbers then say nothing. Error rates: their difference, its 95 % interval and the p-value
    of the two-proportion z-test; latencies: the chance that a request of the arm takes longer than one of the
    front's, and the p-value of the Mann-Whitney test."""

    enough: bool
    verdict: str
    error_difference: float | None = None
    error_low: float | None = None
    error_high: float | None = None
    error_p: float | None = None
    slower_chance: float | None = None
    latency_p: float | None = None


def compare(arm: Counts, front: Counts) -> Comparison:
    """Read out ``arm`` against ``front``."""
    least = min(arm.requests, front.requests)
    if least < ENOUGH:
        verdict = f"Not enough requests yet: {least} of the {ENOUGH} that each arm needs."
        return Comparison(enough=False, verdict=verdict)
    low, high = difference(arm.failed, arm.requests, front.failed, front.requests)
    error_p = two_proportions(arm.failed, arm.requests, front.failed, front.requests)
    chance, latency_p = 0.5, 1.0
    if len(arm.buckets) == len(front.buckets):
        chance, latency_p = mann_whitney(arm.buckets, front.buckets)
    words = []
    # The interval and the test may differ by a hair: what both say is said.
    if error_p < 0.05 and (low > 0 or high < 0):
        words.append("more errors" if low > 0 else "fewer errors")
    if latency_p < 0.05:
        words.append("slower" if chance > 0.5 else "faster")
    return Comparison(
        enough=True,
        verdict=f"{' and '.join(words).capitalize()} (95 %)." if words else "No difference shown (95 %).",
        error_difference=arm.failed / arm.requests - front.failed / front.requests,
        error_low=low,
        error_high=high,
        error_p=error_p,
        slower_chance=chance,
        latency_p=latency_p,
    )
