"""As much HTTP/1.1 as questions to a server on this machine take: one request a connection."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import quote

import httptools

# Of an answer's body, the start.
BODY_KEPT: Final = 4096
_READ: Final = 65536


class NoAnswer(Exception):
    """What came was no answer, or none came; the message says what happened."""


class Answer:
    """``status``, 0 until the head is there, and the start of the body."""

    def __init__(self) -> None:
        self.status = 0
        self.body = bytearray()
        self.complete = False
        self._parser: Any = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Raises httptools.HttpParserError."""
        self._parser.feed_data(data)

    # ------------------------------------------------------------------ what the parser calls

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        # An interim answer (100 Continue) stands for nothing yet.
        self.status = status if status >= 200 else 0

    def on_body(self, data: bytes) -> None:
        self.body += data[: BODY_KEPT - len(self.body)]

    def on_message_complete(self) -> None:
        self.complete = bool(self.status)


async def ask(port: int, method: str, path: str, content: bytes = b"", *, whole: bool = False) -> Answer:
    """Send a request, with JSON if there is ``content``; the answer, as soon as its status is known or, if
    ``whole`` is asked for, when its body has ended.

    Raises:
        OSError: the port takes no connection.
        NoAnswer: nobody answers in HTTP.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = Answer()
    try:
        writer.write(_request(port, method, path, content))
        while not (answer.complete or (answer.status and not whole)):
            data = await reader.read(_READ)
            if not data:
                break
            answer.feed(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass  # what follows a status does not change it
    except OSError as error:
        raise NoAnswer(f"{method} {path} broke off: {error.strerror or error}") from None
    finally:
        # Aborted rather than closed: a peer that never closes its side must not hold ours.
        writer.transport.abort()
    if not answer.status:
        raise NoAnswer(f"{method} {path} got no HTTP answer")
    return answer


def _request(port: int, method: str, path: str, content: bytes) -> bytes:
    # Quoted, so that nothing in a path can end the request's line.
    target = quote(path, safe="/?&=%:@!$'()*+,;~[]")
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", "Accept: */*"]
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content
