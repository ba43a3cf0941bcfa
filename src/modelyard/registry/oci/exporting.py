"""From a store to a container registry: a version as an image, of which only that is sent that the registry lacks.

The bytes go from the store to the registry, never to a disk. A layer's digest is known only once all of it was read,
and by its digest a registry knows whether it has it: so each layer is read twice, first to name it, then to send it.
The manifest comes last: an export that was cut off, or killed, leaves blobs that its next try finds.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Final, TypeVar

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.content.chunks import Buffer
from modelyard.registry.content.fetching import Progress
from modelyard.registry.content.manifest import File, Manifest, digest_of, encode
from modelyard.registry.content.storage import Storage
from modelyard.registry.content.stored import read_index, read_manifest
from modelyard.registry.content.supply import Chunk, Supply
from modelyard.registry.oci import image
from modelyard.registry.oci.client import Client, Descriptor
from modelyard.registry.oci.references import Reference
from modelyard.registry.oci.uploading import Blob, Sent, send

T = TypeVar("T")

_SENDERS: Final = 4
# Whose chunks are looked up once: a file is read from its beginning to its end, piece by piece.
_FILES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The image's manifest has this ``digest``, its blobs ``size`` bytes, of which ``written`` were sent and
    ``mounted`` were in another repository of the registry; it had the others."""

    digest: str
    size: int
    written: int
    mounted: int


def push_image(
    storage: Storage,
    digest: str,
    reference: Reference,
    *,
    annotations: Mapping[str, str] | None = None,
    mount_from: str = "",
    progress: Progress | None = None,
) -> Exported:
    """Have the version with this manifest in a registry, as the image that ``reference`` names.

    ``annotations`` are the image's (see :func:`modelyard.registry.oci.image.annotations_of`); ``mount_from`` is another
    repository of the registry, which may have some of the layers. ``progress`` is told of the bytes that were read, by
    many threads, of twice as many as there are: first they are named, then sent. What it raises ends the export.

    Raises:
        InvalidRequest: ``reference`` has a digest, which only the image itself can have
        Missing, Damaged: the store has not all of the version
        Denied, Rejected, Unavailable: the registry does not take it, or the store fails
    """
    if reference.digest is not None:
        message = "An image's digest is what comes out: give a tag only."
        raise InvalidRequest([Problem("reference", "digest", message)])
    manifest, index = read_manifest(storage, digest), read_index(storage, digest)
    with Client.of(reference) as client:
        reading = _Reading(Supply(storage, manifest, index))
        return _Export(client, reading, manifest, progress).run(annotations or {}, mount_from)


