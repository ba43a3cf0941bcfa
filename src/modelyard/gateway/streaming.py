"""Answers that come in pieces: Triton's ``generate_stream``, as server-sent events.

Each piece is sent on as soon as it is there. A caller who reads slower than the model writes is waited for: some is
kept for it, and when that is too much, or more than a little for some seconds, it is cut off, as the connection to the
worker, which others share, cannot wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Final

from modelyard.gateway.exchange import Exchange
from modelyard.gateway.inference import ask, reading
from modelyard.gateway.outcomes import Counted
from modelyard.gateway.served import ServedModel, Wanted
from modelyard.runtime.calls import GENERATE
from modelyard.runtime.frames import Buffer, Head, pack

# Bytes that are kept for a caller who reads slowly: so many for SLOW seconds, and never more than the most.
_SOME: Final = 4 * 2**20
_MOST: Final = 64 * 2**20
_SLOW: Final = 5.0


class _Pieces:
    """What has come of one answer and is not sent on yet. ``too_many`` is called when that is more than is kept."""

    def __init__(self, too_many: Callable[[], None]) -> None:
        self.head: Head | None = None  # of the first
        self._too_many = too_many
        self._waiting: deque[Buffer] = deque()
        self._size = 0
        self._behind_since: float | None = None
        self._told = asyncio.Event()

    def put(self, head: Head, piece: memoryview) -> None:
        self.head = self.head or head
        self._size += len(piece)
        if self._is_too_slow():
            self._too_many()
        else:
            self._waiting.append(piece)
            self._told.set()

    def _is_too_slow(self) -> bool:
        # One piece alone may be of any size.
        if self._size <= _SOME or not self._waiting:
            self._behind_since = None
            return False
        now = monotonic()
        self._behind_since = self._behind_since or now
        return self._size > _MOST or now - self._behind_since > _SLOW

    async def until(self, answering: asyncio.Future[tuple[Head, Buffer]]) -> AsyncIterator[bytes]:
        """Each piece, to the last one before the answer."""
        answering.add_done_callback(lambda _: self._told.set())
        while True:
            while self._waiting:
                piece = self._waiting.popleft()
                self._size -= len(piece)
                yield bytes(piece)
            if answering.done():
                return
            self._told.clear()
            await self._told.wait()


async def stream(exchange: Exchange, model: ServedModel, wanted: Wanted) -> None:
    """Have a worker answer in pieces, and count the request when its answer has ended.

    The route's ``request_timeout`` bounds the time to the first piece, then each silence.
    """
    with Counted(model, exchange.began) as counted:
        status = await _stream(exchange, model, wanted)
    counted.answered(status)


async def _stream(exchange: Exchange, model: ServedModel, wanted: Wanted) -> int:
    timeout = model.route.request_timeout
    params = {"id": exchange.id.decode(), "path": exchange.path, **reading(exchange.headers)}
    params |= {"form": GENERATE, "stream": True, "max_body": model.body_limit.size}
    if wanted.version is not None:
        params["version"] = wanted.version
    model.admit(wanted)
    answering: asyncio.Task[tuple[Head, Buffer]] | None = None
    try:
        exchange.guard(timeout)
        content = await exchange.body(model.body_limit)
        pieces = _Pieces(exchange.leave)
        answering = asyncio.create_task(
            ask(exchange, model, wanted, pack(Head("infer", 0, params)), content, part=pieces.put)
        )
        async for piece in pieces.until(answering):
            if not exchange.started:
                assert pieces.head is not None
                await _start(exchange, pieces.head)
            await exchange.write(piece, more=True)
            exchange.extend(timeout)
        head, last = await answering
        if not exchange.started and head.status != 200:
            content_type = head.params.get("content_type", "application/json").encode()
            await exchange.respond(head.status, content_type, last)
            return head.status
        if not exchange.started:
            await _start(exchange, head)
        await exchange.write(bytes(last), more=False)
        return 200
    except asyncio.CancelledError:
        end = exchange.ended(timeout)
        if end is None:
            raise
        raise end from None
    finally:
        if answering is not None:
            answering.cancel()
        exchange.unguard()
        model.leave()


async def _start(exchange: Exchange, head: Head) -> None:
    await exchange.start(
        head.status,
        [
            (b"content-type", head.params.get("content_type", "text/event-stream").encode()),
            (b"cache-control", b"no-cache"),
            (b"x-request-id", exchange.id),
        ],
    )
