"""How many requests are in each model and its instances now, as the gateway last told, and who follows that."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress

from modelyard.control.ports import Load


class InFlight:
    """Each model's last :class:`~modelyard.control.ports.Load`. The gateway tells of changes twice a second at most."""

    def __init__(self) -> None:
        self._loads: dict[str, Load] = {}
        self._followers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def take(self, loads: Iterable[Load]) -> None:
        for load in loads:
            self._loads[load.uid] = load
            self._tell(load.uid)

    def clear(self) -> None:
        """Another gateway has begun: nothing of what was told holds."""
        told, self._loads = self._loads, {}
        for uid in told:
            self._tell(uid)

    def forget(self, uid: str) -> None:
        if self._loads.pop(uid, None) is not None:
            self._tell(uid)

    def of(self, uid: str) -> Load | None:
        """None: nothing was told of it here."""
        return self._loads.get(uid)

    async def follow(self, uid: str, *, heartbeat: float) -> AsyncGenerator[Load | None]:
        """What is known now, and again each time that something was told; the same after ``heartbeat`` seconds."""
        news = asyncio.Event()
        self._followers[uid].add(news)
        try:
            while True:
                news.clear()
                yield self.of(uid)
                with suppress(TimeoutError):
                    async with asyncio.timeout(heartbeat):
                        await news.wait()
        finally:
            self._followers[uid].discard(news)
            if not self._followers[uid]:
                del self._followers[uid]

    def _tell(self, uid: str) -> None:
        for follower in self._followers.get(uid, ()):
            follower.set()
