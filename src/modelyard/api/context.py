"""What the routers work with, and what each request brings: the services, the caller, the namespace."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from time import monotonic
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Header, Path, Query, Request, Response
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from pydantic import BaseModel

from modelyard.access.callers import Callers, bearer
from modelyard.access.errors import NotAccepted
from modelyard.access.issuing import IssuerUnavailable
from modelyard.access.secrets import SecretBox
from modelyard.api import schemas
from modelyard.api.answers import operation_out
from modelyard.api.credentials import shown
from modelyard.api.problems import Unauthorized
from modelyard.backends.port import Backend
from modelyard.control.absences import Absences
from modelyard.control.alert_desk import AlertDesk
from modelyard.control.auditing import AuditLog
from modelyard.control.bulk import BulkService
from modelyard.control.caller import Caller
from modelyard.control.capacity import CapacityViews
from modelyard.control.changes import ChangeFeed
from modelyard.control.checks import SpecChecks
from modelyard.control.doctor import Doctor
from modelyard.control.forecasts import Forecasts
from modelyard.control.history import History
from modelyard.control.installed import Installed
from modelyard.control.policies import PolicyDesk
from modelyard.control.ports import Idempotency, Sites, Store
from modelyard.control.samples import Samples
from modelyard.control.schedule_service import ScheduleService
from modelyard.control.service import ModelService
from modelyard.control.sign_ins import SignIns
from modelyard.control.stop_many import StopMany
from modelyard.control.tenants import Tenants
from modelyard.control.timetables import Timetables
from modelyard.control.traffic import TrafficBook
from modelyard.domain.access import Permission, Principal, administrator
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.names import DEFAULT_NAMESPACE
from modelyard.domain.operations import Operation
from modelyard.domain.spec import BackendName
from modelyard.observe.metrics import ControlMetrics
from modelyard.registry.caching import CacheViews
from modelyard.registry.catalog import By, Catalog
from modelyard.registry.contents import Contents
from modelyard.registry.keeping import Pins
from modelyard.registry.objects import Objects
from modelyard.registry.signing.signatures import Signatures
from modelyard.registry.transfers import Transfers

ADMIN = administrator("admin")
# Seconds between two looks at whether the reader of a stream may still have it.
LOOK_EVERY: Final = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the composition root hands to the API. ``token`` gives the administrator token as it is now."""

    store: Store
    audit: AuditLog
    feed: ChangeFeed
    models: ModelService
    checks: SpecChecks
    forecasts: Forecasts
    samples: Samples
    stop_many: StopMany
    bulk: BulkService
    schedules: ScheduleService
    timetables: Timetables
    catalog: Catalog
    contents: Contents
    signatures: Signatures
    transfers: Transfers
    objects: Objects
    pins: Pins
    caching: CacheViews
    capacity: CapacityViews
    absences: Absences
    traffic: TrafficBook
    history: History
    doctor: Doctor
    sites: Sites
    installed: Installed
    alerts: AlertDesk
    policies: PolicyDesk
    backends: dict[BackendName, Backend]
    metrics: ControlMetrics
    token: Callable[[], str]
    callers: Callers
    secrets: SecretBox
    sign_ins: SignIns
    tenants: Tenants
    clock: Callable[[], datetime]


