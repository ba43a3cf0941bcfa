"""The load that one process makes: connections that send, and what came of it, second by second.

In a closed loop so many callers wait for one another's server: a server that stalls is asked less meanwhile. In an open
loop requests are due at their own times, and a latency is counted from when its request was due, not from when a
connection was free for it: what a stall does to those who would have called is in the numbers (the "coordinated
omission" that wrk2 and HdrHistogram correct for).
"""

from __future__ import annotations

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from typing import Final

from modelyard.loadtest.asking import trust
from modelyard.loadtest.clock import Timer
from modelyard.loadtest.connection import Connection
from modelyard.loadtest.histogram import Histogram
from modelyard.loadtest.plan import LOST, NO_STATUS, NOT_HTTP, REFUSED, TIMEOUT, Ended, Errors, Plan, Slice

_SECOND: Final = 10**9
# How often timeouts and ends are looked for, in seconds.
_TICK: Final = 0.02
# Between two attempts to connect again.
_PAUSE: Final = 0.1
# How many connections are being opened at a time.
_OPENING: Final = 64
_CODE: Final = re.compile(rb'"code"\s*:\s*"([\w.-]{1,64})"')
_EXAMPLE: Final = 500


def generator(plan: Plan, tell: Callable[[Slice], None]) -> Generator:
    """``tell`` is called with each second as it ends."""
    return OpenLoop(plan, tell) if plan.rate else ClosedLoop(plan, tell)


class Generator(ABC):
    """:meth:`connect`, then :meth:`run`."""

    def __init__(self, plan: Plan, tell: Callable[[Slice], None]) -> None:
        self._plan = plan
        self._tell = tell
        self._timeout = int(plan.timeout * _SECOND)
        self._context = trust(plan)
        self._requests = cycle(plan.requests)
        self._connections: list[Connection] = []
        self._reconnecting: set[asyncio.Task[None]] = set()
        self._reconnected = 0
        self._latencies = Histogram()
        self._errors: dict[tuple[int, str], Errors] = {}
        self._carried = (0, 0)
        self._begin = self._end = self._slice_begin = self._slice_end = 0
        self._index = 0
        self._done = asyncio.Event()

    async def connect(self) -> None:
        """Raises OSError if one of the connections cannot be made."""
        for first in range(0, self._plan.connections, _OPENING):
            opened = min(_OPENING, self._plan.connections - first)
            self._connections += await asyncio.gather(*(self._opened(Connection(self)) for _ in range(opened)))

    async def run(self, begin: int) -> Ended:
        """Load from ``warm_up`` before ``begin`` (of time.perf_counter_ns) until ``duration`` after it, and until all
        that was sent is answered or has run out of time."""
        plan = self._plan
        self._begin, self._end = begin, begin + int(plan.duration * _SECOND)
        starts = begin - int(plan.warm_up * _SECOND)
        await asyncio.sleep(max(0, starts - time.perf_counter_ns()) / _SECOND)
        self._index, self._slice_begin, self._slice_end = -1, starts, begin
        self._turn(starts)
        self._load(starts)
        ticking = asyncio.create_task(self._tick())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._done.wait(), max(0, begin - time.perf_counter_ns()) / _SECOND)
        busy = time.process_time()
        try:
            await self._done.wait()
        finally:
            busy = time.process_time() - busy
            ticking.cancel()
            self._unload()
        self._turn(time.perf_counter_ns(), last=True)
        await self._close()
        return Ended(max(0, self._end - begin) / _SECOND, busy, self._reconnected)

    def stop(self) -> None:
        """End now, without waiting for answers."""
        self._end = min(self._end, time.perf_counter_ns())
        self._done.set()

    @abstractmethod
    def _load(self, starts: int) -> None:
        """Begin to send."""

    @abstractmethod
    def _free(self, connection: Connection, now: int) -> None:
        """The connection has no request."""

    @abstractmethod
    def _waiting(self, now: int) -> bool:
        """Whether requests wait to be sent; those that have waited too long have failed."""

    @abstractmethod
    def _unload(self) -> None:
        """Give back what :meth:`_load` has taken."""

    # ---------------------------------------------------------------- what becomes of requests

    def answered(self, connection: Connection, status: int, body: bytes) -> None:
        now = time.perf_counter_ns()
        since, connection.since = connection.since, 0
        if now >= self._slice_end:
            self._turn(now)
        if not since:
            # Nothing was asked.
            connection.abort()
            return
        if 200 <= status < 300:
            self._latencies.record(now - since)
        else:
            code = _CODE.search(body)
            self._fail(status, code[1].decode() if code else f"http_{status}", body)
        if connection.lasting:
            self._free(connection, now)
        else:
            connection.close()

    def broken(self, connection: Connection, why: str) -> None:
        if connection.since:
            connection.since = 0
            code = NOT_HTTP if why.startswith("The answer is not HTTP") else LOST
            self._fail(NO_STATUS, code, why or "The connection was closed before the answer had come.")
        if not self._done.is_set():
            task = asyncio.get_running_loop().create_task(self._reconnect(connection))
            self._reconnecting.add(task)
            task.add_done_callback(self._reconnecting.discard)

    def _fail(self, status: int, code: str, text: bytes | str) -> None:
        known = self._errors.get((status, code))
        if known is None:
            if isinstance(text, bytes):
                text = text[: 4 * _EXAMPLE].decode(errors="replace")
            known = self._errors[status, code] = Errors(status, code, 0, text[:_EXAMPLE])
        known.count += 1

    # ---------------------------------------------------------------- connections

    async def _opened(self, connection: Connection) -> Connection:
        plan = self._plan
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(
            loop.create_connection(lambda: connection, plan.host, plan.port, ssl=self._context), plan.timeout
        )
        return connection

    async def _reconnect(self, connection: Connection) -> None:
        while not self._done.is_set():
            try:
                await self._opened(connection)
            except (OSError, TimeoutError) as error:
                self._fail(NO_STATUS, REFUSED, str(error) or "Connecting took too long.")
                await asyncio.sleep(_PAUSE)
            else:
                if not connection.is_open:
                    # Lost again since; another attempt is under way.
                    return
                self._reconnected += 1
                self._free(connection, time.perf_counter_ns())
                return

    async def _close(self) -> None:
        for connection in self._connections:
            connection.abort()
        for task in self._reconnecting:
            task.cancel()
        await asyncio.gather(*self._reconnecting, return_exceptions=True)
        # The loop tells the connections in its next turn that they are gone.
        await asyncio.sleep(0)

    # ---------------------------------------------------------------- time

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            now = time.perf_counter_ns()
            if now >= self._slice_end:
                self._turn(now)
            under_way = self._waiting(now)
            for connection in self._connections:
                if connection.since:
                    under_way = True
                    if now - connection.since > self._timeout:
                        connection.since = 0
                        self._fail(NO_STATUS, TIMEOUT, self._no_answer())
                        connection.abort()
            if now >= self._end and not under_way:
                self._done.set()

    def _no_answer(self) -> str:
        return f"No answer came within {self._plan.timeout:g} s."

    def _turn(self, now: int, *, last: bool = False) -> None:
        """Tell of the slices that have ended, and begin the one that ``now`` is in. After the end there is but one."""
        while now >= self._slice_end or last:
            if self._index >= 0:
                self._tell(self._slice())
            else:
                # Of what came before the beginning nobody is told.
                self._carried = self._carry()
            self._latencies, self._errors = Histogram(), {}
            self._index += 1
            self._slice_begin = self._slice_end
            whole = self._begin + (self._index + 1) * _SECOND
            self._slice_end = min(whole, self._end) if self._slice_begin < self._end else 2**62
            if last:
                return

    def _slice(self) -> Slice:
        before, self._carried = self._carried, self._carry()
        ended = min(self._slice_end, self._end)
        return Slice(
            index=self._index, seconds=max(0, ended - self._slice_begin) / _SECOND, latencies=self._latencies,
            errors=list(self._errors.values()), sent=self._carried[0] - before[0],
            received=self._carried[1] - before[1],
        )  # fmt: skip

    def _carry(self) -> tuple[int, int]:
        return sum(each.sent for each in self._connections), sum(each.received for each in self._connections)


