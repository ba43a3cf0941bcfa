"""Many things done at once by threads, of which the first that fails ends all.

The threads are no pool's: a pool waits for its own when it ends, also for one that waits for a server, and whoever
presses Ctrl-C does not want to.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

# What is moved at a time; with more, one connection's loss costs nothing and a server is only pressed harder.
THREADS: Final = 8
_LOOK: Final = 0.2


class Stopped(Exception):
    """Another thread has failed, or whoever waits no longer does."""


class Crew:
    """Does ``work`` with each item. What lasts long calls :meth:`check` now and then."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def check(self) -> None:
        """Raises Stopped."""
        if self._ended.is_set():
            raise Stopped

    def each(self, work: Callable[[T], None], items: Iterable[T], meanwhile: Callable[[], None] | None = None) -> None:
        """Returns when all is done; raises what the first that failed has raised. ``meanwhile`` is called a few times a
        second, and may raise as well."""
        todo: queue.SimpleQueue[T] = queue.SimpleQueue()
        for item in items:
            todo.put(item)
        told: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        count = min(THREADS, todo.qsize())

        def run() -> None:
            try:
                while not self._ended.is_set():
                    work(todo.get_nowait())
            except queue.Empty:
                told.put(None)
            except BaseException as error:
                told.put(error)
            else:
                told.put(Stopped())

        threads = [threading.Thread(target=run, name=f"source-{i}", daemon=True) for i in range(count)]
        for thread in threads:
            thread.start()
        try:
            ended = 0
            while ended < count:
                try:
                    error = told.get(timeout=_LOOK if meanwhile else None)
                except queue.Empty:
                    assert meanwhile is not None
                    meanwhile()
                    continue
                if error is not None:
                    raise error
                ended += 1
        except BaseException:
            self._ended.set()
            raise
        for thread in threads:
            thread.join()
