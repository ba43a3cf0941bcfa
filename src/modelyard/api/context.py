"""What the routers work with, and what each request brings: the services, the caller, the namespace."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request, Response
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from pydantic import BaseModel

from modelyard.api import schemas
from modelyard.api.answers import operation_out
from modelyard.api.problems import Unauthorized
from modelyard.backends.port import Backend
from modelyard.control.absences import Absences
from modelyard.control.capacity import CapacityViews
from modelyard.control.changes import ChangeFeed
from modelyard.control.doctor import Doctor
from modelyard.control.ports import Idempotency, Store
from modelyard.control.service import Caller, ModelService
from modelyard.control.traffic import TrafficBook
from modelyard.domain.access import Forbidden, Permission, Principal, administrator, need_of
from modelyard.domain.errors import InvalidRequest, NotFound, Problem
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the composition root hands to the API. ``token`` gives the administrator token as it is now."""

    store: Store
    feed: ChangeFeed
    models: ModelService
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
    doctor: Doctor
    backends: dict[BackendName, Backend]
    metrics: ControlMetrics
    token: Callable[[], str]
    clock: Callable[[], datetime]


def services_of(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


def identify(request: Request) -> Principal | None:
    """Who the request's bearer token belongs to, or None."""
    token = services_of(request).token()
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if not token or scheme.lower() != "bearer":
        return None
    return ADMIN if hmac.compare_digest(given.strip().encode("latin-1"), token.encode()) else None


def caller_of(request: Request) -> Principal:
    """Who asks, found out once a request. Raises Unauthorized."""
    found: Principal | None = getattr(request.state, "principal", None)
    if found is not None:
        return found
    found = identify(request)
    if found is None:
        if "authorization" not in request.headers:
            raise Unauthorized
        raise Unauthorized("This token is not valid; the administrator token is in $MODELYARD_HOME/admin.token.")
    request.state.principal = found
    return found


class Needs(SecurityBase):
    """Gives the services to those who hold ``permission``: in the namespace that the path names (the default one in
    the short form) and for the model that it names, or, with ``somewhere``, in any: what the route then shows or
    touches it holds against the caller itself. None: to everyone who has shown who it is. For others the call
    ends here.

    One dependency for both, and a coroutine: each further one costs every request its resolution, a
    plain function even a hop to a thread.
    """

    def __init__(self, permission: Permission | None, *, somewhere: bool = False) -> None:
        self.permission = permission
        self.somewhere = somewhere
        self.model = HTTPBearerModel(description="The administrator token ($MODELYARD_HOME/admin.token).")
        self.scheme_name = "BearerToken"

    async def __call__(self, request: Request) -> Services:
        caller, permission = caller_of(request), self.permission
        if permission is None:
            return services_of(request)
        namespace = request.path_params.get("namespace", DEFAULT_NAMESPACE)
        name = request.path_params.get("name")
        if self.somewhere or permission is Permission.OVERSEE:
            allowed = caller.may_somewhere(permission)
        else:
            allowed = caller.may(permission, namespace, name)
        if not allowed:
            raise self._refusal(caller, permission, namespace, name)
        return services_of(request)

    def _refusal(
        self, caller: Principal, permission: Permission, namespace: str, name: str | None
    ) -> NotFound | Forbidden:
        """As much of it as the caller may know."""
        if self.somewhere or permission is Permission.OVERSEE:
            return Forbidden(f"{caller.name} may not do this: it needs {need_of(permission)}.")
        if not caller.knows(namespace):
            return NotFound(f"There is no namespace {namespace!r}.")
        if name is not None and not caller.may(Permission.READ, namespace, name):
            return NotFound(f"There is no model {name!r} in namespace {namespace!r}.")
        return Forbidden(f"{caller.name} may not do this in namespace {namespace!r}: it needs {need_of(permission)}.")


Known = Annotated[Services, Depends(Needs(None))]
ToRead = Annotated[Services, Depends(Needs(Permission.READ))]
ToReadSomewhere = Annotated[Services, Depends(Needs(Permission.READ, somewhere=True))]
ToOperate = Annotated[Services, Depends(Needs(Permission.OPERATE))]
ToOperateSomewhere = Annotated[Services, Depends(Needs(Permission.OPERATE, somewhere=True))]
ToEdit = Annotated[Services, Depends(Needs(Permission.EDIT))]
ToEditSomewhere = Annotated[Services, Depends(Needs(Permission.EDIT, somewhere=True))]
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
    principal = caller_of(request)
    actor = principal.name
    idempotency = None
    if idempotency_key is not None:
        digest = hashlib.sha256()
        digest.update(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
        digest.update(await request.body())
        scope = f"{actor} {request.method} {request.url.path}"
        idempotency = Idempotency(scope=scope, key=idempotency_key, fingerprint=digest.hexdigest())
    return Caller(actor=actor, if_match=_version(if_match), idempotency=idempotency)


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
