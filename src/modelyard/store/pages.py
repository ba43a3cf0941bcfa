"""Keyset pages: a token names the last item of a page, so pages stay put while items are added.

A token is base64url of JSON: a digest of the query and the position, and the position. The digest
makes a token of another query, or a damaged one, an error instead of a silently wrong page. It is no
secret: whoever forges one can only ask for a place that another query would have shown.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from modelyard.control.alert_ports import AlertQuery, DeliveryQuery
from modelyard.control.auditing import AuditQuery
from modelyard.control.ports import EventQuery, ModelQuery, OperationQuery, Page, T
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.ports import MoveQuery, RegisteredModelQuery, TransferQuery, VersionQuery
from modelyard.store.codec import encode

MAX_PAGE_SIZE = 1000

Query = (
    ModelQuery
    | OperationQuery
    | EventQuery
    | RegisteredModelQuery
    | VersionQuery
    | MoveQuery
    | TransferQuery
    | AuditQuery
    | AlertQuery
    | DeliveryQuery
)


def check_page_size(query: Query) -> None:
    """Raises InvalidRequest unless it is from 1 to 1000."""
    if not 1 <= query.page_size <= MAX_PAGE_SIZE:
        raise invalid("page_size", "out_of_range", f"page_size is from 1 to {MAX_PAGE_SIZE}.")


def invalid(path: str, code: str, message: str) -> InvalidRequest:
    return InvalidRequest([Problem(path, code, message)])


def write_token(query: Query, position: Sequence[str]) -> str:
    """The token of the page that follows the item at ``position`` in the order of ``query``."""
    content = encode([_digest(query, position), *position])
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def read_token(query: Query, *parsers: Callable[[str], Any]) -> list[Any] | None:
    """The position that the query's token names, each part through its parser; None for the first page.

    Raises:
        InvalidRequest: it is no token of this query.
    """
    token = query.page_token
    if not token:
        return None
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        digest, *position = msgspec.json.decode(content, type=list[str])
        if digest == _digest(query, position) and len(position) == len(parsers):
            return [parse(part) for parse, part in zip(parsers, position, strict=True)]
    except (ValueError, msgspec.DecodeError):
        pass
    raise invalid(
        "page_token",
        "invalid_page_token",
        "This is not a page token of this query: use the next_page_token of the page before, with the same "
        "filters and sort.",
    )


def page(
    rows: Sequence[Any], query: Query, item: Callable[[Any], T], position: Callable[[Any], Sequence[str]]
) -> Page[T]:
    """A page of ``rows``, of which one more than ``query.page_size`` was asked for."""
    shown = rows[: query.page_size]
    token = write_token(query, position(shown[-1])) if len(rows) > len(shown) else ""
    return Page(tuple(item(row) for row in shown), token)


def _digest(query: Query, position: Sequence[str]) -> str:
    # What is seen may change from page to page; the place in the order stays.
    left_out = ("page_size", "page_token", "sight")
    fields = {name: getattr(query, name) for name in query.__dataclass_fields__ if name not in left_out}
    if "labels" in fields:
        fields["labels"] = sorted(fields["labels"].items())
    content = encode([type(query).__name__, fields, *position])
    return hashlib.blake2b(content.encode(), digest_size=9).hexdigest()
