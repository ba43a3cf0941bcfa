"""A version as an OCI image: which layers it has, what is in each, and the documents that name them. Pure.

A file is a layer: an uncompressed tar with the file below ``models/``, always the same for the same file, so that what
an earlier version has, too, is in the registry already. KServe's modelcars and image volumes show what is below
``models/``. The last layer has, beside that folder, the version's own manifest and where in the layers each file lies:
by these another Modelyard reads the layers by ranges, and checks every chunk. It is a layer like any other, so a
registry keeps it and a container runtime unpacks it.

Sources: https://github.com/opencontainers/image-spec (1.1), POSIX pax for the tars, KServe's ``oci://`` and
``oci+native://`` storage.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Final

from modelyard.registry.content.manifest import Damaged, File, Manifest
from modelyard.registry.oci.client import MANIFEST, Descriptor

FOLDER: Final = "models"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
# Of the image: the digest of the version's own manifest. Of a layer: that it holds this manifest.
VERSION_ANNOTATION: Final = "dev.modelyard.manifest"
LAYER_ANNOTATION: Final = "dev.modelyard.layer"
CONTENTS: Final = "contents"
_CREATED: Final = "org.opencontainers.image.created"
_OWN: Final = ".modelyard"
_MANIFEST_PATH: Final = f"{_OWN}/manifest.json"
_PLACES_PATH: Final = f"{_OWN}/files.json"
_PLACES: Final = "modelyard.files/1"
# Overlay file systems mount about 120 layers; of these one is ours, and room is left for a base.
MAX_LAYERS: Final = 100
# With more files than layers: so many large ones have a layer each, the others share these.
_SHARED: Final = 32
_ALONE: Final = MAX_LAYERS - 1 - _SHARED
_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes at ``offset`` of a layer: these, or those of a file."""

    offset: int
    content: bytes | File

    @property
    def size(self) -> int:
        return self.content.size if isinstance(self.content, File) else len(self.content)


