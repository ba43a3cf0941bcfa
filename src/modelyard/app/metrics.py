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
