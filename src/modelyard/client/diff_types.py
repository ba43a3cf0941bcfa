"""In what two versions differ, as values. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from modelyard.client.types import Resource

T = TypeVar("T")


class VersionChange(msgspec.Struct, kw_only=True):
    """One field that differs, by its path; a value that is not there is None."""

    path: str
    before: Any = None
    after: Any = None


class Some(msgspec.Struct, Generic[T], kw_only=True):
    """``count`` things, of which the first few are listed."""

    count: int = 0
    items: list[T] = msgspec.field(default_factory=list)


class FileState(msgspec.Struct, kw_only=True):
    size: int
    sha256: str
    executable: bool = False


class FileDifference(msgspec.Struct, kw_only=True):
    """A file that is not the same in both; None where there is none."""

    path: str
    before: FileState | None = None
    after: FileState | None = None


class TensorShape(msgspec.Struct, kw_only=True):
    dtype: str
    shape: list[int] = msgspec.field(default_factory=list)


class TensorDifference(msgspec.Struct, kw_only=True):
    """A tensor that is not the same in both; where both are equal its values differ. ``size`` in bytes."""

    name: str
    before: TensorShape | None = None
    after: TensorShape | None = None
    size: int = 0


class FileTensors(msgspec.Struct, kw_only=True):
    """The tensors that differ of a file that is in both; ``same`` are equal."""

    path: str
    added: Some[TensorDifference]
    removed: Some[TensorDifference]
    changed: Some[TensorDifference]
    same: int = 0


class ContentDiff(msgspec.Struct, kw_only=True):
    """What differs in the files. ``fetch``: bytes of the second that whoever has the first lacks; ``shared``: those
    that are somewhere in the first too."""

    added: Some[FileDifference]
    removed: Some[FileDifference]
    changed: Some[FileDifference]
    tensors: Some[FileTensors]
    same: int = 0
    fetch: int = 0
    shared: int = 0


class VersionDiff(Resource, rename={"before": "from", "after": "to"}):
    """What differs between two versions: ``changes`` of what they are and is said of them, and their ``content`` (None
    where the store has not both)."""

    before: str
    after: str
    changes: list[VersionChange] = msgspec.field(default_factory=list)
    content: ContentDiff | None = None
