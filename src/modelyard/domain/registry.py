"""What the registry's catalog holds: registered models, their versions, and the aliases that point at these.

All of it is immutable; a change is a new value. All times are aware datetimes in UTC. What may stand in it is in
:mod:`modelyard.domain.registry_rules`, what becomes of it in :mod:`modelyard.domain.registering`. The bytes of a
version are elsewhere: here they have the name of their manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from modelyard.domain.differing import differing
from modelyard.domain.names import Registered

# The alias that the registry keeps by itself.
LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What its owners say of a registered model. ``series`` is the family that it belongs to, ``licence`` what its
    versions have unless they say otherwise (an SPDX expression, where there is one)."""

    description: str = ""
    series: str = ""
    task: str = ""
    licence: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A name in a namespace under which versions are published.

    ``latest`` is the version that this alias points at. ``version`` grows with every write of anything under the name
    (the ETag). After ``deleted_at`` it is no longer there for anybody but those who bring it back, until
    ``purge_at``; its name stays taken for so long.
    """

    uid: str
    namespace: str
    name: str
    created_at: datetime
    updated_at: datetime
    about: About = About()
    latest: str | None = None
    version: int = 0
    deleted_at: datetime | None = None
    purge_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The bytes of a version: the digest of their manifest (``sha256:`` and 64 hexadecimal digits), how many bytes
    they are in all, in how many files."""

    manifest: str
    size: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """What the model was made with, by a lower-case name: ``onnx``, ``pytorch``."""

    name: str
    version: str = ""


class Datatype(StrEnum):
    """Of a tensor, by the names of the Open Inference Protocol V2."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    BYTES = "BYTES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output. ``shape`` has -1 where any length goes."""

    name: str
    datatype: str
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a version comes from. ``parent`` is the version that it was made of: ``1.3.0`` of the same model, or
    ``name@1.3.0``; ``source`` is the address that its files were fetched from, with which ones they were there (a
    commit, a version, an ETag); the others are whatever names these things where they are kept."""

    parent: str = ""
    dataset: str = ""
    training_run: str = ""
    code_revision: str = ""
    source: str = ""


class Trusted(StrEnum):
    """What is in a version only because whoever published it trusts it."""

    CODE = "code"  # source code, of the model itself
    PICKLE = "pickle"  # files that run whatever code they hold when they are loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a version is, and stays for good once it is published. ``trust``: see :class:`Trusted`; what of it is not
    here is not in the version's files."""

    content: Content
    framework: Framework | None = None
    signature: Signature = Signature()
    lineage: Lineage = Lineage()
    dependencies: tuple[str, ...] = ()
    licence: str = ""
    trust: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What is said of a version, and may be said otherwise later. ``card`` is Markdown."""

    description: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    card: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One published version. ``edits`` counts the changes of its notes (the ETag). Where many are listed their cards
    are left out (empty)."""

    model_uid: str
    version: str
    identity: Identity
    notes: Notes
    published_at: datetime
    published_by: str
    reason: str = ""
    edits: int = 0
    deleted_at: datetime | None = None
    purge_at: datetime | None = None


class MoveKind(StrEnum):
    MOVE = "move"
    ROLLBACK = "rollback"  # to where it was before the last move
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """One move of an alias: from where to where (None: nowhere), when, by whom and why. ``number`` counts the moves of
    this alias from 1."""

    alias: str
    number: int
    kind: MoveKind
    before: str | None
    after: str | None
    at: datetime
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """Where an alias points, and since when, by whom and why: its last move, the ``moves``-th (the ETag)."""

    alias: str
    version: str
    moved_at: datetime
    moved_by: str
    reason: str
    moves: int


def placed(move: AliasMove) -> Alias:
    """Where the alias is after ``move``, which is not its removal."""
    assert move.after is not None
    return Alias(
        alias=move.alias, version=move.after, moved_at=move.at, moved_by=move.actor, reason=move.reason,
        moves=move.number,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A served model of the namespace whose source is in this registered model, and what of it: the source as it is
    written, or the version that it was resolved to."""

    model: str
    reference: Registered


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field in which two versions differ, by its path; a value that is not there is None."""

    path: str
    before: Any
    after: Any


def differences(before: Version, after: Version) -> tuple[Difference, ...]:
    """Every field of what two versions are and of what is said of them that differs."""
    found = []
    for part in ("identity", "notes"):
        for path, old, new in differing("", getattr(before, part), getattr(after, part)):
            found.append(Difference(path=path.removeprefix("content."), before=old, after=new))
    return tuple(found)
