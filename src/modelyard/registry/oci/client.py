"""One repository of a registry: its manifests, blobs and tags. Whatever is read is checked against its digest.

Source: https://github.com/opencontainers/distribution-spec (1.1). Sending blobs is in ``uploading.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import httpx2

from modelyard.registry.admitting import USERS, Hosts
from modelyard.registry.content.manifest import Damaged, digest_of
from modelyard.registry.oci.references import DEFAULT_TAG, Reference, is_digest
from modelyard.registry.oci.transport import TRIES, Again, Transport, answered
from modelyard.registry.sources.patience import Pace

INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_ACCEPTED: Final = ", ".join((MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
_NEXT: Final = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_MAX_TAGS: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a manifest says of something that it names; ``platform`` is ``linux/amd64`` or the like."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest or an index as it was read: the bytes of its ``body`` have this ``digest``."""

    media_type: str
    digest: str
    body: bytes
    content: Mapping[str, Any]

    def descriptors(self, name: str) -> tuple[Descriptor, ...]:
        """Those below ``name``, one or a list of them. Raises Damaged."""
        found = self.content.get(name, [])
        return tuple(descriptor(item, self.digest) for item in (found if isinstance(found, list) else [found]))

    @property
    def annotations(self) -> Mapping[str, str]:
        return _annotations(self.content.get("annotations"))


def descriptor(item: object, of: str) -> Descriptor:
    """Read one that the manifest ``of`` names. Raises Damaged."""
    if isinstance(item, dict):
        media_type, digest, size = item.get("mediaType"), item.get("digest"), item.get("size")
        if isinstance(media_type, str) and isinstance(digest, str) and type(size) is int and size >= 0:
            if not is_digest(digest):
                raise Damaged(f"{of} names something by another digest than SHA-256, which is not read here.")
            annotations = _annotations(item.get("annotations"))
            platform = _platform(item.get("platform"))
            return Descriptor(
                media_type=media_type, digest=digest, size=size, annotations=annotations, platform=platform
            )
    raise Damaged(f"{of} is no manifest that can be read: what it names has no type, digest or size.")


def _platform(found: object) -> str:
    if not isinstance(found, dict):
        return ""
    return "/".join(str(found[key]) for key in ("os", "architecture", "variant") if found.get(key))


def _annotations(found: object) -> Mapping[str, str]:
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


