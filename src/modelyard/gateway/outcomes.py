"""What is counted of a request that goes to one model, whichever way it came: how it ended, and how long it took."""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import Final

from modelyard.gateway.exchange import CLIENT_GONE, ClientGone
from modelyard.gateway.problems import Refusal
from modelyard.gateway.served import ServedModel

_OVERDUE: Final = 504


class Counted:
    """Around the work on a request: counts it as refused or left by its caller when the block ends with that.
    :meth:`answered` counts the answer. ``began`` is by time.monotonic."""

    __slots__ = ("_began", "_model")

    def __init__(self, model: ServedModel, began: float) -> None:
        self._model = model
        self._began = began

    def __enter__(self) -> Counted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Refusal):
            refused(self._model, self._began, error)
        elif isinstance(error, ClientGone):
            self.left()

    def answered(self, status: int) -> None:
        answered(self._model, self._began, status)

    def left(self, status: int = CLIENT_GONE) -> None:
        """Nobody waits for the answer any more; ``status``: what was said instead."""
        self._model.stats.count(status)


def answered(model: ServedModel, began: float, status: int) -> None:
    """Something that serves the model has answered."""
    stats = model.stats
    stats.count(status)
    stats.observe(monotonic() - began)


def refused(model: ServedModel, began: float, refusal: Refusal) -> None:
    """The gateway has answered instead; where that is as time was over, the time counts."""
    model.refuse(refusal)
    if refusal.status == _OVERDUE:
        model.stats.observe(monotonic() - began)
