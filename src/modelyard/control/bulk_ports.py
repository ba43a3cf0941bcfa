"""What work on many models needs of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from modelyard.control.ports import Idempotency, Place
from modelyard.domain.access import Sight
from modelyard.domain.bulk import Bulk, Counts, Item, ItemState


class BulkStore(Protocol):
    """Requests on many models and their items. An item that has led to an operation is in that one's state, whoever
    ends it; nothing else is written of it then."""

    shared: bool

    async def add(self, bulk: Bulk, items: Sequence[Item], idempotency: Idempotency | None = None) -> None:
        """Take a request in, with its operation and all of its items, or none of it.

        Raises:
            VersionConflict, IdempotencyMismatch: the key was used meanwhile
                (:meth:`modelyard.control.ports.Store.recall`).
        """

    async def get(self, operation_id: str) -> Bulk | None: ...

    async def active(self) -> Sequence[Bulk]:
        """Those that are not over, oldest first."""

    async def take_over(self, operation_id: str, site: str, to: str) -> bool:
        """Have the process of the site ``to`` carry it out, unless another one than that of ``site`` does by now."""

    async def items(self, operation_id: str) -> Sequence[Item]:
        """All, in their order."""

    async def waiting(self, operation_id: str, count: int) -> Sequence[Item]:
        """The first ``count`` that wait."""

    async def stuck(self, operation_id: str) -> Sequence[Item]:
        """Those that were begun without an operation: if nobody is at them now, whoever was has died."""

    async def counts(self, operation_ids: Sequence[str], sight: Sight | None = None) -> Mapping[str, Counts]:
        """How many items are in each state, by request, of those in ``sight`` (None: of all); states without items are
        missing."""

    async def queued(self, operation_id: str) -> int:
        """How many of those that run are of models that wait for capacity."""

    async def begin(self, place: Place, operation_id: str | None = None, message: str = "") -> bool:
        """Begin an item outside :meth:`modelyard.control.ports.Store.commit`, by the operation that was there already,
        if one was; ``message`` says so. False: it no longer waits."""

    async def settle(self, place: Place, state: ItemState, code: str, message: str) -> None:
        """Say what became of an item without an operation. What is over stays as it is."""

    async def end_waiting(
        self, operation_id: str, state: ItemState, code: str, message: str, *, cancelled_by: str = ""
    ) -> None:
        """Begin no more of its items. ``cancelled_by``: who wanted that, if anybody did."""

    async def call_off(self, namespace: str | None, at: datetime) -> None:
        """Cancel every item in ``namespace`` (None: in all) that would launch something, waits, and was asked for
        before ``at``: all models are stopped."""
