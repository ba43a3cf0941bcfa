"""What the gateway counts, and how it is shown to Prometheus.

Counting is plain Python on the hot path (a tenth of the cost of the client library's objects); the
library writes the exposition when somebody asks for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from modelyard.domain.latency import BOUNDS

TEXT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


class ModelStats:
    """Requests of one model by HTTP status, how long those took that reached an instance, and how often one
    woke the model."""

    __slots__ = ("buckets", "codes", "total", "wakes")

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        self.wakes = 0

    def count(self, status: int) -> None:
        self.codes[status] = self.codes.get(status, 0) + 1

    def observe(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def read(self) -> dict[str, Any]:
        """The counts as the control process is told them."""
        errors = sum(count for code, count in self.codes.items() if code >= 500)
        rejected = sum(count for code, count in self.codes.items() if 400 <= code < 500)
        return {
            "answers": sum(self.codes.values()), "errors": errors, "rejected": rejected, "buckets": self.buckets
        }  # fmt: skip


class MeasuredArm(Protocol):
    """One arm of a model's traffic: ``kind`` is revision, model or shadow. ``missed`` counts requests that were meant
    for it and did not go to it, by why."""

    kind: str
    name: str
    stats: ModelStats
    missed: dict[str, int]


class Measured(Protocol):
    """A model as its metrics are read."""

    @property
    def labels(self) -> tuple[str, str]:
        """Namespace and name."""

    @property
    def stats(self) -> ModelStats: ...

    @property
    def waiting(self) -> int:
        """Requests that are held until an instance is there."""

    @property
    def arms(self) -> Mapping[Any, MeasuredArm]:
        """The arms of its traffic, if it has several."""

    def by_instance(self) -> Iterable[tuple[str, int]]:
        """Requests in flight by instance id."""


class GatewayMetrics(Collector):
    """All counters of this process."""

    def __init__(self, models: Callable[[], Iterable[Measured]]) -> None:
        self._models = models
        self._refused: dict[str, int] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def refuse(self, code: str) -> None:
        """One more request that the gateway answered itself, for this reason."""
        self._refused[code] = self._refused.get(code, 0) + 1

    def collect(self) -> Iterator[Metric]:
        total = CounterMetricFamily(
            "model_inference", "Inference requests by HTTP status.", labels=("namespace", "model", "code")
        )
        latency = HistogramMetricFamily(
            "model_inference_latency_seconds",
            "From the request's head to its answer, of requests that reached an instance.",
            labels=("namespace", "model"),
        )
        in_flight = GaugeMetricFamily(
            "model_inference_in_flight", "Requests being answered now.", labels=("namespace", "model", "instance")
        )
        waiting = GaugeMetricFamily(
            "model_inference_waiting", "Requests held until an instance is there.", labels=("namespace", "model")
        )
        wakes = CounterMetricFamily(
            "model_wakes", "Times that a request woke the idle model.", labels=("namespace", "model")
        )
        for model in self._models():
            labels = list(model.labels)
            for code, count in sorted(model.stats.codes.items()):
                total.add_metric([*labels, str(code)], count)
            latency.add_metric(labels, _cumulated(model.stats), model.stats.total)
            for instance, count in model.by_instance():
                in_flight.add_metric([*labels, instance], count)
            waiting.add_metric(labels, model.waiting)
            wakes.add_metric(labels, model.stats.wakes)
        yield from _arm_metrics(self._models())
        refused = CounterMetricFamily(
            "modelyard_gateway_requests_refused", "Requests that the gateway answered itself.", labels=("reason",)
        )
        for reason, count in sorted(self._refused.items()):
            refused.add_metric([reason], count)
        yield from (total, latency, in_flight, waiting, wakes, refused)

    def text(self, others: str = "") -> bytes:
        """The exposition (text format 0.0.4), with another process's appended."""
        return merge(generate_latest(self._registry).decode(), others).encode()


def _arm_metrics(models: Iterable[Measured]) -> Iterator[Metric]:
    names = ("namespace", "model", "kind", "arm")
    total = CounterMetricFamily(
        "model_arm_inference", "Requests by arm of a model's traffic and HTTP status.", labels=(*names, "code")
    )
    latency = HistogramMetricFamily(
        "model_arm_latency_seconds", "From the request's head to its answer, by arm.", labels=names
    )
    missed = CounterMetricFamily(
        "model_arm_missed", "Requests meant for an arm that did not go to it.", labels=(*names, "reason")
    )
    for model in models:
        for arm in model.arms.values():
            labels = [*model.labels, arm.kind, arm.name]
            for code, count in sorted(arm.stats.codes.items()):
                total.add_metric([*labels, str(code)], count)
            latency.add_metric(labels, _cumulated(arm.stats), arm.stats.total)
            for reason, count in sorted(arm.missed.items()):
                missed.add_metric([*labels, reason], count)
    yield from (total, latency, missed)


def _cumulated(stats: ModelStats) -> list[tuple[str, int]]:
    return list(zip([*map(str, BOUNDS), "+Inf"], accumulate(stats.buckets), strict=True))


def merge(first: str, second: str) -> str:
    """Two expositions as one: each family's HELP and TYPE once, its samples together, as the format asks."""
    families: dict[str, list[str]] = {}
    for text in (first, second):
        name, known = "", False
        comments: set[str] = set()
        for line in text.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                _, keyword, family, *_ = line.split(" ", 3)
                if family != name:
                    name, known, comments = family, family in families, set()
                if known or keyword in comments:
                    continue
                comments.add(keyword)
            elif not line or line.startswith("#"):
                continue
            families.setdefault(name, []).append(line)
    return "".join(f"{line}\n" for lines in families.values() for line in lines)
