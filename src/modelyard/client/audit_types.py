"""What is answered of the record of who did what, as values. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from modelyard.client.types import Resource


class AuditEntry(Resource):
    """Who did what to what, why, from where, and what came of it: ``outcome`` is ``done``, ``refused`` or ``failed``;
    ``change`` holds what was ``asked`` and the ``fields`` that changed, each ``before`` and ``after``."""

    number: int
    at: datetime
    actor: str
    action: str
    outcome: str
    hash: str
    previous: str
    actor_kind: str = ""
    namespace: str = ""
    kind: str = ""
    name: str = ""
    reason: str = ""
    address: str = ""
    client: str = ""
    request: str = ""
    code: str = ""
    change: dict[str, Any] = msgspec.field(default_factory=dict)


class AuditMark(msgspec.Struct, kw_only=True):
    """A place in the record: the number of an entry and its hash."""

    number: int
    hash: str


class AuditBroken(msgspec.Struct, kw_only=True):
    number: int
    why: str


class AuditVerdict(Resource):
    """Whether the record is ``whole``; its ``head`` is worth noting elsewhere. It begins after ``kept_from``."""

    whole: bool
    entries: int
    head: AuditMark
    kept_from: AuditMark
    kept_at: datetime | None = None
    broken: AuditBroken | None = None
