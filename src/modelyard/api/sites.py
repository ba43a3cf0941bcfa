"""What models share: namespaces with their quotas, the capacity of the sites, and the doctor."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from modelyard.api import schemas
from modelyard.api.answers import namespace_out
from modelyard.api.context import Services, ToOversee, ToReadSome, ToReadSomewhere, caller_of
from modelyard.api.ledgers import cleared_out, finding_out, site_out
from modelyard.api.translate import quota_in
from modelyard.domain.errors import InvalidRequest, NotFound, Refused
from modelyard.domain.features import feature_problems, merged
from modelyard.domain.model import Amount, Namespace
from modelyard.domain.names import DEFAULT_NAMESPACE, name_problem

namespaces = APIRouter(prefix="/namespaces", tags=["namespaces"])
capacity = APIRouter(tags=["capacity"])
doctor = APIRouter(prefix="/doctor", tags=["doctor"])


@namespaces.post("", status_code=201, response_model=schemas.Namespace, summary="Make a namespace")
async def create_namespace(body: schemas.CreateNamespace, services: ToOversee) -> schemas.Namespace:
    problem = name_problem("name", body.name)
    if problem:
        raise InvalidRequest([problem])
    namespace = Namespace(
        name=body.name, description=body.description, created_at=services.clock(), quota=quota_in(body.quota)
    )
    await services.store.create_namespace(namespace)
    return namespace_out(namespace, Amount())


@namespaces.get("", response_model=schemas.Items[schemas.Namespace], summary="All namespaces")
async def list_namespaces(services: ToReadSomewhere, request: Request) -> schemas.Items[schemas.Namespace]:
    """Those that are there for the caller."""
    held = await services.capacity.held()
    found = [n for n in await services.store.list_namespaces() if caller_of(request).knows(n.name)]
    return schemas.Items(items=[namespace_out(n, held.get(n.name, Amount())) for n in found])


@namespaces.get("/{namespace}", response_model=schemas.Namespace, summary="One namespace")
async def get_namespace(namespace: str, services: ToReadSome) -> schemas.Namespace:
    found = await _stored(services, namespace)
    return namespace_out(found, (await services.capacity.held()).get(namespace, Amount()))


@namespaces.patch("/{namespace}", response_model=schemas.Namespace, summary="Change quota, features or description")
async def patch_namespace(namespace: str, body: schemas.PatchNamespace, services: ToOversee) -> schemas.Namespace:
    """What its models hold already stays theirs, and what runs goes on; the next start is measured against the new
    quota and features."""
    if problems := feature_problems(body.features):
        raise InvalidRequest(problems)

    def change(before: Namespace) -> Namespace:
        return replace(
            before,
            description=before.description if body.description is None else body.description,
            quota=quota_in(body.quota, before.quota),
            features=merged(before.features, body.features),
        )

    changed = await services.store.change_namespace(namespace, change)
    return namespace_out(changed, (await services.capacity.held()).get(namespace, Amount()))


@namespaces.delete("/{namespace}", status_code=204, summary="Forget an empty namespace")
async def delete_namespace(namespace: str, services: ToOversee) -> Response:
    if namespace == DEFAULT_NAMESPACE:
        raise Refused("default_namespace", "The default namespace stays: the short paths mean it.")
    await services.store.delete_namespace(namespace)
    services.policies.forget()
    await services.tenants.refresh()
    return Response(status_code=204)


async def _stored(services: Services, name: str) -> Namespace:
    found = await services.store.get_namespace(name)
    if found is None:
        raise NotFound(f"There is no namespace {name!r}.")
    return found


@capacity.get(
    "/capacity", response_model=schemas.Items[schemas.SiteCapacity], summary="What there is, who holds it, who waits"
)
async def get_capacity(
    services: ToReadSomewhere, request: Request,
    site: Annotated[str | None, Query(description="Only this site.")] = None,
) -> schemas.Items[schemas.SiteCapacity]:  # fmt: skip
    """Of what the caller may not know of only the amounts are told."""
    caller = caller_of(request)
    return schemas.Items(items=[await site_out(services, one, caller) for one in await services.capacity.view(site)])


@doctor.get("", response_model=schemas.Items[schemas.Finding], summary="What belongs to nothing any more")
async def examine(services: ToOversee) -> schemas.Items[schemas.Finding]:
    return schemas.Items(items=[finding_out(orphan) for orphan in await services.doctor.examine()])


@doctor.post("", response_model=schemas.Items[schemas.Cleared], summary="Clear what the doctor has found")
async def clear(
    request: Request, services: ToOversee, body: schemas.ClearFindings | None = None
) -> schemas.Items[schemas.Cleared]:
    """Only what is found again just now is cleared; each has a result of its own. A `site` is only cleared when it
    is among the items: its models are then this site's, and what runs of them there counts as lost."""
    found = await services.doctor.examine()
    named = body is not None and body.items is not None
    if body is not None and body.items is not None:
        wanted = {(item.kind, item.id) for item in body.items}
        found = [orphan for orphan in found if (orphan.kind, orphan.id) in wanted]
    cleared = await services.doctor.clear(found, caller_of(request).name, named=named)
    return schemas.Items(items=[cleared_out(one) for one in cleared])
