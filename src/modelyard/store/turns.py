"""Whose turn it is at a database's few connections: first come, first served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from modelyard.domain.errors import Unavailable


class Turns:
    """At most ``count`` callers at a time. The others wait for as long as it takes, provided that turns end: once
    none has for ``patience`` seconds, whoever has waited so long is told."""

    def __init__(self, count: int, patience: float, complaint: str) -> None:
        self._free = asyncio.Semaphore(count)
        self._patience = patience
        self._complaint = complaint
        self._ended_at = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises Unavailable, with the complaint."""
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        try:
            yield
            self._ended_at = asyncio.get_running_loop().time()
        finally:
            self._free.release()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        # One place in the line, however often it is looked whether the line moves.
        place = asyncio.ensure_future(self._free.acquire())
        try:
            while not (await asyncio.wait({place}, timeout=self._patience))[0]:
                if loop.time() - self._ended_at > self._patience:
                    raise Unavailable(self._complaint)
        except BaseException:
            if not place.cancel() and not place.cancelled():
                self._free.release()
            raise
