"""The record of a version's bytes: which files it has, of which parts they are made, and how each part is verified.

A manifest is a JSON document in one spelling, so that equal contents have equal manifests, named by its SHA-256. It
says nothing of where the bytes are: that is the :class:`Index` beside it, which may change and proves nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from modelyard.domain.errors import ModelyardError
from modelyard.registry.content.chunks import Chunks
from modelyard.registry.formats import safetensors
from modelyard.registry.formats.kinds import Kind
from modelyard.registry.formats.names import Names
from modelyard.registry.formats.parts import size_in_bytes

FORMAT: Final = "modelyard.manifest/1"
_PREFIX: Final = "sha256:"
_HEX: Final = frozenset("0123456789abcdef")
_KEY: Final = re.compile(r"(objects|packs)/[0-9a-f]{2}/[0-9a-f]{64}(\.[0-9a-f]{16})?(~[0-9a-f]{16})?")
# No object is as long; where bytes are said to be must be sayable to a disk.
MAX_OFFSET: Final = 2**62
# Far above any tensor's.
_MAX_RANK: Final = 64


class Damaged(ModelyardError):
    """What was read is not what its name says."""

    code = "damaged_content"
    http_status = 500
    title = "Damaged content"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """What a part holds, where it holds one tensor; ``dtype`` in the words of its file's format."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A run of bytes of a file, named by its root."""

    root: str
    size: int
    tensor: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a version: ``path`` relative, with slashes; ``sha256`` of the whole; ``parts`` in order and
    without gaps; ``kind`` says what the scan found it to be; ``executable`` files stay so. ``graph``: an ONNX model
    again, with each tensor in a file of its own; these are the tensors in its parts and all in the files ``data``."""

    path: str
    size: int
    sha256: str
    kind: str
    parts: tuple[Part, ...]
    executable: bool = False
    graph: Part | None = None
    data: tuple[str, ...] = ()

    def all_parts(self) -> tuple[Part, ...]:
        """Those of the file, and of what is made of it."""
        return self.parts if self.graph is None else (*self.parts, self.graph)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """``files`` by path; ``chunks`` of every part, by root."""

    files: tuple[File, ...]
    chunks: Mapping[str, Chunks] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def parts(self) -> Iterator[Part]:
        """Each part once, in the order of the files."""
        seen: set[str] = set()
        for file in self.files:
            for part in file.all_parts():
                if part.root not in seen:
                    seen.add(part.root)
                    yield part


@dataclass(frozen=True, slots=True)
class Extent:
    """So many bytes at an offset of an object of the store."""

    key: str
    offset: int
    size: int


# Where each part's bytes are, by root: extents that follow one another.
Index = Mapping[str, tuple[Extent, ...]]


# ------------------------------------------------------------------------------------------------ JSON


class _Part(msgspec.Struct, omit_defaults=True):
    root: str
    size: int
    tensor: str | None = None
    dtype: str | None = None
    shape: tuple[int, ...] | None = None


class _File(msgspec.Struct, omit_defaults=True):
    path: str
    size: int
    sha256: str
    kind: str
    parts: tuple[_Part, ...]
    executable: bool = False
    graph: _Part | None = None
    data: tuple[str, ...] = ()


class _Chunks(msgspec.Struct, omit_defaults=True):
    size: int
    digests: str
    lengths: tuple[int, ...] | None = None


class _Document(msgspec.Struct):
    format: str
    files: tuple[_File, ...]
    chunks: dict[str, _Chunks]


def encode(manifest: Manifest) -> bytes:
    files = tuple(
        _File(
            f.path, f.size, f.sha256, f.kind, tuple(_part(p) for p in f.parts), f.executable,
            None if f.graph is None else _part(f.graph), f.data,
        )
        for f in sorted(manifest.files, key=lambda f: f.path)
    )  # fmt: skip
    chunks = {
        root: _Chunks(c.size, base64.b64encode(c.digests).decode(), c.lengths)
        for root, c in sorted(manifest.chunks.items())
    }
    return msgspec.json.encode(_Document(FORMAT, files, chunks))


def digest_of(document: bytes) -> str:
    """``sha256:`` and 64 hexadecimal digits: how a version names its manifest."""
    return _PREFIX + hashlib.sha256(document).hexdigest()


def hex_of(digest: str) -> str:
    """Raises ValueError."""
    hexadecimal = digest.removeprefix(_PREFIX)
    if not digest.startswith(_PREFIX) or not is_hex(hexadecimal):
        raise ValueError(f"{digest!r} is not the digest of a manifest (sha256: and 64 hexadecimal digits).")
    return hexadecimal


def is_hex(text: str) -> bool:
    """Whether it is the hexadecimal form of a SHA-256."""
    return len(text) == 64 and set(text) <= _HEX


def decode(document: bytes, digest: str) -> Manifest:
    """Read a manifest that should have this digest.

    Raises:
        Damaged: it has not, or it contradicts itself.
    """
    if digest_of(document) != digest:
        raise Damaged(f"The manifest {digest} is damaged where it is stored: its bytes have another digest.")
    try:
        read = msgspec.json.decode(document, type=_Document)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged(f"The manifest {digest} cannot be read: {error}.") from error
    if read.format != FORMAT:
        raise Damaged(f"The manifest {digest} is of the format {read.format!r}; this Modelyard reads {FORMAT}.")
    try:
        chunks = {root: Chunks(c.size, base64.b64decode(c.digests), c.lengths) for root, c in read.chunks.items()}
    except ValueError as error:
        raise Damaged(f"The manifest {digest} cannot be read: {error}.") from error
    manifest = Manifest(files=tuple(_file(f) for f in read.files), chunks=chunks)
    reason = _contradiction(manifest)
    if reason is not None:
        raise Damaged(f"The manifest {digest} contradicts itself: {reason}.")
    if encode(manifest) != document:
        raise Damaged(f"The manifest {digest} is not in the one spelling that its contents have.")
    return manifest


def _part(part: Part) -> _Part:
    tensor = part.tensor
    if tensor is None:
        return _Part(part.root, part.size)
    return _Part(part.root, part.size, tensor.name, tensor.dtype, tensor.shape)


def _file(file: _File) -> File:
    return File(
        path=file.path, size=file.size, sha256=file.sha256, kind=file.kind,
        parts=tuple(_read_part(p) for p in file.parts), executable=file.executable,
        graph=None if file.graph is None else _read_part(file.graph), data=file.data,
    )  # fmt: skip


def _read_part(part: _Part) -> Part:
    tensor = None
    if part.tensor is not None:
        tensor = Tensor(name=part.tensor, dtype=part.dtype or "", shape=part.shape or ())
    return Part(root=part.root, size=part.size, tensor=tensor)


def _contradiction(manifest: Manifest) -> str | None:
    for root, chunks in manifest.chunks.items():
        reason = chunks.check()
        if reason is not None:
            return f"part {root}: {reason}"
        if chunks.root != root:
            return f"part {root} has chunks of another root"
    # A manifest may come from anywhere, and its paths become files.
    names = Names()
    paths = {file.path for file in manifest.files}
    for file in manifest.files:
        problem = names.problem(file.path)
        if problem is not None:
            return f"{file.path!r} is no path of a file in a version: {problem.message}"
        if not paths.issuperset(file.data):
            return f"{file.path} needs a file that is not there"
        reason = _fault(file, manifest.chunks)
        if reason is not None:
            return reason
    if {part.root for part in manifest.parts()} != set(manifest.chunks):
        return "it has chunks of parts that are in no file"
    return None


def _fault(file: File, chunks: Mapping[str, Chunks]) -> str | None:
    if not is_hex(file.sha256):
        return f"{file.path} has no SHA-256"
    if sum(p.size for p in file.parts) != file.size:
        return f"the parts of {file.path} do not add up to its size"
    for part in file.all_parts():
        if part.root not in chunks or chunks[part.root].size != part.size:
            return f"a part of {file.path} has no chunks of its size"
        if part.tensor is not None and not _is_tensor(part.tensor, part.size, file.kind):
            return f"the tensor {part.tensor.name!r} of {file.path} is none of its size"
    return None


def _is_tensor(tensor: Tensor, size: int, kind: str) -> bool:
    if len(tensor.shape) > _MAX_RANK or any(length < 0 for length in tensor.shape):
        return False
    # Of these a file of its own is made for each.
    return kind != Kind.SAFETENSORS or (
        tensor.name != safetensors.METADATA and size_in_bytes(tensor.dtype, tensor.shape) == size
    )


def is_key(text: str) -> bool:
    """Whether a store may have bytes of parts under this key."""
    return _KEY.fullmatch(text) is not None


def encode_index(index: Index) -> bytes:
    """A SHA-256 of what follows it, for nothing else tells when an index is damaged; then the index."""
    body = msgspec.json.encode({root: [(e.key, e.offset, e.size) for e in at] for root, at in sorted(index.items())})
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode_index(document: bytes, digest: str) -> Index:
    """Raises Damaged."""
    told, _, body = document.partition(b"\n")
    try:
        if told != hashlib.sha256(body).hexdigest().encode():
            raise ValueError("it is damaged where it is stored")
        read = msgspec.json.decode(body, type=dict[str, list[tuple[str, int, int]]])
        index = {root: tuple(Extent(*extent) for extent in at) for root, at in read.items()}
        # Keys become paths, of files that are removed too.
        if not all(
            is_key(e.key) and 0 <= e.offset < MAX_OFFSET and 0 < e.size < MAX_OFFSET
            for at in index.values()
            for e in at
        ):
            raise ValueError("it names what cannot be in a store")
    except ValueError as error:
        raise Damaged(f"The index of {digest} cannot be read: {error}. Push the version anew to mend it.") from error
    return index
