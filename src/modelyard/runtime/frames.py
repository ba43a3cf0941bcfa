"""The framed protocol between gateway, workers and control process.

Many requests share one Unix socket. A frame is a fixed header, a head (msgpack) and an opaque body::

    u32 length of all that follows the header   u32 stream id   u8 kind   u32 length of the head

all big-endian. REQUEST opens a stream, one RESPONSE with the same id ends it, any number of PARTs may come
before that; CANCEL takes a request back. Both sides may open streams; ids are per opener. Writes of one turn
of the event loop leave in one system call. A frame over the limit, or one whose lengths contradict each other,
closes the connection.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

log = logging.getLogger(__name__)

REQUEST: Final = 1
RESPONSE: Final = 2
CANCEL: Final = 3
PART: Final = 4

_HEADER: Final = struct.Struct(">IIBI")
_KINDS: Final = (REQUEST, RESPONSE, CANCEL, PART)
# A body may be up to 4 GiB less a margin (spec limits), a head is small by construction.
MAX_FRAME: Final = 2**32 - 1
MAX_HEAD: Final = 2**20
# Bodies that leave together are copied behind one another up to so many bytes in all.
_JOINED: Final = 2**18

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


class Respond:
    """Answers one request: called at once or later, exactly once."""

    __slots__ = ("_peer", "_stream")

    def __init__(self, peer: FramePeer, stream: int) -> None:
        self._peer, self._stream = peer, stream

    def __call__(self, head: Head, body: Buffer = b"") -> None:
        self.packed(_encode(head), body)

    def packed(self, head: bytes, body: Buffer) -> None:
        """The same with a head that :func:`pack` has made: answers often share theirs."""
        if not self._peer.closed:
            self._peer._send(self._stream, RESPONSE, head, body)

    def part(self, head: Head, body: Buffer = b"") -> None:
        """Say something before the answer."""
        if not self._peer.closed:
            self._peer._send(self._stream, PART, _encode(head), body)


Handler = Callable[["FramePeer", int, Head, memoryview, Respond], None]
# Takes the answer to a request; None for its head: the peer went away before it answered.
Take = Callable[[Head | None, memoryview], None]
# Takes a part of it.
TakePart = Callable[[Head, memoryview], None]


class FramePeer(asyncio.Protocol):
    """One end of a connection. ``handler`` gets each incoming request; :meth:`request` opens one. ``on_read`` is
    called behind the requests that came together."""

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        on_cancel: Callable[[FramePeer, int], None] | None = None,
        on_close: Callable[[FramePeer], None] | None = None,
        on_read: Callable[[], None] | None = None,
        max_frame: int = MAX_FRAME,
    ) -> None:
        self._handler = handler
        self._on_cancel = on_cancel
        self._on_read = on_read
        self._reading = False
        self._on_close = on_close
        self._max_frame = max_frame
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._ids = itertools.count(1)
        self._waiting: dict[int, Take] = {}
        self._hearing: dict[int, TakePart] = {}
        self._out: list[Buffer] = []
        self._out_size = 0
        self._loop = asyncio.get_running_loop()
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed = False

    # ---------------------------------------------------------------- calling

    @property
    def pending(self) -> int:
        """Requests that wait for their response."""
        return len(self._waiting)

    @property
    def open(self) -> bool:
        """Whether a request may be sent now: the peer is there and reads what it is sent."""
        return not self.closed and self._writable.is_set()

    async def writable(self) -> None:
        """Wait until the peer reads what it is sent.

        Raises:
            NotSent: if the connection has ended.
        """
        await self._writable.wait()
        if self.closed:
            raise NotSent("the connection is closed")

    def send(self, packed: bytes, body: Buffer, take: Take, part: TakePart | None = None) -> int:
        """Send a request, whose head :func:`pack` has made, on a connection that is :attr:`open`; the number of its
        stream. ``take`` is called once, and ``part`` with what comes before, unless :meth:`cancel` is."""
        stream = next(self._ids) & 0xFFFFFFFF
        self._waiting[stream] = take
        if part is not None:
            self._hearing[stream] = part
        self._send(stream, REQUEST, packed, body)
        return stream

    def cancel(self, stream: int) -> None:
        """Take a request back: its answer, if it comes all the same, is dropped."""
        self._hearing.pop(stream, None)
        if self._waiting.pop(stream, None) is not None and not self.closed:
            self._send(stream, CANCEL, _NO_HEAD, b"")

    async def request(
        self, head: Head | bytes, body: Buffer = b"", part: TakePart | None = None
    ) -> tuple[Head, memoryview]:
        """Send a request (its head may be packed) and wait for its response. Cancelling the wait cancels the request.

        Raises:
            NotSent: if the connection had ended before.
            ConnectionLost: if it ends before the response.
        """
        if not self.open:
            await self.writable()
        future: asyncio.Future[tuple[Head, memoryview]] = self._loop.create_future()

        def take(answer: Head | None, content: memoryview) -> None:
            if future.done():
                return
            if answer is None:
                future.set_exception(ConnectionLost("the peer went away before it answered"))
            else:
                future.set_result((answer, content))

        stream = self.send(_encode(head) if isinstance(head, Head) else head, body, take, part)
        try:
            return await future
        except asyncio.CancelledError:
            self.cancel(stream)
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
        self._hearing.clear()
        for take in waiting.values():
            _give(take, None, _NOTHING)
        if self._on_close is not None:
            self._on_close(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._reading = True
        try:
            self._read(data)
            if self._on_read is not None:
                self._on_read()
        finally:
            self._reading = False
        # What was answered at once leaves at once.
        if self._out:
            self._flush()

    def _read(self, data: bytes) -> None:
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
            take = self._waiting.pop(stream, None)
            if self._hearing:
                self._hearing.pop(stream, None)
            if take is not None:
                _give(take, head, body)
        elif kind == PART:
            part = self._hearing.get(stream)
            if part is not None:
                _give(part, head, body)
        elif self._handler is None:
            self._abort()
        else:
            self._handler(self, stream, head, body, Respond(self, stream))

    def _send(self, stream: int, kind: int, packed: bytes, body: Buffer) -> None:
        if not self._out and not self._reading:
            self._loop.call_soon(self._flush)
        self._out.append(_HEADER.pack(len(packed) + len(body), stream, kind, len(packed)) + packed)
        if body:
            self._out.append(body)
            self._out_size += len(body)

    def _flush(self) -> None:
        out, self._out = self._out, []
        size, self._out_size = self._out_size, 0
        if not out or self._transport is None or self.closed:
            return
        # Small ones are sent faster once they are one; what is large is better not copied.
        if size <= _JOINED:
            self._transport.write(b"".join(out))
        else:
            self._transport.writelines(out)

    def _abort(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


def pack(head: Head) -> bytes:
    """A head as it is sent."""
    return _encode(head)


def _give(take: Callable[[Any, memoryview], None], head: Head | None, body: memoryview) -> None:
    """What goes wrong with one answer must not end the connection, which is that of many."""
    try:
        take(head, body)
    except Exception:
        log.exception("an answer could not be passed on")


_NO_HEAD: Final = _encode(Head())
_NOTHING: Final = memoryview(b"")


async def connect(path: str, *, on_close: Callable[[FramePeer], None] | None = None) -> FramePeer:
    """Connect to the peer that listens on the Unix socket ``path``."""
    loop = asyncio.get_running_loop()
    _, peer = await loop.create_unix_connection(lambda: FramePeer(on_close=on_close), path)
    return peer
