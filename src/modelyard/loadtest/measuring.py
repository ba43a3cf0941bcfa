"""Has processes make a load, and puts together what they tell."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from modelyard.loadtest.histogram import Histogram
from modelyard.loadtest.plan import Ended, Errors, Failed, Message, Plan, Ready, Slice, Told, decode_message, encode

_SECOND: Final = 10**9
# The longest line that a process may tell: all buckets of a histogram, and errors.
_LINE: Final = 2**20
# From the order to begin to the beginning, in nanoseconds, so that all processes have it in time.
_HEAD_START: Final = 50_000_000
# How long processes have to end, once they are told to or their time is over.
_GRACE: Final = 10.0

M = TypeVar("M", bound=Message)


class LoadFailed(Exception):
    """There was nothing to measure; the text says why."""


@dataclass(frozen=True, slots=True)
class Second:
    """One second of the load. ``seconds``: how much of it was measured (0: what was answered after the load's end);
    latencies in nanoseconds."""

    index: int
    seconds: float
    answered: int
    errors: int
    p50: float
    p99: float
    longest: int


@dataclass(slots=True)
class Measured:
    """``seconds``: how long was measured; ``busy``: seconds of processors that making the load took meanwhile;
    ``latencies`` of what was answered with success, in nanoseconds; ``sent`` and ``received`` in bytes."""

    seconds: float = 0.0
    busy: float = 0.0
    reconnected: int = 0
    latencies: Histogram = field(default_factory=Histogram)
    errors: list[Errors] = field(default_factory=list)
    timeline: list[Second] = field(default_factory=list)
    sent: int = 0
    received: int = 0

    @property
    def rate(self) -> float:
        """Successful answers a second, of those that came before the load's end."""
        return sum(each.answered for each in self.timeline if each.seconds) / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        return sum(each.count for each in self.errors)

    @property
    def failed_share(self) -> float:
        """Of all requests, 0 to 1."""
        return self.failed / (self.failed + self.latencies.count) if self.failed else 0.0


async def measure(
    plan: Plan,
    *,
    processes: int = 1,
    stop: asyncio.Event | None = None,
    tell: Callable[[Second], None] = lambda _: None,
) -> Measured:
    """Make the load with so many processes, between which connections and rate are divided. ``tell`` is called with
    each second. Once ``stop`` is set the load ends without waiting for answers, and what there was is what is measured.

    Raises:
        LoadFailed: no connection could be made, or a process of the load died.
    """
    stop = stop or asyncio.Event()
    sum_up = _Sum(processes, tell)
    async with _processes(_parts(plan, processes)) as made:
        ending = asyncio.create_task(_end_when_told(stop, made))
        try:
            await asyncio.gather(*(_next(each, Ready) for each in made))
            begin = time.perf_counter_ns() + _HEAD_START + int(plan.warm_up * _SECOND)
            for process in made:
                _order(process, f"{begin}\n".encode())
            ends = await asyncio.gather(*(_follow(each, sum_up) for each in made))
        except LoadFailed:
            if stop.is_set():
                raise LoadFailed("It was ended before it had begun.") from None
            raise
        finally:
            ending.cancel()
    return sum_up.whole(ends)


def _parts(plan: Plan, processes: int) -> list[Plan]:
    """The shares of processes: rates in step, so that together they send at even distances."""
    parts = []
    for number in range(processes):
        connections = plan.connections // processes + (number < plan.connections % processes)
        rate = plan.rate / processes if plan.rate else None
        offset = number / plan.rate if plan.rate else 0.0
        parts.append(msgspec.structs.replace(plan, connections=connections, rate=rate, offset=offset))
    return parts


@asynccontextmanager
async def _processes(parts: list[Plan]) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    made: list[asyncio.subprocess.Process] = []
    try:
        for part in parts:
            process = await asyncio.create_subprocess_exec(
                # -P: what lies in the current folder is not imported.
                sys.executable, "-P", "-m", "modelyard.loadtest", stdin=asyncio.subprocess.PIPE,
                # A session of its own: who interrupts us has us end the load in order.
                stdout=asyncio.subprocess.PIPE, limit=_LINE, start_new_session=True,
            )  # fmt: skip
            made.append(process)
            _order(process, encode(part) + b"\n")
        yield made
    finally:
        for process in made:
            assert process.stdin is not None
            process.stdin.close()
        await asyncio.gather(*(_gone(process) for process in made))


async def _gone(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), _GRACE)
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise


def _order(process: asyncio.subprocess.Process, line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line)


async def _end_when_told(stop: asyncio.Event, made: list[asyncio.subprocess.Process]) -> None:
    await stop.wait()
    for process in made:
        assert process.stdin is not None
        process.stdin.close()


async def _read(process: asyncio.subprocess.Process) -> Message:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise LoadFailed("A process of the load ended before the load did.")
    message = decode_message(line)
    if isinstance(message, Failed):
        raise LoadFailed(message.why)
    return message


async def _next(process: asyncio.subprocess.Process, kind: type[M]) -> M:
    message = await _read(process)
    assert isinstance(message, kind)
    return message


async def _follow(process: asyncio.subprocess.Process, sum_up: _Sum) -> Ended:
    while isinstance(message := await _read(process), Told):
        sum_up.take(message.slice)
    assert isinstance(message, Ended)
    return message


class _Sum:
    """All processes' slices as one load's."""

    def __init__(self, processes: int, tell: Callable[[Second], None]) -> None:
        self._processes = processes
        self._tell = tell
        self._measured = Measured()
        self._errors: dict[tuple[int, str], Errors] = {}
        # Seconds of which not all processes have told yet, and how many have.
        self._open: dict[int, tuple[Slice, int]] = {}

    def take(self, slice_: Slice) -> None:
        before, told = self._open.pop(slice_.index, (None, 0))
        whole = slice_ if before is None else _both(before, slice_)
        if told + 1 < self._processes:
            self._open[slice_.index] = (whole, told + 1)
        else:
            self._close(whole)

    def whole(self, ends: list[Ended]) -> Measured:
        for index in sorted(self._open):
            self._close(self._open[index][0])
        measured = self._measured
        measured.seconds = max(end.seconds for end in ends)
        measured.busy = sum(end.busy for end in ends)
        measured.reconnected = sum(end.reconnected for end in ends)
        measured.errors = sorted(self._errors.values(), key=lambda each: -each.count)
        return measured

    def _close(self, whole: Slice) -> None:
        latencies, measured = whole.latencies, self._measured
        measured.latencies.add(latencies)
        measured.sent += whole.sent
        measured.received += whole.received
        for each in whole.errors:
            self._count(each)
        failed = sum(each.count for each in whole.errors)
        second = Second(
            whole.index, whole.seconds, latencies.count, failed, latencies.quantile(0.5), latencies.quantile(0.99),
            latencies.highest,
        )  # fmt: skip
        measured.timeline.append(second)
        self._tell(second)

    def _count(self, errors: Errors) -> None:
        known = self._errors.setdefault((errors.status, errors.code), errors)
        if known is not errors:
            known.count += errors.count


def _both(one: Slice, other: Slice) -> Slice:
    one.latencies.add(other.latencies)
    return Slice(
        index=one.index, seconds=max(one.seconds, other.seconds), latencies=one.latencies,
        errors=[*one.errors, *other.errors], sent=one.sent + other.sent, received=one.received + other.received,
    )  # fmt: skip
