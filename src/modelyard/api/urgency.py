"""What goes before everything else: while all models are being stopped by force, by somebody who operates those of
every namespace, no other request begins.

Requests take turns on one event loop, and one that waits for the store comes back behind all others. An emergency stop
takes some ten such turns, each of which is a second where fifty callers ask for lists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

# Others wait so long at most (seconds), whatever the urgent one does.
LONGEST: Final = 5.0


class Precedence:
    """Of one process. Futures, not an event: an application may outlive its event loop."""

    def __init__(self) -> None:
        self._urgent = 0
        self._waiting: set[asyncio.Future[None]] = set()

    @contextmanager
    def first(self) -> Iterator[None]:
        """Nothing that has not begun begins meanwhile."""
        self._urgent += 1
        try:
            yield
        finally:
            self._urgent -= 1
            if not self._urgent:
                for waiting in self._waiting:
                    if not waiting.done():
                        waiting.set_result(None)

    async def turn(self) -> None:
        """Wait until nothing urgent is under way."""
        if not self._urgent:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await asyncio.wait([waiting], timeout=LONGEST)
        finally:
            self._waiting.discard(waiting)


class InTurn:
    """Lets requests begin when it is their turn. Stops of many models never wait."""

    def __init__(self, app: ASGIApp, precedence: Precedence) -> None:
        self._app = app
        self._precedence = precedence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].endswith("/models/stop"):
            await self._precedence.turn()
        await self._app(scope, receive, send)
