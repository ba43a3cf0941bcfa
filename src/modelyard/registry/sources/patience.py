"""How often something that failed on the way is tried again, how long after, and what is too slow to wait for."""

from __future__ import annotations

import random
import time
from typing import Final

from modelyard.domain.errors import Unavailable
from modelyard.domain.quantities import format_bytes

_ATTEMPTS: Final = 6
# Of a server that nothing listens at, when it is asked for the first time.
_FIRST_ATTEMPTS: Final = 2
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
# What a connection gives in so many seconds, or it is given up: else a few that trickle would hold all others up.
_LEAST: Final = 64 * 2**10
_WINDOW: Final = 60.0


class Lasting(Unavailable):
    """It does not pass by itself, so nothing is tried again: there are no credentials, or a name is not known."""


class Pace:
    """Of one connection, to ``whom``, after the other."""

    def __init__(self, whom: str) -> None:
        self._whom = whom
        self._since, self._came = time.monotonic(), 0

    def see(self, size: int) -> None:
        """So many bytes more have come. Raises Unavailable where that is too few for too long."""
        self._came += size
        now = time.monotonic()
        if now - self._since < _WINDOW:
            return
        if self._came < _LEAST:
            raise Unavailable(
                f"{self._whom} gives less than {format_bytes(_LEAST)} in {_WINDOW:.0f} s, which is too slow: try again "
                "later, what is there is kept."
            )
        self._since, self._came = now, 0

    def excuse(self, seconds: float) -> None:
        """Nothing could come meanwhile."""
        self._since += seconds


class Patience:
    """With ``whom``, who may be asked for the ``first`` time. What arrives makes it patient anew."""

    def __init__(self, whom: str, *, first: bool = False) -> None:
        self._failed, self._first = 0, first
        self._pace = Pace(whom)

    def rest(self, size: int) -> None:
        """So many bytes have come. Raises as :meth:`Pace.see`."""
        self._failed = 0
        self._pace.see(size)

    def wait(self, failure: Exception, after: int | None = None, *, refused: bool = False) -> None:
        """Wait, at least ``after`` seconds where the server says so; raises ``failure`` when patience is over, which it
        is soon with a server that ``refused`` the very first connection."""
        self._failed += 1
        attempts = _FIRST_ATTEMPTS if refused and self._first else _ATTEMPTS
        if self._failed >= attempts or isinstance(failure, Lasting):
            raise failure
        pause = min(_FIRST_PAUSE * 2.0 ** (self._failed - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1)
        pause = max(pause, min(after or 0, _LONGEST_PAUSE))
        time.sleep(pause)
        self._pace.excuse(pause)