class _Export:
    def __init__(self, client: Client, reading: _Reading, manifest: Manifest, progress: Progress | None) -> None:
        self._client, self._reading, self._manifest = client, reading, manifest
        self._layers = image.layers(manifest)
        self._counted = _Counted(2 * sum(layer.size for layer in self._layers), progress)

    def run(self, annotations: Mapping[str, str], mount_from: str) -> Exported:
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="name") as pool:
            digests = self._all([pool.submit(self._digest, layer) for layer in self._layers])
        document = encode(self._manifest)
        contents = image.contents_layer(document, self._layers)
        names = [*(layer.name for layer in self._layers), "what the layers hold"]
        config = image.config(names, [*digests, digest_of(contents)], annotations)
        described = [image.describe(one.size, name) for one, name in zip(self._layers, digests, strict=True)]
        described.append(image.describe(len(contents), digest_of(contents), is_contents=True))
        head = Descriptor(media_type=image.CONFIG, digest=digest_of(config), size=len(config))
        blobs = [self._layer_blob(one, name) for one, name in zip(self._layers, digests, strict=True)]
        blobs += [_document_blob(contents), _document_blob(config)]
        # The longest first, so that none of them is left alone at the end.
        blobs.sort(key=lambda blob: -blob.size)
        with ThreadPoolExecutor(_SENDERS, thread_name_prefix="send") as pool:
            sent = self._all([pool.submit(self._send, blob, mount_from) for blob in blobs])
        body = image.manifest(head, described, digest_of(document), annotations)
        return Exported(
            digest=self._client.put_manifest(body),
            size=sum(blob.size for blob in blobs),
            written=sum(blob.size for blob, how in zip(blobs, sent, strict=True) if how is Sent.SENT),
            mounted=sum(blob.size for blob, how in zip(blobs, sent, strict=True) if how is Sent.MOUNTED),
        )

    def _digest(self, layer: image.Layer) -> str:
        hashed, tell = hashlib.sha256(), self._counted.of()
        for piece in self._reading.layer(layer, 0, layer.size):
            hashed.update(piece)
            tell(len(piece))
        return f"sha256:{hashed.hexdigest()}"

    def _layer_blob(self, layer: image.Layer, digest: str) -> Blob:
        most = 0
        add = self._counted.of()

        def tell(there: int) -> None:
            # After a cut there may be less than before.
            nonlocal most
            if there > most:
                add(there - most)
                most = there

        return Blob(
            digest=digest, size=layer.size, tell=tell,
            read=lambda start, stop: self._reading.layer(layer, start, stop),
        )  # fmt: skip

    def _send(self, blob: Blob, mount_from: str) -> Sent | None:
        if self._client.size(blob.digest) == blob.size:
            blob.tell(blob.size)
            return None
        return send(self._client, blob, mount_from)

    def _all(self, futures: Sequence[Future[T]]) -> list[T]:
        """What comes of them; after the first that fails nothing new is begun, and its error is raised."""
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        failed = next((future for future in done if future.exception() is not None), None)
        if failed is not None:
            self._counted.stop()
            for future in futures:
                future.cancel()
            wait(futures)
            failed.result()
        return [future.result() for future in futures]


class _Stopped(Exception):
    """Another thread has failed."""


class _Counted:
    """Tells of the sum of what many threads have done."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress, self._lock = total, progress, Lock()
        self._done, self._is_stopped = 0, False

    def stop(self) -> None:
        self._is_stopped = True

    def of(self) -> Callable[[int], None]:
        def add(count: int) -> None:
            with self._lock:
                if self._is_stopped:
                    raise _Stopped
                self._done += count
                if self._progress is not None:
                    self._progress(self._done, self._total)

        return add


def _document_blob(content: bytes) -> Blob:
    def read(start: int, stop: int) -> Iterator[Buffer]:
        yield content[start:stop]

    return Blob(digest=digest_of(content), size=len(content), read=read, tell=lambda there: None)


class _Reading:
    """The bytes of layers, each chunk checked before any of it goes out."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._chunks = lru_cache(_FILES)(self._chunks_of)

    def layer(self, layer: image.Layer, start: int, stop: int) -> Iterator[Buffer]:
        """Bytes from ``start`` to ``stop``. Raises Missing, Damaged, Unavailable."""
        for run in layer.runs:
            first, last = max(start, run.offset), min(stop, run.offset + run.size)
            if first < last:
                if isinstance(run.content, File):
                    yield from self._file(run.content, first - run.offset, last - run.offset)
                else:
                    yield run.content[first - run.offset : last - run.offset]

    def _file(self, file: File, start: int, stop: int) -> Iterator[Buffer]:
        offsets, chunks = self._chunks(file)
        needed = chunks[bisect_right(offsets, start) - 1 : bisect_right(offsets, stop - 1)]
        for run in self._supply.runs(needed):
            offset = run.offset
            for data in self._supply.read(run):
                # A copy: it is good only until the next is asked for, and what goes out may wait.
                yield bytes(data[max(start - offset, 0) : max(stop - offset, 0)])
                offset += len(data)

    def _chunks_of(self, file: File) -> tuple[Sequence[int], Sequence[Chunk]]:
        """Of a file: where its chunks begin, and the chunks. Raises Damaged."""
        found = self._supply.chunks(file.parts, 0)
        return [chunk.offset for chunk in found], found
