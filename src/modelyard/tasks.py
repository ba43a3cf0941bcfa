"""Background tasks that cannot die silently."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

# The event loop itself holds tasks weakly (asyncio.create_task).
_running: set[asyncio.Task[Any]] = set()


def spawn(
    coro: Coroutine[Any, Any, T],
    name: str,
    *,
    on_error: Callable[[Exception], None] | None = None,
) -> asyncio.Task[T]:
    """Run ``coro`` in the background under ``name``.

    What it raises is logged with its traceback and given to ``on_error``, which is where the caller
    repairs or gives up; being cancelled is no error. The task stays referenced until it is done.
    """
    # Not in the caller's context: it may go on long after the request that it was begun in.
    task = asyncio.get_running_loop().create_task(coro, name=name, context=Context())
    _running.add(task)

    def finished(task: asyncio.Task[T]) -> None:
        _running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        logger.error("the task %r failed", name, exc_info=error)
        if on_error is not None and isinstance(error, Exception):
            on_error(error)

    task.add_done_callback(finished)
    return task


async def stop(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended, whatever they end with."""
    started = [task for task in tasks if task is not None]
    for task in started:
        task.cancel()
    await asyncio.gather(*started, return_exceptions=True)
