"""Which files a version is served from, and what each of them is made of. Pure: nothing is read or written.

``exact``: the files as they were pushed. ``tensors``: each tensor in a file of its own, so that versions share the
files of all tensors that they have in common, on the disk and in memory. An ONNX model then names these files as its
external data; a safetensors file becomes one such file a tensor with an index beside them, as sharded checkpoints
have it (https://huggingface.co/docs/transformers/big_models).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath

from modelyard.registry.content.cutting import TENSORS, header_of, tensor_path
from modelyard.registry.content.manifest import File, Manifest, Part
from modelyard.registry.formats.names import MAX_NAME
from modelyard.registry.formats.scan import Kind

_SHARD = re.compile(r"(.+)-\d+-of-\d+\.safetensors\Z")
_INDEX = ".index.json"


class Layout(StrEnum):
    """How a version's files are laid out to be served."""

    EXACT = "exact"
    TENSORS = "tensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One file at ``path`` of the folder: ``header``, then the parts. Equal names, equal bytes."""

    path: str
    parts: tuple[Part, ...] = ()
    header: bytes = b""
    executable: bool = False

    @property
    def name(self) -> str:
        """How the cache calls the file."""
        joined = hashlib.sha256(len(self.header).to_bytes(8) + self.header)
        for part in self.parts:
            joined.update(bytes.fromhex(part.root))
        return joined.hexdigest() + (".x" if self.executable else "")

    @property
    def size(self) -> int:
        return len(self.header) + sum(part.size for part in self.parts)


def placed(manifest: Manifest, layout: Layout) -> tuple[Placed, ...]:
    """The files of the folder, by path, each once."""
    found = _exact(manifest.files) if layout is Layout.EXACT else _tensors(manifest)
    return tuple(sorted({file.path: file for file in found}.values(), key=lambda file: file.path))


def _exact(files: Sequence[File]) -> Iterator[Placed]:
    for file in files:
        yield Placed(path=file.path, parts=file.parts, executable=file.executable)


def _tensors(manifest: Manifest) -> Iterator[Placed]:
    files = {f.path for f in manifest.files}
    folders = {str(folder) for path in files for folder in PurePosixPath(path).parents}
    fitting = [f for f in manifest.files if _has_room(f, files, folders)]
    graphs = [f for f in fitting if f.graph is not None]
    checkpoints = [f for f in fitting if f.kind == Kind.SAFETENSORS and any(p.tensor for p in f.parts)]
    moved = {f.path for f in graphs}
    needed = {path for f in manifest.files if f.path not in moved for path in f.data}
    data = {path for graph in graphs for path in graph.data} - needed
    replaced = {f.path for f in (*graphs, *checkpoints)} | data
    yield from _exact([f for f in manifest.files if f.path not in replaced])
    by_path = {f.path: f for f in manifest.files}
    for graph in graphs:
        assert graph.graph is not None
        yield Placed(path=graph.path, parts=(graph.graph,))
        for file in (graph, *(by_path[path] for path in graph.data)):
            yield from (Placed(path=tensor_path(graph.path, p.root), parts=(p,)) for p in file.parts if p.tensor)
    yield from _checkpoints(checkpoints)


def _checkpoints(files: Sequence[File]) -> Iterator[Placed]:
    """One file a tensor, and for each checkpoint an index of them. Where it had several files already, its index is
    replaced; their order is the one in which a later one's tensor would replace an earlier one's."""
    weights: defaultdict[str, dict[str, str]] = defaultdict(dict)
    sizes: defaultdict[str, int] = defaultdict(int)
    for file in files:
        checkpoint = _checkpoint(file)
        for part in file.parts:
            if part.tensor is not None:
                one = Placed(path="", parts=(part,), header=header_of(part.tensor, file.kind))
                path = f"{checkpoint}{TENSORS}/{one.name}.safetensors"
                yield replace(one, path=path)
                weights[checkpoint][part.tensor.name] = str(PurePosixPath(path).relative_to(_folder(checkpoint)))
                sizes[checkpoint] += part.size
    for checkpoint, names in weights.items():
        document = {"metadata": {"total_size": sizes[checkpoint]}, "weight_map": names}
        index = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        yield Placed(path=f"{checkpoint}{_INDEX}", header=index.encode())


def _checkpoint(file: File) -> str:
    shard = _SHARD.match(file.path)
    return f"{shard[1]}.safetensors" if shard else file.path


def _has_room(file: File, files: Collection[str], folders: Collection[str]) -> bool:
    """Whether the folder of its tensors and the index can have their names beside the version's own files; if not,
    the file stays as it is. (An index that is there already is replaced.)"""
    path = _checkpoint(file) if file.kind == Kind.SAFETENSORS else file.path
    longest = len(f"{PurePosixPath(path).name}{_INDEX}".encode())
    tensors = f"{path}{TENSORS}"
    return longest <= MAX_NAME and not (tensors in files or tensors in folders or f"{path}{_INDEX}" in folders)


def _folder(path: str) -> PurePosixPath:
    return PurePosixPath(path).parent
