"""The framed protocol between gateway, workers and control process.

Many requests share one Unix socket. A frame is a fixed header, a head (msgpack) and an opaque body::

    u32 length of all that follows the header   u32 stream id   u8 kind   u32 length of the head

all big-endian. REQUEST opens a stream, one RESPONSE with the same id ends it; CANCEL takes a request
back. Both sides may open streams; ids are per opener. Writes of one turn of the event loop leave in
one system call. A frame over the limit, or one whose lengths contradict each other, closes the connection.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import msgspec

REQUEST: Final = 1
RESPONSE: Final = 2
CANCEL: Final = 3

_HEADER: Final = struct.Struct(">IIBI")
_KINDS: Final = (REQUEST, RESPONSE, CANCEL)
# A body may be up to 4 GiB less a margin (spec limits), a head is small by construction.
MAX_FRAME: Final = 2**32 - 1
MAX_HEAD: Final = 2**20

_encode = msgspec.msgpack.Encoder().encode

Buffer = bytes | bytearray | memoryview


class Head(msgspec.Struct, array_like=True, omit_defaults=True):
    """What a frame is about. A request names its operation in ``op``; a response says in ``status``
    what came of it (HTTP's numbers). ``params`` are the operation's small arguments or results."""

    op: str = ""
    status: int = 0
    params: dict[str, Any] = {}


_decode_head = msgspec.msgpack.Decoder(Head).decode


class ConnectionLost(ConnectionError):
    """The peer went away before it answered."""


class NotSent(ConnectionLost):
    """The peer was gone before the request left: it may safely be sent to another."""


class Respond(Protocol):
    """Answers one request: called at once or later, exactly once."""

    def __call__(self, head: Head, body: Buffer = b"") -> None: ...


Handler = Callable[["FramePeer", int, Head, memoryview, Respond], None]


class FramePeer(asyncio.Protocol):
    """One end of a connection. ``handler`` gets each incoming request; :meth:`request` opens one."""

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        on_cancel: Callable[[FramePeer, int], None] | None = None,
        on_close: Callable[[FramePeer], None] | None = None,
        max_frame: int = MAX_FRAME,
    ) -> None:
        self._handler = handler
        self._on_cancel = on_cancel
        self._on_close = on_close
        self._max_frame = max_frame
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[Head, memoryview]]] = {}
        self._out: list[Buffer] = []
        self._loop = asyncio.get_running_loop()
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed = False

    # ---------------------------------------------------------------- calling

    @property
    def pending(self) -> int:
        """Requests that wait for their response."""
        return len(self._waiting)

    async def request(self, head: Head, body: Buffer = b"") -> tuple[Head, memoryview]:
        """Send a request and wait for its response. Cancelling the wait cancels the request.

        Raises:
            NotSent: if the connection had ended before.
            ConnectionLost: if it ends before the response.
        """
        if self.closed:
            raise NotSent("the connection is closed")
        if not self._writable.is_set():
            await self._writable.wait()
            if self.closed:
                raise NotSent("the connection is closed")
        stream = next(self._ids) & 0xFFFFFFFF
        future: asyncio.Future[tuple[Head, memoryview]] = self._loop.create_future()
        self._waiting[stream] = future
        self._send(stream, REQUEST, head, body)
        try:
            return await future
        except asyncio.CancelledError:
            if self._waiting.pop(stream, None) is not None and not self.closed:
                self._send(stream, CANCEL, _EMPTY, b"")
            raise

    def close(self) -> None:
        """Send what is queued, then close."""
        if self._transport is not None and not self.closed:
            self._flush()
            self._transport.close()

    # ---------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, as uvloop's transports are not of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._writable.set()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ConnectionLost("the peer went away before it answered"))
        if self._on_close is not None:
            self._on_close(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            self._buffer += data
            with memoryview(self._buffer) as received:
                used = self._frames(received)
            del self._buffer[:used]
            return
        # Most reads hold whole frames only: these never pass through the buffer.
        used = self._frames(memoryview(data))
        if used < len(data):
            self._buffer += memoryview(data)[used:]

    def _frames(self, received: memoryview) -> int:
        """Handle the whole frames at the start of ``received``. Returns how many bytes they took."""
        start, end = 0, len(received)
        while end - start >= _HEADER.size and not self.closed:
            length, stream, kind, head_length = _HEADER.unpack_from(received, start)
            if length > self._max_frame or head_length > min(length, MAX_HEAD) or kind not in _KINDS:
                self._abort()
                break
            head_start = start + _HEADER.size
            body_start = head_start + head_length
            start_of_next = head_start + length
            if start_of_next > end:
                break
            # A copy of the body alone outlives what was received, and starts where any type is aligned.
            self._frame(
                kind,
                stream,
                received[head_start:body_start],
                memoryview(bytes(received[body_start:start_of_next])),
            )
            start = start_of_next
        return start

    def eof_received(self) -> bool:
        return False

    # ---------------------------------------------------------------- frames

    def _frame(self, kind: int, stream: int, packed: memoryview, body: memoryview) -> None:
        if kind == CANCEL:
            if self._on_cancel is not None:
                self._on_cancel(self, stream)
            return
        try:
            head = _decode_head(packed)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._abort()
            return
        if kind == RESPONSE:
            future = self._waiting.pop(stream, None)
            if future is not None and not future.done():
                future.set_result((head, body))
        elif self._handler is None:
            self._abort()
        else:
            self._handler(self, stream, head, body, self._responder(stream))

    def _responder(self, stream: int) -> Respond:
        def respond(head: Head, body: Buffer = b"") -> None:
            if not self.closed:
                self._send(stream, RESPONSE, head, body)

        return respond

    def _send(self, stream: int, kind: int, head: Head, body: Buffer) -> None:
        packed = _encode(head)
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(_HEADER.pack(len(packed) + len(body), stream, kind, len(packed)) + packed)
        if body:
            self._out.append(body)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None and not self.closed:
            self._transport.writelines(out)

    def _abort(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


_EMPTY: Final = Head()


async def connect(path: str, *, on_close: Callable[[FramePeer], None] | None = None) -> FramePeer:
    """Connect to the peer that listens on the Unix socket ``path``."""
    loop = asyncio.get_running_loop()
    _, peer = await loop.create_unix_connection(lambda: FramePeer(on_close=on_close), path)
    return peer
