"""The store, object by object, for those who push and pull from another machine; and the files of this machine's cache,
for those who would otherwise ask the store.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from modelyard.api import schemas
from modelyard.api.context import PageToken, ToEditSomewhere, ToOversee, ToReadSomewhere, answer
from modelyard.registry.content.chunks import Buffer

# What is sent and answered here is as large as models are: the usual limit of a body does not hold.
PREFIX: Final = "/registry/objects"
_BYTES: Final = "application/octet-stream"
# Never above the store: a prefix is a path.
_PREFIX: Final = r"^([a-z]{1,20}(/[0-9a-f]{0,2}(/[0-9a-f.~]{0,100})?)?)?$"
_RANGE: Final = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")

Kind = Annotated[str, Path(pattern="^(objects|packs|manifests|indexes|shortcuts)$", examples=["packs"])]
Shard = Annotated[str, Path(pattern="^[0-9a-f]{2}$", description="How what follows begins.")]
Label = Annotated[str, Path(pattern=r"^[0-9a-f]{64}(\.[0-9a-f]{16})?(~[0-9a-f]{16})?$")]

_CONTENT: dict[str, Any] = {_BYTES: {"schema": {"type": "string", "format": "binary"}}}
READ: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "All of it.", "content": _CONTENT},
    206: {"description": "The bytes that Range names (one range), as far as there are any.", "content": _CONTENT},
    416: {"description": "It ends before the range begins."},
}
_SENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Pieces of 1 to 1048576 bytes, before each its length (4 bytes, the highest first). Of an "
        "object its header, if its name has one, and its chunks are a piece each.",
        "content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}},
    }
}

objects = APIRouter(prefix=PREFIX, tags=["registry objects"])


async def _named(kind: Kind, shard: Shard, label: Label) -> str:
    return f"{kind}/{shard}/{label}"


Named = Annotated[str, Depends(_named)]


@objects.get("", response_model=schemas.Page[schemas.StoredObject], summary="Objects of the store, by key")
async def find(
    services: ToOversee,
    prefix: Annotated[str, Query(pattern=_PREFIX, description="Only those whose keys begin so.")] = "",
    page_size: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    page_token: PageToken = "",
) -> Response:
    found = await services.objects.find(prefix, page_token, page_size)
    items = [schemas.StoredObject(key=e.key, size=e.size, modified=e.modified) for e in found]
    more = items[-1].key if len(items) == page_size else ""
    return answer(schemas.Page[schemas.StoredObject](items=items, next_page_token=more))


@objects.get("/{kind}/{shard}/{label}", response_class=Response, responses=READ, summary="Read an object")
async def read(named: Named, services: ToReadSomewhere, request: Request) -> Response:
    """Nothing vouches for these bytes: whoever reads them checks them against the version's manifest."""
    size = await services.objects.size(named)
    return streamed(request, size, partial(services.objects.read, named))


@objects.head("/{kind}/{shard}/{label}", response_class=Response, responses=READ, summary="How large an object is")
async def size(named: Named, services: ToReadSomewhere) -> Response:
    return sized(await services.objects.size(named))


@objects.get(
    "/{kind}/{shard}/{label}/latest", response_model=schemas.ObjectKey, summary="What was last written under a name"
)
async def latest(named: Named, services: ToReadSomewhere) -> Response:
    return answer(schemas.ObjectKey(key=await services.objects.latest(named)))


@objects.put(
    "/{kind}/{shard}/{label}", status_code=201, response_model=schemas.ObjectKey, openapi_extra=_SENT,
    summary="Write an object",
)  # fmt: skip
async def write(named: Named, services: ToEditSomewhere, request: Request) -> Response:
    """Whole or not at all, and only what its name says: the digests in it are those of what is sent. A version's index
    is sent before its manifest, and counts once that is there and each part was found where the index says."""
    try:
        key = await services.objects.write(named, request.stream())
    except ClientDisconnect:
        return Response(status_code=400)  # to nobody
    return answer(schemas.ObjectKey(key=key), 201)


@objects.post("/{kind}/{shard}/{label}/touch", response_model=schemas.Touched, summary="Make an object young")
async def touch(named: Named, services: ToEditSomewhere) -> Response:
    """No collection of garbage removes it for a while."""
    return answer(schemas.Touched(there=await services.objects.touch(named)))


cached = APIRouter(prefix="/registry/cache/files", tags=["registry objects"])

CachedName = Annotated[str, Path(pattern=r"^[0-9a-f]{64}(\.x)?$", description="The same on every machine.")]
Instead = Annotated[
    str, Query(alias="object", max_length=200, description="The store's object with the same bytes, if there is one.")
]


@cached.get("/{name}", response_class=Response, responses=READ, summary="Read a file of this machine's cache")
async def read_cached(name: CachedName, services: ToReadSomewhere, request: Request, stored: Instead = "") -> Response:
    """For other machines (MODELYARD_PEERS), which check what they read."""
    path, size = await services.objects.cached(name, stored)
    return streamed(request, size, partial(services.objects.read_cached, path))


@cached.head("/{name}", response_class=Response, responses=READ, summary="Whether this machine's cache has a file")
async def size_cached(name: CachedName, services: ToReadSomewhere, stored: Instead = "") -> Response:
    _, size = await services.objects.cached(name, stored)
    return sized(size)


def sized(size: int) -> Response:
    """What HEAD answers."""
    return Response(headers={"Content-Length": str(size), "Accept-Ranges": "bytes"}, media_type=_BYTES)


def streamed(request: Request, size: int, read: Callable[[int, int], AsyncIterator[Buffer]]) -> Response:
    """So many bytes, or the range of them that is asked for, as ``read`` gives them from an offset on."""
    headers = {"Accept-Ranges": "bytes"}
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    first, last = 0, size - 1
    if asked is not None:
        first, last = int(asked[1]), min(last, int(asked[2]) if asked[2] else last)
        if first > last:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    length = last - first + 1
    headers["Content-Length"] = str(length)
    return StreamingResponse(read(first, length), 206 if asked is not None else 200, headers, _BYTES)