class ClosedLoop(Generator):
    """Each connection is a caller, who asks again when answered."""

    def _load(self, starts: int) -> None:
        for connection in self._connections:
            if connection.is_open:
                self._free(connection, time.perf_counter_ns())

    def _free(self, connection: Connection, now: int) -> None:
        if now < self._end:
            connection.send(next(self._requests), now)

    def _waiting(self, now: int) -> bool:
        return False

    def _unload(self) -> None:
        pass


class OpenLoop(Generator):
    """Requests are due at even distances; one that finds no free connection waits for it, while its time runs."""

    def __init__(self, plan: Plan, tell: Callable[[Slice], None]) -> None:
        super().__init__(plan, tell)
        self._due: deque[int] = deque()
        self._idle: list[Connection] = []

    def _load(self, starts: int) -> None:
        assert self._plan.rate is not None
        self._first = starts + int(self._plan.offset * _SECOND)
        self._number = 0
        self._idle = [connection for connection in self._connections if connection.is_open]
        self._timer = Timer(self._on_time)
        self._on_time()

    def _unload(self) -> None:
        self._timer.close()

    def _free(self, connection: Connection, now: int) -> None:
        if self._due:
            connection.send(next(self._requests), self._due.popleft())
        else:
            self._idle.append(connection)

    def _waiting(self, now: int) -> bool:
        while self._due and now - self._due[0] > self._timeout:
            self._due.popleft()
            self._fail(NO_STATUS, TIMEOUT, self._no_answer())
        return bool(self._due)

    def _on_time(self) -> None:
        assert self._plan.rate is not None
        now = time.perf_counter_ns()
        while (due := self._first + int(self._number * _SECOND / self._plan.rate)) <= now:
            if due >= self._end:
                return
            self._number += 1
            self._send(due)
        if due < self._end:
            self._timer.set(due)

    def _send(self, due: int) -> None:
        while self._idle:
            connection = self._idle.pop()
            # One that the server had closed while it was idle may be gone, or be here twice.
            if connection.is_open and not connection.since:
                connection.send(next(self._requests), due)
                return
        self._due.append(due)
