"""Where a model's work runs: on the event loop while it is quick, in threads while it is not.

Handing a request to a thread and its answer back costs more than a small model's whole run; a long run
on the loop would hold up everything else, health checks first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Any, Final, TypeVar

T = TypeVar("T")

# A recent run below this (seconds a request, exponentially weighted mean) is quick enough for the loop ...
QUICK: Final = 0.0005
# ... if its request is no larger than those that the mean was most likely made of (bytes).
SMALL: Final = 64 * 2**10
_WEIGHT: Final = 0.2
# How long (seconds) queued quick work may hold the loop before it lets others have a turn.
TURN: Final = 0.005


class Executor:
    """Runs at most ``threads`` pieces of work at once, started in the order they came; quick ones on the
    loop if ``on_loop``."""

    def __init__(self, threads: int, loop: asyncio.AbstractEventLoop, *, on_loop: bool = True) -> None:
        self._threads = threads
        self._on_loop = on_loop
        self._pool: ThreadPoolExecutor | None = None
        self._in_threads = 0
        self._waiting: deque[_Job] = deque()
        self._loop = loop
        # Unknown at first: the first run, often the slowest, is not risked on the loop.
        self.mean_seconds = float("inf")

    @property
    def free(self) -> bool:
        """Whether work would be started at once."""
        return not self._waiting and self._in_threads < self._threads

    def is_quick(self, size: int) -> bool:
        """Whether work for a request of ``size`` bytes would run on the loop."""
        return self._on_loop and self.mean_seconds < QUICK and size <= SMALL

    def submit(
        self, work: Callable[[], T], size: int, done: Callable[[T], None], count: int = 1
    ) -> Callable[[], None] | None:
        """Run ``work`` (which must not raise) for a request of ``size`` bytes and hand ``done`` its result
        on the loop. What is returned takes the work back: if it still waits it is not run, and ``done`` is
        not called. None: it has run already. ``count``: how many requests it is for, the largest of ``size``."""
        if self.free and self.is_quick(size):
            self._run_here(work, done, count)
            return None
        job = _Job(work, size, done, count)
        self._waiting.append(job)
        self._dispatch()
        return job.take_back if job.done is not None else None

    def close(self) -> None:
        """Start nothing more. What runs is not waited for."""
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def _dispatch(self) -> None:
        """Start what waits, as far as there is room."""
        end_of_turn = None
        while self._waiting and self._in_threads < self._threads:
            job = self._waiting[0]
            if job.done is None:
                self._waiting.popleft()
            elif self.is_quick(job.size):
                now = self._loop.time()
                end_of_turn = end_of_turn or now + TURN
                if now >= end_of_turn:
                    self._loop.call_soon(self._dispatch)
                    return
                self._waiting.popleft()
                self._run_here(job.work, job.finish, job.count)
            else:
                self._waiting.popleft()
                self._run_in_thread(job)

    def _run_here(self, work: Callable[[], T], done: Callable[[T], None], count: int) -> None:
        result, seconds = _timed(work)
        self._learn(seconds / count)
        done(result)

    def _run_in_thread(self, job: _Job) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="model")
        self._in_threads += 1
        self._pool.submit(_timed, job.work).add_done_callback(partial(self._from_thread, job))

    def _from_thread(self, job: _Job, future: Future[tuple[Any, float]]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._back, job, future)

    def _back(self, job: _Job, future: Future[tuple[Any, float]]) -> None:
        self._in_threads -= 1
        try:
            result, seconds = future.result()
            self._learn(seconds / job.count)
            job.finish(result)
        finally:
            # Whatever became of it, others wait.
            self._dispatch()

    def _learn(self, seconds: float) -> None:
        mean = self.mean_seconds
        self.mean_seconds = seconds if mean == float("inf") else mean + _WEIGHT * (seconds - mean)


class _Job:
    """Work that waits or runs; ``done`` is None once it has finished or was taken back."""

    __slots__ = ("count", "done", "size", "work")

    def __init__(self, work: Callable[[], Any], size: int, done: Callable[[Any], None], count: int) -> None:
        self.work = work
        self.size = size
        self.count = count
        self.done: Callable[[Any], None] | None = done

    def take_back(self) -> None:
        self.done = None

    def finish(self, result: Any) -> None:
        done, self.done = self.done, None
        if done is not None:
            done(result)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = perf_counter()
    result = work()
    return result, perf_counter() - start
