"""The record of who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from modelyard.domain.audit import ActorKind, Outcome


class AuditEntry(BaseModel):
    """An entry: who did what, to what, why, from where, and what came of it. `hash` is SHA-256 over `previous`, a line
    feed, and all the other fields as JSON (keys sorted, no spaces, UTF-8)."""

    number: int = Field(description="Its place in the record, from 1 on, without gaps.")
    at: str = Field(description="When, in UTC, to the microsecond: 2030-01-01T08:00:00.000000Z.")
    actor: str = Field(description="Who; empty: somebody who has not shown who it is.")
    actor_kind: ActorKind
    action: str = Field(
        description="The operation of the API, or what Modelyard did by itself.", examples=["models.stop"]
    )
    namespace: str = Field(description="Empty: in none.")
    kind: str = Field(description="What the target is.", examples=["model"])
    name: str = Field(description="The target.")
    reason: str
    address: str = Field(description="From where, as the front door saw it.")
    client: str = Field(description="The caller's program.")
    request: str = Field(description="The request's id.")
    outcome: Outcome
    code: str = Field(description="The problem's code where it was not done.")
    change: dict[str, Any] = Field(description="What was asked for, and each changed field before and after.")
    previous: str = Field(description="The hash of the entry before.")
    hash: str


class AuditMark(BaseModel):
    """A place in the record: the number of an entry (0: before the first) and its hash."""

    number: int
    hash: str


class AuditBroken(BaseModel):
    """The first entry that is not as it was written."""

    number: int
    why: str


class AuditVerdict(BaseModel):
    """Whether the record is whole. `head` is worth noting elsewhere: that it still is in the chain later shows that
    nothing up to it has changed."""

    whole: bool
    entries: int = Field(description="How many were found whole.")
    head: AuditMark
    kept_from: AuditMark = Field(description="After which entry the record begins; 0: at the beginning.")
    kept_at: datetime | None = Field(description="When retention removed what was before.")
    broken: AuditBroken | None
