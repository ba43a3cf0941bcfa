"""Rates: exactly what they say, in any order of time, within bounded memory."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from modelyard.access.limits import RateLimited, RateLimits
from modelyard.domain.rates import Rate, rate_problems


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Bucket:
    """A bucket of tokens, in exact numbers."""

    def __init__(self, rate):
        self.rate, self.room = Fraction(rate.per_second), Fraction(rate.room)
        self.tokens, self.at = self.room, Fraction(0)

    def take(self, now):
        self.tokens = min(self.room, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return (1 - self.tokens) / self.rate
        self.tokens -= 1
        return None


# Powers of two, so that the exact numbers and the floats are the same.
RATES = st.builds(
    lambda power, burst: Rate(per_second=2.0**power, burst=burst), st.integers(-4, 6), st.integers(1, 9) | st.none()
)
STEPS = st.lists(st.integers(0, 64).map(lambda n: Fraction(n, 64)), max_size=80)


@given(RATES, STEPS)
def test_as_many_are_admitted_as_a_bucket_of_tokens_admits(rate, steps):
    clock, bucket, now = Clock(), Bucket(rate), Fraction(0)
    limits = RateLimits(clock)
    for step in steps:
        now += step
        clock.now = float(now)
        expected, found = bucket.take(now), limits.take(("x", rate))
        assert (found is None) == (expected is None)
        if found is not None:
            assert abs(found[1] - float(expected)) < 1e-6


@given(RATES, st.integers(0, 20))
def test_who_waits_as_long_as_is_said_is_admitted(rate, extra):
    clock = Clock()
    limits = RateLimits(clock)
    for _ in range(int(rate.room) + extra):
        limits.take(("x", rate))
    refused = limits.take(("x", rate))
    assert refused is not None
    assert RateLimited("x", rate, refused[1]).retry_after >= refused[1]
    clock.now += refused[1]
    assert limits.take(("x", rate)) is None


def test_a_request_that_one_rate_refuses_counts_against_none():
    clock = Clock()
    limits = RateLimits(clock)
    wide, narrow = Rate(per_second=1, burst=10), Rate(per_second=1, burst=1)
    assert limits.take(("key", wide), ("model", narrow)) is None
    for _ in range(50):
        assert limits.take(("key", wide), ("model", narrow)) == (1, 1.0)
    assert [limits.take(("key", wide)) is None for _ in range(10)] == [True] * 9 + [False]


def test_memory_is_bounded_and_what_is_asked_the_most_is_remembered():
    clock = Clock()
    limits = RateLimits(clock, most=100)
    rate = Rate(per_second=0.01, burst=2)
    limits.take(("busy", rate))
    limits.take(("busy", rate))
    for number in range(1000):
        limits.take((number, rate))
        assert len(limits) <= 101
    assert limits.take(("busy", rate)) is not None
    clock.now = 1000.0
    for number in range(101):
        limits.take((("new", number), rate))
    assert limits.take(("busy", rate)) is None


def test_a_rate_that_says_nothing_is_refused():
    assert list(rate_problems("rate", Rate(per_second=1))) == []
    for wrong in (Rate(per_second=0), Rate(per_second=-1), Rate(per_second=float("nan")), Rate(per_second=1, burst=0)):
        assert list(rate_problems("rate", wrong))