def services_of(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


async def identify(request: Request) -> Principal | None:
    """Who the request's credentials belong to; None: it shows none.

    Raises:
        Unauthorized: they are nobody's, and why; never quoting them.
        CrossSite: a page of another origin sends what may change something, with a session.
    """
    services = services_of(request)
    authorization = shown(request, services.sign_ins.sessions, services.sign_ins.public)
    return None if authorization is None else await recognise(services, authorization)


async def recognise(services: Services, authorization: bytes) -> Principal:
    """Whom an ``Authorization`` header's value names. Raises Unauthorized, as above."""
    token = services.token().encode()
    if token and hmac.compare_digest(bearer(authorization).encode(), token):
        return ADMIN
    found = services.callers.known(authorization)
    if found is None:
        try:
            found = await services.callers.identify(authorization)
        except NotAccepted as error:
            raise Unauthorized(error.message) from None
    return found.caller


async def authenticate(request: Request) -> Principal:
    """Who asks, found out and counted once a request. Raises Unauthorized, CrossSite, RateLimited."""
    found: Principal | None = getattr(request.state, "principal", None)
    if found is None:
        found = await identify(request)
        if found is None:
            raise Unauthorized
        # First, so that a refusal for asking too often is on record as theirs.
        request.state.principal = found
        services = services_of(request)
        callers = services.callers
        known = callers.known(shown(request, services.sign_ins.sessions, services.sign_ins.public) or b"")
        if known is not None:
            callers.count(known)
    return found


def caller_of(request: Request) -> Principal:
    """Who asks, on a route that needs anything (:class:`Needs`)."""
    found = request.state.principal
    assert isinstance(found, Principal)
    return found


async def somebody(request: Request) -> Principal | None:
    """Who asks; None: nobody that is known, or that can be told now."""
    try:
        return await identify(request)
    except (Unauthorized, IssuerUnavailable):
        return None


async def while_allowed(
    request: Request, stream: AsyncGenerator[T], still: Callable[[], Awaitable[bool]] | None = None
) -> AsyncGenerator[T]:
    """``stream`` until its reader's credentials end or stand for something else: it may ask anew then. Or until it is
    ``still`` allowed no longer, which is looked at once a second at most."""
    reader, looked_at = caller_of(request), monotonic()
    async with aclosing(stream):
        async for item in stream:
            if await somebody(request) != reader:
                return
            if still is not None and monotonic() - looked_at >= LOOK_EVERY:
                if not await still():
                    return
                looked_at = monotonic()
            yield item


def demand_some(caller: Principal, permission: Permission, namespace: str) -> None:
    """Raises NotFound or Forbidden where the caller has it for no model of the namespace."""
    if not caller.may_some(permission, namespace):
        caller.demand(permission, namespace)
        caller.refuse(permission, namespace)


class Reach(Enum):
    """Where a permission has to be held."""

    EXACT = "exact"  # in the namespace of the path, for the model that it names if it names one, else for all
    SOME = "some"  # in the namespace of the path, for any model; the route then looks at each
    SOMEWHERE = "somewhere"  # in any namespace; the route then looks at each


class Needs(SecurityBase):
    """Gives the services to those who hold ``permission``: in the namespace that the path names (the default one in
    the short form) and for the model that it names. With another ``reach`` what the route then shows or touches it
    holds against the caller itself. A permission of None: to everyone who has shown who it is. For others the call
    ends here.

    One dependency for both, and a coroutine: each further one costs every request its resolution, a
    plain function even a hop to a thread.
    """

    def __init__(self, permission: Permission | None, reach: Reach = Reach.EXACT) -> None:
        self.permission = permission
        self.reach = reach
        self.model = HTTPBearerModel(
            description="The administrator token ($MODELYARD_HOME/admin.token), an API key, or a token of the identity "
            "provider."
        )
        self.scheme_name = "BearerToken"

    async def __call__(self, request: Request) -> Services:
        caller, permission = await authenticate(request), self.permission
        if permission is None:
            return services_of(request)
        namespace = request.path_params.get("namespace", DEFAULT_NAMESPACE)
        # What only administrators touch is of no one model, whatever its name.
        name = None if permission is Permission.ADMINISTER else request.path_params.get("name")
        if self.reach is not Reach.SOMEWHERE and permission is not Permission.OVERSEE:
            # For the record of who did what: the short form does not say it.
            request.state.namespace = namespace
        if self.reach is Reach.SOMEWHERE or permission is Permission.OVERSEE:
            if not caller.may_somewhere(permission):
                caller.refuse(permission)
        elif self.reach is Reach.SOME:
            demand_some(caller, permission, namespace)
        else:
            caller.demand(permission, namespace, name)
        return services_of(request)


Known = Annotated[Services, Depends(Needs(None))]
ToRead = Annotated[Services, Depends(Needs(Permission.READ))]
ToReadSome = Annotated[Services, Depends(Needs(Permission.READ, Reach.SOME))]
ToReadSomewhere = Annotated[Services, Depends(Needs(Permission.READ, Reach.SOMEWHERE))]
ToOperate = Annotated[Services, Depends(Needs(Permission.OPERATE))]
ToOperateSome = Annotated[Services, Depends(Needs(Permission.OPERATE, Reach.SOME))]
ToOperateSomewhere = Annotated[Services, Depends(Needs(Permission.OPERATE, Reach.SOMEWHERE))]
ToEdit = Annotated[Services, Depends(Needs(Permission.EDIT))]
ToEditSome = Annotated[Services, Depends(Needs(Permission.EDIT, Reach.SOME))]
ToEditSomewhere = Annotated[Services, Depends(Needs(Permission.EDIT, Reach.SOMEWHERE))]
ToAdminister = Annotated[Services, Depends(Needs(Permission.ADMINISTER))]
ToOversee = Annotated[Services, Depends(Needs(Permission.OVERSEE))]


async def _guards(
    request: Request,
    if_match: Annotated[
        str | None, Header(description='The ETag that the change is meant for, for example "7"; * is any.')
    ] = None,
    idempotency_key: Annotated[
        str | None, Header(max_length=255, description="A repeated request with the same key is carried out once.")
    ] = None,
) -> Caller:
    principal = await authenticate(request)
    actor = principal.name
    idempotency = None
    if idempotency_key is not None:
        content = f"{request.method} {request.url.path}?{request.url.query}\n".encode() + await request.body()
        box = services_of(request).secrets
        found = box.fingerprints(content) if box.is_open else await asyncio.to_thread(box.fingerprints, content)
        scope = f"{actor} {request.method} {request.url.path}"
        idempotency = Idempotency(scope=scope, key=idempotency_key, fingerprint=found[0], others=found[1:])
    return Caller(actor=actor, if_match=_version(if_match), idempotency=idempotency, principal=principal)


def _version(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isdigit():
        message = f'{if_match!r} is not an ETag of ours: send what GET answered, for example "7".'
        raise InvalidRequest([Problem("header.If-Match", "invalid_value", message)])
    return int(text)


CallerDep = Annotated[Caller, Depends(_guards)]

ModelName = Annotated[str, Path(description="The model's name.", examples=["digits"])]
Force = Annotated[bool, Query(description="Kill at once instead of draining.")]
Timeout = Annotated[schemas.Duration, Query(description="After this a graceful end kills.")]
Reason = Annotated[str, Query(max_length=1024, description="Why; recorded with the operation.")]
DryRun = Annotated[bool, Query(description="Change nothing: answer 200 with a forecast of what would come of it.")]
PageSize = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
PageToken = Annotated[str, Query(description="`next_page_token` of the page before.")]


def by(caller: Caller, reason: str = "") -> By:
    """Who asks, as the registry wants to know it."""
    return By(actor=caller.actor, reason=reason, if_match=caller.if_match)


def answer(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``body`` as the answer. It is of the declared model already, so it is not validated once more."""
    return Response(body.__pydantic_serializer__.to_json(body), status, headers, "application/json")


def accepted(operation: Operation) -> Response:
    """202 with the operation to watch; 200 when there is nothing left to wait for."""
    headers = {"Location": f"/api/v1/operations/{operation.id}"}
    return answer(operation_out(operation), 200 if operation.done else 202, headers)
