"""Reading a version's every byte once, before anybody's signature of it is accepted.

A manifest says of each file its SHA-256, which is what is signed, and of which chunks it is made, which is what is
served. That the one is the other is its publisher's word until all has been read; and so is what was made of a file to
serve it: the graph of an ONNX model with its weights beside it, and the headers of single tensors.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.content.chunks import Buffer, matches
from modelyard.registry.content.cutting import checkpoint_spans, graph_of
from modelyard.registry.content.manifest import Damaged, Extent, File, Index, Manifest, Part
from modelyard.registry.content.storage import Storage
from modelyard.registry.content.stored import MEND, chunks_at, read_index, read_manifest
from modelyard.registry.formats.kinds import Kind
from modelyard.registry.formats.parts import Span
from modelyard.registry.formats.spans import spans

# How long a part is, and name, dtype and shape of the tensor that it is.
_Place = tuple[int, tuple[str, str, tuple[int, ...]] | None]
# Threads that read and check chunks, and chunks that are read ahead of the one that is hashed.
_READERS: Final = 8
_AHEAD: Final = 16
# What a file has besides tensors, in bytes: no ONNX model has more in all, by the limit of its format.
_LARGEST: Final = 2**31


def check_content(storage: Storage, digest: str) -> Manifest:
    """Read all of a version, and give its manifest, whose digests and tensors are true then. Blocks for as long as it
    takes to read everything, and to hash it twice, side by side.

    Raises:
        InvalidRequest: a file is not the one of its SHA-256, or is served as something else
        Missing, Damaged: the store has not all of it, or other bytes
        Unavailable: the store fails
    """
    manifest, index = read_manifest(storage, digest), read_index(storage, digest)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="check") as pool:
        reading = _Reading(storage, manifest, index, pool)
        with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
            for file in manifest.files:
                _check_file(reading, file, Path(folder))
            by_path = {file.path: file for file in manifest.files}
            for file in manifest.files:
                if file.graph is not None or file.data:
                    _check_graph(reading, file, by_path, Path(folder))
    return manifest


class _Reading:
    """Chunks of one version, each checked; read ahead by the threads of ``pool``, in order."""

    def __init__(self, storage: Storage, manifest: Manifest, index: Index, pool: ThreadPoolExecutor) -> None:
        self._storage, self._manifest, self._index, self._pool = storage, manifest, index, pool

    def part(self, part: Part) -> Iterator[Buffer]:
        """Raises Missing, Damaged."""
        chunks = self._manifest.chunks[part.root]
        pending: deque[Future[Buffer]] = deque()
        try:
            for number, at in enumerate(chunks_at(chunks, self._index.get(part.root, ()))):
                pending.append(self._pool.submit(self._chunk, at, chunks.digest(number)))
                if len(pending) > _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for left in pending:
                left.cancel()

    def _chunk(self, at: Extent | None, digest: bytes) -> Buffer:
        if at is None:
            raise Damaged(f"The store's index does not say where all of this version is. {MEND}")
        data = self._storage.read(at.key, at.offset, at.size)
        if not matches(data, digest):
            raise Damaged(f"{at.key} has other bytes than were pushed. {MEND}")
        return data


def _check_file(reading: _Reading, file: File, folder: Path) -> None:
    """Beside that, keep of a file that is served in pieces what is not tensors, at its place: their bytes matter to
    none of the questions that are asked of it."""
    joined, offset = hashlib.sha256(), 0
    kept = _kept(file, folder)
    sparse = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600) if kept is not None else -1
    try:
        for part in file.parts:
            for data in reading.part(part):
                joined.update(data)
                if kept is not None and part.tensor is None:
                    os.pwrite(sparse, data, offset)
                offset += len(data)
        if kept is not None:
            os.ftruncate(sparse, file.size)
    finally:
        if kept is not None:
            os.close(sparse)
    if joined.hexdigest() != file.sha256:
        raise _untrue(file, "has another SHA-256 than its version says")
    if kept is not None and _found(kept, file) != [_place(part) for part in file.parts]:
        raise _untrue(file, "has its tensors elsewhere than its version says")


def _kept(file: File, folder: Path) -> Path | None:
    has_tensors = any(part.tensor is not None for part in file.parts)
    is_model = file.kind == Kind.ONNX and (has_tensors or file.graph is not None or bool(file.data))
    if not is_model and (file.kind != Kind.SAFETENSORS or not has_tensors):
        return None
    if sum(part.size for part in file.parts if part.tensor is None) > _LARGEST:
        raise _untrue(file, "has too many bytes that are no tensor's")
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _check_graph(reading: _Reading, file: File, files: Mapping[str, File], folder: Path) -> None:
    if file.kind != Kind.ONNX:
        raise _untrue(file, "is no ONNX model, and is served as one")
    bare = replace(file, graph=None, data=())
    graph, data = graph_of(folder, bare, files)
    stored = None if file.graph is None else b"".join(reading.part(file.graph))
    if data != file.data or (stored is not None and stored != graph):
        raise _untrue(file, "is served by another graph than the one that it has")


def _found(kept: Path, file: File) -> Sequence[_Place]:
    """Where the file's tensors are, by what it says itself."""
    try:
        found = checkpoint_spans(kept, file.size) if file.kind == Kind.SAFETENSORS else spans(kept)
    except InvalidRequest:  # it is no checkpoint
        found = None
    if found is None:
        found = (Span(offset=0, size=file.size),) if file.size else ()
    return [
        (span.size, None if span.tensor is None else (span.tensor, span.dtype or "", span.shape or ()))
        for span in found
    ]


def _place(part: Part) -> _Place:
    tensor = part.tensor
    return part.size, None if tensor is None else (tensor.name, tensor.dtype, tensor.shape)


def _untrue(file: File, what: str) -> InvalidRequest:
    message = (
        f"{file.path} {what}: whoever pushed this version did not push these files. Push them anew, and sign that."
    )
    return InvalidRequest([Problem("version", "untrue_manifest", message)])
