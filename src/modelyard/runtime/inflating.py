"""Compressed request bodies (Content-Encoding ``gzip`` and ``deflate``), within a bound on what comes of them."""

from __future__ import annotations

import zlib
from typing import Final

from modelyard.runtime.errors import RequestError

# zlib's window bits: 15 is the largest window, 16 more asks for gzip's framing.
_WINDOWS: Final = {"gzip": 31, "deflate": 15}


def inflate(body: memoryview | bytes, encoding: str, limit: int) -> bytes:
    """The body itself.

    Raises:
        RequestError: 415 for an encoding that is none of them, 400 for a body that is not of it, 413 for one of
            which more than ``limit`` bytes come.
    """
    window = _WINDOWS.get(encoding)
    if window is None:
        raise RequestError(415, "unsupported_content_encoding", f"Bodies are taken as gzip or deflate, not {encoding}.")
    inflater = zlib.decompressobj(window)
    try:
        content = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise RequestError(400, "invalid_encoding", f"The body is not {encoding}: {error}.") from error
    if len(content) > limit:
        raise RequestError(
            413,
            "body_too_large",
            f"The request body is larger than {limit} bytes when it is inflated. Send less at once, or raise "
            "limits.max_body of the model.",
        )
    if not inflater.eof or inflater.unused_data:
        what = "more follows its end" if inflater.eof else "it ends too early"
        raise RequestError(400, "invalid_encoding", f"The body is not {encoding}: {what}.")
    return content
