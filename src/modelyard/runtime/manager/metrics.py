"""What a process counts of each model, in Prometheus' text format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelyard.runtime.manager.manager import ModelManager

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Requests over HTTP are counted here; the rest is read from the manager."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager
        self._requests: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, float] = defaultdict(float)

    def count(self, name: str, seconds: float) -> None:
        self._requests[name] += 1
        self._seconds[name] += seconds

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        entries = self._manager.loading.entries
        counted = {name: self._requests[name] for name in entries}
        yield from _family("requests_total", "counter", "Requests over HTTP, with their wait for the model.", counted)
        took = {name: self._seconds[name] for name in entries}
        yield from _family("request_seconds_total", "counter", "The time that they took together.", took)
        ready = {name: int(entry.loaded is not None) for name, entry in entries.items()}
        yield from _family("ready", "gauge", "Whether the model is loaded.", ready)
        memory = {name: entry.loaded.size for name, entry in entries.items() if entry.loaded is not None}
        yield from _family("memory_bytes", "gauge", "What the loaded model takes.", memory)
        in_use = {name: entry.loaded.uses for name, entry in entries.items() if entry.loaded is not None}
        yield from _family("uses", "gauge", "By how many it is in use.", in_use)
        loads = {name: entry.loads for name, entry in entries.items()}
        yield from _family("loads_total", "counter", "How often it was loaded.", loads)
        evictions = {name: entry.evictions for name, entry in entries.items()}
        yield from _family("evictions_total", "counter", "How often it made room for another.", evictions)


def _family(name: str, kind: str, text: str, values: dict[str, int] | dict[str, float]) -> Iterator[str]:
    yield f"# HELP modelyard_model_{name} {text}"
    yield f"# TYPE modelyard_model_{name} {kind}"
    for model, value in values.items():
        # A model's name needs no escaping: letters, digits, '.', '_' and '-'.
        yield f'modelyard_model_{name}{{model="{model}"}} {value}'
