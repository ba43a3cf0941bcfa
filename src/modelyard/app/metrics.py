"""What the metrics ask of store and backends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelyard.backends.port import Backend
from modelyard.control.ports import ModelQuery
from modelyard.domain.model import Model
from modelyard.domain.spec import BackendName
from modelyard.store.store import SqlStore


async def usage_of(backends: Mapping[BackendName, Backend]) -> Mapping[str, int]:
    """Bytes of memory that each instance holds."""
    usage: dict[str, int] = {}
    for backend in backends.values():
        usage |= await backend.usage()
    return usage


async def holdings_of(backends: Mapping[BackendName, Backend]) -> Mapping[str, tuple[int, int]]:
    """How many instances each model has that are not verified gone, and the bytes of memory that they hold; models
    without any are missing."""
    held: dict[str, tuple[int, int]] = {}
    for backend in backends.values():
        if not (holdings := (await backend.ledger()).holdings):
            continue
        usage = await backend.usage()
        for holding in holdings:
            instances, memory = held.get(holding.ref.uid, (0, 0))
            held[holding.ref.uid] = (instances + 1, memory + usage.get(holding.instance, 0))
    return held


class MetricsSource:
    """Models of the store and the memory of their instances."""

    def __init__(self, store: SqlStore, backends: Mapping[BackendName, Backend]) -> None:
        self._store = store
        self._backends = backends

    async def models(self) -> Iterable[Model]:
        found: list[Model] = []
        token = ""
        while True:
            page = await self._store.list_models(ModelQuery(page_size=1000, page_token=token))
            found += page.items
            token = page.next_page_token
            if not token:
                return found

    async def usage(self) -> Mapping[str, int]:
        return await usage_of(self._backends)
