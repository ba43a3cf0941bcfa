"""Comparing two arms: known values, and what must hold of all counts."""

from __future__ import annotations

import math
import random
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.significance import (
    BOUNDS,
    ENOUGH,
    Counts,
    compare,
    difference,
    is_slower,
    mann_whitney,
    two_proportions,
    wilson,
)


def counts(latencies: list[float], errors: int = 0) -> Counts:
    buckets = [0] * (len(BOUNDS) + 1)
    for latency in latencies:
        buckets[bisect_left(BOUNDS, latency)] += 1
    return Counts(requests=len(latencies), errors=errors, seconds=sum(latencies), buckets=tuple(buckets))


def lognormal(seed: int, count: int, median: float, errors: int = 0) -> Counts:
    dice = random.Random(seed)
    return counts([median * math.exp(dice.gauss(0, 0.5)) for _ in range(count)], errors)


def test_wilsons_interval_is_that_of_the_literature() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
    for successes, total, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert wilson(successes, total) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_a_difference_is_that_of_the_literature() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), 873-890, table II, method 10.
    for one, of_one, other, of_other, low, high in (
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 10, -0.2775, 0.2775),
    ):
        assert difference(one, of_one, other, of_other) == pytest.approx((low, high), abs=5e-5)


def test_the_two_proportion_test_has_the_textbooks_p_value() -> None:
    # 56/70 against 48/80: z = 2.6502, the square root of Pearson's chi-squared, 7.0234.
    assert two_proportions(56, 70, 48, 80) == pytest.approx(math.erfc(math.sqrt(7.0234 / 2)), rel=1e-3)
    assert two_proportions(0, 50, 0, 70) == 1.0
    assert two_proportions(0, 0, 1, 70) == 1.0


def test_mann_whitney_agrees_with_scipy_on_tied_buckets() -> None:
    stats = pytest.importorskip("scipy.stats")
    dice = random.Random(7)
    one = [dice.randrange(6) for _ in range(80)]
    other = [min(dice.randrange(7), 5) for _ in range(120)]
    reference = stats.mannwhitneyu(one, other, method="asymptotic", use_continuity=False)
    chance, p = mann_whitney([one.count(i) for i in range(6)], [other.count(i) for i in range(6)])
    assert (chance, p) == pytest.approx((reference.statistic / (80 * 120), reference.pvalue))


def test_a_quantile_is_right_to_the_width_of_its_bucket() -> None:
    latencies = [i / 1000 for i in range(1, 1001)]
    found = counts(latencies)
    for share, exact in ((0.5, 0.5), (0.95, 0.95), (0.99, 0.99)):
        assert found.quantile(share) == pytest.approx(exact, rel=0.02)
    assert Counts().quantile(0.5) is None
    assert counts([1e6]).quantile(0.5) == BOUNDS[-1]


def test_few_requests_say_nothing_and_it_says_so() -> None:
    found = compare(lognormal(1, 99, 0.01, errors=50), lognormal(2, 5000, 0.01))
    assert not found.enough
    assert found.verdict == f"Not enough requests yet: 99 of the {ENOUGH} that each arm needs."
    assert found.error_p is None


def test_what_differs_is_said_and_what_does_not_is_not() -> None:
    front = lognormal(1, 2000, 0.010, errors=10)
    assert compare(lognormal(2, 500, 0.010, errors=3), front).verdict == "No difference shown (95 %)."
    assert compare(lognormal(3, 500, 0.015, errors=40), front).verdict == "More errors and slower (95 %)."
    assert compare(lognormal(4, 500, 0.006, errors=2), front).verdict == "Faster (95 %)."


def test_a_slower_arm_is_shown_to_be_and_an_equal_one_never_is() -> None:
    front = lognormal(1, 2000, 0.010)
    assert is_slower(lognormal(2, 200, 0.030), front, 1.5)
    assert not is_slower(lognormal(3, 200, 0.012), front, 1.5)
    assert not any(
        is_slower(lognormal(seed, 200, 0.010), lognormal(seed + 500, 400, 0.010), 1.0) for seed in range(200)
    )


def test_latencies_on_both_sides_of_a_buckets_end_are_not_taken_for_slow() -> None:
    edge = BOUNDS[40]
    assert not is_slower(counts([edge * 1.01] * 1000), counts([edge * 0.99] * 1000), 1.0)


arms = st.builds(
    lambda latencies, errors: counts(latencies, min(errors, len(latencies))),
    st.lists(st.floats(1e-5, 500), max_size=300),
    st.integers(0, 300),
)


@given(arms, arms)
def test_two_arms_are_compared_alike_from_either_side(one: Counts, other: Counts) -> None:
    there, back = compare(one, other), compare(other, one)
    assert there.enough is back.enough
    if there.enough:
        assert there.error_p is not None
        assert 0 <= there.error_p <= 1
        assert there.error_p == pytest.approx(back.error_p)
        assert there.latency_p == pytest.approx(back.latency_p)
        assert there.error_low is not None
        assert back.error_high is not None
        assert there.error_low == pytest.approx(-back.error_high, abs=1e-9)
        assert there.error_low - 1e-9 <= (there.error_difference or 0) <= (there.error_high or 0) + 1e-9
    assert not (is_slower(one, other, 1.0) and is_slower(other, one, 1.0))
