"""The record of who did what, as the blocking client has it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from modelyard.client import audit_calls
from modelyard.client.audit_types import AuditEntry, AuditVerdict

if TYPE_CHECKING:
    from modelyard.client.sync import Modelyard


class Audit:
    """Who did what, to what, why, from where, and what came of it. Times are aware datetimes or ISO 8601 text."""

    def __init__(self, client: Modelyard) -> None:
        self._client = client

    def list(
        self, *, namespace: str | None = None, actor: str | None = None, action: str | None = None,
        target: str | None = None, outcome: str | None = None, request: str | None = None,
        since: datetime | str | None = None, until: datetime | str | None = None, search: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[AuditEntry]:  # fmt: skip
        """Newest first, page after page; ``search`` is part of the reason."""
        wanted = audit_calls.filters(actor, action, target, outcome, request, since, until, search)
        return self._client.pages(audit_calls.list_entries(namespace, wanted, page_size))

    def get(self, number: int) -> AuditEntry:
        return self._client.send(audit_calls.get_entry(number))

    def export(
        self, *, namespace: str | None = None, actor: str | None = None, action: str | None = None,
        target: str | None = None, outcome: str | None = None, request: str | None = None,
        since: datetime | str | None = None, until: datetime | str | None = None, search: str | None = None,
    ) -> Iterator[str]:  # fmt: skip
        """The entries as lines of JSON, oldest first, as they come."""
        wanted = audit_calls.filters(actor, action, target, outcome, request, since, until, search)
        return self._client.lines(audit_calls.export(namespace, wanted))

    def verify(self) -> AuditVerdict:
        """Have the server read all of the record and say whether it is as it was written."""
        return self._client.send(audit_calls.verify())
