"""The control process's metrics. The gateway, which sees the requests, adds its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from modelyard.domain.model import Model
from modelyard.domain.states import State


class Source(Protocol):
    """Where the numbers come from when they are asked for."""

    async def models(self) -> Iterable[Model]: ...

    async def usage(self) -> Mapping[str, int]:
        """Resident bytes by instance id."""


class ControlMetrics:
    """Renders what is true now; nothing is counted here, so nothing is lost by a restart."""

    def __init__(self, source: Source) -> None:
        self._source = source

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
        return generate_latest(registry)
