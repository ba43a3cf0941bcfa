"""Heads of HTTP/1.1 messages: what a request's may be, how an answer's begins, and what is said of what is none."""

from __future__ import annotations

import logging
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from modelyard.gateway.exchange import new_request_id
from modelyard.gateway.problems import PROBLEM_TYPE, Header, Refusal, problem_body

log = logging.getLogger(__name__)

MAX_HEAD: Final = 64 * 2**10
MAX_FIELDS: Final = 100
MAX_TARGET: Final = 16 * 2**10


def wrong_with(target: bytes, fields: list[Header], *, upgrades: bool) -> Refusal | None:
    """Why a request of this head goes no further than to the parser; ``upgrades``: it asks for another protocol."""
    if len(target) > MAX_TARGET:
        return Refusal(414, "target_too_long", f"The request's target is longer than {MAX_TARGET} bytes.")
    size = coding = 0
    for name, value in fields:
        size += len(name) + len(value)
        if name == b"transfer-encoding":
            coding += 1
            if coding > 1 or value.strip().lower() != b"chunked":
                return Refusal(
                    501, "unsupported_transfer_coding", "Of transfer codings only 'chunked' is understood here."
                )
    if len(fields) > MAX_FIELDS or size > MAX_HEAD:
        return Refusal(
            431, "head_too_large", f"The request's head has more than {MAX_FIELDS} fields or {MAX_HEAD} bytes."
        )
    if upgrades and any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in fields
    ):
        # The parser takes the body for the other protocol's first bytes.
        return Refusal(
            400, "upgrade_with_body", "A request with a body cannot ask for an upgrade. Send it without 'Upgrade'."
        )
    return None


# How a TLS connection begins: a record of its handshake, of whatever version.
_TLS: Final = b"\x16\x03"


def malformed(data: bytes, *, first: bool) -> Refusal:
    """What is said of ``data``, which is no HTTP; ``first``: the connection begins with it."""
    if first and data.startswith(_TLS):
        told_once(
            "somebody spoke TLS to this port, which speaks plain HTTP: callers use http://, unless MODELYARD_TLS_CERT "
            "and MODELYARD_TLS_KEY are set"
        )
        return Refusal(400, "plain_http_only", "This port speaks plain HTTP: use http:// instead of https://.")
    return Refusal(400, "malformed_request", "This is not a valid HTTP request.")


def head_too_large() -> Refusal:
    return Refusal(431, "head_too_large", f"The request's head is larger than {MAX_HEAD} bytes.")


def too_many_connections() -> Refusal:
    return Refusal(503, "too_many_connections", "Too many connections are open. Try again in a moment.")


_told: Final[set[str]] = set()


def told_once(message: str) -> None:
    """Log what callers do over and over, and whoever runs this may not know of, the first time."""
    if message not in _told:
        _told.add(message)
        log.warning("%s (this is said once)", message)


class Lines:
    """The beginnings of answers, as they are sent over and over. They hold the date, so each second has its own."""

    def __init__(self) -> None:
        self._fields: list[Header] = []
        self._known: dict[tuple[int, bytes], bytes] = {}

    def first(self, status: int, content_type: bytes, fields: list[Header]) -> bytes:
        """Up to the value of X-Request-ID; ``fields`` are uvicorn's, a new list each second."""
        if fields is not self._fields:
            self._fields = fields
            self._known.clear()
        found = self._known.get((status, content_type))
        if found is None:
            parts = [STATUS_LINE[status]]
            for name, value in (*fields, (b"content-type", content_type)):
                parts += (name, b": ", value, b"\r\n")
            found = self._known[status, content_type] = b"".join((*parts, b"x-request-id: "))
        return found


LINES: Final = Lines()


def last_answer(refusal: Refusal, fields: list[Header]) -> bytes:
    """A whole answer to what was no request, after which the connection ends; ``fields`` as for :meth:`Lines.first`."""
    request_id = new_request_id()
    body = problem_body(refusal, "", request_id.decode())
    first = LINES.first(refusal.status, PROBLEM_TYPE, fields)
    return b"%s%s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (first, request_id, len(body), body)
