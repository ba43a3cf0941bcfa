"""The bytes behind the registry."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from modelyard.api.schemas.caching import KeptFolder


class RegistryStore(BaseModel):
    url: str = Field(
        description="`file:///path`: a folder of the machine that the control process runs on; or a bucket."
    )
    id: str = Field(description="Of this store alone, which has it in `store.id`.")
    cache: str = Field(description="The folder of that machine in which versions are laid out to be served.")


class VersionFile(BaseModel):
    path: str = Field(description="Relative to the version, with slashes.")
    size: int = Field(description="Bytes.")
    sha256: str
    kind: str = Field(description="What it was found to be: safetensors, onnx, onnx_data, skops, gguf, plain, python.")
    tensors: int = Field(description="How many tensors are stored one by one, and shared with other versions.")


class Evicted(BaseModel):
    removed: int = Field(description="Versions whose files are no longer laid out, or on a dry run would not be.")
    freed: int = Field(description="Bytes that nothing else needs.")
    size: int = Field(description="Bytes that are left. What the store holds too is not counted.")
    folders: int = Field(description="Versions that are left.")
    limit: int | None = Field(description="What it was to be at most; null: no matter how large.")
    over: int = Field(description="Bytes that are left above that.")
    kept: list[KeptFolder] = Field(description="Where some are: the versions that are in the way, and why they stay.")


class Collected(BaseModel):
    removed: int = Field(description="Objects that went, or on a dry run would.")
    freed: int = Field(description="Their bytes.")
    kept: int = Field(description="Objects that versions need.")
    young: int = Field(description="Objects that no version names, too young to go.")
    condemned: int = Field(description="Objects of a bucket that go with the first collection after `goes_at`.")
    goes_at: datetime | None
    cache: Evicted = Field(description="What went from the cache for it.")
