"""The small face that both databases have, and what they share.

A query is a plain function of a :class:`sqlalchemy.Connection`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Protocol, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Work = Callable[[sa.Connection], T]

# How long a write waits for another process that is writing, in seconds.
BUSY: Final = 10
# Documents are text already (codec.py): the engines hand JSON columns through as they are.
JSON_AS_TEXT: Final[dict[str, Any]] = {"json_serializer": lambda text: text, "json_deserializer": lambda text: text}


class Database(Protocol):
    """``name`` is what messages call it (no password); ``shared``: several control processes may use it."""

    name: str
    shared: bool

    async def look(self, work: Work[T]) -> T:
        """Run ``work``, one statement that reads a few rows by key."""

    async def read(self, work: Work[T]) -> T:
        """Run ``work``, one statement that reads any number of rows."""

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in one transaction: all of it is written, or, if it raises, nothing. If the
        caller is cancelled meanwhile, it is one of the two."""

    async def beat(self, work: Work[T]) -> T:
        """As :meth:`write`, and never behind other work."""

    def news(self) -> AsyncGenerator[str | None]:
        """What processes say to each other on news.py's channel; None when some of it may have been missed."""

    async def claim(self) -> None:
        """See :meth:`modelyard.store.store.SqlStore.claim`."""

    async def close(self) -> None: ...
