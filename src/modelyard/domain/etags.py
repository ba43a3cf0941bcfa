"""Versions of what can be deleted and made anew under its name, as If-Match names them."""

from __future__ import annotations

from datetime import datetime


def first_version(now: datetime) -> int:
    """That of a thing that is made now, to grow by one with each change. An earlier thing of the name never had it: it
    was made before now, and has not changed every microsecond. Whoever still has that one's ETag is refused."""
    return int(now.timestamp() * 1_000_000)
