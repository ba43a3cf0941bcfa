"""A receiver of webhooks on 127.0.0.1, which behaves as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

HUGE = b"x" * 2**20


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """``behaviour`` for each path (or else for ""): a status, ``drop``, ``slow``, ``huge`` or ``redirect``."""

    url: str = ""
    behaviour: dict[str, int | str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)
    # What is in there at a time, and the most there was.
    inside: int = 0
    most: int = 0

    async def until(self, count: int) -> list[Request]:
        """The first ``count`` requests, once they have come."""
        async with asyncio.timeout(15), self.came:
            await self.came.wait_for(lambda: len(self.requests) >= count)
        return self.requests[:count]

    async def until_so(self, holds: Callable[[], bool]) -> None:
        """Once what has come makes it so."""
        async with asyncio.timeout(15), self.came:
            await self.came.wait_for(holds)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().splitlines()
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                path = first.split(" ")[1]
                await self._answer(path, Request(path, headers, body), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, request: Request, writer: asyncio.StreamWriter) -> None:
        behaviour = self.behaviour.get(path, self.behaviour.get("", 204))
        self.inside += 1
        self.most = max(self.most, self.inside)
        async with self.came:
            self.requests.append(request)
            self.came.notify_all()
        try:
            if behaviour == "slow":
                await asyncio.sleep(30)
            elif behaviour == "pause":
                await asyncio.sleep(0.05)
        finally:
            self.inside -= 1
        if behaviour == "drop":
            raise ConnectionError
        if behaviour == "redirect":
            writer.write(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")
        elif behaviour == "huge":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (2**40))
            while True:
                writer.write(HUGE)
                await writer.drain()
        else:
            status = behaviour if isinstance(behaviour, int) else 204
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
        await writer.drain()


@asynccontextmanager
async def receiving(**behaviour: int | str) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    receiver.behaviour = {path and f"/{path}": what for path, what in behaviour.items()}
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()
