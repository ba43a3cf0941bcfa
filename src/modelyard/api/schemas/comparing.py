"""In what the bytes of two versions differ."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, Field

T = TypeVar("T")


class Some(BaseModel, Generic[T]):
    """`count` things, of which the first few are listed."""

    count: int
    items: list[T]


class FileState(BaseModel):
    """A file as one of the versions has it."""

    size: int
    sha256: str
    executable: bool


class FileDifference(BaseModel):
    """A file that is not the same in both; null where there is none."""

    path: str
    before: FileState | None
    after: FileState | None


class TensorShape(BaseModel):
    dtype: str = Field(description="In the words of its file's format.")
    shape: list[int]


class TensorDifference(BaseModel):
    """A tensor that is not the same in both; null where there is none. Where both are equal its values differ."""

    name: str
    before: TensorShape | None
    after: TensorShape | None
    size: int = Field(description="Bytes in the second version, or where it is not there in the first.")


class FileTensors(BaseModel):
    """The tensors that differ of a file that is in both."""

    path: str
    added: Some[TensorDifference]
    removed: Some[TensorDifference]
    changed: Some[TensorDifference]
    same: int = Field(description="Tensors that are equal in both.")


class ContentDiff(BaseModel):
    """What differs in the files. The lists are cut at `limit`; all is counted."""

    added: Some[FileDifference]
    removed: Some[FileDifference]
    changed: Some[FileDifference]
    same: int = Field(description="Files that are equal in both.")
    tensors: Some[FileTensors] = Field(description="Of files that are in both and differ.")
    fetch: int = Field(description="Bytes of the second that a machine which has the first lacks: chunks, each once.")
    shared: int = Field(description="Bytes of the second that are somewhere in the first too.")