class Client:
    """The repository that ``reference`` names. Calls block; many threads may call at once. All raise Denied,
    Unavailable, Rejected."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.reference = transport.reference
        self.root = f"/v2/{self.reference.repository}"
        self.reading = f"repository:{self.reference.repository}:pull"
        self.writing = f"repository:{self.reference.repository}:pull,push"

    @classmethod
    def of(cls, reference: Reference, hosts: Hosts = USERS) -> Self:
        return cls(Transport(reference, hosts=hosts))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.__exit__()

    # ---------------------------------------------------------------- manifests

    def manifest(self, target: str = "") -> Document:
        """The manifest or index with this digest or tag (the reference's own).

        Raises:
            NotFound: there is none
            Damaged: it is not what its digest says, or cannot be read
        """
        target = target or self.reference.target
        answer = self.transport.ask(
            "GET", f"{self.root}/manifests/{target}", self.reading, headers={"Accept": _ACCEPTED}
        )
        if answer.status != 200:
            raise self.transport.failure(answer, self._named(target))
        digest = digest_of(answer.body)
        told = target if is_digest(target) else answer.headers.get("docker-content-digest", digest)
        if told != digest:
            raise Damaged(f"The registry sent another manifest than {told}: its bytes are {digest}.")
        try:
            content = json.loads(answer.body)
            kind = content.get("mediaType") or answer.headers.get("content-type", "").partition(";")[0].strip()
        except (ValueError, AttributeError, RecursionError) as error:
            raise Damaged(f"The manifest {digest} of {self.reference} cannot be read.") from error
        return Document(media_type=str(kind), digest=digest, body=answer.body, content=content)

    def digest(self, target: str = "") -> str | None:
        """What the registry says the digest of a manifest is, None if there is none (or it does not say)."""
        target = target or self.reference.target
        path = f"{self.root}/manifests/{target}"
        answer = self.transport.ask("HEAD", path, self.reading, headers={"Accept": _ACCEPTED})
        if answer.status not in (200, 404):
            raise self.transport.failure(answer, self._named(target))
        found: str | None = answer.headers.get("docker-content-digest") if answer.status == 200 else None
        return found

    def put_manifest(self, body: bytes, media_type: str = MANIFEST) -> str:
        """Have the reference's tag name this manifest (with a digest only: have it). Returns its digest.

        Raises:
            Rejected: a blob that it names is not there, among other things
        """
        digest = digest_of(body)
        target = self.reference.tag or (digest if self.reference.digest else DEFAULT_TAG)
        answer = self.transport.ask(
            "PUT", f"{self.root}/manifests/{target}", self.writing, headers={"Content-Type": media_type}, content=body
        )
        if answer.status not in (200, 201, 202):
            raise self.transport.failure(answer, self._named(target))
        told = answer.headers.get("docker-content-digest", digest)
        if told != digest:
            raise Damaged(f"The registry took the manifest {digest} for {told}. Push again.")
        return digest

    def tags(self) -> Iterator[str]:
        """All tags, in the registry's order. Raises NotFound if there is no such repository."""
        path: str | None = f"{self.root}/tags/list"
        count = 0
        while path is not None and count < _MAX_TAGS:
            answer = self.transport.ask("GET", path, self.reading)
            if answer.status != 200:
                raise self.transport.failure(answer, f"repository {self.reference.repository}")
            try:
                found = [str(tag) for tag in json.loads(answer.body).get("tags") or ()]
            except (ValueError, AttributeError, TypeError) as error:
                raise Damaged(f"The tags of {self.reference.repository} cannot be read.") from error
            yield from found
            count += len(found)
            following = _NEXT.search(answer.headers.get("link", ""))
            path = following[1] if following and found else None

    # ---------------------------------------------------------------- blobs

    def size(self, digest: str) -> int | None:
        """Bytes of a blob (-1: it does not say); None if it is not there."""
        answer = self.transport.ask("HEAD", f"{self.root}/blobs/{digest}", self.reading)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self.transport.failure(answer, f"blob {digest}")
        told = answer.headers.get("content-length", "")
        return int(told) if told.isdecimal() else -1

    def blob(self, wanted: Descriptor) -> bytes:
        """A small blob. Raises NotFound, Damaged."""
        content = self.read(wanted.digest, 0, wanted.size)
        if digest_of(content) != wanted.digest:
            raise Damaged(f"The registry sent other bytes than those of the blob {wanted.digest}.")
        return content

    def read(self, digest: str, offset: int, size: int) -> bytes:
        """Part of a blob, which its caller checks. Raises NotFound; Damaged if there is less of it."""
        return b"".join(self.pieces(digest, offset, offset + size))

    def pieces(self, digest: str, start: int, stop: int) -> Iterator[bytes]:
        """As :meth:`read`, up to the offset ``stop``, as it arrives. After a cut it goes on where it was."""
        failures, pace = 0, Pace(f"The registry {self.reference.registry}")
        while start < stop:
            begun = start
            try:
                for piece in self._pieces(digest, start, stop - start):
                    start += len(piece)
                    pace.see(len(piece))
                    yield piece
            except (httpx2.TransportError, Again) as error:
                failures = failures + 1 if start == begun else 0
                if failures == TRIES:
                    raise self.transport.unavailable(error) from error
                self.transport.pause(failures, error)

    def _pieces(self, digest: str, offset: int, size: int) -> Iterator[bytes]:
        """``size`` bytes of a blob. Raises Again, TransportError, NotFound, Damaged."""
        headers = {"Range": f"bytes={offset}-{offset + size - 1}"}
        with self.transport.open("GET", f"{self.root}/blobs/{digest}", self.reading, headers=headers) as response:
            skip = offset
            if response.status_code == 206:
                told = _RANGE.fullmatch(response.headers.get("content-range", ""))
                if told is None or int(told[1]) != offset:
                    raise Damaged(f"The registry sent another part of the blob {digest} than was asked for.")
                skip = 0
            elif response.status_code == 416:
                raise Damaged(f"The registry's blob {digest} is shorter than it is to be.")
            elif response.status_code != 200:  # 200: a registry without ranges
                raise self.transport.failure(answered(response), f"blob {digest}")
            for piece in response.iter_raw():
                wanted = piece[skip : skip + size]
                skip -= min(skip, len(piece))
                if wanted:
                    size -= len(wanted)
                    yield wanted
                if not size:
                    return
        raise Again(f"it ended the blob {digest} too early")

    def _named(self, target: str) -> str:
        sign = "@" if is_digest(target) else ":"
        return f"manifest {self.reference.repository}{sign}{target}"
