"""Transfers, as the client for asyncio has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from modelyard.client import transfer_calls
from modelyard.client.transfer_calls import TransferWait
from modelyard.client.transfer_types import Transfer

if TYPE_CHECKING:
    from modelyard.client.aio import AsyncModelyard


class AsyncTransfers:
    """What the server moves: begun here, and watched."""

    def __init__(self, client: AsyncModelyard) -> None:
        self._client = client

    async def import_version(
        self, source: str, name: str, version: str | None = None, *, bump: str | None = None,
        aliases: Sequence[str] = (), include: Sequence[str] = (), exclude: Sequence[str] = (),
        namespace: str | None = None, reason: str = "", **metadata: Any,
    ) -> Transfer:  # fmt: skip
        """Have the server fetch what is at ``source`` and publish it as the ``version`` of a registered model, or, with
        ``bump`` (``major``, ``minor`` or ``patch``), as the one after the latest. ``include`` and ``exclude`` are
        patterns of paths; ``metadata``: framework, signature, lineage, dependencies, licence, trust, description,
        metrics, labels and card, as the API takes them."""
        what = {
            "version": version, "bump": bump, "aliases": list(aliases), "include": list(include),
            "exclude": list(exclude),
        }  # fmt: skip
        where = namespace or self._client.namespace
        return await self._client.send(transfer_calls.begin_import(where, name, source, what, metadata, reason))

    async def get(self, transfer_id: str) -> Transfer:
        return await self._client.send(transfer_calls.get_transfer(transfer_id))

    def list(
        self, *, namespace: str | None = None, model: str | None = None, done: bool | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[Transfer]:  # fmt: skip
        """Newest first, page after page."""
        return self._client.pages(transfer_calls.list_transfers(namespace, model, done, page_size))

    async def wait(
        self, transfer: Transfer | str, *, timeout: float | None = None,
        on_change: Callable[[Transfer], None] | None = None,
    ) -> Transfer:  # fmt: skip
        """The transfer once it has succeeded. ``on_change`` is called with it at first and whenever it has moved.

        Raises:
            TransferFailed: it failed or was cancelled.
            TimedOut: it is not done after ``timeout`` seconds; it goes on.
        """
        wait = TransferWait(transfer, timeout, on_change)
        while not wait.done:
            wait.seen(await self._client.send(wait.call()))
        return wait.result()

    async def cancel(self, transfer_id: str) -> Transfer:
        return await self._client.send(transfer_calls.cancel_transfer(transfer_id))
