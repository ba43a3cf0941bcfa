"""Which setting is recommended, on a machine of which a test says how fast it is."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.optimization.jobs import Latency, Measured, Trials
from modelyard.optimization.tuning import Found, Plan, Setting, Target, Trial, judge, search, threads_up_to

Speed = Callable[[int, int], float]


class Machine:
    """Takes ``speed`` milliseconds for a run of so many rows with so many threads, give or take ``noise``."""

    def __init__(self, speed: Speed, *, noise: float = 0.01, batches: bool = True, seed: int = 0) -> None:
        self.speed, self.noise, self.batches = speed, noise, batches
        self.random = random.Random(seed)
        self.asked: list[tuple[int, tuple[int, ...], float]] = []

    def measure(self, threads: int, batches: Sequence[int], seconds: float) -> Trials:
        self.asked.append((threads, tuple(batches), seconds))
        return Trials(
            batches=self.batches, found=[self._one(threads, rows) for rows in (batches if self.batches else [1])]
        )

    def _one(self, threads: int, rows: int) -> Measured:
        took = self.speed(threads, rows) * (1 + self.random.uniform(-self.noise, self.noise))
        latency = Latency(p50=took, p95=took * 1.2)
        return Measured(batch=rows, callers=1, rate=rows / took * 1000, latency=latency)


def found(machine: Machine, **more: object) -> Found:
    given = {"current": Setting(1, 64), "threads": (1, 2, 4), "batches": (1, 8, 64), **more}
    plan = Plan(**given)  # type: ignore[arg-type]
    return search(plan, machine.measure, lambda words: None)


def best(machine: Machine, **more: object) -> Setting:
    verdict = found(machine, **more).verdict
    assert verdict is not None
    return verdict.best.setting if verdict.is_better else verdict.current.setting


def test_threads_are_recommended_where_they_help() -> None:
    assert best(Machine(lambda threads, rows: rows / threads)) == Setting(4, 1), "each row takes the same time"
    assert best(Machine(lambda threads, rows: (1 + rows / 100) / threads)) == Setting(4, 64)


def test_what_brings_nothing_is_left_to_others() -> None:
    verdict = found(Machine(lambda threads, rows: rows), current=Setting(4, 64)).verdict
    assert verdict is not None
    assert verdict.best.setting == Setting(1, 1)
    assert not verdict.is_better, "it is as fast, no faster"


def test_the_noise_of_a_machine_is_no_gain() -> None:
    wrong = 0
    for seed in range(60):
        verdict = found(Machine(lambda threads, rows: rows, noise=0.3, seed=seed)).verdict
        wrong += bool(verdict and verdict.is_better)
    assert wrong <= 3, "one in 252, or a few more as the settings that are compared were picked"


def test_a_bound_on_latency_is_kept() -> None:
    machine = Machine(lambda threads, rows: 1 + rows / 10)
    assert best(machine, bound=3.0) == Setting(1, 8), "64 rows take 7.4 ms"
    nothing = found(machine, bound=0.5)
    assert (nothing.verdict, len(nothing.trials)) == (None, 9)
    verdict = found(machine, bound=3.0).verdict
    assert verdict is not None
    assert (verdict.is_better, verdict.why) == (True, "what is set now does not keep the bound")


def test_latency_is_that_of_one_row() -> None:
    machine = Machine(lambda threads, rows: abs(threads - 2) + 1)
    assert best(machine, target=Target.LATENCY) == Setting(2, 1)
    assert {batches for _, batches, _ in machine.asked} == {(1,)}


def test_a_model_that_takes_one_number_of_rows_is_tuned_by_threads_alone() -> None:
    one = found(Machine(lambda threads, rows: 1 / threads, batches=False))
    assert one.verdict is not None
    assert (one.batches, one.verdict.best.setting, one.verdict.is_better) == (False, Setting(4, 1), True)


def test_settings_take_turns_and_the_time_is_what_was_given() -> None:
    machine = Machine(lambda threads, rows: 1.0 / threads)
    found(machine, seconds=10.0)
    assert [threads for threads, _, _ in machine.asked[:9]] == [1, 2, 4, 4, 2, 1, 1, 2, 4]
    assert sum(len(batches) * seconds for _, batches, seconds in machine.asked) == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(("cores", "tried"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])])
def test_powers_of_two_and_all_cores_are_tried(cores: int, tried: list[int]) -> None:
    assert threads_up_to(cores) == tried


rates = st.lists(st.floats(1, 1e6), min_size=5, max_size=5)


@given(rates, rates)
def test_nothing_is_recommended_that_was_ever_worse_than_what_is_set(before: list[float], after: list[float]) -> None:
    def trial(threads: int, values: list[float]) -> Trial:
        latency = Latency(p50=1, p95=1)
        return Trial(
            Setting(threads, 1), tuple(Measured(batch=1, callers=1, rate=one, latency=latency) for one in values)
        )

    verdict = judge(trial(1, before), trial(2, after), Target.THROUGHPUT, None)
    if verdict.is_better:
        assert min(after) > max(before)
        assert verdict.gain >= 0.03
