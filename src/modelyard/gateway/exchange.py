"""One HTTP exchange: the request's head and body as they come in, the answer as it goes out, and the two
things that may end it early, its deadline and its caller's going away."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import Enum
from time import monotonic
from typing import Any, Final, Protocol

from modelyard.access.callers import Known
from modelyard.gateway.problems import PROBLEM_TYPE, BodyLimit, Header, Refusal, body_too_large, problem_body
from modelyard.runtime.frames import Buffer

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

log = logging.getLogger(__name__)

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}\Z")
# Unique in this process by the counter, among processes by the prefix.
_id_prefix = os.urandom(6).hex().encode()
_ids = itertools.count(1)


def new_request_id() -> bytes:
    return b"%s-%x" % (_id_prefix, next(_ids))


# nginx's number for a caller that left before the answer; counted, never sent.
CLIENT_GONE: Final = 499


class ClientGone(Exception):
    """The caller went away; there is nobody to answer."""


class Connection(Protocol):
    """What an exchange needs of the connection it came on (see :mod:`modelyard.gateway.protocol`)."""

    on_gone: Callable[[], None] | None
    task: asyncio.Task[None]
    """Which answers the request at the head of this connection."""

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller has left while nothing was read from it, so that nobody was told."""

    @property
    def is_clogged(self) -> bool:
        """Whether the caller reads slower than it is written to."""

    def answer(self, status: int, headers: Sequence[Header], body: Buffer) -> None:
        """Send a whole answer."""

    def abort(self) -> None:
        """End the connection so that the caller sees its answer as broken off."""

    def hold(self) -> None:
        """Stay open a while after the answer, so that a caller still sending gets to read it."""


class Ended(Enum):
    """What took a guarded exchange back."""

    EXPIRED = "its deadline passed"
    GONE = "its caller went away"


class Ending(Protocol):
    """What a deadline may end."""

    def end(self, why: Ended) -> None: ...


