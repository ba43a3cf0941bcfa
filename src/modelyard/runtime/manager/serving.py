"""A manager's models under the protocol's routes, and what else is told over HTTP: health, status, metrics."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from modelyard.runtime.calls import Answer
from modelyard.runtime.dataplane import DataPlane
from modelyard.runtime.errors import RequestError
from modelyard.runtime.http import VERSION, json_answer
from modelyard.runtime.manager.entries import Entry, State
from modelyard.runtime.manager.metrics import METRICS_TYPE, Metrics
from modelyard.runtime.manager.status import missing

if TYPE_CHECKING:
    from modelyard.runtime.manager.manager import ModelManager

_TRITON: Final = {State.READY: "READY", State.LOADING: "LOADING", State.WAITING: "LOADING"}


class Managed:
    """Implements :class:`modelyard.runtime.http.Served`."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager
        self._loading = manager.loading
        self._metrics = Metrics(manager)

    async def start(self) -> None:
        await self._manager.start()

    async def stop(self) -> None:
        await self._manager.stop()

    @asynccontextmanager
    async def lend(self, name: str) -> AsyncGenerator[DataPlane]:
        self._loading.find(name)
        began = perf_counter()
        try:
            loaded = await self._loading.lend(name, self._manager.config.wait_timeout)
            try:
                if loaded.plane is None:
                    message = f"{name} is an object of this application's own: no protocol reaches it."
                    raise RequestError(404, "model_not_served", message)
                yield loaded.plane
            finally:
                self._loading.give_back(loaded)
        finally:
            self._metrics.count(name, perf_counter() - began)

    def is_ready(self, name: str) -> bool:
        return self._loading.find(name).loaded is not None

    def index(self) -> list[dict[str, str]]:
        return [
            {"name": entry.name, "version": VERSION, "state": _TRITON.get(entry.state, "UNAVAILABLE"),
             "reason": self._reason(entry)}
            for entry in self._loading.entries.values()
        ]  # fmt: skip

    def _reason(self, entry: Entry) -> str:
        match entry.state:
            case State.FAILED if entry.failed is not None:
                return entry.failed.failure.message
            case State.OUT:
                return "unloaded"
            case State.UNLOADED:
                return "loaded when it is first used"
        return ""

    async def load(self, name: str) -> None:
        await self._manager.load(name)

    async def unload(self, name: str) -> None:
        await self._manager.unload(name)

    def information(self, words: list[str]) -> Answer | None:
        match words:
            case ["health", "live"] | ["v2", "health", "live"]:
                live = self._manager.is_live
                return json_answer({"live": live, **self._short()}, 200 if live else 503)
            case ["health", "ready"] | ["v2", "health", "ready"]:
                ready = self._manager.is_ready
                return json_answer({"ready": ready, **self._short()}, 200 if ready else 503)
            case ["status"]:
                return json_answer(self._manager.status())
            case ["metrics"]:
                return Answer(200, self._metrics.text().encode(), METRICS_TYPE)
        return None

    def _short(self) -> dict[str, Any]:
        return {"phase": self._manager.phase.value, "missing": missing(self._manager)}
