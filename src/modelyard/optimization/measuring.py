"""How fast models answer, loaded by the engines that serve them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.optimization import data, jobs
from modelyard.runtime import engines
from modelyard.runtime.engines.base import LoadOptions, SyncModel
from modelyard.runtime.signature import Array

_ROUNDS: Final = 7
# So many calls, or seconds of them, go before those that count: caches fill, memory is set aside.
_WARM_UP: Final = 5
_WARM_UP_SECONDS: Final = 1.0
_LEAST_CALLS: Final = 3


def load(path: Path, engine: str, *, threads: int = 1, trusted: bool = False) -> SyncModel:
    """The model as a worker loads it.

    Raises:
        LoadFailure: see :func:`modelyard.runtime.engines.load`
    """
    model = engines.load(engine, LoadOptions(source=path, threads=threads, trusted=trusted))
    assert isinstance(model, SyncModel)
    return model


def answers(model: SyncModel, calls: Sequence[data.Call]) -> list[Mapping[str, Array]]:
    # The engine makes text of bytes in the mapping it is given.
    return [model.predict(dict(call.inputs), None, {}) for call in calls]


def side_by_side(
    models: Sequence[SyncModel], calls: Sequence[data.Call], seconds: float, rounds: int = _ROUNDS
) -> list[jobs.Latency]:
    """Of each model, with the call of the same place in ``calls``; all together take about ``seconds``. They take
    turns, each first as often as last, so that what slows the machine down for a while slows both; of the rounds' own
    percentiles the median counts."""
    found: list[list[tuple[float, float]]] = [[] for _ in models]
    for model, call in zip(models, calls, strict=True):
        _warm_up(model, call)
    each = seconds / rounds / len(models)
    for turn in range(rounds):
        order = range(len(models)) if turn % 2 == 0 else reversed(range(len(models)))
        for index in order:
            took = _timed(models[index], calls[index], each)
            found[index].append((percentile(took, 50), percentile(took, 95)))
    return [
        jobs.Latency(p50=median(p50 for p50, _ in one) * 1000, p95=median(p95 for _, p95 in one) * 1000)
        for one in found
    ]


def measure(job: jobs.Measure) -> jobs.Trials:
    """Batch by batch, with as many callers as the engine answers at once.

    Raises:
        InvalidRequest, LoadFailure, RequestError: the data do not go with the model, or it does not load
    """
    model = load(Path(job.source), job.engine, threads=job.threads, trusted=job.trusted)
    if model.signature.inputs is None:
        raise InvalidRequest([Problem("model", "no_signature", "The model does not say what it takes.")])
    calls = data.read(Path(job.data), model.signature, "data") if job.data else []
    call = calls[0] if calls else data.made_up(model.signature, max(job.batches), job.seed)
    batches = data.fixed_rows(model.signature) == -1
    found = []
    for rows in sorted(job.batches) if batches else [1]:
        sized = data.resized(call, model.signature, rows)
        found.append(_measured(model, sized, job.seconds))
    return jobs.Trials(batches=batches, found=found)


def _measured(model: SyncModel, call: data.Call, seconds: float) -> jobs.Measured:
    callers = max(1, model.concurrency)
    _warm_up(model, call)
    began = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        took = [t for one in pool.map(lambda _: _timed(model, call, seconds), range(callers)) for t in one]
    rate = call.rows * len(took) / (time.perf_counter() - began)
    latency = jobs.Latency(p50=percentile(took, 50) * 1000, p95=percentile(took, 95) * 1000)
    return jobs.Measured(batch=call.rows, callers=callers, rate=rate, latency=latency)


def _warm_up(model: SyncModel, call: data.Call) -> None:
    until = time.perf_counter() + _WARM_UP_SECONDS
    for _ in range(_WARM_UP):
        model.predict(dict(call.inputs), None, {})
        if time.perf_counter() > until:
            return


def _timed(model: SyncModel, call: data.Call, seconds: float) -> list[float]:
    """Seconds that each call took, of as many as go into ``seconds``."""
    took: list[float] = []
    predict, inputs, until = model.predict, call.inputs, time.perf_counter() + seconds
    while True:
        fresh = dict(inputs)
        began = time.perf_counter()
        predict(fresh, None, {})
        now = time.perf_counter()
        took.append(now - began)
        if now >= until and len(took) >= _LEAST_CALLS:
            return took


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of ``values`` that so many percent of them do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * int(percent) // 100) - 1)]
