"""The cache of registered versions' files: what is in it, what stays in it, and what it saved."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from modelyard.domain.keeping import Stays
from modelyard.registry.keeping import PreloadState


class CachedVersion(BaseModel):
    """A published version by its name; one that is deleted can still be restored."""

    namespace: str
    name: str
    version: str
    deleted: bool


class PreloadStatus(BaseModel):
    """How far a version is laid out ahead."""

    state: PreloadState = Field(description="One that has failed is tried again at `retry_at`.")
    done: int = Field(description="Bytes that are there.")
    total: int = Field(description="Bytes that had to be fetched; 0 where that is not known yet, or none had to.")
    error: str
    failures: int = Field(description="In a row.")
    retry_at: datetime | None


class Pin(BaseModel):
    """What is to stay in the cache of this machine, whatever its size."""

    namespace: str
    reference: str = Field(examples=["pat@stable"])
    preload: bool = Field(description="It is also laid out before anybody needs it.")
    version: str | None = Field(description="What the reference means now; null: nothing, and so nothing is kept.")
    manifest: str | None
    laid_out: bool
    progress: PreloadStatus | None = Field(description="Of one that is preloaded, once it has been looked at.")
    at: datetime
    by: str
    reason: str


class CachedFolder(BaseModel):
    """A version that is laid out to be served."""

    manifest: str
    layout: str = Field(description="`exact`: the files as they were pushed; `tensors`: each tensor in one of its own.")
    versions: list[CachedVersion] = Field(description="The published versions that have these bytes.")
    size: int = Field(description="Bytes of its files.")
    own: int = Field(description="Bytes that nothing else needs: so many would be free without it.")
    used_at: datetime = Field(description="When it was last laid out, served or started.")
    pinned: list[str] = Field(description="The references that keep it.")
    preloaded: list[str] = Field(description="The references for which it was laid out ahead, which keep it too.")
    models: list[str] = Field(description="The models that are made of it and run: namespace/name.")


class Cache(BaseModel):
    """The cache of the machine that this control process runs on."""

    path: str
    size: int = Field(description="Bytes that nothing else has.")
    shared: int = Field(description="Bytes that the store, too, has on this disk: they cost nothing.")
    limit: int | None = Field(description="What it is kept to; null: it grows.")
    folders: list[CachedFolder] = Field(description="The last used first.")
    pins: list[Pin] = Field(description="The first that was asked for first.")
    since: datetime = Field(description="What follows is counted since then.")
    hits: int = Field(description="Versions that were laid out when they were needed.")
    misses: int = Field(description="Versions that were not.")
    fetched: dict[str, int] = Field(description="Bytes by where they came from.", examples=[{"store": 1048576}])
    spared: int = Field(description="Bytes that were needed and there.")


class KeptFolder(BaseModel):
    """A version that is in the way of a smaller cache."""

    manifest: str
    layout: str
    versions: list[CachedVersion]
    size: int = Field(description="What its files cost the cache; those that others need too are counted with each.")
    reason: Stays = Field(description="Why it stays: `young` is what was used a moment ago.")
