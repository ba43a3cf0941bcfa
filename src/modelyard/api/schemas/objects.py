"""The store, object by object."""

from __future__ import annotations

from pydantic import BaseModel, Field


class StoredObject(BaseModel):
    key: str
    size: int = Field(description="Bytes.")
    modified: float = Field(description="When it was written or last touched: seconds since the epoch.")


class ObjectKey(BaseModel):
    key: str | None = Field(description="To read it by; null: there is none.")


class Touched(BaseModel):
    there: bool = Field(description="Whether there was anything to touch.")
