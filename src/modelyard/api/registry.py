"""Registered models and their versions, under both path forms. Their aliases are in :mod:`modelyard.api.aliases`.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from modelyard.api import aliases, caching, contents, schemas, signing, transfers
from modelyard.api.context import (
    CallerDep,
    PageSize,
    PageToken,
    Reason,
    Services,
    ToEdit,
    ToEditSome,
    ToRead,
    ToReadSome,
    ToReadSomewhere,
    answer,
    by,
    caller_of,
    demand_some,
)
from modelyard.api.registered import (
    about_in,
    about_patched,
    diff_out,
    identity_in,
    model_out,
    notes_in,
    notes_patched,
    version_out,
    version_with_card_out,
)
from modelyard.api.translate import duration_in, labels_in
from modelyard.domain.access import Permission, Principal
from modelyard.domain.errors import NotFound
from modelyard.domain.names import DEFAULT_NAMESPACE
from modelyard.domain.registering import GRACE
from modelyard.domain.registry import LATEST, RegisteredModel, Version
from modelyard.registry.ports import RegisteredModelQuery
from modelyard.registry.trust import trusted

RegisteredName = Annotated[str, Path(description="The registered model's name.", examples=["pat"])]
Number = Annotated[str, Path(description="The version's number.", examples=["1.4.2"])]
Deleted = Annotated[bool, Query(description="Only those that are deleted and can be restored.")]
Grace = Annotated[schemas.Duration, Query(description="For so long it can be restored; at most 365d.")]

_PICK = "A version (1.4.2), a range of versions (^1.4), or an alias (stable)."
_KEPT: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.ModelVersionWithCard, "description": "The same is published already."}
}


async def _short_form() -> str:
    return DEFAULT_NAMESPACE


async def _long_form(namespace: Annotated[str, Path(description="The namespace's name.")]) -> str:
    return namespace


async def _query(
    search: Annotated[
        str, Query(max_length=256, description="Only with this in the name, description, series or a label's value.")
    ] = "",
    series: Annotated[str, Query(description="Only of this series.")] = "",
    framework: Annotated[str, Query(description="Only with a version made with this.")] = "",
    label: Annotated[list[str] | None, Query(description="Only with all of these labels, as key=value.")] = None,
    deleted: Deleted = False,
    sort: Annotated[str, Query(description="name, created_at or updated_at; with - before it descending.")] = "name",
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> RegisteredModelQuery:
    return RegisteredModelQuery(
        search=search, series=series, framework=framework, labels=labels_in(label), deleted=deleted, sort=sort,
        page_size=page_size, page_token=page_token,
    )  # fmt: skip


def build_router(prefix: str, namespace: Callable[..., Awaitable[str]], tag: str) -> APIRouter:
    """The same routes for one path form; ``namespace`` finds out which namespace a request means."""
    router = APIRouter(prefix=prefix, tags=[tag])
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.post("", status_code=201, response_model=schemas.RegisteredModel, summary="Register a model")
    async def create(
        body: schemas.CreateRegisteredModel, ns: Namespace, caller: CallerDep, services: ToEditSome
    ) -> Response:
        if caller.principal is not None:
            caller.principal.demand(Permission.EDIT, ns, body.name)
        made = await services.catalog.register(ns, body.name, about_in(body), by(caller, body.reason))
        return _model(made, 201)

    @router.get("/{name}", response_model=schemas.RegisteredModel, summary="One registered model")
    async def get(name: RegisteredName, ns: Namespace, services: ToRead) -> Response:
        """Also one that is deleted and can be restored."""
        return _model(await services.catalog.get(ns, name))

    @router.patch("/{name}", response_model=schemas.RegisteredModel, summary="Change what is said of a model")
    async def patch(
        name: RegisteredName, body: schemas.PatchRegisteredModel, ns: Namespace, caller: CallerDep,
        services: ToEdit,
    ) -> Response:  # fmt: skip
        changed = await services.catalog.describe(
            ns, name, lambda about: about_patched(about, body), by(caller, body.reason)
        )
        return _model(changed)

    @router.delete("/{name}", response_model=schemas.RegisteredModel, summary="Delete a registered model")
    async def delete(
        name: RegisteredName, ns: Namespace, caller: CallerDep, services: ToEdit,
        grace: Grace = GRACE.total_seconds(), reason: Reason = "",
    ) -> Response:  # fmt: skip
        """Refused while a served model names it. Until `grace` is over it can be restored, and its name is taken."""
        deleted = await services.catalog.delete(ns, name, by(caller, reason), duration_in(grace))
        return _model(deleted)

    @router.post("/{name}/restore", response_model=schemas.RegisteredModel, summary="Bring a deleted model back")
    async def restore(
        name: RegisteredName, ns: Namespace, caller: CallerDep, services: ToEdit,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        return _model(await services.catalog.restore(ns, name, by(caller, body.reason if body else "")))

    _add_versions(router, namespace)
    _add_picks(router, namespace)
    contents.add(router, namespace)
    caching.add(router, namespace)
    transfers.add(router, namespace)
    aliases.add(router, namespace)
    signing.add(router, namespace)
    return router


def _add_versions(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get(
        "/{name}/versions", response_model=schemas.Page[schemas.ModelVersion], summary="Versions, the highest first"
    )
    async def versions(
        name: RegisteredName, ns: Namespace, services: ToRead,
        within: Annotated[str, Query(alias="range", description="Only those in it: ^1.4, ~1.4.2, >=1.2,<2, 1.x.")] = "",
        framework: Annotated[str, Query(description="Only those made with this.")] = "",
        deleted: Deleted = False, page_size: PageSize = 50, page_token: PageToken = "",
    ) -> Response:  # fmt: skip
        """Without their cards."""
        page = await services.catalog.versions(
            ns, name, within=within, framework=framework, deleted=deleted, page_size=page_size, page_token=page_token
        )
        items = [version_out(version, ns, name) for version in page.items]
        return answer(schemas.Page[schemas.ModelVersion](items=items, next_page_token=page.next_page_token))

    @router.post(
        "/{name}/versions", status_code=201, response_model=schemas.ModelVersionWithCard, responses=_KEPT,
        summary="Publish a version",
    )  # fmt: skip
    async def publish(
        name: RegisteredName, body: schemas.PublishVersion, ns: Namespace, caller: CallerDep, services: ToEdit
    ) -> Response:
        """The files are in the store already, under their manifest. A number is published once and for good: again with
        the same content it is the same version, with any other it is refused, also after its deletion."""
        held = await services.contents.content(body.manifest)
        identity = identity_in(body, held.content, trusted(held.kinds, body.trust))
        version, new = await services.catalog.publish(
            ns, name, body.version, identity, notes_in(body), by(caller, body.reason)
        )
        return _version(version, ns, name, 201 if new else 200)

    @router.get("/{name}/versions/{version}", response_model=schemas.ModelVersionWithCard, summary="One version")
    async def get_version(name: RegisteredName, version: Number, ns: Namespace, services: ToRead) -> Response:
        """Also one that is deleted and can be restored."""
        return _version(await services.catalog.version(ns, name, version), ns, name)

    @router.patch(
        "/{name}/versions/{version}", response_model=schemas.ModelVersionWithCard,
        summary="Change what is said of a version",
    )  # fmt: skip
    async def patch_version(
        name: RegisteredName, version: Number, body: schemas.PatchVersion, ns: Namespace, caller: CallerDep,
        services: ToEdit,
    ) -> Response:  # fmt: skip
        changed = await services.catalog.annotate(
            ns, name, version, lambda notes: notes_patched(notes, body), by(caller, body.reason)
        )
        return _version(changed, ns, name)

    @router.delete(
        "/{name}/versions/{version}", response_model=schemas.ModelVersionWithCard, summary="Delete a version"
    )
    async def delete_version(
        name: RegisteredName, version: Number, ns: Namespace, caller: CallerDep, services: ToEdit,
        grace: Grace = GRACE.total_seconds(), reason: Reason = "",
    ) -> Response:  # fmt: skip
        """Refused while an alias points at it (`latest` moves by itself), or a served model comes to it."""
        deleted = await services.catalog.delete_version(ns, name, version, by(caller, reason), duration_in(grace))
        return _version(deleted, ns, name)

    @router.post(
        "/{name}/versions/{version}/restore", response_model=schemas.ModelVersionWithCard,
        summary="Bring a deleted version back",
    )  # fmt: skip
    async def restore_version(
        name: RegisteredName, version: Number, ns: Namespace, caller: CallerDep, services: ToEdit,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        reason = body.reason if body else ""
        return _version(await services.catalog.restore_version(ns, name, version, by(caller, reason)), ns, name)


def _add_picks(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get("/{name}/resolve", response_model=schemas.ModelVersionWithCard, summary="Which version is meant")
    async def resolve(
        name: RegisteredName, ns: Namespace, services: ToRead,
        pick: Annotated[str, Query(description=_PICK, examples=["^1.4", "stable"])] = LATEST,
    ) -> Response:  # fmt: skip
        return _version(await services.catalog.resolve(ns, name, pick, "query.pick"), ns, name)

    @router.get("/{name}/diff", response_model=schemas.VersionDiff, summary="What differs between two versions")
    async def diff(
        name: RegisteredName, ns: Namespace, services: ToRead,
        before: Annotated[str, Query(alias="from", description=_PICK)],
        after: Annotated[str, Query(alias="to", description=_PICK)] = LATEST,
        limit: Annotated[int, Query(ge=0, le=1000, description="So many files and tensors are listed of each kind.")]
        = 100,
    ) -> Response:  # fmt: skip
        """Of what they are, of what is said of them, and of their files; with the bytes that a machine which has the
        first would fetch for the second."""
        old = await services.catalog.resolve(ns, name, before, "query.from")
        new = await services.catalog.resolve(ns, name, after, "query.to")
        manifests = old.identity.content.manifest, new.identity.content.manifest
        return answer(diff_out(old, new, await services.contents.compare(*manifests, limit)))


def plural_router() -> APIRouter:
    """Lists differ between the forms: only the short one can mean all namespaces."""
    router = APIRouter()

    @router.get(
        "/registry/models", response_model=schemas.Page[schemas.RegisteredModel], tags=["registry"],
        summary="Registered models of the default namespace, or of all",
    )  # fmt: skip
    async def list_default(
        query: Annotated[RegisteredModelQuery, Depends(_query)], services: ToReadSomewhere,
        request: Request,
        all_namespaces: Annotated[bool, Query(description="Those of every namespace.")] = False,
    ) -> Response:  # fmt: skip
        caller = caller_of(request)
        if not all_namespaces:
            demand_some(caller, Permission.READ, DEFAULT_NAMESPACE)
        namespace = None if all_namespaces else DEFAULT_NAMESPACE
        return await _list(services, replace(query, namespace=namespace), caller)

    @router.get(
        "/namespaces/{namespace}/registry/models", response_model=schemas.Page[schemas.RegisteredModel],
        tags=["registry by namespace"], summary="Registered models of a namespace",
    )  # fmt: skip
    async def list_in_namespace(
        namespace: str, query: Annotated[RegisteredModelQuery, Depends(_query)], services: ToReadSome, request: Request
    ) -> Response:
        if await services.store.get_namespace(namespace) is None:
            raise NotFound(f"There is no namespace {namespace!r}.")
        return await _list(services, replace(query, namespace=namespace), caller_of(request))

    return router


async def _list(services: Services, query: RegisteredModelQuery, viewer: Principal) -> Response:
    page = await services.catalog.list(replace(query, sight=viewer.sight))
    items = [model_out(model) for model in page.items]
    return answer(schemas.Page[schemas.RegisteredModel](items=items, next_page_token=page.next_page_token))


def _model(model: RegisteredModel, status: int = 200) -> Response:
    return answer(model_out(model), status, {"ETag": f'"{model.version}"'})


def _version(version: Version, namespace: str, name: str, status: int = 200) -> Response:
    return answer(version_with_card_out(version, namespace, name), status, {"ETag": f'"{version.edits}"'})


def routers() -> list[APIRouter]:
    return [
        plural_router(),
        build_router("/registry/models", _short_form, "registry"),
        build_router("/namespaces/{namespace}/registry/models", _long_form, "registry by namespace"),
    ]
