"""The record of who did what: to read, to export and to verify."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse

from modelyard.api import schemas
from modelyard.api.context import PageSize, PageToken, Services, ToAdminister, ToOversee, answer
from modelyard.control.auditing import AuditQuery
from modelyard.domain.audit import AuditEntry, Mark, Outcome
from modelyard.domain.errors import InvalidRequest, NotFound, Problem

audit = APIRouter(tags=["audit"])

_LINES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}, "description": "An entry a line."}
}
# More than any entry's number.
_MOST = 2**63 - 1


async def _filters(
    actor: Annotated[str | None, Query(description="Only what this one did: admin, key:ci, policy:nights.")] = None,
    action: Annotated[str | None, Query(description="Only this: models.stop.")] = None,
    target: Annotated[str | None, Query(description="Only what was done to this name.")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only what ended so.")] = None,
    request: Annotated[str | None, Query(description="Only what the request with this id did.")] = None,
    since: Annotated[datetime | None, Query(description="Only from this time on, with its zone.")] = None,
    until: Annotated[datetime | None, Query(description="Only before this time, with its zone.")] = None,
    search: Annotated[str, Query(description="Only where this is part of the reason.", max_length=256)] = "",
) -> AuditQuery:
    bare = [name for name, at in (("since", since), ("until", until)) if at is not None and at.tzinfo is None]
    if bare:
        message = "Say the zone, for example 2030-01-01T08:00:00Z."
        raise InvalidRequest([Problem(f"query.{name}", "invalid_value", message) for name in bare])
    return AuditQuery(
        actor=actor, action=action, target=target, outcome=outcome, request=request, since=since, until=until,
        search=search,
    )  # fmt: skip


Filters = Annotated[AuditQuery, Depends(_filters)]
OfNamespace = Annotated[str | None, Query(description="Only what was done in this namespace.")]


@audit.get("/audit", response_model=schemas.Page[schemas.AuditEntry], summary="Who did what, newest first")
async def list_audit(
    filters: Filters, services: ToOversee, namespace: OfNamespace = None, page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Response:  # fmt: skip
    return await _page(services, replace(filters, namespace=namespace, page_size=page_size, page_token=page_token))


@audit.get(
    "/namespaces/{namespace}/audit", response_model=schemas.Page[schemas.AuditEntry],
    summary="Who did what in a namespace, newest first",
)  # fmt: skip
async def list_namespace_audit(
    namespace: str, filters: Filters, services: ToAdminister, page_size: PageSize = 50, page_token: PageToken = ""
) -> Response:
    if await services.store.get_namespace(namespace) is None:
        raise NotFound(f"There is no namespace {namespace!r}.")
    return await _page(services, replace(filters, namespace=namespace, page_size=page_size, page_token=page_token))


@audit.get("/audit/export", response_class=StreamingResponse, responses=_LINES, summary="The record as JSON lines")
async def export_audit(filters: Filters, services: ToOversee, namespace: OfNamespace = None) -> StreamingResponse:
    """Oldest first. Whole, or with `since` and `until` alone, it is a chain that can be verified without a server. The
    export itself goes on record."""
    lines = _lines(services, replace(filters, namespace=namespace))
    return StreamingResponse(lines, media_type="application/x-ndjson")


@audit.get("/audit/verify", response_model=schemas.AuditVerdict, summary="Is the record as it was written?")
async def verify_audit(services: ToOversee) -> Response:
    """Reads all of it."""
    found = await services.audit.verify()
    broken = None if found.broken is None else schemas.AuditBroken(number=found.broken.number, why=found.broken.why)
    return answer(
        schemas.AuditVerdict(
            whole=broken is None, entries=found.entries, head=_mark(found.head), kept_from=_mark(found.kept_from),
            kept_at=found.kept_at, broken=broken,
        )
    )  # fmt: skip


@audit.get("/audit/{number}", response_model=schemas.AuditEntry, summary="One entry")
async def get_audit(
    number: Annotated[int, Path(ge=1, le=_MOST, description="Its place in the record.")], services: ToOversee
) -> Response:
    found = await services.audit.get(number)
    if found is None:
        raise NotFound(
            f"There is no entry {number}; 'modelyard audit verify' says from where to where the record goes."
        )
    return answer(_entry(found))


async def _page(services: Services, query: AuditQuery) -> Response:
    page = await services.audit.list(query)
    items = [_entry(entry) for entry in page.items]
    return answer(schemas.Page[schemas.AuditEntry](items=items, next_page_token=page.next_page_token))


async def _lines(services: Services, query: AuditQuery) -> AsyncIterator[bytes]:
    async for some in services.audit.export(query):
        yield b"".join(orjson.dumps(entry.document(), option=orjson.OPT_APPEND_NEWLINE) for entry in some)


def _entry(entry: AuditEntry) -> schemas.AuditEntry:
    return schemas.AuditEntry.model_validate(entry.document())


def _mark(mark: Mark) -> schemas.AuditMark:
    return schemas.AuditMark(number=mark.number, hash=mark.hash)
