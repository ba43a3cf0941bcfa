"""What is in the cache of this machine, and what is to stay in it.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response

from modelyard.api import schemas
from modelyard.api.context import CallerDep, Services, ToOperate, ToOversee, answer, by
from modelyard.registry.caching import Holding, Pinned
from modelyard.registry.content.evicting import Evicted
from modelyard.registry.keeping import Preload
from modelyard.registry.ports import Known

cache = APIRouter(prefix="/registry", tags=["registry"])

RegisteredName = Annotated[str, Path(description="The registered model's name.", examples=["pat"])]
Pick = Annotated[str, Path(description="A version, a range of versions, or an alias.", examples=["stable"])]

_KEPT: dict[int | str, dict[str, Any]] = {200: {"model": schemas.Pin, "description": "It is so already."}}


@cache.get("/cache", response_model=schemas.Cache, summary="The cache: what is in it, for whom, and what it saved")
async def get_cache(services: ToOversee) -> Response:
    """Of the machine that this control process runs on."""
    found = await services.caching.overview()
    return answer(
        schemas.Cache(
            path=str(found.path),
            size=found.size,
            shared=found.shared,
            limit=found.limit,
            folders=[_folder_out(holding) for holding in found.holdings],
            pins=[_pin_out(pinned) for pinned in found.pins],
            since=found.counted.since,
            hits=found.counted.hits,
            misses=found.counted.misses,
            fetched=dict(found.counted.fetched),
            spared=found.counted.spared,
        )
    )


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """The routes below one registered model."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.put(
        "/{name}/pins/{pick}", status_code=201, response_model=schemas.Pin, responses=_KEPT,
        summary="Keep a version in the cache",
    )  # fmt: skip
    async def put_pin(
        name: RegisteredName, pick: Pick, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        """What `pick` means stays in the cache of this machine, whatever its size. The pin of an alias or a range
        follows it; that of a version which is deleted keeps nothing."""
        meaning, new = await services.pins.add(ns, name, pick, by(caller, body.reason if body else ""), preload=False)
        return answer(_pin_out(await services.caching.pinned(meaning)), 201 if new else 200)

    @router.delete("/{name}/pins/{pick}", status_code=204, summary="No longer keep a version in the cache")
    async def delete_pin(
        name: RegisteredName, pick: Pick, ns: Namespace, caller: CallerDep, services: ToOperate
    ) -> Response:
        await services.pins.remove(ns, name, pick, preload=False)
        return Response(status_code=204)

    @router.put(
        "/{name}/preloads/{pick}", status_code=201, response_model=schemas.Pin, responses=_KEPT,
        summary="Have a version laid out before anybody needs it",
    )  # fmt: skip
    async def put_preload(
        name: RegisteredName, pick: Pick, ns: Namespace, caller: CallerDep, services: ToOperate,
        body: schemas.Reasoned | None = None,
    ) -> Response:  # fmt: skip
        """It is laid out in the background, also what an alias or a range comes to mean later, and kept like a pin.
        Models that follow the same reference are rolled when it is there."""
        meaning, new = await services.pins.add(ns, name, pick, by(caller, body.reason if body else ""), preload=True)
        return answer(_pin_out(await services.caching.pinned(meaning)), 201 if new else 200)

    @router.delete("/{name}/preloads/{pick}", status_code=204, summary="No longer lay a version out ahead")
    async def delete_preload(
        name: RegisteredName, pick: Pick, ns: Namespace, caller: CallerDep, services: ToOperate
    ) -> Response:
        """What is laid out goes when its turn comes."""
        await services.pins.remove(ns, name, pick, preload=True)
        return Response(status_code=204)


async def evicted_out(services: Services, evicted: Evicted) -> schemas.Evicted:
    known = await services.caching.versions_of({kept.digest for kept in evicted.kept})
    return schemas.Evicted(
        removed=evicted.removed,
        freed=evicted.freed,
        size=evicted.size,
        folders=evicted.folders,
        limit=evicted.limit,
        over=evicted.over,
        kept=[
            schemas.KeptFolder(
                manifest=kept.digest, layout=kept.layout, versions=_versions_out(known.get(kept.digest, ())),
                size=kept.size, reason=kept.reason,
            )
            for kept in evicted.kept
        ],
    )  # fmt: skip


def _versions_out(versions: Sequence[Known]) -> list[schemas.CachedVersion]:
    return [schemas.CachedVersion.model_validate(known, from_attributes=True) for known in versions]


def _folder_out(holding: Holding) -> schemas.CachedFolder:
    laid = holding.laid
    return schemas.CachedFolder(
        manifest=laid.digest,
        layout=laid.layout,
        versions=_versions_out(holding.versions),
        size=laid.size,
        own=laid.own,
        used_at=datetime.fromtimestamp(laid.used_at, UTC),
        pinned=[str(pin) for pin in holding.pins if not pin.preload],
        preloaded=[str(pin) for pin in holding.pins if pin.preload],
        models=["/".join(model) for model in holding.models],
    )


def _pin_out(pinned: Pinned) -> schemas.Pin:
    meaning, pin = pinned.meaning, pinned.meaning.pin
    return schemas.Pin(
        namespace=pin.namespace,
        reference=str(pin.reference),
        preload=pin.preload,
        version=meaning.version,
        manifest=meaning.manifest,
        laid_out=pinned.laid_out,
        progress=None if pinned.preload is None else _progress_out(pinned.preload),
        at=pin.at,
        by=pin.by,
        reason=pin.reason,
    )


def _progress_out(preload: Preload) -> schemas.PreloadStatus:
    return schemas.PreloadStatus.model_validate(preload, from_attributes=True)
