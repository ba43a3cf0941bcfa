"""The aliases of a registered model.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from modelyard.api import schemas
from modelyard.api.context import CallerDep, PageSize, PageToken, Reason, ToEdit, ToRead, answer, by
from modelyard.api.registered import alias_out, move_out
from modelyard.domain.registry import Alias
from modelyard.registry.catalog import ANY_PLACE

RegisteredName = Annotated[str, Path(description="The registered model's name.", examples=["pat"])]
AliasName = Annotated[str, Path(description="The alias.", examples=["stable"])]


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """``namespace`` finds out which namespace a request means."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get("/{name}/aliases", response_model=schemas.Items[schemas.Alias], summary="Aliases, by name")
    async def list_aliases(name: RegisteredName, ns: Namespace, services: ToRead) -> Response:
        found = await services.catalog.aliases(ns, name)
        return answer(schemas.Items[schemas.Alias](items=[alias_out(alias) for alias in found]))

    @router.get("/{name}/aliases/{alias}", response_model=schemas.Alias, summary="Where an alias points")
    async def get_alias(name: RegisteredName, alias: AliasName, ns: Namespace, services: ToRead) -> Response:
        return _alias(await services.catalog.alias(ns, name, alias))

    @router.put("/{name}/aliases/{alias}", response_model=schemas.Alias, summary="Have an alias point at a version")
    async def put_alias(
        name: RegisteredName, alias: AliasName, body: schemas.MoveAlias, ns: Namespace, caller: CallerDep,
        services: ToEdit,
    ) -> Response:  # fmt: skip
        """`latest` is kept by the registry: the newest release. With `expected`, only if it points there now. A version
        whose metric `accuracy_drop` is above its `accuracy_drop_limit` is refused (`accuracy_drop`)."""
        expected = body.expected if "expected" in body.model_fields_set else ANY_PLACE
        moved = await services.catalog.move_alias(
            ns, name, alias, body.version, by(caller, body.reason), expected, force=body.force
        )
        return _alias(moved)

    @router.delete("/{name}/aliases/{alias}", status_code=204, summary="Remove an alias")
    async def delete_alias(
        name: RegisteredName, alias: AliasName, ns: Namespace, caller: CallerDep, services: ToEdit,
        reason: Reason = "",
    ) -> Response:  # fmt: skip
        """Its history stays, and a rollback brings it back."""
        await services.catalog.remove_alias(ns, name, alias, by(caller, reason))
        return Response(status_code=204)

    @router.get(
        "/{name}/aliases/{alias}/history", response_model=schemas.Page[schemas.AliasMove],
        summary="What an alias meant when, the last move first",
    )  # fmt: skip
    async def alias_history(
        name: RegisteredName, alias: AliasName, ns: Namespace, services: ToRead,
        page_size: PageSize = 50, page_token: PageToken = "",
    ) -> Response:  # fmt: skip
        page = await services.catalog.history(ns, name, alias, page_size=page_size, page_token=page_token)
        items = [move_out(move) for move in page.items]
        return answer(schemas.Page[schemas.AliasMove](items=items, next_page_token=page.next_page_token))

    @router.post(
        "/{name}/aliases/{alias}/rollback", response_model=schemas.Alias,
        summary="Have an alias point where it did before its last move",
    )  # fmt: skip
    async def roll_back_alias(
        name: RegisteredName, alias: AliasName, ns: Namespace, caller: CallerDep, services: ToEdit,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        """A rollback is a move as well: a second one goes back to where it was."""
        reason = body.reason if body else ""
        return _alias(await services.catalog.roll_back_alias(ns, name, alias, by(caller, reason)))


def _alias(alias: Alias) -> Response:
    return answer(alias_out(alias), headers={"ETag": f'"{alias.moves}"'})
