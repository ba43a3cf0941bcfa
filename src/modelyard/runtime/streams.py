"""An answer that comes in pieces, over ASGI: each is sent when it is there, and the next waits until it was taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from modelyard.runtime.calls import Answer, Call
from modelyard.runtime.dataplane import DataPlane

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# How long (seconds) a caller may be behind with one piece: meanwhile a model of one stream at a time serves no other.
PATIENCE: Final = 30.0


class Disconnected(Exception):
    """The caller went away; there is nobody to answer."""


async def stream(plane: DataPlane, call: Call, request_id: bytes, receive: Receive, send: Send) -> Answer | None:
    """Have ``call`` answered in pieces. Returns the whole answer if it has none, for it may be a refusal with a status
    of its own; None once it was sent.

    Raises:
        Disconnected: the caller did not wait for the end, or did not take a piece in time, and the call was taken back
    """
    begun = False

    async def begin(piece: Answer) -> None:
        headers = [(b"content-type", piece.content_type.encode()), (b"x-request-id", request_id)]
        await send({"type": "http.response.start", "status": piece.status, "headers": headers})

    async def part(piece: Answer) -> None:
        nonlocal begun
        try:
            async with asyncio.timeout(PATIENCE):
                if not begun:
                    begun = True
                    await begin(piece)
                await send({"type": "http.response.body", "body": piece.body, "more_body": True})
        except TimeoutError:
            # As if the caller had gone away: that is no failure of the model's.
            gone.cancel()
            raise asyncio.CancelledError from None

    answering = asyncio.ensure_future(plane.infer(call, part))
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise Disconnected
        answer = answering.result()
    finally:
        answering.cancel()
        gone.cancel()
    if not begun:
        return answer
    await send({"type": "http.response.body", "body": answer.body})
    return None


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
