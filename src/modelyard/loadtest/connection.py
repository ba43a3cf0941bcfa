"""One connection that stays open and carries one request at a time."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools


class Owner(Protocol):
    """Who is told what becomes of requests."""

    def answered(self, connection: Connection, status: int, body: bytes) -> None:
        """The answer has come whole; ``body`` is the first part of it that came."""

    def broken(self, connection: Connection, why: str) -> None:
        """The connection is lost. Its request, if it had one, gets no answer; ``why`` is empty when the other end
        merely closed it."""


class Connection(asyncio.Protocol):
    """``since``: when its request began, in nanoseconds; 0 while it has none. ``sent`` and ``received`` are bytes."""

    __slots__ = ("_body", "_owner", "_parser", "_transport", "lasting", "received", "sent", "since")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._body = b""
        self._transport: asyncio.Transport | None = None
        self.since = 0
        self.lasting = True
        self.sent = self.received = 0

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def send(self, request: bytes, since: int) -> None:
        assert self._transport is not None
        self.since = since
        self._body = b""
        self.sent += len(request)
        self._transport.write(request)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # ---------------------------------------------------------------- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        self.lasting = True

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._lose(f"The answer is not HTTP: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(str(error or ""))

    def _lose(self, why: str) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
            self._owner.broken(self, why)

    # ---------------------------------------------------------------- httptools' calls

    def on_body(self, body: bytes) -> None:
        if not self._body:
            self._body = body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        # An interim answer; the one that counts follows.
        if status < 200:
            return
        self.lasting = self._parser.should_keep_alive()
        self._owner.answered(self, status, self._body)
