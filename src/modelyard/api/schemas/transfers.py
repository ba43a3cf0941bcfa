"""Transfers: what the server moves for its callers."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from modelyard.domain.transfers import Phase, TransferKind, TransferState


class TransferError(BaseModel):
    code: str
    message: str


class Transfer(BaseModel):
    """The record of one movement of bytes."""

    id: str
    kind: TransferKind
    namespace: str
    model: str = Field(description="The registered model.")
    version: str | None = Field(description="What it is published as; null as long as that is not known.")
    manifest: str | None = Field(description="The digest of the record of its bytes, once they are stored.")
    source: str
    state: TransferState
    done: bool = Field(description="Whether it is over, however it ended.")
    phase: Phase | None = Field(
        description="How far it is, or was when it failed; null before it begins, and once it has succeeded."
    )
    bytes_done: int = Field(description="Of the phase; of the version once it has succeeded.")
    bytes_total: int | None = Field(description="As the bytes done; null where nobody knows.")
    rate: float = Field(description="Bytes a second, over the last seconds.")
    seconds_left: float | None = Field(description="Until the phase is over at this rate; null where nobody knows.")
    error: TransferError | None = Field(
        description="Why it ended without a version; of one that is queued again, why the last attempt failed."
    )
    attempt: int = Field(description="How often it was taken up; after the fifth failure it has failed.")
    site: str = Field(description="Whose control process carries it out.")
    actor: str
    reason: str
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
