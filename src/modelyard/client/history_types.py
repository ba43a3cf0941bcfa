"""What is answered of metrics over time. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from modelyard.client.types import Resource


class HistoryMark(msgspec.Struct, kw_only=True):
    """What happened to the model then (``kind``: deploy, rollback, scale, restart, start, stop, idle or failure)."""

    at: datetime
    kind: str
    message: str = ""
    actor: str = ""


class ModelHistory(Resource):
    """Columns with a value for each of ``times`` (seconds of the epoch), which are ``step`` seconds apart and
    ``seconds`` long. Of ``requests`` that were answered ``errors`` failed (5xx) and ``rejected`` were refused (4xx);
    ``in_flight``: requests at a time, on average; latencies in seconds, ``memory`` in bytes; None: not known, or of no
    request."""

    namespace: str
    name: str
    step: int
    times: list[int]
    seconds: list[int]
    requests: list[int]
    errors: list[int]
    rejected: list[int]
    in_flight: list[float]
    p50: list[float | None]
    p95: list[float | None]
    p99: list[float | None]
    instances: list[int | None]
    memory: list[int | None]
    marks: list[HistoryMark] = msgspec.field(default_factory=list)
