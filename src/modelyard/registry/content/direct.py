"""Ranges of a bucket's objects straight into memory that is used again and again.

The library of :mod:`modelyard.registry.content.buckets` takes new memory for each range and copies it more than once,
which costs as much as hashing it. So it only signs addresses here, and the standard library's client fetches them. That
client can do less, so nothing rests on it: whatever is not just as it should be (a proxy, another answer, a connection
that breaks or rests) ends a range early and says nothing, and the bucket goes on with the library, which tries again
and knows what to say. A signed address is a secret: it is in no message.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from obstore import sign
from obstore.exceptions import BaseError

from modelyard.registry.content.chunks import CHUNK

if TYPE_CHECKING:
    from obstore.store import S3Store

# Less is not worth a connection of its own.
LEAST: Final = CHUNK
# Seconds: to connect, of silence, and that a piece may take.
_CONNECT: Final = 5.0
_SILENCE: Final = 30.0
_PIECE: Final = 60.0
# Seconds after a failure in which the library does it all.
_REST: Final = 60.0
_SIGNED_FOR: Final = timedelta(minutes=15)
# The library would not sign, or would go through a proxy of its own.
_NOT_SO: Final = ("AWS_SKIP_SIGNATURE", "AWS_PROXY_URL")
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)")
# All that is known to go wrong with a signature, a connection and an answer.
_FAILURES: Final = (BaseError, OSError, http.client.HTTPException, ValueError)


class _Odd(Exception):
    """An answer that is not the range which was asked for. ``lasting``: nor will another one be."""

    def __init__(self, *, lasting: bool) -> None:
        super().__init__()
        self.lasting = lasting


@dataclass(slots=True)
class _Line:
    """A connection, to ``place`` (scheme, host and port), and the memory that what comes over it goes to."""

    place: tuple[str, str, int | None]
    connection: http.client.HTTPConnection
    buffer: bytearray = field(default_factory=lambda: bytearray(CHUNK))

    def __del__(self) -> None:
        self.connection.close()


class Direct:
    """Reads of one bucket on S3, whose addresses are signed without asking anybody; in ``plain`` HTTP where that is
    allowed. Many threads may read at once; each keeps a connection for as long as it lives."""

    def __init__(self, store: S3Store, *, plain: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._plain, self._clock = store, plain, clock
        self._rests_until = -1.0
        self._mine = threading.local()

    def pieces(self, key: str, offset: int, sizes: Sequence[int]) -> Iterator[memoryview]:
        """What is at ``offset`` of an object, in pieces of these sizes (none over :data:`CHUNK`). Each is good until
        the next is asked for. Ends early wherever it cannot go on, and raises nothing."""
        if self._clock() < self._rests_until:
            return
        try:
            line, response = self._asked(key, offset, sum(sizes))
            with response:
                for size in sizes:
                    yield _filled(response, memoryview(line.buffer)[:size])
        except _FAILURES:
            self._rests_until = self._clock() + _REST
        except _Odd as error:
            if error.lasting:
                self._rests_until = self._clock() + _REST
        else:
            if not response.will_close:
                self._mine.line = line

    def _asked(self, key: str, offset: int, size: int) -> tuple[_Line, http.client.HTTPResponse]:
        url = urlsplit(sign(self._store, "GET", key, _SIGNED_FOR))
        if url.scheme != "https" and not self._plain:
            raise _Odd(lasting=True)
        place = (url.scheme, url.hostname or "", url.port)
        # Not left there while it is in use: whoever reads two things at a time in a thread has two of them.
        line: _Line | None = self._mine.__dict__.pop("line", None)
        headers = {"Range": f"bytes={offset}-{offset + size - 1}"}
        if line is not None and line.place == place:
            try:
                line.connection.request("GET", f"{url.path}?{url.query}", headers=headers)
                return line, _checked(line.connection.getresponse(), offset, size)
            except (ConnectionError, ssl.SSLError):
                # A server may end a connection that nothing comes over whenever it likes.
                pass
        line = _Line(place, _connected(*place))
        line.connection.request("GET", f"{url.path}?{url.query}", headers=headers)
        return line, _checked(line.connection.getresponse(), offset, size)


def _connected(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    proxied = {scheme, "all"} & urllib.request.getproxies().keys() and not urllib.request.proxy_bypass(host)
    if proxied or any(os.environ.get(name) for name in _NOT_SO):
        raise _Odd(lasting=True)
    connection = (
        http.client.HTTPSConnection(host, port, timeout=_CONNECT, context=_trust())
        if scheme == "https" else http.client.HTTPConnection(host, port, timeout=_CONNECT)
    )  # fmt: skip
    try:
        connection.connect()
        connection.sock.settimeout(_SILENCE)
    except BaseException:
        connection.close()
        raise
    return connection


@cache
def _trust() -> ssl.SSLContext:
    """Reading the system's certificates takes some 20 ms."""
    return ssl.create_default_context()


def _checked(response: http.client.HTTPResponse, offset: int, size: int) -> http.client.HTTPResponse:
    """It, if it is the range and nothing else. Raises _Odd."""
    told = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if (
        response.status != http.client.PARTIAL_CONTENT or told is None
        or (int(told[1]), int(told[2])) != (offset, offset + size - 1)
        or response.length != size or response.headers.get("Content-Encoding") is not None
    ):  # fmt: skip
        # That one object is not there, or ends before, says nothing of others.
        lasting = response.status not in (404, 416)
        response.close()
        raise _Odd(lasting=lasting)
    return response


def _filled(response: http.client.HTTPResponse, piece: memoryview) -> memoryview:
    """``piece``, all of it read. Raises OSError."""
    until, rest = time.monotonic() + _PIECE, piece
    while rest:
        # From the socket into the piece, but for the little that came with the head.
        count = response.fp.readinto1(rest)
        if not count or time.monotonic() > until:
            raise ConnectionError
        rest = rest[count:]
    return piece
