"""From a container registry to a folder: any OCI image, any artifact whose layers have file names, and versions that
another Modelyard has pushed, of which every chunk is checked while it arrives.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from modelyard.domain.errors import InvalidRequest, NotFound, Problem, Refused
from modelyard.registry.admitting import USERS, Hosts
from modelyard.registry.content.chunks import Buffer
from modelyard.registry.content.fetching import Progress
from modelyard.registry.content.manifest import Damaged, Extent, decode, encode_index
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.receiving import MAX_RECORD
from modelyard.registry.content.storage import Entry, Missing, Storage
from modelyard.registry.content.stored import index_name, manifest_name
from modelyard.registry.formats.archives import Limits
from modelyard.registry.formats.names import shown
from modelyard.registry.oci.client import DOCKER_INDEX, INDEX, Client, Descriptor, Document
from modelyard.registry.oci.image import (
    CONFIG,
    CONTENTS,
    FOLDER,
    LAYER_ANNOTATION,
    VERSION_ANNOTATION,
    Place,
    read_contents_layer,
)
from modelyard.registry.oci.references import Reference, parse
from modelyard.registry.oci.unpacking import unpack_layers
from modelyard.registry.room import check, room
from modelyard.registry.sources.files import File, bring, check_names, keep_begun, prune

_CONFIGS: Final = (CONFIG, "application/vnd.docker.container.image.v1+json")
_PLATFORM: Final = "linux/amd64"
# Where artifacts have the name of the file that a layer is: ORAS's, and the CNCF ModelPack's.
_NAMES: Final = ("org.opencontainers.image.title", "org.cncf.model.filepath")
_UNPACKED: Final = "io.deis.oras.content.unpack"
_TARS: Final = (".tar", ".tar+gzip", ".tar+zstd")
# A version's manifest, and where its files are; both are read whole.
_MAX_CONTENTS: Final = MAX_RECORD + 64 * 2**20
# Twice what container runtimes can mount.
_MAX_LAYERS: Final = 256
_MAX_DEPTH: Final = 4


def fetch(reference: str, to: Path, *, progress: Progress | None = None, hosts: Hosts = USERS) -> str:
    """Have just the files of an image or artifact in the folder ``to``, and return the reference with its digest.

    Of an image that is what is below ``/models``, or, if it has none, all of it. What a fetch that was cut off has left
    is gone on with. ``progress`` is told of the bytes that are there, by many threads; what it raises ends the fetch.

    Raises:
        InvalidRequest: ``reference`` is none, or what it names has files that may not be in a version
        NotFound: there is no such image
        Damaged: bytes that arrived are not what their digest says
        Denied, Rejected, Unavailable: the registry does not give it
        OSError: the folder cannot be written
    """
    place = parse(reference)
    with Client.of(place, hosts) as client:
        document = _chosen(client, client.manifest())
        version = document.annotations.get(VERSION_ANNOTATION)
        if version is not None:
            _version(client, document, version, to, progress)
        elif any(config.media_type in _CONFIGS for config in document.descriptors("config")):
            _image(client, document, to, progress)
        else:
            _artifact(client, document, to, progress)
        return str(Reference(registry=place.registry, repository=place.repository, digest=document.digest))


def _chosen(client: Client, document: Document, depth: int = _MAX_DEPTH) -> Document:
    """The one manifest, where there are several for different platforms."""
    if document.media_type not in (INDEX, DOCKER_INDEX) and "manifests" not in document.content:
        return document
    # What was signed or attested beside the images has a platform of that name.
    images = [one for one in document.descriptors("manifests") if one.platform != "unknown/unknown"]
    fitting = [one for one in images if one.platform == _PLATFORM] or images
    if len(fitting) != 1 or not depth:
        listed = ", ".join(f"{shown(one.platform) or 'any'} is {one.digest}" for one in images[:20]) or "none"
        message = (
            f"It is an index of several images, of which none is the one for {_PLATFORM}: {listed}. Name one by its "
            "digest (oci://host/repository@sha256:…)."
        )
        raise InvalidRequest([Problem("reference", "ambiguous", message)])
    return _chosen(client, client.manifest(fitting[0].digest), depth - 1)


def _layers(document: Document) -> tuple[Descriptor, ...]:
    found = document.descriptors("layers")
    if not 0 < len(found) <= _MAX_LAYERS:
        raise InvalidRequest(
            [Problem("reference", "no_model", f"It has {len(found)} layers: that is no model's image.")]
        )
    return found


# ------------------------------------------------------------------------------------------------ versions


def _version(client: Client, document: Document, digest: str, to: Path, progress: Progress | None) -> None:
    storage = _Layers(client, document, digest)
    keep_begun(to, storage.paths)
    try:
        pull(storage, digest, to, overwrite=True, progress=progress)
    except Damaged as error:
        message = (
            f"What {client.reference} holds is not the version that it says it is, or was changed on the way: try "
            "again, and if it goes on, push the version again."
        )
        raise Damaged(message) from error
    # Two that were killed may have left two beginnings of one file, of which one was gone on with.
    prune(to, storage.paths)


class _Layers(Storage):
    """The layers of an image as a store of the version that they hold: they are its packs. It is only read."""

    def __init__(self, client: Client, document: Document, digest: str) -> None:
        layers = document.descriptors("layers")
        own = next((layer for layer in layers if layer.annotations.get(LAYER_ANNOTATION) == CONTENTS), None)
        if own is None or own.size > _MAX_CONTENTS:
            raise Damaged(f"{client.reference} does not say what it holds, though it says that it is a version.")
        body, places = read_contents_layer(client.blob(own))
        try:
            manifest = decode(body, digest)
        except ValueError as error:  # a digest that is none
            raise Damaged(f"{client.reference} names its version by {shown(digest[:100])}.") from error
        self._client = client
        self._packs = {_key(layer.digest): layer for layer in layers}
        self.paths = {file.path for file in manifest.files}
        index: dict[str, tuple[Extent, ...]] = {}
        for file in manifest.files:
            if not file.size:
                continue
            place = places.get(file.path, Place(-1, 0))
            if not 0 <= place.layer < len(layers):
                raise Damaged(f"{client.reference} does not say where {shown(file.path)} is.")
            offset = place.offset
            for part in file.parts:
                if part.size:
                    index[part.root] = (Extent(_key(layers[place.layer].digest), offset, part.size),)
                offset += part.size
        self._records = {manifest_name(digest): body, index_name(digest): encode_index(index)}

    def find(self, prefix: str) -> Iterator[Entry]:
        return iter(())

    def latest(self, name: str) -> str | None:
        return name if name in self._records else None

    def size(self, key: str) -> int | None:
        if key in self._records:
            return len(self._records[key])
        return self._packs[key].size if key in self._packs else None

    def read(self, key: str, offset: int = 0, size: int | None = None) -> Buffer:
        if key in self._records:
            return self._records[key][offset:][:size]
        if key not in self._packs:
            raise Missing(f"{self._client.reference} has no {key}.")
        pack = self._packs[key]
        stop = pack.size if size is None else min(offset + size, pack.size)
        try:
            return self._client.read(pack.digest, offset, max(stop - offset, 0))
        except NotFound as error:
            raise Missing(error.message) from error

    def write(self, name: str, pieces: Iterable[Buffer]) -> str:
        raise Refused("read_only", "An image is only read.")

    def touch(self, key: str) -> bool:
        raise Refused("read_only", "An image is only read.")

    def remove(self, key: str, before: float) -> bool:
        raise Refused("read_only", "An image is only read.")

    def tidy(self, before: float) -> int:
        raise Refused("read_only", "An image is only read.")


def _key(digest: str) -> str:
    """A layer's, as that of a pack, which has the name of its SHA-256, too."""
    name = digest.partition(":")[2]
    return f"packs/{name[:2]}/{name}"


