"""uvicorn's HTTP/1.1 protocol (httptools) with the limits that a front door needs beside it.

Added: bounds on a request's head in bytes, fields and seconds; problem bodies for what is no HTTP;
trailers kept out of the headers; an upload refused early may finish sending for a while, so that its
sender reads the refusal instead of a reset; a hook for a caller that goes away.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Sequence
from typing import Any, Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from modelyard.gateway.exchange import new_request_id
from modelyard.gateway.problems import PROBLEM_TYPE, Header, Refusal, problem_body
from modelyard.runtime.frames import Buffer

MAX_HEAD: Final = 64 * 2**10
MAX_FIELDS: Final = 100
MAX_TARGET: Final = 16 * 2**10
# Seconds from a connection's opening, or from a head's first byte, to the head's end.
HEAD_TIMEOUT: Final = 15.0
# Seconds for which a refused upload may go on.
HOLD: Final = 10.0


class FrontProtocol(HttpToolsProtocol):
    """One connection of a caller. ``max_connections`` is set once for the process."""

    max_connections = 4096

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_gone: Callable[[], None] | None = None
        self.task: asyncio.Task[None]  # answers ``_answering``
        self._answering: RequestResponseCycle | None = None
        self._deaf = False  # no more is read from this connection
        self._in_head = False
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._held: RequestResponseCycle | None = None  # answered while its body was still coming

    # ---------------------------------------------------------------- what an exchange may ask

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller has left while nothing was read from it, so that nobody was told.

        One who has sent more than the kernel takes unread (some 200 KB) is not seen to leave: the end of
        the connection comes behind what was sent.
        """
        if not self.flow.read_paused or self.transport.is_closing():
            return False
        look = select.poll()
        look.register(self.transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        return bool(look.poll(0))

    @property
    def is_clogged(self) -> bool:
        """Whether the caller reads slower than it is written to."""
        return self.flow.write_paused

    def answer(self, status: int, headers: Sequence[Header], body: Buffer) -> None:
        """Send a whole answer, which ``headers`` give the length of, in one write.

        ASGI's two messages are two system calls, which cost a small answer a quarter of its time.
        """
        cycle = self._answering
        assert cycle is not None
        if cycle.disconnected:
            return
        parts: list[Buffer] = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
            if name == b"connection" and value == b"close":
                cycle.keep_alive = False
        if not cycle.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        if cycle.scope["method"] != "HEAD":
            parts.append(body)
        self.transport.write(b"".join(parts))
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def abort(self) -> None:
        """End the connection so that the caller sees its answer as broken off."""
        self._deaf = True
        if self._answering is not None:
            self._answering.disconnected = True
        self.transport.abort()

    def hold(self) -> None:
        """Stay open a while after the answer, so that a caller still sending gets to read it.

        Closing at once would reset the connection under the answer (RFC 9112, section 9.6).
        """
        cycle = self._answering
        if cycle is None or not cycle.more_body or cycle is not self.cycle:
            return
        if cycle.waiting_for_100_continue:
            # Nothing of the body was sent; whether it ever will be is not known, so nothing may follow.
            cycle.keep_alive = False
            return
        cycle.keep_alive = True

    def _release(self, cycle: RequestResponseCycle) -> None:
        if self._held is cycle:
            self.transport.abort()

    # ---------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._fail(503, "too_many_connections", "Too many connections are open. Try again in a moment.")
        else:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deaf = True
        self._held = None
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        # uvicorn tells the newest request only; the one being answered may be an older one.
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as HTTP/1.1 (RFC 9110, section 7.8); what follows would be of the other protocol.
            self._deaf = True
            self.cycle.keep_alive = False
            return
        except httptools.HttpParserError:
            if not self._deaf:
                self._fail(400, "malformed_request", "This is not a valid HTTP request.")
            return
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._fail(431, "head_too_large", f"The request's head is larger than {MAX_HEAD} bytes.")
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._late)

    # ---------------------------------------------------------------- the parser's callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self.scope["extensions"] = {"modelyard": self}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        if self._head_timer is not None:
            self._stop_head_timer()
        headers = self.headers
        if len(self.url) > MAX_TARGET:
            self._stop_parsing(414, "target_too_long", f"The request's target is longer than {MAX_TARGET} bytes.")
        if len(headers) > MAX_FIELDS or sum([len(name) + len(value) for name, value in headers]) > MAX_HEAD:
            self._stop_parsing(
                431, "head_too_large", f"The request's head has more than {MAX_FIELDS} fields or {MAX_HEAD} bytes."
            )
        if self.parser.should_upgrade() and any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers
        ):
            # The parser takes the body for the other protocol's first bytes.
            self._stop_parsing(
                400, "upgrade_with_body", "A request with a body cannot ask for an upgrade. Send it without 'Upgrade'."
            )
        super().on_headers_complete()
        # Trailers are fields of the message's end: they must not pass for fields of its head.
        self.headers = []

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._held is not None:
            self._held = None
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        super().on_response_complete()
        cycle = self._answering
        if cycle is not None and cycle.more_body and cycle is self.cycle and not self.transport.is_closing():
            # Answered before its body was there: what still comes of it is dropped, for so long.
            self._held = cycle
            self.loop.call_later(HOLD, self._release, cycle)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        self.task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # ---------------------------------------------------------------- ends

    def _late(self) -> None:
        self._head_timer = None
        if self._in_head:
            self._fail(408, "head_timeout", f"The request's head did not arrive within {HEAD_TIMEOUT:g} s.")
        else:
            self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_parsing(self, status: int, code: str, detail: str) -> None:
        self._fail(status, code, detail)
        raise _Stop

    def _fail(self, status: int, code: str, detail: str) -> None:
        """Hear no more from this connection: answer what was asked before, else this, and close."""
        self._deaf = True
        self.pipeline.clear()
        if self._held is not None:
            # The rest of a request that has had its answer: a second one would pass for the next request's.
            self.transport.close()
            return
        cycle = self._answering
        if cycle is not None and not cycle.response_complete:
            if cycle is not self.cycle or not cycle.more_body:
                cycle.keep_alive = False
                return
            # It is this very request's body that has gone wrong.
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()
                return
        request_id = new_request_id()
        body = problem_body(Refusal(status, code, detail), "", request_id.decode())
        self.transport.write(
            b"%scontent-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n%s"
            % (STATUS_LINE[status], PROBLEM_TYPE, len(body), request_id, body)
        )
        self.transport.close()


class _Stop(Exception):
    """Ends the parser's turn; the connection has been answered."""
