"""How much of what comes over gRPC is held at once. Needs grpcio."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc.aio

from modelyard.gateway.problems import Refusal

# Bytes, or so many of the largest messages if that is more.
_HELD: Final = 2**30
_LARGEST: Final = 8


class Room:
    """The bytes of messages that are held at once, in all calls. What has only come in part is not among them."""

    def __init__(self) -> None:
        self.size = _HELD
        self._taken = 0

    def allow(self, message: int) -> None:
        """Have room for some messages of so many bytes, the largest there are."""
        self.size = max(_HELD, _LARGEST * message)

    async def read(self, context: grpc.aio.ServicerContext[bytes, bytes], within: float) -> bytes | None:
        """The next message, which is held until :meth:`give_back`; None after the last.

        Raises:
            TimeoutError: it has not come ``within`` so many seconds.
            Refusal: too much is held already.
        """
        if self._taken >= self.size:
            raise _no_room()
        async with asyncio.timeout(within):
            message: Any = await context.read()
        if message is grpc.aio.EOF:
            return None
        if self._taken + len(message) > self.size:
            raise _no_room()
        self._taken += len(message)
        content: bytes = message
        return content

    def give_back(self, message: bytes) -> None:
        self._taken -= len(message)


def _no_room() -> Refusal:
    return Refusal(429, "too_many_bytes", "The gateway holds as many bytes of messages as it may. Send it again later.")
