"""The control process's metrics. The gateway, which sees the requests, adds its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from modelyard.domain.model import Model
from modelyard.domain.states import State


class Source(Protocol):
    """Where the numbers come from when they are asked for."""

    async def models(self) -> Iterable[Model]: ...

    async def usage(self) -> Mapping[str, int]:
        """Resident bytes by instance id."""


class Counted(Protocol):
    """What laying out registered versions came to since this process began."""

    @property
    def hits(self) -> int: ...

    @property
    def misses(self) -> int: ...

    @property
    def fetched(self) -> Mapping[str, int]:
        """Bytes by where they came from."""

    @property
    def spared(self) -> int: ...


class CacheSource(Protocol):
    """The cache of registered versions."""

    async def numbers(self) -> Mapping[str, float]:
        """Its ``size`` and the ``shared`` bytes, the ``versions`` in it, and the ``limit`` where there is one."""

    def counted(self) -> Counted: ...


_CACHE = {
    "size": ("registry_cache_size_bytes", "Bytes of the cache that nothing else has."),
    "shared": ("registry_cache_shared_bytes", "Bytes of the cache that the store has too."),
    "versions": ("registry_cache_versions", "Versions that are laid out."),
    "limit": ("registry_cache_limit_bytes", "What the cache is kept to."),
}


class AlertSource(Protocol):
    """What fires, and what is still to be told of it."""

    async def alert_counts(self) -> Mapping[tuple[str, str], int]:
        """By kind and severity."""

    async def delivery_counts(self) -> Mapping[tuple[str, str, str], int]:
        """What is not delivered, by the webhook's namespace and name, and the delivery's state."""


class Sent(Protocol):
    """Requests to webhooks since this process began."""

    @property
    def sent(self) -> Mapping[tuple[str, str, str], int]:
        """By the webhook's namespace and name, and how they ended."""


class ControlMetrics:
    """Renders what is true now; nothing is counted here, so nothing is lost by a restart."""

    def __init__(self, source: Source, cache: CacheSource, alerts: AlertSource, sent: Sent) -> None:
        self._source, self._cache, self._alerts, self._sent = source, cache, alerts, sent

    async def render(self) -> bytes:
        """Prometheus text format, version 0.0.4."""
        registry = CollectorRegistry()
        labels = ["namespace", "model"]
        health = Gauge(
            "model_health_status",
            "1: serves as wished (or is stopped as wished), 0: does not.",
            labels,
            registry=registry,
        )
        state = Gauge("model_state", "1 for the state that the model is in.", [*labels, "state"], registry=registry)
        memory = Gauge(
            "model_memory_usage_mb", "Resident memory of the model's instances, MiB.", labels, registry=registry
        )
        ready = Gauge("model_instances_ready", "Instances that are ready.", labels, registry=registry)
        generation = Gauge("model_generation", "Generation of the spec.", labels, registry=registry)
        usage = await self._source.usage()
        for model in await self._source.models():
            names = (model.namespace, model.name)
            instances = model.status.instances
            unwell = model.status.state in (State.ERROR, State.QUEUED, State.STARTING)
            health.labels(*names).set(0 if unwell else 1)
            for each in State:
                state.labels(*names, str(each)).set(1 if each is model.status.state else 0)
            memory.labels(*names).set(sum(usage.get(i.id, 0) for i in instances) / 2**20)
            ready.labels(*names).set(sum(1 for i in instances if i.phase == "ready"))
            generation.labels(*names).set(model.generation)
        for name, value in (await self._cache.numbers()).items():
            Gauge(*_CACHE[name], registry=registry).set(value)
        registry.register(_Counters(self._cache.counted()))
        await self._tell_alerts(registry)
        return generate_latest(registry)

    async def _tell_alerts(self, registry: CollectorRegistry) -> None:
        firing = Gauge("modelyard_alerts_firing", "Alerts that fire.", ["kind", "severity"], registry=registry)
        for (kind, severity), count in (await self._alerts.alert_counts()).items():
            firing.labels(kind, severity).set(count)
        waiting = Gauge(
            "modelyard_webhook_deliveries", "What webhooks are still to be told (pending), or were in vain (dead).",
            ["namespace", "webhook", "state"], registry=registry,
        )  # fmt: skip
        for labels, count in (await self._alerts.delivery_counts()).items():
            waiting.labels(*labels).set(count)
        registry.register(_Sent(self._sent))


class _Sent(Collector):
    """The webhooks', as they are now."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "modelyard_webhook_requests", "Requests that webhooks were sent, by how they ended.",
            labels=("namespace", "webhook", "outcome"),
        )  # fmt: skip
        for labels, count in sorted(self._sent.sent.items()):
            family.add_metric(labels, count)
        yield family


class _Counters(Collector):
    """The cache's, as they are now."""

    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def collect(self) -> Iterator[Metric]:
        counted = self._counted
        for name, what, value in (
            ("hits", "Versions that were laid out when they were needed.", counted.hits),
            ("misses", "Versions that were not laid out when they were needed.", counted.misses),
            ("spared_bytes", "Bytes that were needed and there.", counted.spared),
        ):
            yield CounterMetricFamily(f"registry_cache_{name}", what, value=value)
        fetched = CounterMetricFamily(
            "registry_cache_fetched_bytes", "Bytes that were fetched, by where they came from.", labels=("source",)
        )
        for source, size in counted.fetched.items():
            fetched.add_metric((source,), size)
        yield fetched
