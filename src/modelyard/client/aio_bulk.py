"""Work on many models, for asyncio: as :mod:`modelyard.client.sync_bulk`, awaited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelyard.client import bulk_calls, types
from modelyard.client.bulk_types import BulkForecast

if TYPE_CHECKING:
    from modelyard.client.aio import AsyncModelyard


class AsyncBulk:
    """One request on many models: by ``names`` (or ``namespace/name``), by what all of ``label``, ``states`` and
    ``search`` hold for (of ``namespaces``, if any are named), or ``all``; ``namespace`` defaults to the client's,
    ``"*"`` means all."""

    def __init__(self, client: AsyncModelyard) -> None:
        self._client = client

    async def run(
        self, action: str, names: Sequence[str] = (), *, label: Mapping[str, str] | None = None,
        namespaces: Sequence[str] = (), states: Sequence[str] = (), search: str = "", all: bool = False,
        namespace: str | None = None, concurrency: int | None = None, on_error: str = "continue", reason: str = "",
        **parameters: Any,
    ) -> types.Operation:  # fmt: skip
        """Have ``start``, ``stop``, ``restart``, ``delete``, ``label`` or ``schedule`` done to each. Its operation has
        an item for every model, and succeeds only if all did. ``concurrency``: how many at a time (0: all);
        ``on_error``: ``continue``, or ``stop`` to begin no more once one has failed; ``parameters``: graceful, timeout,
        restore_autoscaling, labels (None removes one), schedule, schedule_edit, as the API takes them."""
        selector = {"labels": label, "namespaces": namespaces, "states": states, "search": search}
        more = {"concurrency": concurrency, "on_error": on_error, "reason": reason, **parameters}
        return await self._client.send(
            bulk_calls.work(self._client.namespace, namespace, action, names, selector, all, more)
        )

    async def forecast(
        self, action: str, names: Sequence[str] = (), *, label: Mapping[str, str] | None = None,
        namespaces: Sequence[str] = (), states: Sequence[str] = (), search: str = "", all: bool = False,
        namespace: str | None = None, **parameters: Any,
    ) -> BulkForecast:  # fmt: skip
        """What :meth:`run` would come to; nothing is changed."""
        selector = {"labels": label, "namespaces": namespaces, "states": states, "search": search}
        return await self._client.send(
            bulk_calls.forecast(self._client.namespace, namespace, action, names, selector, all, parameters)
        )