class Deadlines:
    """Ends exchanges whose time is up. One look at all of them each ``TICK``: a timer for each request
    costs several times more, and an inference that has timed out may do so a moment late."""

    TICK: Final = 0.05

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[Ending, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def set(self, exchange: Ending, due: float) -> None:
        self._due[exchange] = due
        if self._timer is None:
            self._timer = self._loop.call_later(self.TICK, self._look)

    def clear(self, exchange: Ending) -> None:
        self._due.pop(exchange, None)

    def _look(self) -> None:
        now = monotonic()
        for exchange in [exchange for exchange, due in self._due.items() if due <= now]:
            # The end of one may have been another's.
            if self._due.pop(exchange, None) is not None:
                try:
                    exchange.end(Ended.EXPIRED)
                except Exception:
                    log.exception("a request whose time was up could not be ended")
        self._timer = self._loop.call_later(self.TICK, self._look) if self._due else None


class Exchange:
    """``headers`` by lower-case name, the last one of each name. ``id`` is what X-Request-ID answers.
    ``began`` (time.monotonic) is when the head was there. ``fields`` go out with whatever answer; ``status`` is the
    answer's; ``asked`` is what was asked of a worker, if one was: the frame's params and the body. ``caller``: who
    asks, once somebody has looked."""

    __slots__ = (
        "_deadlines", "_ended", "_receive", "_send", "asked", "began", "caller", "connection", "fields", "headers",
        "id", "received", "scope", "started", "status",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send, deadlines: Deadlines) -> None:
        self.began = monotonic()
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-request-id")
        if given is not None and REQUEST_ID.match(given):
            self.id = given
        else:
            self.id = new_request_id()
        self.connection: Connection = scope["extensions"]["modelyard"]
        self.received = False  # the whole body
        self.started = False  # the answer
        self.status = 0
        self.caller: Known | None = None
        self.fields: tuple[Header, ...] = ()
        self.asked: tuple[dict[str, Any], Buffer] | None = None
        self._receive = receive
        self._send = send
        self._deadlines = deadlines
        self._ended: Ended | None = None

    @property
    def method(self) -> str:
        method: str = self.scope["method"]
        return method

    @property
    def path(self) -> str:
        """As it was sent."""
        raw: bytes = self.scope["raw_path"]
        return raw.decode("ascii", "replace")

    # ---------------------------------------------------------------- early ends

    def guard(self, timeout: float | None) -> None:
        """From here to :meth:`unguard` the exchange ends ``timeout`` seconds after it began, or when its
        caller goes away: what it awaits is cancelled, and :meth:`ended` says in what that results."""
        if timeout is not None:
            self._deadlines.set(self, self.began + timeout)
        self.connection.on_gone = self.leave

    def extend(self, timeout: float) -> None:
        """Start the guard's time anew."""
        self._deadlines.set(self, monotonic() + timeout)

    def unguard(self) -> None:
        self._deadlines.clear(self)
        self.connection.on_gone = None

    def leave(self) -> None:
        """Its caller went away, or is given up."""
        self.end(Ended.GONE)

    def end(self, why: Ended) -> None:
        if self._ended is None:
            self._ended = why
            self.connection.task.cancel()

    def ended(self, timeout: float) -> Refusal | ClientGone | None:
        """What a CancelledError inside a guard stands for; None: the process is being stopped."""
        if self._ended is None:
            return None
        self.connection.task.uncancel()
        if self._ended is Ended.GONE:
            return ClientGone()
        return overdue(timeout, received=self.received)

    # ---------------------------------------------------------------- the request's body

    @property
    def has_body(self) -> bool:
        return b"transfer-encoding" in self.headers or self.headers.get(b"content-length", b"0") != b"0"

    def check_length(self, limit: BodyLimit) -> None:
        """Refuse a body that says itself that it is too large, before a byte of it is read."""
        length = self.headers.get(b"content-length")
        if length is not None and int(length) > limit.size:
            raise body_too_large(limit)

    async def body(self, limit: BodyLimit) -> bytes:
        """The whole body, within ``limit``.

        Raises:
            Refusal: it is larger.
            ClientGone: it did not come to its end.
        """
        self.check_length(limit)
        message = await self._receive()
        if message["type"] == "http.request" and not message["more_body"]:
            self.received = True
            content: bytes = message["body"]
            if len(content) > limit.size:
                raise body_too_large(limit)
            return content
        parts, size = [], 0
        while message["type"] == "http.request":
            parts.append(message["body"])
            size += len(message["body"])
            if size > limit.size:
                raise body_too_large(limit)
            if not message["more_body"]:
                self.received = True
                return b"".join(parts)
            message = await self._receive()
        raise ClientGone

    async def chunks(self, limit: BodyLimit, idle: float) -> AsyncIterator[bytes]:
        """The body as it comes; ``idle`` bounds the seconds between two pieces of it. Raises as :meth:`body`."""
        size = 0
        while not self.received:
            try:
                async with asyncio.timeout(idle):
                    message = await self._receive()
            except TimeoutError:
                raise Refusal(
                    408, "body_timeout", f"Nothing of the request body arrived for {idle:g} s. Send it faster."
                ) from None
            if message["type"] != "http.request":
                raise ClientGone
            self.received = not message["more_body"]
            size += len(message["body"])
            if size > limit.size:
                raise body_too_large(limit)
            if message["body"]:
                yield message["body"]

    # ---------------------------------------------------------------- the answer

    async def respond(self, status: int, content_type: bytes, body: Buffer, headers: Sequence[Header] = ()) -> None:
        """Send a whole answer."""
        self.started, self.status = True, status
        fields = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.id),
            *headers,
            *self.fields,
        ]
        if not self.connection.is_clogged:
            self.connection.answer(status, fields, body)
            return
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def start(self, status: int, headers: Sequence[Header]) -> None:
        """Begin an answer whose body follows in pieces."""
        self.started, self.status = True, status
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *self.fields]})

    async def write(self, piece: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a problem; an answer already under way is broken off instead."""
        if self.started:
            self.connection.abort()
            return
        if self.has_body and not self.received:
            self.connection.hold()
        body = problem_body(refusal, self.path, self.id.decode())
        await self.respond(refusal.status, PROBLEM_TYPE, body, refusal.headers)


def overdue(timeout: float, *, received: bool) -> Refusal:
    """What a request is told whose ``timeout`` seconds are over; ``received``: its whole body had come."""
    if not received:
        return Refusal(
            408,
            "body_timeout",
            f"The request body did not arrive within {timeout:g} s. Send it faster, or raise the model's "
            "limits.request_timeout.",
        )
    return Refusal(
        504,
        "request_timeout",
        f"The model did not answer within {timeout:g} s, its limits.request_timeout. The request was cancelled.",
    )


JSON_TYPE: Final = b"application/json"
