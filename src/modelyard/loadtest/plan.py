"""What a load is to be, and what one process of it tells: the messages between the one who asks for a load and the
processes that make it."""

from __future__ import annotations

from typing import Final

import msgspec

from modelyard.loadtest.histogram import Histogram

# Errors that are no answer have no HTTP status.
NO_STATUS: Final = 0
TIMEOUT: Final = "timeout"
LOST: Final = "connection_lost"
REFUSED: Final = "cannot_connect"
NOT_HTTP: Final = "not_http"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``requests``: whole HTTP requests, sent in turns. ``connections``: how many are open; each carries one request
    at a time. ``rate``: requests a second that are sent whether or not earlier ones are answered (open loop, ``offset``
    seconds after the others' first); None: a connection sends its next one when its last is answered (closed loop).
    ``ca_file``: certificates to trust instead of the system's authorities, ``any_name``: whatever names they are for.
    Times in seconds; ``warm_up`` comes before ``duration`` and is not counted; ``timeout`` is for one request."""

    host: str
    port: int
    tls: bool = False
    ca_file: str = ""
    any_name: bool = False
    requests: tuple[bytes, ...]
    connections: int
    rate: float | None = None
    offset: float = 0.0
    duration: float
    warm_up: float = 0.0
    timeout: float = 30.0


class Errors(msgspec.Struct):
    """Of one kind. ``status``: HTTP's, or NO_STATUS; ``example``: the first one's text."""

    status: int
    code: str
    count: int
    example: str


class Slice(msgspec.Struct, kw_only=True):
    """What came in one second of the load, of which ``seconds`` were measured: less than one where the load ends in
    between, none for what was answered only after its end (``index`` goes on). ``received``: bytes."""

    index: int
    seconds: float
    latencies: Histogram
    errors: list[Errors]
    sent: int
    received: int


class Ready(msgspec.Struct, tag="ready"):
    """All connections stand."""


class Failed(msgspec.Struct, tag="failed"):
    """No load could be made."""

    why: str


class Told(msgspec.Struct, tag="slice"):
    slice: Slice


class Ended(msgspec.Struct, tag="ended"):
    """``seconds``: how long it measured, less than planned when it was ended early; ``busy``: seconds of the processor
    it took in the meantime; ``reconnected``: connections that were made anew."""

    seconds: float
    busy: float
    reconnected: int


Message = Ready | Failed | Told | Ended

encode: Final = msgspec.json.Encoder().encode
decode_plan: Final = msgspec.json.Decoder(Plan).decode
_decode_message: Final = msgspec.json.Decoder(Message).decode


def decode_message(line: bytes) -> Message:
    message: Message = _decode_message(line)
    return message
