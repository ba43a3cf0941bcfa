"""How often something that failed on the way is tried again, how long after, and what is too slow to wait for."""

from __future__ import annotations

import random
import time
from typing import Final

from modelyard.domain.errors import Unavailable
from modelyard.domain.quantities import format_bytes

_ATTEMPTS: Final = 6
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
# What a connection gives in so many seconds, or it is given up: else a few that trickle would hold all others up.
_LEAST: Final = 64 * 2**10
_WINDOW: Final = 60.0


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
    """With ``whom``. What arrives makes it patient anew."""

    def __init__(self, whom: str) -> None:
        self._failed = 0
        self._pace = Pace(whom)

    def rest(self, size: int) -> None:
        """So many bytes have come. Raises as :meth:`Pace.see`."""
        self._failed = 0
        self._pace.see(size)

    def wait(self, failure: Exception, after: int | None = None) -> None:
        """Wait, at least ``after`` seconds where the server says so; raises ``failure`` when patience is over."""
        self._failed += 1
        if self._failed >= _ATTEMPTS:
            raise failure
        pause = min(_FIRST_PAUSE * 2.0 ** (self._failed - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1)
        pause = max(pause, min(after or 0, _LONGEST_PAUSE))
        time.sleep(pause)
        self._pace.excuse(pause)
