"""From a folder of files to a manifest: each file's spans, each part's chunks and the whole file's SHA-256.

Of an ONNX model the manifest also has the *graph*: the same model with its weights in files of their own, one a tensor.
It is made here, once, so that whoever serves the version needs no more than to link files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.content.chunks import CHUNK, Buffer, Chunks, Hasher, Read, matches
from modelyard.registry.content.manifest import File, Manifest, Part, Tensor
from modelyard.registry.formats import safetensors
from modelyard.registry.formats.onnx import external, externalised, spans_of_data
from modelyard.registry.formats.parts import BITS, Malformed, Span
from modelyard.registry.formats.scan import Fingerprint, Found, Kind, fingerprint
from modelyard.registry.formats.spans import spans

# The folder of a model's tensors is called as the model, and this.
TENSORS: Final = ".tensors"

# Told of bytes that are done, of so many that there are to do in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Where a part was found: at ``offset`` of ``path``, unless it was made here (``made``). ``header`` goes before
    it where it is a file of its own."""

    chunks: Chunks
    path: Path
    offset: int = 0
    header: bytes = b""
    made: bytes | None = None

    @property
    def root(self) -> str:
        return self.chunks.root


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A folder that was read through; ``pieces`` by root, in the order of the files."""

    manifest: Manifest
    pieces: Mapping[str, Piece]


class Reading:
    """A file that is read at many places at once, and that others may be writing to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Not to wait for a writer, should it have become a pipe.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def at(self, start: int) -> Callable[[int, int], Buffer]:
        """Reads what lies so far from ``start``. Raises InvalidRequest where the file has become too short."""

        def read(offset: int, size: int) -> Buffer:
            data = os.pread(self._descriptor, size, start + offset)
            while len(data) < size:
                more = os.pread(self._descriptor, size - len(data), start + offset + len(data))
                if not more:
                    raise changed(self.path)
                data += more
            return data

        return read


def chunks_of(piece: Piece) -> Iterator[Buffer]:
    """The part's chunks, each as it was when it was hashed. Raises InvalidRequest when one is not."""
    if piece.made is not None:
        yield from (piece.made[offset : offset + length] for offset, length in piece.chunks.bounds())
        return
    try:
        with Reading(piece.path) as reading:
            read = reading.at(piece.offset)
            for index, (offset, length) in enumerate(piece.chunks.bounds()):
                data = read(offset, length)
                if not matches(data, piece.chunks.digest(index)):
                    raise changed(piece.path)
                yield data
    except OSError as error:  # it was there, and readable, a moment ago
        raise changed(piece.path) from error


def changed(path: Path) -> InvalidRequest:
    message = f"{path.name} changed while it was read. Push again once nothing writes to it."
    return InvalidRequest([Problem("source", "changed", message)])


def cut_folder(root: Path, files: Sequence[Found], progress: Progress) -> Cut:
    """Read ``files`` below ``root``, once for each file's own digest and once for its chunks (side by side, so mostly
    from memory). ``progress`` counts the bytes of whole files.

    Raises:
        InvalidRequest: a file changes meanwhile, or has since it was found
        OSError: one cannot be read
    """
    files = sorted(files, key=lambda file: str(file.path))
    total, done = sum(file.size for file in files), 0
    before = {found.path: _seen(root / found.path, found) for found in files}
    models = _models_of_data(root, files)
    cut: dict[str, File] = {}
    pieces: dict[str, Piece] = {}
    with Hasher() as hasher:
        for found in files:
            progress(done, total)
            telling = _Telling(progress, done, total)
            file, of_file = _cut_file(root, found, _spans(root, found, models), hasher, telling)
            cut[file.path] = file
            for piece in of_file:
                pieces.setdefault(piece.root, piece)
            done += found.size
        for path, file in cut.items():
            if file.kind == Kind.ONNX:
                graph, data = graph_of(root, file, cut)
                cut[path] = replace(file, data=data)
                if graph is not None:
                    chunks = hasher.by_content(partial(_slice, graph), len(graph))
                    pieces.setdefault(chunks.root, Piece(chunks=chunks, path=root / path, made=graph))
                    cut[path] = replace(file, graph=Part(root=chunks.root, size=len(graph)), data=data)
    # A file's own digest, its chunks and what was made of it were read at different times.
    for found in files:
        if _seen(root / found.path, found) != before[found.path]:
            raise changed(root / found.path)
    progress(done, total)
    manifest = Manifest(files=tuple(cut.values()), chunks={root: piece.chunks for root, piece in pieces.items()})
    return Cut(manifest=manifest, pieces=pieces)


def _seen(path: Path, found: Found) -> Fingerprint:
    """Raises InvalidRequest where the file is not the one that was found, or not there, any more."""
    try:
        seen = fingerprint(path)
    except FileNotFoundError as error:
        raise changed(path) from error
    if seen.size != found.size or found.fingerprint not in (None, seen):
        raise changed(path)
    return seen


def header_of(tensor: Tensor | None, kind: str) -> bytes:
    """What a tensor of a safetensors file needs before it to be such a file by itself; nothing for any other part."""
    if tensor is None or kind != Kind.SAFETENSORS:
        return b""
    return safetensors.one_tensor_header(tensor.name, tensor.dtype, tensor.shape)


