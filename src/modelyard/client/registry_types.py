"""What the registry answers with, as values. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from modelyard.client.cache_types import Evicted
from modelyard.client.types import Resource


class RegisteredModel(Resource):
    """A name under which versions are published. ``version`` is what a change names to be sure that nobody changed
    it in between; one with ``deleted_at`` can be restored until ``purge_at``."""

    namespace: str
    name: str
    uid: str
    version: int
    created_at: datetime
    updated_at: datetime
    description: str = ""
    series: str = ""
    task: str = ""
    licence: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    latest: str | None = None
    deleted_at: datetime | None = None
    purge_at: datetime | None = None


class Framework(msgspec.Struct, kw_only=True):
    name: str
    version: str = ""


class ModelVersion(Resource):
    """A published version. ``manifest`` names its bytes; ``edits`` is what a change of what is said of it names; its
    ``card`` is None where many are listed."""

    namespace: str
    name: str
    version: str
    manifest: str
    published_at: datetime
    size: str = "0"
    files: int = 0
    framework: Framework | None = None
    signature: dict[str, Any] = msgspec.field(default_factory=dict)
    lineage: dict[str, str] = msgspec.field(default_factory=dict)
    dependencies: list[str] = msgspec.field(default_factory=list)
    licence: str = ""
    trust: list[str] = msgspec.field(default_factory=list)
    description: str = ""
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    card: str | None = None
    published_by: str = ""
    reason: str = ""
    edits: int = 0
    deleted_at: datetime | None = None
    purge_at: datetime | None = None


class Alias(Resource):
    """Where an alias points, and since when, by whom and why."""

    alias: str
    version: str
    moved_at: datetime
    moved_by: str = ""
    reason: str = ""
    moves: int = 0


class AliasMove(Resource, rename={"before": "from", "after": "to"}):
    """One move of an alias (``kind``: ``move``, ``rollback`` or ``remove``); from nowhere or to nowhere is None."""

    alias: str
    number: int
    kind: str
    at: datetime
    before: str | None = None
    after: str | None = None
    actor: str = ""
    reason: str = ""


class RegistryStore(Resource):
    """Where versions' bytes are: the store's place and identity, and the folder of that machine in which versions are
    laid out to be served."""

    url: str
    id: str
    cache: str


class VersionFile(Resource):
    """A file of a version: ``path`` relative to it, ``size`` in bytes."""

    path: str
    size: int
    sha256: str
    kind: str = ""
    tensors: int = 0


class Collected(Resource):
    """What a collection of garbage has removed from the store (on a dry run: would have), in objects and bytes.
    ``condemned`` objects go with the first one after ``goes_at``."""

    removed: int
    freed: int
    kept: int
    young: int
    cache: Evicted
    condemned: int = 0
    goes_at: datetime | None = None
