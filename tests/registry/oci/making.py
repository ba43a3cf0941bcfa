"""Images and artifacts as others make them, put into a real registry."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from modelyard.registry.content.chunks import Buffer
from modelyard.registry.content.manifest import digest_of
from modelyard.registry.oci.client import INDEX, MANIFEST, Client
from modelyard.registry.oci.references import parse
from modelyard.registry.oci.uploading import Blob, send

Member = tuple[str, bytes] | tarfile.TarInfo
IMAGE_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
NO_CONFIG: Final = "application/vnd.oci.empty.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
TITLE: Final = "org.opencontainers.image.title"


def blob_of(content: bytes, tell: Callable[[int], None] = lambda there: None) -> Blob:
    def read(start: int, stop: int) -> Iterator[Buffer]:
        for at in range(start, stop, 100_000):
            yield memoryview(content)[at : min(at + 100_000, stop)]

    return Blob(digest=digest_of(content), size=len(content), read=read, tell=tell)


def client_of(address: str, repository: str) -> Client:
    return Client.of(parse(f"oci://{address}/{repository}"))


def tar_of(*members: Member) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as content:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                content.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            content.addfile(info, io.BytesIO(member[1]))
    return file.getvalue()


def special(name: str, kind: bytes, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


def folder(name: str) -> tarfile.TarInfo:
    return special(name, tarfile.DIRTYPE)


def packed(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def layer(content: bytes, media_type: str = LAYER, **annotations: str) -> tuple[bytes, dict[str, Any]]:
    """A blob, and how a manifest names it; underscores in annotations stand for dots."""
    described: dict[str, Any] = {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
    if annotations:
        described["annotations"] = {key.replace("_", "."): value for key, value in annotations.items()}
    return content, described


def put(
    address: str, repository: str, layers: Sequence[tuple[bytes, Mapping[str, Any]]], *, config: str = IMAGE_CONFIG,
    annotations: Mapping[str, str] | None = None, media_type: str = MANIFEST,
) -> str:  # fmt: skip
    """Have such an image in the registry under ``repository`` (with a tag); its digest."""
    document = {
        "schemaVersion": 2, "mediaType": media_type, "config": layer(b"{}", config)[1],
        "layers": [described for _, described in layers], "annotations": dict(annotations or {}),
    }  # fmt: skip
    with client_of(address, repository) as client:
        for content in {b"{}", *(content for content, _ in layers)}:
            send(client, blob_of(content))
        return client.put_manifest(json.dumps(document).encode(), media_type)


def image(address: str, repository: str, *layers: bytes) -> str:
    """One of these tars, packed or not; its reference."""
    put(address, repository, [layer(content) for content in layers])
    return f"oci://{address}/{repository}"


def index(address: str, repository: str, manifests: Sequence[tuple[str, Mapping[str, str] | None]]) -> str:
    """One of manifests that are there, with a platform each; its reference."""
    listed = [
        {"mediaType": MANIFEST, "digest": digest, "size": 1} | ({"platform": platform} if platform else {})
        for digest, platform in manifests
    ]
    with client_of(address, repository) as client:
        client.put_manifest(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode(), INDEX)
    return f"oci://{address}/{repository}"
