"""The listening socket where TLS is spoken: who has not finished the handshake is bounded in number and in time, and
who speaks plain HTTP is told so.

asyncio's own servers know nothing of a connection before its handshake is over, and keep it for a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Final

from modelyard.gateway.heads import last_answer, told_once
from modelyard.gateway.problems import Header, Refusal
from modelyard.tasks import spawn

log = logging.getLogger(__name__)

# Seconds from a connection's opening to the end of its handshake.
HANDSHAKE_TIMEOUT: Final = 15.0
# Seconds for which a caller may leave the end of TLS unanswered.
_FAREWELL: Final = 5.0
# Connections that are taken at one go, before others of the loop have their turn.
_AT_ONCE: Final = 64
# Seconds until connections are taken again when there are no files left.
_PAUSE: Final = 1.0
_HANDSHAKE: Final = 0x16
_HOST: Final = re.compile(rb"\r\nhost:[ \t]*([A-Za-z0-9.:\[\]-]{1,255})[ \t]*\r\n", re.IGNORECASE)


class Doorway:
    """Takes connections of ``listener`` and hands those that speak TLS to protocols that ``protocol`` makes. At most
    ``most`` are at their handshake; for one more that which has been longest at it is given up. ``fields`` are headers
    for answers."""

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.Protocol],
        fields: Callable[[], list[Header]],
        most: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._context = context
        self._protocol = protocol
        self._fields = fields
        self._most = most
        # Oldest first.
        self._entering: dict[asyncio.Task[None], None] = {}
        self._again: asyncio.TimerHandle | None = None
        self._open = False

    def listen(self, backlog: int) -> None:
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self._open = True
        self._resume()

    def close(self) -> None:
        """Take no more, and give up those that are not in yet."""
        if not self._open:
            return
        self._open = False
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listener.fileno())
        for entering in self._entering:
            entering.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._entering, return_exceptions=True)

    def _resume(self) -> None:
        self._again = None
        self._loop.add_reader(self._listener.fileno(), self._take)

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                line, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                told_once(f"connections wait to be taken: {error}")
                self._loop.remove_reader(self._listener.fileno())
                self._again = self._loop.call_later(_PAUSE, self._resume)
                return
            line.setblocking(False)
            if len(self._entering) >= self._most:
                next(iter(self._entering)).cancel()
            entering = spawn(self._let_in(line), "let a caller in")
            self._entering[entering] = None
            entering.add_done_callback(lambda done: self._entering.pop(done, None))

    async def _let_in(self, line: socket.socket) -> None:
        until = monotonic() + HANDSHAKE_TIMEOUT
        # What callers do wrong, and that they go, is no news for the log.
        with contextlib.suppress(OSError, TimeoutError):
            if await self._speaks_tls(line):
                # It is the transport's from here on, which closes it where this fails, too.
                await self._loop.connect_accepted_socket(
                    self._protocol, line, ssl=self._context, ssl_handshake_timeout=max(until - monotonic(), 0.001),
                    ssl_shutdown_timeout=_FAREWELL,
                )  # fmt: skip

    async def _speaks_tls(self, line: socket.socket) -> bool:
        """Whether it does; one that does not is told so, and closed."""
        with contextlib.ExitStack() as stack:
            stack.callback(line.close)
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                await self._readable(line)
                first = line.recv(1, socket.MSG_PEEK)
                if first and first[0] == _HANDSHAKE:
                    stack.pop_all()
                    return True
                if first:
                    await self._tell(line)
        return False

    async def _readable(self, line: socket.socket) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()

        def tell() -> None:
            # Called again and again until the reader is removed.
            if not ready.done():
                ready.set_result(None)

        self._loop.add_reader(line.fileno(), tell)
        try:
            await ready
        finally:
            self._loop.remove_reader(line.fileno())

    async def _tell(self, line: socket.socket) -> None:
        """Answer what is no TLS, and wait a moment for the caller to close: sooner could take the answer from it."""
        told_once("somebody spoke plain HTTP to this port, which speaks TLS: callers use https://")
        said = line.recv(2**16)
        host = _HOST.search(said)
        where = f"https://{host[1].decode()}" if host is not None else "https://"
        refusal = Refusal(400, "tls_required", f"This port speaks TLS: use {where} instead of http://.")
        await self._loop.sock_sendall(line, last_answer(refusal, self._fields()))
        line.shutdown(socket.SHUT_WR)
        while said:
            await self._readable(line)
            said = line.recv(2**16)