class _Telling:
    """Tells how far a file is, of which each byte is read at two places: one of them counts, and where that is told to
    end, both do."""

    def __init__(self, progress: Progress, before: int, total: int) -> None:
        self._progress, self._before, self._total = progress, before, total
        self._error: BaseException | None = None

    def counting(self, read: Read) -> Read:
        def reading(offset: int, size: int) -> Buffer:
            try:
                self._progress(self._before + offset, self._total)
            except BaseException as error:
                self._error = error
                raise
            return read(offset, size)

        return reading

    def beside(self, read: Read) -> Read:
        def reading(offset: int, size: int) -> Buffer:
            if self._error is not None:
                raise self._error
            return read(offset, size)

        return reading


def _cut_file(
    root: Path, found: Found, around: Sequence[Span] | None, hasher: Hasher, telling: _Telling
) -> tuple[File, Sequence[Piece]]:
    path = root / found.path
    pieces: list[Piece] = []
    parts: list[Part] = []
    with Reading(path) as reading:
        whole = hasher.whole(telling.counting(reading.at(0)), found.size)
        for span in (Span(offset=0, size=found.size),) if around is None else around:
            read = telling.beside(reading.at(span.offset))
            by_content = span.tensor is None and span.size > CHUNK
            chunks = hasher.by_content(read, span.size) if by_content else hasher.aligned(read, span.size)
            tensor = None
            if span.tensor is not None:
                tensor = Tensor(name=span.tensor, dtype=span.dtype or "", shape=span.shape or ())
            header = header_of(tensor, found.kind)
            parts.append(Part(root=chunks.root, size=span.size, tensor=tensor))
            pieces.append(Piece(chunks=chunks, path=path, offset=span.offset, header=header))
        file = File(
            path=str(found.path), size=found.size, sha256=whole.result(), kind=str(found.kind), parts=tuple(parts),
            executable=bool(path.stat().st_mode & 0o100),
        )  # fmt: skip
    return file, pieces


def _spans(root: Path, found: Found, models: Mapping[PurePosixPath, Path]) -> Sequence[Span] | None:
    """None: a file without tensors, cut as a whole."""
    if found.size == 0:
        return ()
    if found.kind is Kind.SAFETENSORS:
        return checkpoint_spans(root / found.path, found.size)
    if found.kind is not Kind.ONNX_DATA:
        return spans(root / found.path)
    model = models.get(found.path)
    name = found.path.relative_to(PurePosixPath(model.relative_to(root)).parent) if model else found.path
    return None if model is None else spans_of_data(model, str(name), found.size)


def checkpoint_spans(path: Path, size: int) -> Sequence[Span] | None:
    try:
        tensors = safetensors.header_of(path).tensors
    except Malformed as error:
        # It was whole when it was let in.
        raise changed(path) from error
    if any(tensor.dtype not in BITS for tensor in tensors.values()):
        return None  # a dtype newer than this program: no file of its own can be made of such a tensor
    # A tensor without a value has no bytes, and yet its file must have it.
    empty = [
        Span(offset=size, size=0, tensor=name, dtype=tensor.dtype, shape=tensor.shape)
        for name, tensor in tensors.items()
        if tensor.start == tensor.end
    ]
    around = spans(path)
    return None if around is None else (*around, *empty)


def _models_of_data(root: Path, files: Sequence[Found]) -> Mapping[PurePosixPath, Path]:
    """Which ONNX model has its weights in which file."""
    named: dict[PurePosixPath, Path] = {}
    for found in files:
        if found.kind is Kind.ONNX:
            try:
                for tensor in external(root / found.path):
                    named.setdefault(found.path.parent / tensor.location, root / found.path)
            except Malformed:
                continue
    return named


def tensor_path(model: str, root: str) -> str:
    """Where a tensor of the ONNX model at ``model`` lies once it is a file of its own."""
    return f"{model}{TENSORS}/{root}"


def _slice(data: bytes, offset: int, size: int) -> Buffer:
    return data[offset : offset + size]


def graph_of(root: Path, file: File, files: Mapping[str, File]) -> tuple[bytes | None, tuple[str, ...]]:
    """The model without its weights, and the files of the version that have some of them. No model where it has none
    to move, or one that is not a part of its own in the version."""
    path, folder = root / file.path, PurePosixPath(file.path).parent
    roots = {part.tensor.name: part.root for part in file.parts if part.tensor is not None}
    data: set[str] = set()
    movable = True
    try:
        for tensor in external(path):
            if tensor.length == 0:
                continue  # it needs no file
            beside = files.get(str(folder / tensor.location))
            part = _at(beside, tensor.offset, tensor.length) if beside is not None else None
            if beside is not None:
                data.add(beside.path)
            if part is None or part.tensor is None:
                movable = False
            else:
                roots[tensor.tensor] = part.root
        name = PurePosixPath(file.path).name
        graph = None
        if roots and movable:
            graph = externalised(path, lambda key: tensor_path(name, roots[key]) if key in roots else None)
    except Malformed:
        return None, ()
    return graph, tuple(sorted(data))


def _at(file: File, offset: int, length: int | None) -> Part | None:
    """The part that is just these bytes of a file."""
    start = 0
    for part in file.parts:
        if start == offset and part.size == (file.size - offset if length is None else length):
            return part
        start += part.size
    return None
