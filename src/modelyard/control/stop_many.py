"""Stop many models at once, and the emergency stop, which goes before everything else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.control import attempts
from modelyard.control.bulk_ports import BulkStore
from modelyard.control.caller import Caller
from modelyard.control.changes import ChangeFeed
from modelyard.control.ports import ModelQuery, Store
from modelyard.control.service import ModelService
from modelyard.domain.access import EVERYWHERE, Permission, Sight
from modelyard.domain.commands import Change, check_timeout
from modelyard.domain.errors import ModelyardError, NotFound
from modelyard.domain.model import ModelRef, StopMode
from modelyard.domain.operations import Operation

log = logging.getLogger(__name__)

_PAGE = 1000
# So many are written together; others get their turn in between.
_ABREAST = 64


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of one model of many: the operation that stops it, or the reason why there is none."""

    model: ModelRef
    operation: Operation | None
    error: ModelyardError | None


class StopMany:
    """The stop of many models, accepted together."""

    def __init__(
        self, store: Store, feed: ChangeFeed, models: ModelService, bulks: BulkStore, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._feed = feed
        self._models = models
        self._bulks = bulks
        self._clock = clock

    async def stop(
        self, namespace: str | None, names: Sequence[str], labels: Mapping[str, str], mode: StopMode, timeout: float,
        caller: Caller,
    ) -> list[Stopped]:  # fmt: skip
        """Stop the models of ``namespace`` (None: of all) that are named and have all ``labels``; no name means
        all of them. What became of each, in the order of names; one that is missing or refuses stops none of
        the others. To force all to stop is the emergency stop: it goes before everything else."""
        check_timeout(timeout)
        urgent = mode is StopMode.FORCE and not names and not labels
        # Beside the rest: each wait lets all others have their turn first.
        called_off = asyncio.ensure_future(self._call_off(namespace, caller)) if urgent else None
        if names and namespace is not None and not labels:
            # Each by its name: nobody else needs to be looked at.
            chosen = [ModelRef("", namespace, name) for name in dict.fromkeys(names)]
            found: list[Stopped] = []
        else:
            sight = caller.principal.sight if caller.principal is not None else None
            chosen, found = _named(await self._select(namespace, labels, sight), names, namespace)

        turns = asyncio.Semaphore(len(chosen) + 1 if urgent else _ABREAST)
        accepted: list[Change] = []

        async def one(ref: ModelRef) -> Stopped:
            try:
                if caller.principal is not None:
                    caller.principal.demand(Permission.OPERATE, ref.namespace, ref.name)
                async with turns:
                    return Stopped(
                        ref,
                        await self._models.stop(ref.namespace, ref.name, mode, timeout, caller, wake_later=accepted),
                        None,
                    )
            except ModelyardError as error:
                return Stopped(ref, None, error)

        try:
            # Together: writes of one turn of the event loop share a transaction.
            stopped = found + list(await asyncio.gather(*(one(ref) for ref in chosen)))
        finally:
            # Only now: to carry out a stop takes several times what it takes to accept it.
            for change in accepted:
                self._feed.wake(change)
            if called_off is not None:
                try:
                    await called_off
                except ModelyardError as error:
                    # The stops are accepted all the same, and each makes its own model's start void.
                    log.warning("The starts asked of many models could not be called off: %s", error)
        for refused in stopped:
            if refused.error is not None:
                attempts.refused("model", refused.model.namespace, refused.model.name, refused.error)
        return stopped

    async def _call_off(self, namespace: str | None, caller: Caller) -> None:
        """Begin no more starts that were asked of many models; each stop makes its own model's void anyway."""
        who, where = caller.principal, namespace or EVERYWHERE
        if who is None or who.may(Permission.OPERATE, where):
            await self._bulks.call_off(namespace, self._clock())

    async def _select(self, namespace: str | None, labels: Mapping[str, str], sight: Sight | None) -> list[ModelRef]:
        refs: list[ModelRef] = []
        query = ModelQuery(namespace=namespace, labels=labels, page_size=_PAGE, sight=sight)
        while True:
            page = await self._store.list_models(query)
            refs += [model.ref for model in page.items]
            if not page.next_page_token:
                return refs
            query = replace(query, page_token=page.next_page_token)


def _named(refs: list[ModelRef], names: Sequence[str], namespace: str | None) -> tuple[list[ModelRef], list[Stopped]]:
    """Those of ``refs`` that are named (no name: all), and what is to be said of names that are not among them."""
    if not names:
        return refs, []
    where = f"in namespace {namespace!r} with these labels" if namespace else "with these labels in any namespace"
    known = {ref.name for ref in refs}
    missing = [
        Stopped(ModelRef("", namespace or "", name), None, NotFound(f"There is no model {name!r} {where}."))
        for name in dict.fromkeys(names)
        if name not in known
    ]
    return [ref for ref in refs if ref.name in names], missing
