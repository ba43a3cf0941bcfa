"""What is answered of sites: what they hold, and what belongs to nothing any more. As in
:mod:`modelyard.client.types`.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from modelyard.client.types import Amount, ModelRef, Resource


class Device(msgspec.Struct, kw_only=True):
    id: str
    kind: str = ""
    name: str = ""
    memory: str | None = None
    held: bool = False
    holder: ModelRef | None = None


class Inventory(msgspec.Struct, kw_only=True):
    cpu: float = 0.0
    memory: str = "0"
    devices: list[Device] = msgspec.field(default_factory=list)


class Holding(msgspec.Struct, kw_only=True):
    """What one instance holds."""

    namespace: str
    model: str
    instance: str
    cpu: float = 0.0
    memory: str = "0"
    devices: list[str] = msgspec.field(default_factory=list)


class Queued(msgspec.Struct, kw_only=True):
    """A model that waits: ``count`` instances of ``each`` are missing."""

    place: int
    namespace: str
    model: str
    each: Amount
    count: int
    priority: int = 0
    since: datetime | None = None
    reason: str = ""
    message: str = ""
    holders: list[ModelRef] = msgspec.field(default_factory=list)


class SiteCapacity(Resource):
    """What one site has, who holds it, who waits for it."""

    site: str
    inventory: Inventory
    held: Amount
    free: Amount
    holdings: list[Holding] = msgspec.field(default_factory=list)
    queue: list[Queued] = msgspec.field(default_factory=list)


class Finding(Resource):
    """Something that belongs to nothing any more; after a clear, whether it is gone, or why not."""

    kind: str
    id: str
    message: str = ""
    cleared: bool = False
    error: str | None = None
