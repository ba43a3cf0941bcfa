"""Carries out what was asked of many models: each item once, by the command that a caller would have given.

All that is known of a request is in the database. An item and the command that it leads to are written in one
transaction, so a process that is killed leaves nothing half done, and the next one goes on with what waits; and what
was cancelled, by its caller or by a later stop of the model, is never begun.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from modelyard import tasks
from modelyard.control.bulk import ALREADY, command
from modelyard.control.bulk_ports import BulkStore
from modelyard.control.caller import Caller
from modelyard.control.changes import ChangeFeed
from modelyard.control.ports import Place, Sites, Store
from modelyard.control.service import ModelService, replaced
from modelyard.domain import bulk
from modelyard.domain.access import Principal
from modelyard.domain.bulk import Bulk, BulkAction, Counts, Item, ItemState, OnError, Order, ScheduleEdit
from modelyard.domain.commands import Change
from modelyard.domain.errors import ModelyardError, NotFound, Unavailable, VersionConflict
from modelyard.domain.model import Model, ModelRef
from modelyard.domain.operations import OperationKind
from modelyard.domain.schedules import Schedule
from modelyard.domain.scheduling import ModelSchedule

log = logging.getLogger(__name__)

# In seconds. Between two looks for requests that other processes took in, and where there are none.
_LOOK_EVERY: Final = 1.0
_LOOK_ALONE_EVERY: Final = 60.0
# Between two looks at a request whose items run, unless something happens, and at least.
_POLL: Final = 2.0
_LULL: Final = 0.5
# Until what the database or a backend was away for is tried again, and how often an item is.
_AGAIN: Final = 1.0
_TRIES: Final = 5
# So many are begun together; others get their turn in between.
_ABREAST: Final = 64
# Of an item: these are wrong with the model that was named, not with what was asked of the others.
_OF_ITS_OWN: Final = (NotFound.code, "forbidden")


class Timetables(Protocol):
    """What sets the schedules of models (:class:`modelyard.control.schedule_service.ScheduleService`)."""

    async def find(self, namespace: str, name: str, viewer: Principal | None) -> tuple[Model, ModelSchedule | None]: ...

    async def save(self, namespace: str, name: str, schedule: Schedule, caller: Caller) -> ModelSchedule: ...

    async def switch(self, namespace: str, name: str, caller: Caller, *, on: bool) -> ModelSchedule: ...

    async def remove(self, namespace: str, name: str, caller: Caller) -> None: ...


class BulkCarrier:
    """Carries out the requests that are this ``site``'s, while this process is ``driving`` it."""

    def __init__(
        self, store: Store, bulks: BulkStore, feed: ChangeFeed, models: ModelService, clock: Callable[[], datetime], *,
        site: str, driving: Callable[[], bool], sites: Sites, timetables: Timetables,
    ) -> None:  # fmt: skip
        self._store, self._bulks, self._feed, self._models, self._clock = store, bulks, feed, models, clock
        self._site, self._driving, self._sites, self._timetables = site, driving, sites, timetables
        self._told = asyncio.Event()
        self._carried: dict[str, asyncio.Task[None]] = {}
        self._tries: Counter[Place] = Counter()

    def tell(self) -> None:
        """A request was taken or cancelled."""
        self._told.set()

    async def run(self) -> None:
        """Look when it is told to, and now and then."""
        try:
            while True:
                self._told.clear()
                try:
                    await self._look()
                except ModelyardError as error:
                    log.warning("Requests on many models could not be looked through: %s", error)
                    await asyncio.sleep(_AGAIN)
                    continue
                except Exception:
                    log.exception("Looking through requests on many models failed; it goes on in %.0f s", _AGAIN)
                    await asyncio.sleep(_AGAIN)
                    continue
                await _wait(self._told, _LOOK_EVERY if self._wakes_often() else _LOOK_ALONE_EVERY)
        finally:
            await tasks.stop(*self._carried.values())

    def _wakes_often(self) -> bool:
        return self._bulks.shared or not self._driving()

    async def _look(self) -> None:
        if not self._driving():
            await tasks.stop(*self._carried.values())
            self._carried.clear()
            return
        for one in await self._bulks.active():
            known = one.operation.id
            if known not in self._carried and await self._is_ours(one):
                task = tasks.spawn(self._carry(known), f"carry out {known}")
                self._carried[known] = task
                task.add_done_callback(lambda _, known=known: self._carried.pop(known, None))  # type: ignore[misc]

    async def _is_ours(self, one: Bulk) -> bool:
        """Also once nobody drives the site that took it in."""
        if one.site == self._site:
            return True
        site = await self._sites.get_site(one.site)
        if site is not None and site.holder is not None and not site.expired:
            return False
        return await self._bulks.take_over(one.operation.id, one.site, self._site)

    # ------------------------------------------------------------------ one request

    async def _carry(self, operation_id: str) -> None:
        with self._feed.listening() as news:
            while True:
                news.clear()
                try:
                    if await self._step(operation_id):
                        return
                except ModelyardError as error:
                    log.warning("%s does not go on just now: %s", operation_id, error)
                    await asyncio.sleep(_AGAIN)
                    continue
                await _wait(news, _POLL)
                await asyncio.sleep(_LULL)

    async def _step(self, operation_id: str) -> bool:
        """Begin all that may begin now. True: nothing is left to be done for it here."""
        one = await self._bulks.get(operation_id)
        if one is not None and one.order.action is BulkAction.SCHEDULE:
            # These have no operation: whoever carried them out may have died in their middle, or the database may have
            # been away when their end was to be written.
            for item in await self._bulks.stuck(operation_id):
                await self._reschedule(one, item)
        while True:
            one = await self._bulks.get(operation_id)
            if one is None or one.operation.done or one.site != self._site:
                return True
            counts = (await self._bulks.counts([operation_id])).get(operation_id, {})
            if bulk.is_over(counts):
                await self._end(one, counts)
                return True
            if not counts.get(ItemState.WAITING):
                return False
            if one.order.on_error is OnError.STOP and await self._has_failed(operation_id):
                message = "Another model failed before this one began, and the request was to stop then."
                await self._bulks.end_waiting(operation_id, ItemState.SKIPPED, "skipped", message)
                continue
            if not await self._begin_some(one, counts):
                return False

    async def _has_failed(self, operation_id: str) -> bool:
        items = await self._bulks.items(operation_id)
        return any(item.state is ItemState.FAILED and item.code not in _OF_ITS_OWN for item in items)

    async def _begin_some(self, one: Bulk, counts: Counts) -> bool:
        """Whether any more could begin."""
        operation_id = one.operation.id
        limited = one.order.at_a_time is not None and counts.get(ItemState.RUNNING)
        room = bulk.room(one.order, counts, await self._bulks.queued(operation_id) if limited else 0)
        count = _ABREAST if room is None else min(room, _ABREAST)
        if not count:
            return False
        items = await self._bulks.waiting(operation_id, count)
        # Together: writes of one turn of the event loop share a transaction.
        away = [a for a in await asyncio.gather(*(self._begin(one, item) for item in items)) if a is not None]
        if away and len(away) == len(items):
            raise away[0]
        return bool(items)

    async def _end(self, one: Bulk, counts: Counts) -> None:
        ended = bulk.settle(one, counts, self._clock())
        try:
            await self._feed.commit(Change(before=None, after=None, operations=(ended,)))
        except VersionConflict:
            return  # somebody else was faster

    # ------------------------------------------------------------------ one item

    async def _begin(self, one: Bulk, item: Item) -> Unavailable | None:
        """Give the item's command, or say why it cannot be given. Something that may pass is given back."""
        place = Place(bulk=one.operation.id, position=item.position, uid=item.model.uid)
        try:
            await self._command(one, item, place)
        except Unavailable as error:
            self._tries[place] += 1
            if self._tries[place] < _TRIES:
                return error
            await self._fail(place, error)
        except ModelyardError as error:
            await self._refused(one, place, error)
        except Exception as error:
            log.exception("%s of %s failed", one.order.action, item.model)
            await self._fail(place, ModelyardError(f"Something unexpected happened: {error!r}"))
        self._tries.pop(place, None)
        return None

    async def _command(self, one: Bulk, item: Item, place: Place) -> None:
        if one.order.action is BulkAction.SCHEDULE:
            if await self._bulks.begin(place):
                await self._reschedule(one, item)
            return
        caller = Caller(actor=one.operation.actor, reason=one.operation.reason, idempotency=place)
        await command(self._models, one.order, item.model, caller)

    async def _reschedule(self, one: Bulk, item: Item) -> None:
        """A schedule is set without an operation. Setting the same one twice leaves the same."""
        place = Place(bulk=one.operation.id, position=item.position, uid=item.model.uid)
        caller = Caller(actor=one.operation.actor, reason=one.operation.reason)
        try:
            message = await self._set_schedule(one.order, item.model, caller)
        except ModelyardError as error:
            await self._fail(place, error)
            return
        await self._bulks.settle(place, ItemState.SUCCEEDED, "", message)

    async def _set_schedule(self, order: Order, ref: ModelRef, caller: Caller) -> str:
        """Why there was nothing to do; empty where there was."""
        namespace, name, schedules = ref.namespace, ref.name, self._timetables
        model, kept = await schedules.find(namespace, name, None)
        if model.uid != ref.uid:
            raise replaced(model)
        match order.schedule_edit:
            case ScheduleEdit.SET:
                assert order.schedule is not None
                await schedules.save(namespace, name, order.schedule, caller)
            case ScheduleEdit.REMOVE:
                if kept is None:
                    return "It has no schedule."
                await schedules.remove(namespace, name, caller)
            case _:
                await schedules.switch(namespace, name, caller, on=order.schedule_edit is ScheduleEdit.ENABLE)
        return ""

    async def _refused(self, one: Bulk, place: Place, error: ModelyardError) -> None:
        if error.code == "item_over":
            return
        if one.order.action is not BulkAction.START or error.code not in ALREADY:
            await self._fail(place, error)
            return
        # Somebody else has it started: what comes of that comes of this.
        running = await self._store.running_operations(place.uid)
        starts = [o.id for o in running if o.kind in (OperationKind.START, OperationKind.DEPLOY)]
        if starts:
            await self._bulks.begin(place, starts[-1], error.message)
        else:
            await self._bulks.settle(place, ItemState.SUCCEEDED, "", error.message)

    async def _fail(self, place: Place, error: ModelyardError) -> None:
        await self._bulks.settle(place, ItemState.FAILED, error.code, error.message)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
