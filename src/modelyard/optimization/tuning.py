"""The search for the number of threads and of rows a run: which settings are tried, and which one is recommended.

Each trial is a process of its own. The settings take turns for several rounds, so that what slows the machine down for
a while slows all; the best is then measured again beside the present one, as the best of many noisy numbers is partly
the luckiest. It is recommended only if it was better in its worst round than the present one in its best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Final

from modelyard.optimization.jobs import Measured, Trials

# Rows of a run that are tried, where the model takes any number of them.
BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_ROUNDS: Final = 3
# With so many of each, equal settings are told apart by mistake once in 252 times.
_LAST_ROUNDS: Final = 5
# A gain below this is not worth a change, however certain.
_LEAST_GAIN: Final = 0.03
# What the last rounds have of the time.
_LAST: Final = 0.3


class Target(StrEnum):
    """What is to be best."""

    THROUGHPUT = "throughput"  # rows a second of one instance
    LATENCY = "latency"  # the 95th percentile of a call with one row


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """Threads of an instance (``resources.cpu``), rows of a run (``options.batching.max_rows``)."""

    threads: int
    max_rows: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What was measured of a setting, round by round."""

    setting: Setting
    rounds: tuple[Measured, ...]

    @property
    def rate(self) -> float:
        """Rows a second."""
        return median(one.rate for one in self.rounds)

    @property
    def p50(self) -> float:
        """Milliseconds."""
        return median(one.latency.p50 for one in self.rounds)

    @property
    def p95(self) -> float:
        """Milliseconds."""
        return median(one.latency.p95 for one in self.rounds)

    def worth(self, target: Target) -> list[float]:
        """Of each round, the more the better."""
        if target is Target.LATENCY:
            return [1 / one.latency.p95 for one in self.rounds]
        return [one.rate for one in self.rounds]

    def meets(self, bound: float | None) -> bool:
        return bound is None or self.p95 <= bound


@dataclass(frozen=True, slots=True)
class Verdict:
    """``best`` beside ``current``, both measured once more: ``gain`` 0.25 is a quarter better. ``noise`` is how far
    rounds of one setting lay from its median, relative to that."""

    current: Trial
    best: Trial
    gain: float
    noise: float
    is_better: bool
    why: str


@dataclass(frozen=True, slots=True)
class Found:
    """``batches``: False where the model takes only one number of rows. ``verdict`` is None where no setting keeps the
    bound."""

    batches: bool
    trials: tuple[Trial, ...]
    verdict: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``bound``: of the 95th percentile, in milliseconds. ``seconds`` is about how long all measuring takes, beside
    the starts of its processes."""

    current: Setting
    threads: Sequence[int]
    batches: Sequence[int] = BATCHES
    target: Target = Target.THROUGHPUT
    bound: float | None = None
    seconds: float = 30.0


# Measures some batches with so many threads, each for so many seconds.
Measure = Callable[[int, Sequence[int], float], Trials]


def threads_up_to(cores: int) -> list[int]:
    """Powers of two, and all of them."""
    return sorted({*(2**i for i in range(cores.bit_length()) if 2**i <= cores), cores})


def search(plan: Plan, measure: Measure, tell: Callable[[str], None]) -> Found:
    """Raises what ``measure`` raises."""
    threads = sorted({*plan.threads, plan.current.threads})
    wanted = [1] if plan.target is Target.LATENCY else sorted({*plan.batches, plan.current.max_rows})
    slice_ = plan.seconds * (1 - _LAST) / (_ROUNDS * len(threads) * len(wanted))
    points: dict[Setting, list[Measured]] = {}
    batches = True
    for turn in range(_ROUNDS):
        for count in threads if turn % 2 == 0 else reversed(threads):
            tell(f"Round {turn + 1} of {_ROUNDS}: {count} thread{'s' if count > 1 else ''}")
            trials = measure(count, wanted, slice_)
            batches = trials.batches
            for one in trials.found:
                points.setdefault(Setting(count, one.batch), []).append(one)
    found = tuple(Trial(setting, tuple(rounds)) for setting, rounds in sorted(points.items()))
    best = choose(found, plan.target, plan.bound)
    if best is None:
        return Found(batches, found, None)
    rows = plan.current.max_rows if batches and plan.target is Target.THROUGHPUT else best.setting.max_rows
    current = Setting(plan.current.threads, rows)
    tell(f"Measuring {_said(best.setting)} beside {_said(current)} again")
    slice_ = plan.seconds * _LAST / (2 * _LAST_ROUNDS)
    last: dict[Setting, list[Measured]] = {current: [], best.setting: []}
    for turn in range(_LAST_ROUNDS):
        for count in sorted({setting.threads for setting in last}, reverse=turn % 2 == 1):
            sizes = [setting.max_rows for setting in last if setting.threads == count]
            for one in measure(count, sizes, slice_).found:
                last[Setting(count, one.batch)].append(one)
    now, then = (Trial(setting, tuple(last[setting])) for setting in (current, best.setting))
    return Found(batches, found, judge(now, then, plan.target, plan.bound))


def choose(trials: Iterable[Trial], target: Target, bound: float | None) -> Trial | None:
    """Of those that keep the ``bound`` the smallest that is as good as the best, as far as can be told: threads that
    bring nothing are another model's, and rows that bring nothing only wait for each other."""
    kept = [trial for trial in trials if trial.meets(bound)]
    if not kept:
        return None
    best = max(kept, key=lambda trial: median(trial.worth(target)))
    least = min(best.worth(target))
    equal = [trial for trial in kept if max(trial.worth(target)) >= least]
    return min(equal, key=lambda trial: trial.setting)


def judge(current: Trial, best: Trial, target: Target, bound: float | None) -> Verdict:
    """Whether to change from one to the other."""
    before, after = current.worth(target), best.worth(target)
    gain = median(after) / median(before) - 1
    noise = max(_spread(before), _spread(after))
    if current.setting == best.setting:
        is_better, why = False, "it is set so already"
    elif not best.meets(bound):
        is_better, why = False, "measured again, it does not keep the bound"
    elif not current.meets(bound):
        is_better, why = True, "what is set now does not keep the bound"
    elif min(after) > max(before) and gain >= _LEAST_GAIN:
        is_better, why = True, "it was better in its worst round than what is set now in its best"
    else:
        is_better, why = False, "the difference is not beyond the noise"
    return Verdict(current, best, gain, noise, is_better, why)


def _spread(values: Sequence[float]) -> float:
    middle = median(values)
    return max(abs(value - middle) for value in values) / middle


def _said(setting: Setting) -> str:
    threads = f"{setting.threads} thread{'s' if setting.threads > 1 else ''}"
    return f"{threads} and {setting.max_rows} row{'s' if setting.max_rows > 1 else ''}"
