"""Samples are added up to any step, and nothing of them is lost or counted twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.history import (
    HOLDS_FOR,
    HOUR,
    MINUTE,
    NOTHING,
    MarkKind,
    Sample,
    Stretch,
    below,
    fitting_step,
    mark_of,
)
from modelyard.domain.latency import BOUNDS
from modelyard.domain.model import Event

COUNTS = st.integers(0, 10**6)
BUCKETS = st.lists(COUNTS, min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1).map(tuple)
# Binary fractions, whose sums are exact.
SAMPLES = st.builds(
    Sample, requests=COUNTS, errors=COUNTS, rejected=COUNTS, busy=COUNTS.map(lambda n: n / 64), buckets=BUCKETS,
    instances=st.none() | st.integers(0, 9), memory=st.none() | st.integers(0, 2**40),
)  # fmt: skip
STRETCHES = st.builds(
    lambda place, step, seconds: Stretch(start=place * step, end=place * step + seconds, step=step),
    st.integers(0, 10**6), st.sampled_from([5, 7, 60, 3600]), st.integers(1, 5000),
)  # fmt: skip


@given(SAMPLES, SAMPLES, SAMPLES)
def test_the_order_in_which_samples_are_added_does_not_matter(a: Sample, b: Sample, c: Sample) -> None:
    assert a.plus(b) == b.plus(a)
    assert a.plus(b).plus(c) == a.plus(b.plus(c))
    assert a.plus(NOTHING) == a


@given(SAMPLES, SAMPLES)
def test_running_totals_come_back_from_what_lies_between_them(first: Sample, more: Sample) -> None:
    first, more = (replace(sample, instances=None, memory=None) for sample in (first, more))
    assert first.plus(more).since(first) == more


@given(SAMPLES.filter(lambda sample: sample.requests > 0))
def test_totals_that_have_begun_anew_count_from_nought(total: Sample) -> None:
    assert total.since(replace(total, requests=total.requests + 1)) == total


@given(STRETCHES, st.lists(st.tuples(st.integers(-100, 6000), SAMPLES), max_size=20))
def test_the_points_hold_every_sample_within_once(over: Stretch, found: list[tuple[int, Sample]]) -> None:
    samples = [(over.start + at, sample) for at, sample in found]
    points = over.points(samples)
    assert len(points) == len(over.times) == len(over.lengths)
    assert sum(over.lengths) == over.end - over.start
    within = [sample for at, sample in samples if over.start <= at < over.end]
    assert reduce(Sample.plus, points, NOTHING) == reduce(Sample.plus, within, NOTHING)


@given(st.integers(1, 40 * 24 * HOUR), st.sampled_from([5, MINUTE, HOUR]), st.none() | st.integers(1, 10**5))
def test_a_step_is_made_of_whole_ones_that_are_kept(seconds: int, finest: int, wanted: int | None) -> None:
    step = fitting_step(seconds, finest, wanted)
    assert step % finest == 0
    assert step >= (wanted or finest)
    if wanted is None:
        assert step == finest or seconds / step <= 500


def test_what_instances_hold_lasts_until_it_changes_or_nobody_knows_any_more() -> None:
    start = 100 * HOUR
    over = Stretch(start=start, end=start + HOUR, step=MINUTE)
    held = Sample(instances=2, memory=100)
    told = over.holdings([(start - MINUTE, MINUTE, held), (start + 5 * MINUTE, MINUTE, Sample(instances=3, memory=90))])
    assert told[:7] == [(2, 100)] * 5 + [(3, 90)] * 2
    # A minute's sample and HOLDS_FOR later nobody knows.
    known = [at for at, holds in zip(over.times, told, strict=True) if holds != (None, None)]
    assert known[-1] == start + 5 * MINUTE + MINUTE + HOLDS_FOR - MINUTE
    # What is not there stays so.
    assert over.holdings([(0, HOUR, Sample(instances=0, memory=0))]) == [(0, 0)] * 60


def test_within_a_point_the_most_counts() -> None:
    over = Stretch(start=0, end=2 * HOUR, step=HOUR)
    told = [(at * MINUTE, MINUTE, Sample(instances=n, memory=n)) for at, n in ((0, 1), (10, 4), (50, 2))]
    assert over.holdings(told) == [(4, 4), (2, 2)]


def test_quantiles_are_of_the_requests_that_reached_an_instance() -> None:
    assert NOTHING.took(0.5) is None
    fast, slow = [0] * 17, [0] * 17
    fast[3], slow[9] = 90, 10
    both = Sample(buckets=tuple(fast)).plus(Sample(buckets=tuple(slow)))
    assert (both.took(0.5) or 0) < 0.005 < 0.25 < (both.took(0.95) or 0) <= 0.5


def test_time_is_cut_at_multiples() -> None:
    assert [below(at, MINUTE) for at in (0, 59, 60, 119)] == [0, 0, 60, 60]


def _event(type_: str, **data: object) -> Event:
    return Event(
        at=datetime(2030, 1, 1, tzinfo=UTC), namespace="default", model="m", model_uid="u", type=type_, reason="",
        message="", actor="a", data=data,
    )  # fmt: skip


def test_events_that_explain_a_curve_are_marks() -> None:
    assert mark_of(_event("Created")) is MarkKind.DEPLOY
    assert mark_of(_event("SpecChanged", fields=["spec.replicas.min"])) is MarkKind.SCALE
    assert mark_of(_event("SpecChanged", fields=["spec.replicas.min", "spec.source"])) is MarkKind.DEPLOY
    assert mark_of(_event("StateChanged", **{"from": "starting", "to": "running"})) is MarkKind.START
    assert mark_of(_event("StateChanged", **{"from": "updating", "to": "running"})) is None
    assert mark_of(_event("StateChanged", **{"from": "stopping", "to": "stopped"})) is MarkKind.STOP
    assert mark_of(_event("StateChanged", **{"from": "running", "to": "updating"})) is None
    assert mark_of(_event("AliasMoved")) is None
