"""The FastAPI application, put together from the routers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline

from modelyard import __version__
from modelyard.api import (
    alerting,
    alerts,
    bulk,
    caching,
    changes,
    contents,
    history,
    installation,
    models,
    objects,
    pages,
    policies,
    problems,
    registry,
    samples,
    schemas,
    session,
    signing,
    sites,
    system,
    tenants,
    timetables,
    transfers,
)
from modelyard.api.audit import audit
from modelyard.api.auditing import Audited
from modelyard.api.context import Services
from modelyard.api.urgency import InTurn, Precedence

PREFIX = "/api/v1"

_DESCRIPTION = """\
Register, deploy, start, stop, update and observe machine-learning models.

Every call needs a bearer token: the administrator token, an API key or a token of the identity provider; in a browser a
session that was begun with one (`/api/v1/session`) will do. Long requests answer 202 with an *operation*; wait for it
with `/api/v1/operations/{operation}/wait`. Errors are RFC 9457 problems with a stable `code`; what a caller may not
know of is answered 404. Inference is under `/v2` (Open Inference Protocol).
"""
_PROBLEM: dict[str, Any] = {"model": schemas.ProblemBody, "content": {problems.MEDIA_TYPE: {}}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {**_PROBLEM, "description": "The body is not JSON."},
    401: {**_PROBLEM, "description": "No valid token."},
    403: {**_PROBLEM, "description": "The caller's role does not allow it."},
    404: {**_PROBLEM, "description": "There is no such thing, or not for this caller."},
    409: {**_PROBLEM, "description": "The present state does not allow it, or the name is taken."},
    412: {**_PROBLEM, "description": "If-Match did not match."},
    413: {**_PROBLEM, "description": "The body is too large."},
    415: {**_PROBLEM, "description": "The body is not sent as JSON (Content-Type: application/json)."},
    422: {**_PROBLEM, "description": "Fields are wrong; all of them are named."},
    429: {**_PROBLEM, "description": "More was asked than the key's rate allows; Retry-After says when to come again."},
    503: {**_PROBLEM, "description": "The store is not available."},
}


def create_app(services: Services | None, *, max_body: int = 4 * 2**20, dashboard: str = "") -> FastAPI:
    """The API over ``services`` (without them it can only describe itself); ``max_body`` in bytes; ``dashboard``: the
    folder that it is built in, if that is not the package's."""
    app = FastAPIOffline(
        title="Modelyard",
        version=__version__,
        description=_DESCRIPTION,
        docs_url="/docs",
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        responses=_RESPONSES,
    )
    shared = (sites.namespaces, sites.capacity, sites.doctor, system.operations, system.events, bulk.bulk)
    stored = (contents.store, caching.cache, objects.objects, objects.cached, transfers.transfers)
    who = (*tenants.routers(), installation.installation)
    told = (alerts.alerts, history.history, *alerting.routers(), *policies.routers(), timetables.timetables)
    for router in (
        changes.changes,
        session.session,
        *told,
        *models.routers(),
        *samples.routers(),
        *registry.routers(),
        *signing.routers(),
        *stored,
        *shared,
        *who,
    ):
        app.include_router(router, prefix=PREFIX)
    app.include_router(audit, prefix=PREFIX)
    app.include_router(system.health)
    app.include_router(system.internal)
    app.include_router(pages.pages)
    app.state.services = services
    app.state.dashboard = Path(dashboard) if dashboard else pages.FOLDER
    problems.install(app)
    app.add_middleware(problems.BodyLimit, limit=max_body, without=f"{PREFIX}{objects.PREFIX}/")
    app.add_middleware(Audited)
    app.add_middleware(problems.RequestId)
    app.state.precedence = precedence = Precedence()
    app.add_middleware(InTurn, precedence=precedence)
    return app


def _operation_id(route: APIRoute) -> str:
    """``models_stop``, ``models_by_namespace_stop``: stable names for generated clients."""
    tag = str(route.tags[0]).replace(" ", "_") if route.tags else "system"
    return f"{tag}_{route.name}"
