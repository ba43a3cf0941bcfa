"""What both clients know about waiting, without waiting themselves."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx2

from modelyard.client import calls, types
from modelyard.client.errors import OperationFailed, ServerError, TimedOut

_RESUME_PAUSE = 0.2


class Patience:
    """How long a stream that broke is taken up again: ``seconds`` since it last gave something."""

    def __init__(self, seconds: float, url: str) -> None:
        self._seconds = seconds
        self._url = url
        self._deadline: float | None = None

    def renew(self) -> None:
        self._deadline = None

    def pause(self, error: Exception | None) -> float:
        """Seconds to wait before the next try; raises ``error`` when it will not pass, or time is up."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._seconds
        if isinstance(error, httpx2.TransportError):
            if now >= self._deadline:
                raise calls.connection_error(error, self._url) from error
        elif error is not None and (not isinstance(error, ServerError) or now >= self._deadline):
            raise error
        return _RESUME_PAUSE


class OperationWait:
    """Waiting for one operation: which call is next, what its answer means. No I/O of its own."""

    def __init__(
        self,
        operation: types.Operation | str,
        timeout: float | None,
        on_change: Callable[[types.Operation], None] | None,
    ) -> None:
        self._id = operation if isinstance(operation, str) else operation.id
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        self._on_change = on_change
        self._shown = ""
        self._operation: types.Operation | None = None
        if isinstance(operation, types.Operation):
            self.seen(operation)

    @property
    def done(self) -> bool:
        return self._operation is not None and self._operation.done

    def call(self) -> calls.Call[types.Operation]:
        # A wait is answered when the operation is done. Whoever shows steps looks in between as well.
        seconds = calls.WAIT if self._on_change is None else 0.5
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0 and self._operation is not None:
                raise TimedOut(
                    f"The {self._operation.kind} of {self._operation.model or 'many models'} is not done after "
                    f"{self._timeout:g} s. It goes on: `modelyard operations {self._id}` shows how far it is."
                )
            seconds = max(0.0, min(seconds, left))
        return calls.wait_operation(self._id, seconds)

    def seen(self, operation: types.Operation) -> None:
        self._operation = operation
        shown = f"{operation.state} {len(operation.steps)} {operation.counts}"
        if self._on_change is not None and shown != self._shown:
            self._shown = shown
            self._on_change(operation)

    def result(self) -> types.Operation:
        assert self._operation is not None
        if self._operation.state != "succeeded":
            raise OperationFailed(self._operation)
        return self._operation
