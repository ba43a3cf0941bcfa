"""A timer that an event loop can wait for more finely than by its own milliseconds: Linux's timerfd.

A loop of asyncio rounds its timers to milliseconds, in which twenty requests may be due.
Source: timerfd_create(2).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from typing import Final

_MONOTONIC: Final = 1  # the clock of time.perf_counter_ns and time.monotonic_ns
_ABSOLUTE: Final = 1
_SECOND: Final = 10**9


class _Setting(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "at_s", "at_ns")]


class Timer:
    """Calls ``due`` once the moment that was last set has come. To be closed."""

    def __init__(self, due: Callable[[], None]) -> None:
        """Raises OSError if the system has none to give."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        # O_NONBLOCK and O_CLOEXEC have these flags' values.
        self._fd = self._libc.timerfd_create(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "There is no timer left.")
        self._setting = _Setting()
        self._due = due
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._on_time)

    def set(self, moment: int) -> None:
        """``moment`` in nanoseconds of ``time.perf_counter_ns``; one that has passed is due at once."""
        self._setting.at_s, self._setting.at_ns = divmod(max(1, moment), _SECOND)
        self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(self._setting), None)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _on_time(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._due()
