"""Members, API keys, and who the caller is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response

from modelyard.access.keys import ApiKey
from modelyard.api import schemas
from modelyard.api.context import Known, Needs, Reason, Services, answer, caller_of
from modelyard.api.translate import duration_in
from modelyard.control.access_ports import Membership
from modelyard.control.tenants import NewKey, member_in, text_of
from modelyard.domain.access import EVERYWHERE, Grant, Permission, Principal
from modelyard.domain.rates import Rate

_KEPT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": schemas.Member, "description": "It was a member already."}
}
MemberName = Annotated[
    str, Path(max_length=300, description="An e-mail address, group:NAME or subject:NAME.", examples=["group:vision"])
]
KeyId = Annotated[str, Path(max_length=64, description="The key's id, which is no secret.")]

me = APIRouter(tags=["access"])


@me.get("/me", response_model=schemas.Me, summary="Who am I, and what may I do where?")
async def whoami(_: Known, request: Request) -> Response:
    caller = caller_of(request)
    return answer(
        schemas.Me(
            name=caller.name, kind=caller.kind, oversees=caller.oversees, groups=sorted(caller.groups),
            grants=grants_out(caller),
        )
    )  # fmt: skip


def build_router(prefix: str, namespace: Callable[..., Any], permission: Permission, tag: str) -> APIRouter:
    """The members and keys of one namespace, or of all."""
    router = APIRouter(prefix=prefix, tags=[tag])
    ns = Annotated[str, Depends(namespace)]
    allowed = Annotated[Services, Depends(Needs(permission))]
    _add_members(router, ns, allowed)
    _add_keys(router, ns, allowed)
    return router


def _add_members(router: APIRouter, ns: Any, allowed: Any) -> None:
    async def list_members(namespace: str, services: Services) -> Response:
        found = await services.tenants.members(namespace)
        return answer(schemas.Items[schemas.Member](items=[_member_out(one) for one in found]))

    async def put_member(
        member: MemberName, body: schemas.PutMember, namespace: str, services: Services, request: Request
    ) -> Response:
        """Give a person, or a group of an identity provider's tokens, a role."""
        named = member_in(namespace, member, body.role, tuple(body.models))
        put, new = await services.tenants.put_member(named, caller_of(request), body.reason)
        return answer(_member_out(put), 201 if new else 200)

    async def remove_member(
        member: MemberName, namespace: str, services: Services, request: Request, reason: Reason = ""
    ) -> Response:
        """It may no more what it might as this member, at once. Keys that it has made stay."""
        await services.tenants.remove_member(member_in(namespace, member), caller_of(request))
        return Response(status_code=204)

    for function in (list_members, put_member, remove_member):
        function.__annotations__ |= {"namespace": ns, "services": allowed}
    router.get("/members", response_model=schemas.Items[schemas.Member], summary="Members")(list_members)
    router.put(
        "/members/{member:path}", status_code=201, response_model=schemas.Member, responses=_KEPT,
        summary="Give somebody a role",
    )(put_member)  # fmt: skip
    router.delete("/members/{member:path}", status_code=204, summary="Take somebody's role away")(remove_member)


def _add_keys(router: APIRouter, ns: Any, allowed: Any) -> None:
    async def list_keys(namespace: str, services: Services) -> Response:
        """Without their secrets, which nobody can be told again."""
        found = await services.tenants.keys(namespace)
        return answer(schemas.Items[schemas.ApiKey](items=[schemas.ApiKey(**_key_fields(key)) for key in found]))

    async def create_key(body: schemas.CreateKey, namespace: str, services: Services, request: Request) -> Response:
        """Its secret is in this answer and in no other."""
        rate = Rate(per_second=body.rate.per_second, burst=body.rate.burst) if body.rate else None
        wanted = NewKey(
            name=body.name, role=body.role, models=tuple(body.models), groups=tuple(body.groups), rate=rate,
            expires_at=body.expires_at,
        )  # fmt: skip
        return _new_key(*await services.tenants.create_key(namespace, wanted, caller_of(request)), 201)

    async def get_key(key: KeyId, namespace: str, services: Services) -> Response:
        return answer(schemas.ApiKey(**_key_fields(await services.tenants.key(namespace, key))))

    async def rotate_key(
        key: KeyId, namespace: str, services: Services, request: Request, body: schemas.RotateKey | None = None
    ) -> Response:
        """Another secret, in this answer and in no other; the one before works a while longer."""
        overlap = duration_in((body or schemas.RotateKey()).overlap)
        return _new_key(*await services.tenants.rotate_key(namespace, key, overlap, caller_of(request)), 200)

    async def revoke_key(
        key: KeyId, namespace: str, services: Services, request: Request, reason: Reason = ""
    ) -> Response:
        """At once and for good."""
        return answer(
            schemas.ApiKey(**_key_fields(await services.tenants.revoke_key(namespace, key, caller_of(request))))
        )

    for function in (list_keys, create_key, get_key, rotate_key, revoke_key):
        function.__annotations__ |= {"namespace": ns, "services": allowed}
    router.get("/keys", response_model=schemas.Items[schemas.ApiKey], summary="API keys")(list_keys)
    router.post("/keys", status_code=201, response_model=schemas.NewApiKey, summary="Make an API key")(create_key)
    router.get("/keys/{key}", response_model=schemas.ApiKey, summary="One API key")(get_key)
    router.post("/keys/{key}/rotate", response_model=schemas.NewApiKey, summary="Give a key another secret")(rotate_key)
    router.delete("/keys/{key}", response_model=schemas.ApiKey, summary="Revoke a key")(revoke_key)


def _new_key(key: ApiKey, secret: str, status: int) -> Response:
    # Nothing on the way may keep it.
    return answer(schemas.NewApiKey(**_key_fields(key), secret=secret), status, {"Cache-Control": "no-store"})


def _member_out(membership: Membership) -> schemas.Member:
    member = membership.member
    return schemas.Member(
        namespace=member.namespace, member=text_of(member), role=member.role, models=list(member.models),
        added_at=membership.added_at, added_by=membership.added_by, reason=membership.reason,
    )  # fmt: skip


def _key_fields(key: ApiKey) -> dict[str, Any]:
    rate = key.rate
    return {
        "id": key.id,
        "namespace": key.namespace,
        "name": key.name,
        "role": key.role,
        "models": list(key.models),
        "groups": list(key.groups),
        "rate": None if rate is None else schemas.RateLimit(per_second=rate.per_second, burst=rate.burst),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "previous_until": key.previous_until,
    }


def grants_out(caller: Principal) -> list[schemas.Grant]:
    """What ``caller`` may where."""
    return [_grant_out(grant) for grant in sorted(caller.grants, key=lambda g: (g.namespace, g.role, g.models))]


def _grant_out(grant: Grant) -> schemas.Grant:
    return schemas.Grant(
        namespace=grant.namespace, role=grant.role, permissions=list(grant.permissions), models=list(grant.models)
    )  # fmt: skip


async def _everywhere() -> str:
    return EVERYWHERE


async def _named(namespace: Annotated[str, Path(description="The namespace's name.")]) -> str:
    return namespace


def routers() -> list[APIRouter]:
    return [
        me,
        build_router("", _everywhere, Permission.OVERSEE, "access"),
        build_router("/namespaces/{namespace}", _named, Permission.ADMINISTER, "access by namespace"),
    ]
