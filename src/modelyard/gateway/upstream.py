"""The way to one worker: a single multiplexed connection, made when first needed and again when lost."""

from __future__ import annotations

import asyncio

from modelyard.runtime import frames
from modelyard.runtime.frames import FramePeer


class WorkerLink:
    """All requests to one worker share one connection; so do all that wait for it to be made."""

    __slots__ = ("_connecting", "path", "peer")

    def __init__(self, path: str) -> None:
        self.path = path
        self.peer: FramePeer | None = None
        self._connecting: asyncio.Task[FramePeer] | None = None

    async def connect(self) -> FramePeer:
        """The open connection, made if need be.

        Raises:
            OSError: nobody listens there.
        """
        if self.peer is not None and not self.peer.closed:
            return self.peer
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            # Its error is each waiter's; when all of them have gone, nobody's.
            self._connecting.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Shielded: one impatient caller must not take the connection from the others.
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> FramePeer:
        try:
            self.peer = await frames.connect(self.path)
            return self.peer
        finally:
            self._connecting = None

    def close(self) -> None:
        if self.peer is not None:
            self.peer.close()
            self.peer = None
