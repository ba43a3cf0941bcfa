"""The requests on the record of who did what, as values: no I/O, shared by both clients."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from modelyard.client import types
from modelyard.client.audit_types import AuditEntry, AuditVerdict
from modelyard.client.calls import API, READ, Call, get

_PATH = f"{API}/audit"


def filters(
    actor: str | None, action: str | None, target: str | None, outcome: str | None, request: str | None,
    since: datetime | str | None, until: datetime | str | None, search: str | None,
) -> dict[str, Any]:  # fmt: skip
    """As the API takes them."""
    return {
        "actor": actor, "action": action, "target": target, "outcome": outcome, "request": request,
        "since": _time(since), "until": _time(until), "search": search,
    }  # fmt: skip


def list_entries(
    namespace: str | None, wanted: Mapping[str, Any], page_size: int | None
) -> Call[types.Page[AuditEntry]]:
    """Of a namespace, which its administrators may read, or of all."""
    path = _PATH if namespace is None else f"{API}/namespaces/{quote(namespace, safe='')}/audit"
    return get(path, partial(types.parse_page, AuditEntry), READ, **wanted, page_size=page_size)


def get_entry(number: int) -> Call[AuditEntry]:
    return get(f"{_PATH}/{number}", partial(types.parse, AuditEntry))


def export(namespace: str | None, wanted: Mapping[str, Any]) -> Call[None]:
    return get(f"{_PATH}/export", lambda _: None, None, **wanted, namespace=namespace)


def verify() -> Call[AuditVerdict]:
    # It reads every entry.
    return get(f"{_PATH}/verify", partial(types.parse, AuditVerdict), None)


def _time(at: datetime | str | None) -> str | None:
    return at.isoformat() if isinstance(at, datetime) else at
