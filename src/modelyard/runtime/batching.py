"""Requests that wait together share a run of the model: those that came in one turn of the event loop, and those that
came while it was busy. A request that is alone never waits for another, unless the model's owner wants it to.

Whether a model's answers stay the same is for its engine to say (:meth:`SyncModel.rows_together`). It is asked, in a
thread, when requests first wait together, so that no start takes longer for it; until it has answered each runs alone.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import orjson

from modelyard.runtime.calls import Answer, Call, Done
from modelyard.runtime.engines.base import Batching, Inputs, Outputs, SyncModel
from modelyard.runtime.executor import SMALL, TURN, Executor
from modelyard.runtime.v2 import Request

_log = logging.getLogger("modelyard.runtime")

# Bytes of the requests of one batch: on the loop, which they hold up while they are read, and in a thread.
_BYTES_ON_LOOP: Final = 2 * SMALL
_BYTES_IN_THREAD: Final = 16 * 2**20
# No request takes less (seconds).
_LEAST: Final = 1e-6
# Where one takes less than this (seconds), joining and parting rows costs more than a run saves from so many rows on.
_CHEAP: Final = 1e-4
_MANY: Final = 8


class Waiting:
    """The requests to one model that are not begun yet. ``answer`` makes the answers of some of them; ``flushed``:
    who submits requests calls :meth:`flush` behind those that came together."""

    def __init__(
        self,
        model: SyncModel,
        batching: Batching,
        executor: Executor,
        loop: asyncio.AbstractEventLoop,
        answer: Callable[[Sequence[Call]], Sequence[Answer]],
        *,
        flushed: bool,
    ) -> None:
        self._model = model
        self._batching = batching
        self._executor = executor
        self._loop = loop
        self._answer = answer
        self._flushed = flushed
        self._waiting: deque[_Job] = deque()
        self._due: asyncio.Handle | None = None
        self._asked = False
        # How many may run together; None: this is not known yet.
        self.rows: int | None = None

    def submit(self, call: Call, size: int, done: Done) -> Callable[[], None] | None:
        """As :meth:`Executor.submit`."""
        job = _Job(call, size, done)
        self._waiting.append(job)
        if self._batching.max_delay and self.rows is not None:
            self._delay()
        elif self._due is None and not self._flushed:
            self._due = self._loop.call_soon(self._start)
        return job.take_back if job.done is not None else None

    def flush(self) -> None:
        """No more come for the moment."""
        if self._waiting and self._due is None:
            self._start()

    def give_up(self) -> None:
        """Have each request run alone from now on; from any thread."""
        self._loop.call_soon_threadsafe(self._found, 1)

    @property
    def most(self) -> int:
        """How many rows a request may have to gain by company."""
        return _MANY if self._executor.mean_seconds < _CHEAP else self.rows or 1

    def _delay(self) -> None:
        """Wait for others, but not longer than is allowed and not for more than may run together."""
        if self._due is None:
            self._due = self._loop.call_later(self._batching.max_delay, self._start)
        elif len(self._waiting) == self.rows:
            self._due.cancel()
            self._start()

    def _start(self) -> None:
        """Begin what waits, as far as there is room."""
        self._due = None
        if len(self._waiting) == 1 and self._executor.free:
            job = self._waiting.popleft()
            if job.done is not None:
                self._begin([job])
            return
        end = None
        while self._waiting and self._executor.free:
            jobs = self._next()
            if jobs:
                self._begin(jobs)
            if not self._waiting:
                return
            now = self._loop.time()
            end = end or now + TURN
            if now >= end:
                self._due = self._loop.call_soon(self._start)
                return

    def _begin(self, jobs: list[_Job]) -> None:
        calls = [job.call for job in jobs]
        size = max([job.size for job in jobs])
        self._executor.submit(partial(self._answer, calls), size, partial(self._finish, jobs), len(jobs))

    def _next(self) -> list[_Job]:
        """The longest row of requests, from the first on, that may be begun at once."""
        waiting, executor = self._waiting, self._executor
        if not self._asked and len(waiting) > 1:
            self._ask()
        most, room = self.rows or 1, _BYTES_IN_THREAD
        on_loop = executor.is_quick(waiting[0].size)
        if on_loop:
            most, room = min(most, int(TURN / max(executor.mean_seconds, _LEAST))), _BYTES_ON_LOOP
        jobs: list[_Job] = []
        while waiting and len(jobs) < most:
            job = waiting[0]
            if job.done is not None:
                room -= job.size
                if jobs and (room < 0 or (on_loop and job.size > SMALL)):
                    break
                jobs.append(job)
            waiting.popleft()
        return jobs

    def _finish(self, jobs: list[_Job], answers: Sequence[Answer]) -> None:
        for job, answer in zip(jobs, answers, strict=True):
            done, job.done = job.done, None
            if done is not None:
                done(answer)
        if self._waiting:
            # What came meanwhile has waited already.
            if self._due is not None:
                self._due.cancel()
            self._due = self._loop.call_soon(self._start)

    def _ask(self) -> None:
        self._asked = True
        # Waited for at the interpreter's end: a thread that ends inside the engine aborts the process.
        threading.Thread(target=self._find_out, name="batching").start()

    def _find_out(self) -> None:
        try:
            rows = self._model.rows_together(self._batching)
        except BaseException:
            _log.exception("looking whether requests may share a run failed: each runs alone")
            rows = 0
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._found, max(rows, 1))

    def _found(self, rows: int) -> None:
        self.rows = rows
        if rows > 1:
            _log.info("requests that wait together share a run: up to %d rows", rows)
            return
        if self._batching.chosen:
            _log.warning("options.batching: requests run alone, as the model's answers differ when they share a run")
        waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            if job.done is not None:
                self._executor.submit(partial(self._answer, [job.call]), job.size, partial(self._finish, [job]))


class _Job:
    """A request that waits or runs; ``done`` is None once it is answered or was taken back."""

    __slots__ = ("call", "done", "size")

    def __init__(self, call: Call, size: int, done: Done) -> None:
        self.call = call
        self.size = size
        self.done: Done | None = done

    def take_back(self) -> None:
        self.done = None


# ------------------------------------------------------------------ which requests go together


def groups(requests: Sequence[Request | None], rows: int, most: int, *, by_parameters: bool) -> Iterator[list[int]]:
    """The requests (None: not to be run) as lists of numbers of those that may share a run of at most ``rows`` rows;
    each request is in one. One of more than ``most`` rows is left alone."""
    found: dict[Any, list[int]] = {}
    for index, request in enumerate(requests):
        if request is None:
            continue
        key = _key(request, by_parameters)
        if key is None or rows_of(request) > most:
            yield [index]
        elif key in found:
            found[key].append(index)
        else:
            found[key] = [index]
    for indices in found.values():
        yield from _bounded(indices, requests, rows)


def _key(request: Request, by_parameters: bool) -> Any:
    """The same for requests that differ in their rows only; None: it must run alone."""
    inputs = request.inputs
    if len(inputs) == 1:
        ((name, array),) = inputs.items()
        if not array.ndim or not len(array):
            return None
        kind: tuple[Any, ...] = (name, array.dtype, array.shape[1:], request.outputs)
    else:
        lengths = {array.shape[:1] for array in inputs.values()}
        if len(lengths) != 1 or lengths <= {(), (0,)}:
            return None
        shapes = sorted([(name, array.dtype.str, array.shape[1:]) for name, array in inputs.items()])
        kind = (tuple(shapes), request.outputs)
    if by_parameters and request.parameters:
        return kind, orjson.dumps(request.parameters, option=orjson.OPT_SORT_KEYS)
    return kind


def _bounded(indices: list[int], requests: Sequence[Request | None], most: int) -> Iterator[list[int]]:
    batch: list[int] = []
    rows = 0
    for index in indices:
        request = requests[index]
        more = 0 if request is None else rows_of(request)
        if batch and rows + more > most:
            yield batch
            batch, rows = [], 0
        batch.append(index)
        rows += more
    yield batch


def rows_of(request: Request) -> int:
    """How many a request that may share a run has."""
    return len(next(iter(request.inputs.values())))


def joined(requests: Sequence[Request]) -> Inputs:
    """The inputs of all, one after the other."""
    return {name: np.concatenate([request.inputs[name] for request in requests]) for name in requests[0].inputs}


class WrongRows(Exception):
    """A model that was to answer row by row did not."""


def parted(outputs: Outputs, counts: Sequence[int]) -> list[dict[str, Any]]:
    """The outputs of each.

    Raises:
        WrongRows: if they have not as many rows as the inputs had.
    """
    total = sum(counts)
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    for name, array in arrays.items():
        if array.shape[:1] != (total,):
            raise WrongRows(f"the model's output {name!r} for {total} rows together has shape {list(array.shape)}")
    answers = []
    start = 0
    for count in counts:
        answers.append({name: array[start : start + count] for name, array in arrays.items()})
        start += count
    return answers
