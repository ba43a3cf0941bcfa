"""The histogram: close to the values that went in, whatever they were."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modelyard.loadtest.histogram import Histogram

VALUES = st.lists(st.integers(0, 2**45), min_size=1, max_size=100)


def made(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(VALUES, st.floats(0, 1))
def test_a_quantile_is_off_by_less_than_half_a_percent(values: list[int], share: float) -> None:
    rank = max(1, math.ceil(share * len(values) - 1e-9))
    true = sorted(values)[rank - 1]
    assert abs(made(values).quantile(share) - true) <= true / 256 + 0.5


@given(VALUES)
def test_count_mean_and_ends_are_exact(values: list[int]) -> None:
    histogram = made(values)
    assert (histogram.count, histogram.total) == (len(values), sum(values))
    assert (histogram.lowest, histogram.highest) == (min(values), max(values))
    assert histogram.quantile(1.0) == max(values)


@given(VALUES, VALUES)
def test_two_added_up_are_as_one_of_all_values(some: list[int], others: list[int]) -> None:
    both = made(some)
    both.add(made(others))
    assert both == made(some + others)


@given(st.lists(st.integers(0, 2**45), min_size=1, max_size=100, unique=True))
def test_buckets_lie_beside_each_other_and_hold_every_value(values: list[int]) -> None:
    buckets = list(made(values).buckets())
    assert sum(count for _, _, count in buckets) == len(values)
    assert all(before[1] < after[0] for before, after in pairwise(buckets))
    for value in values:
        assert any(low <= value <= high for low, high, _ in buckets)


@given(VALUES)
def test_values_between_edges_around_all_of_them_are_all_values(values: list[int]) -> None:
    edges = [-1.0, 10.0, 1e6, 1e9, 2.0**46]
    assert sum(made(values).between(edges)) == len(values)


def test_nothing_recorded_has_no_quantile() -> None:
    empty = Histogram()
    assert (empty.quantile(0.99), empty.mean, list(empty.buckets())) == (0.0, 0.0, [])
    some = made([5])
    some.add(empty)
    assert some == made([5])
