"""What a manager tells those who listen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from modelyard.runtime.manager.phases import Phase

_log = logging.getLogger("modelyard.runtime")


class Kind(StrEnum):
    PHASE = "phase"  # another phase was reached
    LOADING = "loading"
    READY = "ready"
    SWAPPED = "swapped"  # a new one serves in the old one's place
    KEPT = "kept"  # a new one could not be loaded: the old one goes on
    FAILED = "failed"
    LEFT = "left"  # no free room to load it ahead: it is loaded when it is first used
    EVICTED = "evicted"  # it made room
    UNLOADED = "unloaded"
    FREED = "freed"  # nobody uses it any more, and its memory is free
    TIMED_OUT = "timed_out"  # critical models do not serve, and the start's time is up


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """``model``: empty where it is about all; ``seconds`` that it took, None where that says nothing."""

    kind: Kind
    phase: Phase
    model: str = ""
    message: str = ""
    seconds: float | None = None


Listener = Callable[[Event], None]


class Listeners:
    """Those who listen; one that raises is logged and keeps nobody else from hearing."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def add(self, listener: Listener) -> Callable[[], None]:
        """Returns what takes it away again."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, event: Event) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                _log.exception("a listener failed on %s", event.kind)