@dataclass(frozen=True, slots=True)
class Layer:
    """A tar of ``size`` bytes, in ``runs`` that follow one another."""

    name: str
    runs: tuple[Run, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file lies: at ``offset`` of the layer with this number."""

    layer: int
    offset: int


def layers(manifest: Manifest) -> tuple[Layer, ...]:
    """Those with the version's files, in the order of the files' paths, at most :data:`MAX_LAYERS` less one. A file of
    another version lies in an equal layer as long as the files beside it there are equal."""
    files = sorted(manifest.files, key=lambda file: file.path)
    if len(files) < MAX_LAYERS:
        return tuple(_layer(f"{FOLDER}/{file.path}", [file]) for file in files)
    alone = {file.path for file in sorted(files, key=lambda file: (-file.size, file.path))[:_ALONE]}
    shared: dict[int, list[File]] = {}
    for file in files:
        if file.path not in alone:
            shared.setdefault(hashlib.sha256(file.path.encode()).digest()[0] % _SHARED, []).append(file)
    found = [_layer(f"{FOLDER}/{file.path}", [file]) for file in files if file.path in alone]
    return (*found, *(_layer(f"{len(some)} files of {FOLDER}/", some) for _, some in sorted(shared.items())))


def contents_layer(document: bytes, places: Sequence[Layer]) -> bytes:
    """The tar with the version's manifest, and where its files lie in the layers before it."""
    at = {
        run.content.path: (number, run.offset)
        for number, layer in enumerate(places)
        for run in layer.runs
        if isinstance(run.content, File)
    }
    listed = json.dumps({"format": _PLACES, "files": dict(sorted(at.items()))}, separators=(",", ":")).encode()
    found = bytearray(_header(_OWN, 0, is_folder=True))
    for path, content in ((_MANIFEST_PATH, document), (_PLACES_PATH, listed)):
        found += _header(path, len(content)) + content + _padding(len(content))
    return bytes(found + _END)


def read_contents_layer(layer: bytes) -> tuple[bytes, Mapping[str, Place]]:
    """The version's manifest, which is still to be checked, and where its files are said to lie. Raises Damaged."""
    found: dict[str, bytes] = {}
    try:
        offset = 0
        while len(found) < 2 and any(head := layer[offset : offset + _BLOCK]):
            member = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
            offset += _BLOCK
            if member.size < 0:
                raise ValueError("a size below zero")
            if member.isreg():
                found[member.name] = layer[offset : offset + member.size]
                offset += member.size + len(_padding(member.size))
        places = json.loads(found[_PLACES_PATH])
        if places["format"] != _PLACES:
            raise Damaged(f"The image is of the format {places['format']!r}; this Modelyard reads {_PLACES}.")
        read = {path: Place(int(layer_), int(at)) for path, (layer_, at) in places["files"].items()}
        return found[_MANIFEST_PATH], read
    except (tarfile.TarError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged("The image does not say where its files are, though it says that it is a version.") from error


def describe(size: int, digest: str, *, is_contents: bool = False) -> Descriptor:
    """How the image's manifest names a layer."""
    annotations = {LAYER_ANNOTATION: CONTENTS} if is_contents else {}
    return Descriptor(media_type=LAYER, digest=digest, size=size, annotations=annotations)


def config(names: Sequence[str], digests: Sequence[str], annotations: Mapping[str, str]) -> bytes:
    """The image's configuration: what its layers are called, and the digests of their tars, which are their own."""
    created = {"created": annotations[_CREATED]} if _CREATED in annotations else {}
    return _json(
        {
            **created,
            # There is no program in it; some registries and runtimes want to be told nevertheless.
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": list(digests)},
            "history": [{**created, "created_by": "modelyard", "comment": name} for name in names],
        }
    )


def manifest(config: Descriptor, found: Sequence[Descriptor], digest: str, annotations: Mapping[str, str]) -> bytes:
    """The image's manifest: ``digest`` is that of the version's own."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(config),
            "layers": [_descriptor(layer) for layer in found],
            "annotations": {**annotations, VERSION_ANNOTATION: digest},
        }
    )


def annotations_of(name: str, version: str, published_at: datetime, licence: str = "") -> Mapping[str, str]:
    """What everybody's tools show of an image; ``published_at`` is aware."""
    found = {
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.version": version,
        _CREATED: published_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return found | ({"org.opencontainers.image.licenses": licence} if licence else {})


# ------------------------------------------------------------------------------------------------ tars


def _layer(name: str, files: Sequence[File]) -> Layer:
    """The folders above a file come before it, each once."""
    runs: list[Run] = []
    before, offset = b"", 0
    folders: set[str] = set()
    for file in files:
        path = f"{FOLDER}/{file.path}"
        for folder in reversed(PurePosixPath(path).parents[:-1]):
            if str(folder) not in folders:
                folders.add(str(folder))
                before += _header(str(folder), 0, is_folder=True)
        before += _header(path, file.size, executable=file.executable)
        runs.append(Run(offset, before))
        offset += len(before)
        if file.size:
            runs.append(Run(offset, file))
            offset += file.size
        before = _padding(file.size)
    runs.append(Run(offset, before + _END))
    return Layer(name, tuple(runs), offset + len(before) + len(_END))


def _header(path: str, size: int, *, is_folder: bool = False, executable: bool = False) -> bytes:
    member = tarfile.TarInfo(path)
    member.size = size
    member.type = tarfile.DIRTYPE if is_folder else tarfile.REGTYPE
    member.mode = 0o755 if is_folder or executable else 0o644
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


# ------------------------------------------------------------------------------------------------ JSON


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _descriptor(of: Descriptor) -> Mapping[str, Any]:
    found: dict[str, Any] = {"mediaType": of.media_type, "digest": of.digest, "size": of.size}
    return found | ({"annotations": dict(of.annotations)} if of.annotations else {})
