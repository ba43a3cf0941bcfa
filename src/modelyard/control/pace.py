"""Long work in the loop, in short turns."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Final

# Seconds after which others have their turn.
_TURN: Final = 0.005


class Pace:
    """Ask it for a step after each small piece of work: it gives the loop up whenever a turn was long enough."""

    def __init__(self) -> None:
        self._until = perf_counter() + _TURN

    async def step(self) -> None:
        if perf_counter() >= self._until:
            await asyncio.sleep(0)
            self._until = perf_counter() + _TURN
