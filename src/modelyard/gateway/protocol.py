"""uvicorn's HTTP/1.1 protocol (httptools) with the limits that a front door needs beside it.

Added: bounds on a request's head in bytes, fields and seconds; problem bodies for what is no HTTP;
trailers kept out of the headers; an upload refused early may finish sending for a while, so that its
sender reads the refusal instead of a reset; a hook for a caller that goes away. And the short way: inference
requests that are plain never reach the application (:mod:`modelyard.gateway.direct`). Clients send one
head again and again, so those of plain requests are known again by their bytes, without being parsed.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from modelyard.gateway import heads
from modelyard.gateway.direct import Call, Direct, Plan
from modelyard.gateway.exchange import REQUEST_ID
from modelyard.gateway.heads import LINES, MAX_HEAD, last_answer
from modelyard.gateway.problems import Header, Refusal
from modelyard.runtime.frames import Buffer

log = logging.getLogger(__name__)

# Seconds from a connection's opening, or from a head's first byte, to the head's end.
HEAD_TIMEOUT: Final = 15.0
# Seconds for which a refused upload may go on.
HOLD: Final = 10.0
_HEAD_END: Final = b"\r\n\r\n"
# Answers up to this size are copied behind their head, and leave in one piece.
_SMALL: Final = 64 * 2**10


class FrontProtocol(HttpToolsProtocol):
    """One connection of a caller. ``max_connections`` and ``direct`` are set once for the process."""

    max_connections = 4096
    direct: Direct
    cycle: RequestResponseCycle | Call  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_gone: Callable[[], None] | None = None
        self.task: asyncio.Task[None]  # answers ``_answering``
        self._answering: RequestResponseCycle | Call | None = None
        self._deaf = False  # no more is read from this connection
        self._in_head = False
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._held: RequestResponseCycle | Call | None = None  # answered while its body was still coming
        self._between = True  # no byte of the next request has been parsed
        self._read: bytes = b""  # what the parser is fed, if a request begins with it
        self._quiet_since = 0.0

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
        assert isinstance(cycle, RequestResponseCycle)
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

    def answer_directly(
        self, call: Call, status: int, content_type: bytes, headers: Sequence[Header], body: Buffer
    ) -> None:
        """Send a whole answer to ``call``."""
        call.response_complete = True
        if self.transport.is_closing():
            return
        parts: list[Buffer] = [
            LINES.first(status, content_type, self.server_state.default_headers),
            call.id,
            b"\r\ncontent-length: %d\r\n" % len(body),
        ]
        for name, value in headers:
            if name == b"connection":  # is only ever "close"
                call.keep_alive = False
            else:
                parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if call.keep_alive else b"connection: close\r\n\r\n")
        if len(body) <= _SMALL:
            parts.append(body)
            self.transport.write(b"".join(parts))
        else:
            self.transport.writelines([b"".join(parts), body])
        if not call.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def stop(self, refusal: Refusal) -> None:
        """Answer a direct call that is still on its way with this: the process is being stopped."""
        if isinstance(self._answering, Call):
            self._answering.stop(refusal)

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
        if cycle is None or isinstance(cycle, Call) or not cycle.more_body or cycle is not self.cycle:
            return
        if cycle.waiting_for_100_continue:
            # Nothing of the body was sent; whether it ever will be is not known, so nothing may follow.
            cycle.keep_alive = False
            return
        cycle.keep_alive = True

    def _release(self, cycle: RequestResponseCycle | Call) -> None:
        if self._held is cycle:
            self.transport.abort()

    # ---------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._fail(heads.too_many_connections())
        else:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deaf = True
        self._held = None
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        # uvicorn tells the newest request only; the one being answered may be an older one.
        if isinstance(self._answering, Call):
            self._answering.gone()
        elif self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._between and (self.cycle is None or self.cycle.response_complete):
            if self._knows(data):
                return
            self._read = data
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as HTTP/1.1 (RFC 9110, section 7.8); what follows would be of the other protocol.
            self._deaf = True
            self.cycle.keep_alive = False
            return
        except httptools.HttpParserError:
            if not self._deaf:
                self._fail(heads.malformed(data, first=self.cycle is None))
            return
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._fail(heads.head_too_large())
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._late)

    # ---------------------------------------------------------------- the short way

    def _knows(self, data: bytes) -> bool:
        """Whether ``data`` is one whole request whose head was seen before; it is then on its way."""
        size = data.find(_HEAD_END) + len(_HEAD_END)
        plan = self.direct.known(data[:size])
        if plan is None or len(data) - size != plan.length or self.is_clogged:
            return False
        call = self.direct.begin(plan, self, None)
        if call is None:
            return False
        self._stop_head_timer()
        self.cycle = self._answering = call
        call.body(data[size:])
        call.complete()
        return True

    def _begin_directly(self) -> bool:
        """Whether the request whose head has just been parsed goes the short way."""
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1" or self.expect_100_continue:
            return False
        # One who does not read its answers waits for them; only the application waits.
        if self.parser.should_upgrade() or not self.parser.should_keep_alive() or self.is_clogged:
            return False
        plan = self.direct.plan(self.url, self.headers)
        if plan is None:
            return False
        given = next((value for name, value in reversed(self.headers) if name == b"x-request-id"), None)
        if given is not None and not REQUEST_ID.match(given):
            given = None
        call = self.direct.begin(plan, self, given)
        if call is None:
            return False
        self.cycle = self._answering = call
        if given is None:
            self._remember(plan)
        return True

    def _remember(self, plan: Plan) -> None:
        """Know this request again. That is sure only of one that was read in one piece, all by itself: its bytes
        are then those of a head that the parser takes for this plan."""
        data = self._read
        size = data.find(_HEAD_END) + len(_HEAD_END)
        if size < len(_HEAD_END) or len(data) - size != plan.length or not data.startswith(b"POST "):
            return
        head = data[:size]
        # With a bare CR or LF in it the parser may have seen its end elsewhere.
        if head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n"):
            self.direct.remember(head, plan)

    # ---------------------------------------------------------------- the parser's callbacks

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head = True
        self._between = False

    def _begin_scope(self) -> None:
        """What the application is told. Made only now: the short way does without."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        self.scope["extensions"] = {"modelyard": self}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        if self._head_timer is not None:
            self._stop_head_timer()
        headers = self.headers
        wrong = heads.wrong_with(self.url, headers, upgrades=self.parser.should_upgrade())
        if wrong is not None:
            self._fail(wrong)
            raise _Stop
        waits = self.cycle is not None and not self.cycle.response_complete
        if waits or not self._begin_directly():
            self._begin_scope()
            super().on_headers_complete()
        # Trailers are fields of the message's end: they must not pass for fields of its head.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if not isinstance(cycle, Call):
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.body(body)

    def on_message_complete(self) -> None:
        self._between = True
        self._read = b""
        cycle = self.cycle
        if isinstance(cycle, Call):
            cycle.complete()
        else:
            super().on_message_complete()
        if self._held is not None:
            self._held = None
            self._await_next()

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._await_next()
        cycle = self._answering
        if cycle is not None and cycle.response_complete and cycle.more_body and cycle is self.cycle:
            # Answered before its body was there: what still comes of it is dropped, for so long.
            self._held = cycle
            self.loop.call_later(HOLD, self._release, cycle)

    def _await_next(self) -> None:
        # One timer that looks again costs less than one for each request.
        self._quiet_since = monotonic()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._close_if_quiet)

    def _close_if_quiet(self) -> None:
        self.timeout_keep_alive_task = None
        if self.transport.is_closing() or self._in_head or not self._between or self._held is not None:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            return
        left = self._quiet_since + self.timeout_keep_alive - monotonic()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self._close_if_quiet)
        else:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        self.task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # ---------------------------------------------------------------- ends

    def _late(self) -> None:
        self._head_timer = None
        if self._in_head:
            self._fail(Refusal(408, "head_timeout", f"The request's head did not arrive within {HEAD_TIMEOUT:g} s."))
        else:
            self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _fail(self, refusal: Refusal) -> None:
        """Hear no more from this connection: end what is being answered, else answer this, and close."""
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
            if isinstance(cycle, Call):
                cycle.gone(refusal.status)
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()
                return
        self.transport.write(last_answer(refusal, self.server_state.default_headers))
        self.transport.close()


class _Stop(Exception):
    """Ends the parser's turn; the connection has been answered."""
