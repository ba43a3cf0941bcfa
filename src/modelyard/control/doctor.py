"""What belongs to nothing any more: found, shown, and cleared when somebody says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from modelyard.backends.port import Backend, Orphan
from modelyard.control.changes import ChangeFeed
from modelyard.control.ports import OperationQuery, Store
from modelyard.domain.commands import Change
from modelyard.domain.errors import ModelyardError
from modelyard.domain.operations import Operation, OperationKind, cancel, succeed
from modelyard.domain.spec import BackendName

ROW = "row"
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Cleared:
    """What became of one orphan; ``error`` None: it is gone."""

    orphan: Orphan
    error: ModelyardError | None


class Doctor:
    """Examines the backends that this control process drives, and the database."""

    def __init__(
        self, store: Store, feed: ChangeFeed, backends: Mapping[BackendName, Backend], clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._feed = feed
        self._backends = backends
        self._clock = clock

    async def examine(self) -> list[Orphan]:
        """Everything found, processes first."""
        found = [orphan for backend in self._backends.values() for orphan in await self._orphans(backend)]
        return found + [_of(operation) for operation in await self._lost_operations()]

    async def clear(self, chosen: Sequence[Orphan]) -> list[Cleared]:
        """End or remove each of ``chosen`` that is still an orphan; one that cannot be is reported and keeps none
        of the others."""
        cleared = []
        orphans = {(orphan.kind, orphan.id) for orphan in await self.examine()}
        for orphan in chosen:
            try:
                if (orphan.kind, orphan.id) in orphans:
                    await self._clear(orphan)
                cleared.append(Cleared(orphan, None))
            except ModelyardError as error:
                cleared.append(Cleared(orphan, error))
        return cleared

    async def _orphans(self, backend: Backend) -> Sequence[Orphan]:
        known = await self._known()
        while True:
            found = await backend.orphans(known)
            # A model made while the backend looked is no orphan.
            if (now_known := await self._known()) <= known:
                return found
            known = now_known

    async def _known(self) -> set[str]:
        return {ref.uid for ref in await self._store.model_versions()}

    async def _clear(self, orphan: Orphan) -> None:
        if orphan.kind != ROW:
            for backend in self._backends.values():
                await backend.clear(orphan)
            return
        for operation in await self._lost_operations():
            if operation.id == orphan.id:
                now = self._clock()
                ended = (
                    succeed(operation, now, {"deleted": True})
                    if operation.kind is OperationKind.DELETE
                    else cancel(operation, now, "Its model is gone.")
                )
                await self._feed.commit(Change(before=None, after=None, operations=(ended,)))

    async def _lost_operations(self) -> list[Operation]:
        """Operations that run though their model is gone: nothing will ever end them."""
        known = await self._known()
        lost: list[Operation] = []
        token = ""
        while True:
            page = await self._store.list_operations(OperationQuery(done=False, page_size=_PAGE, page_token=token))
            lost += [operation for operation in page.items if operation.model_uid not in known]
            token = page.next_page_token
            if not token:
                return lost


def _of(operation: Operation) -> Orphan:
    message = f"The {operation.kind} of {operation.namespace}/{operation.model} runs, and its model is gone."
    return Orphan(kind=ROW, id=operation.id, message=message)