# ------------------------------------------------------------------------------------------------ others


def _image(client: Client, document: Document, to: Path, progress: Progress | None) -> None:
    """What is below /models in an image that anybody has made, or all of it."""
    working = _Work(to, document.digest)
    if working.is_done():
        return
    with working as work:
        blobs = work.bring(client, _layers(document), progress)
        unpack_layers(blobs, work.files, work.limits(), below=FOLDER, told=_kept(progress))
        work.finish()


def _artifact(client: Client, document: Document, to: Path, progress: Progress | None) -> None:
    """The files that layers say they are; folders are tars."""
    layers = _layers(document)
    tars = [layer for layer in layers if _is_tar(layer)]
    named = [(name, layer) for layer in layers if layer not in tars and (name := _name(layer))]
    if not tars and not named:
        message = (
            "It is neither an image nor an artifact whose layers have file names (oras push host/repository file)."
        )
        raise InvalidRequest([Problem("reference", "no_model", message)])
    if not tars:
        bring([_file(client, name, layer) for name, layer in named], to, progress)
        return
    working = _Work(to, document.digest)
    if working.is_done():
        return
    with working as work:
        blobs = work.bring(client, [*tars, *(layer for _, layer in named)], progress)
        unpack_layers(blobs[: len(tars)], work.files, work.limits(), below="", told=_kept(progress))
        there = [path.relative_to(work.files).as_posix() for path in work.files.rglob("*") if path.is_file()]
        check_names([*there, *(name for name, _ in named)])
        check(work.files, sum(layer.size for _, layer in named))
        for (name, _), blob in zip(named, blobs[len(tars) :], strict=True):
            (work.files / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(blob, work.files / name)
        work.finish()


def _name(layer: Descriptor) -> str:
    return next((layer.annotations[key] for key in _NAMES if layer.annotations.get(key)), "")


def _is_tar(layer: Descriptor) -> bool:
    """Whether a layer is a folder that was packed; ORAS calls every file a tar and marks those that are one."""
    if _UNPACKED in layer.annotations:
        return layer.annotations[_UNPACKED] == "true"
    return layer.media_type.startswith("application/vnd.cncf.model.") and layer.media_type.endswith(_TARS)


def _file(client: Client, path: str, layer: Descriptor) -> File:
    def read(start: int, stop: int | None) -> Iterator[Buffer]:
        return client.pieces(layer.digest, start, layer.size if stop is None else stop)

    return File(path=path, size=layer.size, tag=layer.digest, read=read, digest=layer.digest)


def _kept(progress: Progress | None) -> Callable[[int], None]:
    """So that an unpacking can be ended, too: of it there is nothing to tell but that it goes on."""
    if progress is None:
        return lambda size: None
    return lambda size: progress(size, 0)


class _Work:
    """A folder beside ``to`` for what is not to be in it: blobs, and the files until all are there. What stays of it in
    the end says that they are."""

    def __init__(self, to: Path, digest: str) -> None:
        self._to, self._digest = to, digest
        self._folder = to.with_name(f"{to.name}.parts")
        self._done = self._folder / "done"
        self.files = self._folder / "files"

    def is_done(self) -> bool:
        """Whether an earlier fetch has had all of it."""
        return self._to.is_dir() and self._done.is_file() and self._done.read_text() == self._digest

    def __enter__(self) -> _Work:
        # Half unpacked by one that was killed. The blobs are kept.
        shutil.rmtree(self.files, ignore_errors=True)
        self.files.mkdir(parents=True)
        self._done.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.files, ignore_errors=True)

    def bring(self, client: Client, layers: Sequence[Descriptor], progress: Progress | None) -> list[Path]:
        """The blobs of the layers, each checked."""
        blobs = self._folder / "blobs"
        names = {layer.digest.partition(":")[2]: layer for layer in layers}
        bring([_file(client, name, layer) for name, layer in names.items()], blobs, progress)
        return [blobs / layer.digest.partition(":")[2] for layer in layers]

    def limits(self) -> Limits:
        return Limits(size=room(self._folder))

    def finish(self) -> None:
        """The files become the folder ``to``."""
        if self._to.exists():
            shutil.rmtree(self._to)
        self.files.rename(self._to)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        self._done.write_text(self._digest)
