"""What the API says of the cache, as values. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from modelyard.client.types import Resource


class CachedVersion(msgspec.Struct, kw_only=True):
    """A published version by its name; one that is ``deleted`` can still be restored."""

    namespace: str
    name: str
    version: str
    deleted: bool = False

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class PreloadStatus(msgspec.Struct, kw_only=True):
    """How far a version is laid out ahead: ``state`` is ``waiting``, ``running``, ``done`` or ``failed``; ``done`` of
    ``total`` bytes. What has failed is tried again at ``retry_at``."""

    state: str
    done: int = 0
    total: int = 0
    error: str = ""
    failures: int = 0
    retry_at: datetime | None = None


class Pin(Resource):
    """What is to stay in the cache: ``version`` is what ``reference`` means now (None: nothing, and so nothing is
    kept); ``preload``: it is also laid out ahead, and ``progress`` says how far."""

    namespace: str
    reference: str
    at: datetime
    preload: bool = False
    version: str | None = None
    manifest: str | None = None
    laid_out: bool = False
    progress: PreloadStatus | None = None
    by: str = ""
    reason: str = ""


class CachedFolder(msgspec.Struct, kw_only=True):
    """A version that is laid out: ``size`` bytes, of which ``own`` would be free without it; ``pinned`` and
    ``preloaded`` are the references that keep it, ``models`` what is made of it and runs (namespace/name)."""

    manifest: str
    layout: str
    used_at: datetime
    size: int = 0
    own: int = 0
    versions: list[CachedVersion] = msgspec.field(default_factory=list)
    pinned: list[str] = msgspec.field(default_factory=list)
    preloaded: list[str] = msgspec.field(default_factory=list)
    models: list[str] = msgspec.field(default_factory=list)


class Cache(Resource):
    """The cache of the server's machine: ``size`` bytes that nothing else has, beside the ``shared`` ones, which the
    store has too; ``limit`` None: it grows. ``hits``, ``misses``, bytes ``fetched`` by where they came from and those
    ``spared`` are counted ``since`` then."""

    path: str
    since: datetime
    size: int = 0
    shared: int = 0
    limit: int | None = None
    folders: list[CachedFolder] = msgspec.field(default_factory=list)
    pins: list[Pin] = msgspec.field(default_factory=list)
    hits: int = 0
    misses: int = 0
    fetched: dict[str, int] = msgspec.field(default_factory=dict)
    spared: int = 0


class KeptFolder(msgspec.Struct, kw_only=True):
    """A version that is in the way of a smaller cache; ``reason`` is ``pinned``, ``in_use`` or ``young``."""

    manifest: str
    layout: str
    size: int = 0
    reason: str = ""
    versions: list[CachedVersion] = msgspec.field(default_factory=list)


class Evicted(Resource):
    """What went from the cache (on a dry run: would have), and what is left, in versions and bytes; bytes that the
    store holds too are not counted. Where it is ``over`` the ``limit``, ``kept`` says what is in the way."""

    removed: int
    freed: int
    size: int
    folders: int
    limit: int | None = None
    over: int = 0
    kept: list[KeptFolder] = msgspec.field(default_factory=list)
