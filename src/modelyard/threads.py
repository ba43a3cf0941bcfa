"""Blocking calls that may never come back, such as those that ask a dead disk or a hung driver."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

R = TypeVar("R")


def apart(function: Callable[[], R], name: str) -> asyncio.Future[R]:
    """Run a blocking ``function`` in a thread of its own: it takes no thread from a pool that others need,
    and does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[R] = loop.create_future()
    # Of one that was left behind nobody asks what it ended with.
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())

    def settle(how: Callable[[Any], None], outcome: object) -> None:
        if not answer.done():
            how(outcome)

    def work() -> None:
        try:
            done = partial(settle, answer.set_result, function())
        except BaseException as error:
            # A library's panic is no Exception; whoever waits must hear of it as well.
            done = partial(settle, answer.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(done)

    threading.Thread(target=work, name=name, daemon=True).start()
    return answer
