"""What a protocol hands to the data plane, and what it gets back. Light: imported before any engine is."""

from __future__ import annotations

import msgspec


class Call(msgspec.Struct):
    """One inference request. ``header_length``: Inference-Header-Content-Length, if it came with one;
    ``request_id`` and ``path`` go into a problem's body."""

    body: memoryview | bytes
    content_type: str = ""
    header_length: int | None = None
    version: str = ""
    request_id: str | None = None
    path: str | None = None


class Answer(msgspec.Struct):
    """``status`` in HTTP's numbers; ``header_length``: bytes of the body's JSON part if binary tensors follow it."""

    status: int
    body: bytes
    content_type: str
    header_length: int | None = None
