"""What the other shapes are made of: quantities, strict requests, pages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, Strict, WithJsonSchema, model_validator

from modelyard.domain.quantities import format_bytes, format_duration, parse_bytes, parse_duration

T = TypeVar("T")

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}], "examples": ["30s", "500ms", 60]}),
]
# True is no number, and 0 is not no.
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Size = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}], "examples": ["512Mi", 1048576]}),
]


class In(BaseModel):
    """A request's part: an unknown field is an error, so that a typing mistake is never silently dropped."""

    model_config = ConfigDict(extra="forbid")


class NotInteroperable(ValueError):
    """Values that other JSON readers could not take back (I-JSON, RFC 7493): lone surrogates, integers over
    64 bits, NaN. ``found`` pairs each one's path in the body with what is wrong."""

    def __init__(self, found: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(message for _, message in found))
        self.found = found


class Request(In):
    """A whole request body."""

    @model_validator(mode="before")
    @classmethod
    def _interoperable(cls, body: Any) -> Any:
        if found := list(_not_interoperable(body, ())):
            raise NotInteroperable(found)
        return body


def _not_interoperable(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if not _is_unicode(key):
                yield path, "A field's name here is not Unicode text."
            yield from _not_interoperable(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_interoperable(item, (*path, index))
    elif isinstance(value, str):
        if not _is_unicode(value):
            yield path, "This is not Unicode text (a lone surrogate)."
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            yield path, "This whole number has more than 64 bits."
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, "This is not a finite number."


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Page(BaseModel, Generic[T]):
    """One page; ``next_page_token`` is empty on the last."""

    items: list[T]
    next_page_token: str = ""


class Items(BaseModel, Generic[T]):
    """A whole list."""

    items: list[T]
