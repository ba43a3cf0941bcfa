"""What a protocol hands to the data plane, and what it gets back. Light: imported before any engine is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

# The forms that a call's body may have, and its answer's with it.
V2: Final = "v2"
V1: Final = "v1"
GENERATE: Final = "generate"


class Call(msgspec.Struct):
    """One inference request. ``header_length``: Inference-Header-Content-Length, if it came with one;
    ``request_id`` and ``path`` go into a problem's body; ``form``: one of the above; ``encoding``: how
    the body is compressed, if it is, and ``max_body`` what it may be inflated to (bytes); ``stream``: each piece of
    the answer is wanted as soon as there is one, as a server-sent event."""

    body: memoryview | bytes
    content_type: str = ""
    header_length: int | None = None
    version: str = ""
    request_id: str | None = None
    path: str | None = None
    form: str = V2
    encoding: str = ""
    max_body: int = 0
    stream: bool = False


class Answer(msgspec.Struct):
    """``status`` in HTTP's numbers; ``header_length``: bytes of the body's JSON part if binary tensors follow it."""

    status: int
    body: bytes
    content_type: str
    header_length: int | None = None


# Takes a call's answer, once.
Done = Callable[[Answer], None]
# Takes a piece of an answer before its end. What it returns, if anything, is to be awaited before the next piece:
# whoever reads them is behind.
Part = Callable[[Answer], Awaitable[None] | None]
