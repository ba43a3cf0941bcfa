"""The buckets in which the gateway counts how long requests take, and what they tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# Seconds. From a loaded linear model (half a millisecond) to a large one that writes for a minute. What took longer is
# in one more bucket.
BOUNDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """The latency below which ``share`` of the requests stayed, in seconds: on a straight line in its bucket, and the
    last bound at most. None: there were no requests."""
    total = sum(buckets)
    if not total:
        return None
    rank, below = share * total, 0
    for index, count in enumerate(buckets[: len(BOUNDS)]):
        if count and below + count >= rank:
            low = BOUNDS[index - 1] if index else 0.0
            return low + (BOUNDS[index] - low) * (rank - below) / count
        below += count
    return BOUNDS[-1]
