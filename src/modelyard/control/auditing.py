"""What is asked of the record of who did what. The store implements it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from modelyard.control.ports import Page
from modelyard.domain.audit import AuditEntry, Broken, Mark, Outcome, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Newest first. ``target`` is a name; ``search`` is part of the reason, in any case; ``since`` is included,
    ``until`` is not."""

    actor: str | None = None
    action: str | None = None
    namespace: str | None = None
    target: str | None = None
    outcome: Outcome | None = None
    request: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    search: str = ""
    page_size: int = 50
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the record stands: ``kept_from`` is where it begins (number 0 unless retention has removed what was before,
    at ``kept_at``), ``head`` where it ended when it was looked at, ``entries`` how many of it were found whole."""

    kept_from: Mark
    kept_at: datetime | None
    head: Mark
    entries: int
    broken: Broken | None


class AuditLog(Protocol):
    """The record. Entries are written by what changes something, in the same transaction; what changed nothing is
    written here."""

    async def record(self, *records: Record) -> None:
        """All of them or none."""

    async def get(self, number: int) -> AuditEntry | None: ...

    async def list(self, query: AuditQuery) -> Page[AuditEntry]:
        """Raises InvalidRequest for a page size or token that is none."""

    def export(self, query: AuditQuery) -> AsyncIterator[Sequence[AuditEntry]]:
        """All that match and are there now, oldest first, some at a time."""

    async def verify(self) -> Verdict:
        """Read all of it, some at a time."""

    async def retain(self, days: float | None, now: datetime) -> int:
        """Forget what is older, from the beginning on, and say so in an entry (None: forget nothing); how many."""
