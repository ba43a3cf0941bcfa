"""The bytes behind the registry: where they are, which files a version has, and cleaning up.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from modelyard.api import schemas
from modelyard.api.caching import evicted_out
from modelyard.api.context import ToOversee, ToRead, ToReadSomewhere, answer
from modelyard.api.translate import duration_in
from modelyard.registry.content.garbage import GRACE, Collected
from modelyard.registry.content.manifest import File

store = APIRouter(prefix="/registry", tags=["registry"])


@store.get("/store", response_model=schemas.RegistryStore, summary="Where versions' bytes are")
async def where(services: ToReadSomewhere) -> Response:
    """Who pushes and pulls does so with this store itself."""
    place = await services.contents.place()
    return answer(schemas.RegistryStore(url=place.url, id=place.id, cache=str(place.cache)))


@store.post("/gc", response_model=schemas.Collected, summary="Remove bytes that no version names")
async def collect(
    services: ToOversee,
    grace: Annotated[
        schemas.Duration, Query(description="Nothing younger than this goes: a push may need it. 10m at least.")
    ] = GRACE,
    dry_run: Annotated[bool, Query(description="Only count.")] = False,
) -> Response:
    """Versions that are deleted and can be restored keep theirs."""
    collected = await services.contents.collect(duration_in(grace), dry_run=dry_run)
    evicted = await evicted_out(services, await services.contents.clean_up(dry_run=dry_run))
    return answer(_collected_out(collected, evicted))


@store.post("/cleanup", response_model=schemas.Evicted, summary="Make the cache smaller")
async def clean_up(
    services: ToOversee,
    max_size: Annotated[
        schemas.Size | None, Query(description="What it is to be at most; left out: what it is set to.")
    ] = None,
    dry_run: Annotated[bool, Query(description="Only count.")] = False,
) -> Response:
    """The longest unused versions go first; those of models that are to run and those that are pinned stay, whatever
    the size. What goes is laid out again from the store when it is needed."""
    return answer(await evicted_out(services, await services.contents.clean_up(max_size, dry_run=dry_run)))


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """The routes below one registered model."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.get(
        "/{name}/versions/{version}/files", response_model=schemas.Items[schemas.VersionFile],
        summary="The files of a version",
    )  # fmt: skip
    async def files(
        name: Annotated[str, Path(description="The registered model's name.", examples=["pat"])],
        version: Annotated[str, Path(description="A version, a range of versions, or an alias.", examples=["1.4.2"])],
        ns: Namespace,
        services: ToRead,
    ) -> Response:
        found = await services.catalog.resolve(ns, name, version, path="path.version")
        held = await services.contents.files(found.identity.content.manifest)
        return answer(schemas.Items[schemas.VersionFile](items=[_file_out(file) for file in held]))


def _file_out(file: File) -> schemas.VersionFile:
    return schemas.VersionFile(
        path=file.path, size=file.size, sha256=file.sha256, kind=file.kind,
        tensors=sum(part.tensor is not None for part in file.parts),
    )  # fmt: skip


def _collected_out(collected: Collected, evicted: schemas.Evicted) -> schemas.Collected:
    return schemas.Collected(
        removed=collected.removed, freed=collected.freed, kept=collected.kept, young=collected.young,
        condemned=collected.condemned, cache=evicted,
        goes_at=None if collected.goes_at is None else datetime.fromtimestamp(collected.goes_at, UTC),
    )  # fmt: skip
