"""Which web pages of other origins may call from a browser: none, unless the settings name them.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol. Credentials travel in the ``Authorization`` header, which
pages set themselves, so cookies are never allowed.
"""

from __future__ import annotations

from typing import Final

from modelyard.gateway.exchange import Exchange
from modelyard.gateway.problems import Header

# Answers that depend on the origin must not be kept for another.
VARY: Final = (b"vary", b"Origin")
_EXPOSED: Final = b"ETag, Location, Retry-After, X-Request-ID, X-Modelyard-Model, X-Modelyard-Revision"
_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
# Seconds for which browsers may remember what was allowed.
_MAX_AGE: Final = b"600"


class Cors:
    """``origins`` may call, exactly as browsers spell them."""

    def __init__(self, origins: frozenset[str] = frozenset()) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def allow(self, exchange: Exchange) -> bool:
        """Have the answer say that its page may read it, if it may; whether the request only asked for that, and this
        page may: then there is nothing else to do for it."""
        origin = exchange.headers.get(b"origin")
        if origin is None or origin not in self._origins:
            return False
        allowed: tuple[Header, ...] = ((b"access-control-allow-origin", origin),)
        if exchange.method == "OPTIONS" and b"access-control-request-method" in exchange.headers:
            headers = exchange.headers.get(b"access-control-request-headers", b"")
            exchange.fields = (
                *allowed,
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-allow-headers", headers),
                (b"access-control-max-age", _MAX_AGE),
            )
            return True
        exchange.fields = (*allowed, (b"access-control-expose-headers", _EXPOSED))
        return False
