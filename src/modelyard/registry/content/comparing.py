"""In what the bytes of two versions differ: file by file, tensor by tensor, chunk by chunk. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from modelyard.registry.content.manifest import File, Manifest, Part, Tensor
from modelyard.registry.content.shortcuts import Shortcuts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Some(Generic[T]):
    """``count`` things, of which no more than a few are listed."""

    count: int
    items: tuple[T, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """A file as one of the versions has it; ``size`` in bytes."""

    size: int
    sha256: str
    executable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file that is not the same in both; None where there is none."""

    path: str
    before: FileState | None
    after: FileState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorChange:
    """A tensor that is not the same in both, by its name in its file; None where there is none. Where both are equal
    it is the values that differ. ``size`` is what it takes in the second version, or took in the first."""

    name: str
    before: Tensor | None
    after: Tensor | None
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorChanges:
    """The tensors of the file at ``path`` that are not the same in both; ``same`` is how many are."""

    path: str
    added: Some[TensorChange]
    removed: Some[TensorChange]
    changed: Some[TensorChange]
    same: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``fetch``: bytes that whoever has the first version must fetch for the second one, each chunk once; ``shared``:
    bytes of the second one that the first has too, wherever in it they are. ``same`` files are equal in both."""

    added: Some[FileChange]
    removed: Some[FileChange]
    changed: Some[FileChange]
    same: int
    tensors: Some[TensorChanges]
    fetch: int
    shared: int


def compare(
    before: Manifest, after: Manifest, limit: int, shortcuts: Shortcuts = MappingProxyType({})
) -> Comparison:  # fmt: skip
    """At most ``limit`` things are listed of each kind, by path or in the order of their file; all are counted.
    ``shortcuts`` are those to the second version: what they tell from the first is fetched in as few bytes."""
    old, new = ({file.path: file for file in manifest.files} for manifest in (before, after))
    states = {path: (_state(old.get(path)), _state(new.get(path))) for path in sorted({*old, *new})}
    changes = [FileChange(path=p, before=was, after=now) for p, (was, now) in states.items() if was != now]
    # Of files that are in one of them only it says so itself; their tensors would say nothing more.
    tensors = [
        found for change in changes if change.before and change.after
        if (found := _tensors(change.path, old[change.path], new[change.path], limit)) is not None
    ]  # fmt: skip
    fetch, shared = _bytes(before, after, shortcuts)
    return Comparison(
        added=_some([c for c in changes if c.before is None], limit),
        removed=_some([c for c in changes if c.after is None], limit),
        changed=_some([c for c in changes if c.before and c.after], limit),
        same=len(states) - len(changes), tensors=_some(tensors, limit), fetch=fetch, shared=shared,
    )  # fmt: skip


def _some(found: Sequence[T], limit: int) -> Some[T]:
    return Some(len(found), tuple(found[:limit]))


def _state(file: File | None) -> FileState | None:
    return None if file is None else FileState(size=file.size, sha256=file.sha256, executable=file.executable)


def _tensors(path: str, before: File, after: File, limit: int) -> TensorChanges | None:
    """None where neither has any."""
    old, new = _by_name(before), _by_name(after)
    if not old and not new:
        return None
    added = [_change(name, None, part) for name, part in new.items() if name not in old]
    removed = [_change(name, part, None) for name, part in old.items() if name not in new]
    both = [(name, old[name], part) for name, part in new.items() if name in old]
    changed = [_change(name, was, now) for name, was, now in both if (was.root, was.tensor) != (now.root, now.tensor)]
    return TensorChanges(
        path=path, added=_some(added, limit), removed=_some(removed, limit), changed=_some(changed, limit),
        same=len(both) - len(changed),
    )  # fmt: skip


def _by_name(file: File) -> Mapping[str, Part]:
    """Of several of one name the last."""
    return {part.tensor.name: part for part in file.parts if part.tensor is not None}


def _change(name: str, before: Part | None, after: Part | None) -> TensorChange:
    part = after or before
    assert part is not None
    return TensorChange(
        name=name, before=None if before is None else before.tensor, after=None if after is None else after.tensor,
        size=part.size,
    )  # fmt: skip


def _bytes(before: Manifest, after: Manifest, shortcuts: Shortcuts) -> tuple[int, int]:
    """What must be fetched, and what is shared."""
    there = {digest for digest, _, _ in _chunks(before, {})}
    roots = before.chunks.keys()
    usable = {root: [way for way in ways if way.base in roots] for root, ways in shortcuts.items()}
    encoded = {root: min(ways, key=lambda way: way.size).lengths for root, ways in usable.items() if ways}
    fetched: set[bytes] = set()
    fetch = shared = 0
    for digest, length, needed in _chunks(after, encoded):
        if digest in there:
            shared += length
        elif digest not in fetched:
            fetched.add(digest)
            fetch += needed
    return fetch, shared


def _chunks(manifest: Manifest, encoded: Mapping[str, Sequence[int]]) -> Iterator[tuple[bytes, int, int]]:
    """Digest and length of each chunk of each file, as often as it is there, and the length in which it is fetched."""
    for file in manifest.files:
        for part in file.parts:
            chunks, lengths = manifest.chunks[part.root], encoded.get(part.root)
            for number, (_, length) in enumerate(chunks.bounds()):
                yield chunks.digest(number), length, length if lengths is None else lengths[number]
