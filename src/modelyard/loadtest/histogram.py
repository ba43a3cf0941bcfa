"""Latencies counted in buckets that widen with their value, after HdrHistogram (https://hdrhistogram.org): any number
of them takes the same room, histograms add up, and a quantile is off by 0.4 % at most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import msgspec

# Each power of two is cut into 2**_BITS buckets: half of one's width is at most 1/256 of its value.
_BITS: Final = 7
_CUTS: Final = 1 << _BITS


class Histogram(msgspec.Struct):
    """Whole numbers from 0 up, here nanoseconds. ``counts`` has the buckets that are not empty, by their index;
    count, total and the two ends are exact."""

    counts: dict[int, int] = {}
    count: int = 0
    total: int = 0
    lowest: int = 0
    highest: int = 0

    def record(self, value: int) -> None:
        shift = value.bit_length() - _BITS - 1
        index = (shift << _BITS) + (value >> shift) if shift > 0 else value
        counts = self.counts
        counts[index] = counts.get(index, 0) + 1
        if value > self.highest:
            self.highest = value
        if value < self.lowest or not self.count:
            self.lowest = value
        self.count += 1
        self.total += value

    def add(self, other: Histogram) -> None:
        """Count all of the other's values as well."""
        if not other.count:
            return
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count
        self.lowest = min(self.lowest, other.lowest) if self.count else other.lowest
        self.highest = max(self.highest, other.highest)
        self.count += other.count
        self.total += other.total

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """The value that this share (0 to 1) of all values does not exceed; 0 when there are none."""
        # What a product of floats is off by must not make the next rank of a whole one.
        rank = max(1, math.ceil(share * self.count - 1e-9))
        if rank >= self.count:
            return float(self.highest)
        seen = 0
        for low, high, count in self.buckets():
            seen += count
            if seen >= rank:
                return min(max((low + high) / 2, self.lowest), self.highest)
        return 0.0

    def buckets(self) -> Iterator[tuple[int, int, int]]:
        """The smallest and the largest value of each bucket that is not empty, and its count; in order."""
        for index in sorted(self.counts):
            shift = max(0, (index >> _BITS) - 1)
            low = index if shift == 0 else ((index & (_CUTS - 1)) | _CUTS) << shift
            yield low, low + (1 << shift) - 1, self.counts[index]

    def between(self, edges: list[float]) -> list[int]:
        """How many values lie between each two edges, which rise; those outside all edges are left out. A bucket
        counts where its middle is."""
        found = [0] * (len(edges) - 1)
        at = 0
        for low, high, count in self.buckets():
            middle = min(max((low + high) / 2, self.lowest), self.highest)
            while at < len(found) and middle >= edges[at + 1]:
                at += 1
            if at == len(found):
                break
            if middle >= edges[at]:
                found[at] += count
        return found
