"""What is answered of transfers, as values. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from modelyard.client.types import Resource


class TransferProblem(msgspec.Struct, kw_only=True):
    code: str
    message: str


class Transfer(Resource):
    """The record of one movement of bytes: its ``state`` is ``queued``, ``running``, ``succeeded``, ``failed`` or
    ``cancelled``. ``bytes_done`` of ``bytes_total`` (None: nobody knows) are those of the ``phase``; ``rate`` is in
    bytes a second."""

    id: str
    kind: str
    namespace: str
    model: str
    source: str
    state: str
    done: bool
    created_at: datetime
    updated_at: datetime
    version: str | None = None
    manifest: str | None = None
    phase: str | None = None
    bytes_done: int = 0
    bytes_total: int | None = None
    rate: float = 0.0
    seconds_left: float | None = None
    error: TransferProblem | None = None
    attempt: int = 0
    site: str = ""
    actor: str = ""
    reason: str = ""
    ended_at: datetime | None = None
