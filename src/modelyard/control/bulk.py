"""What users ask of many models at once: which models that means, whether they may, what would come of it; the record
of it; and its cancelling. How it is carried out is in :mod:`modelyard.control.bulk_carrying`."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.control import attempts
from modelyard.control.bulk_ports import BulkStore
from modelyard.control.caller import Caller, rehearse
from modelyard.control.forecast import Forecast
from modelyard.control.forecasts import Forecasts
from modelyard.control.holidays import calendar_problems
from modelyard.control.ports import Idempotency, ModelQuery, Store
from modelyard.control.service import ModelService
from modelyard.domain import bulk
from modelyard.domain.access import EVERYWHERE, Principal
from modelyard.domain.bulk import MOST_ITEMS, Bulk, BulkAction, Counts, Item, ItemState, Order, Selection
from modelyard.domain.errors import InvalidRequest, ModelyardError, NotFound, Problem, Refused, VersionConflict
from modelyard.domain.model import Model, ModelRef
from modelyard.domain.names import DEFAULT_NAMESPACE
from modelyard.domain.operations import Operation
from modelyard.domain.spec import Spec
from modelyard.domain.states import State
from modelyard.domain.validation import label_problems

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]

_PAGE = 1000
# A model that is so already is no failure of one that was to become so.
ALREADY = ("already_running", "already_starting", "already_queued")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model that a request means, or one that it names and that is not there or not the caller's to change."""

    ref: ModelRef
    model: Model | None
    error: ModelyardError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What would come of a request for one model. ``does``: whether anything would change; ``error``: why it would
    fail; ``forecast``: of a start, by itself, whatever the others take."""

    model: ModelRef
    state: State | None
    does: bool
    message: str = ""
    error: ModelyardError | None = None
    forecast: Forecast | None = None


class BulkService:
    """Requests on many models. ``on_change`` is told of each that is taken or cancelled."""

    def __init__(
        self, store: Store, bulks: BulkStore, models: ModelService, forecasts: Forecasts, clock: Clock, *,
        site: str = "",
    ) -> None:  # fmt: skip
        self._store = store
        self._bulks = bulks
        self._models = models
        self._forecasts = forecasts
        self._clock = clock
        self._site = site
        self.on_change: Callable[[], None] | None = None

    async def take(self, order: Order, namespace: str | None, caller: Caller) -> Operation:
        """Take a request in, with the models that it means now. ``namespace``: of the request (None: any).

        Raises:
            InvalidRequest: it is not valid, or means no model.
        """
        key = caller.idempotency if isinstance(caller.idempotency, Idempotency) else None
        if key is not None and (earlier := await self._store.recall(key)) is not None:
            return earlier
        chosen = await self._choose(order, namespace, caller.principal)
        operation_id = f"op-{secrets.token_hex(8)}"
        operation = bulk.begin(operation_id, order, namespace, caller.actor, caller.reason, self._clock())
        items = [_item(position, one) for position, one in enumerate(chosen)]
        try:
            await self._bulks.add(
                Bulk(operation=operation, order=order, site=self._site), items, key
            )  # fmt: skip
        except VersionConflict:
            earlier = None if key is None else await self._store.recall(key)
            if earlier is None:
                raise
            return earlier
        for one in chosen:
            if one.error is not None:
                attempts.refused("model", one.ref.namespace, one.ref.name, one.error)
        self._tell()
        return operation

    async def forecast(self, order: Order, namespace: str | None, caller: Caller) -> list[Prospect]:
        """What :meth:`take` would come to; nothing is changed. Raises what it would."""
        chosen = await self._choose(order, namespace, caller.principal)
        return [await self._prospect(order, one) for one in chosen]

    async def items(self, operation: Operation, viewer: Principal | None) -> Sequence[Item]:
        """Those of a request that are there for the ``viewer`` (None: all are)."""
        found = await self._bulks.items(operation.id)
        if viewer is None or viewer.sight is None:
            return found
        # What was named and is not there, or not for whoever named it, says the same of both.
        own = viewer.name == operation.actor
        return [i for i in found if (own and not i.model.uid) or await self._sees(viewer, i.model)]

    async def counts(self, operation_ids: Sequence[str], viewer: Principal | None) -> Mapping[str, Counts]:
        """Of the items that are there for the ``viewer``."""
        sight = None if viewer is None else viewer.sight
        return await self._bulks.counts(operation_ids, sight) if operation_ids else {}

    async def cancel(self, operation_id: str, caller: Caller, *, running: bool = False) -> Operation:
        """Begin no more of a request's items. Those that run go on; with ``running`` their operations are cancelled
        too, where those can be.

        Raises:
            NotFound, Forbidden, Refused: there is none, it is not the caller's, or it is over.
        """
        operation = await self._models.operation(operation_id, caller.principal)
        known = await self._bulks.get(operation_id)
        if known is None:
            raise NotFound(f"There is no operation {operation_id!r} on many models.")
        if caller.principal is not None and caller.principal.name != operation.actor:
            caller.principal.demand(known.order.action.permission, operation.namespace)
        if operation.done:
            raise Refused("operation_done", f"The operation has {operation.state} already.")
        message = f"Cancelled by {caller.actor} before it began."
        await self._bulks.end_waiting(
            operation_id, ItemState.CANCELLED, "cancelled", message, cancelled_by=caller.actor
        )  # fmt: skip
        if running:
            for item in await self._bulks.items(operation_id):
                if item.cancellable is not None:
                    await self._cancel_one(item.cancellable, caller)
        self._tell()
        return operation

    # ------------------------------------------------------------------ choosing

    async def _choose(self, order: Order, namespace: str | None, viewer: Principal | None) -> list[Chosen]:
        found = [*bulk.problems(order), *label_problems({k: v or "" for k, v in order.labels.items()})]
        selection = order.selection
        if order.schedule is not None and order.schedule.holidays is not None:
            # Beside the event loop: the first question has the calendars loaded.
            wrong = await asyncio.to_thread(calendar_problems, order.schedule.holidays)
            found += [replace(p, path=f"schedule.{p.path}") for p in wrong]
        found += _foreign(selection, namespace)
        if found:
            raise InvalidRequest(found)
        if selection.names:
            chosen = [await self._named(name, viewer) for name in dict.fromkeys(selection.names)]
        else:
            chosen = await self._selected(selection, namespace, viewer)
        if not chosen:
            raise bulk.nothing_selected(selection)
        if len(chosen) > MOST_ITEMS:
            message = f"These are {len(chosen)} models; a request is about {MOST_ITEMS} at most. Take them in parts."
            raise InvalidRequest([Problem("models", "too_many", message)])
        return [_allowed(one, order.action, viewer) for one in chosen]

    async def _named(self, name: str, viewer: Principal | None) -> Chosen:
        namespace, _, short = name.rpartition("/")
        namespace = namespace or DEFAULT_NAMESPACE
        try:
            model = await self._models.get(namespace, short, viewer)
        except NotFound as error:
            return Chosen(ModelRef("", namespace, short), None, error)
        return Chosen(model.ref, model)

    async def _selected(self, selection: Selection, namespace: str | None, viewer: Principal | None) -> list[Chosen]:
        wanted: Sequence[str | None] = selection.namespaces or [namespace]
        missing = [name for name in wanted if name is not None and not await self._is_there(name, viewer)]
        if missing:
            problems = [
                Problem("selector.namespaces", "not_found", f"There is no namespace {name!r}.") for name in missing
            ]
            raise InvalidRequest(problems)
        found: list[Chosen] = []
        for one in dict.fromkeys(wanted):
            query = ModelQuery(
                namespace=one, labels=selection.labels, states=selection.states, search=selection.search,
                page_size=_PAGE, sight=None if viewer is None else viewer.sight,
            )  # fmt: skip
            while True:
                page = await self._store.list_models(query)
                found += [Chosen(model.ref, model) for model in page.items]
                if not page.next_page_token:
                    break
                query = replace(query, page_token=page.next_page_token)
        return found

    async def _is_there(self, namespace: str, viewer: Principal | None) -> bool:
        known = viewer is None or viewer.knows(namespace)
        return known and await self._store.get_namespace(namespace) is not None

    async def _sees(self, viewer: Principal, ref: ModelRef) -> bool:
        return viewer.sees(ref.namespace, ref.name, await self._store.groups_of(ref.uid))

    async def _cancel_one(self, operation_id: str, caller: Caller) -> None:
        try:
            # What the caller might when it asked, it may no longer be allowed.
            asks = Caller(actor=caller.actor, reason=caller.reason, principal=caller.principal)
            await self._models.cancel(operation_id, asks)
        except ModelyardError as error:
            # It always finishes, is over, or is not the caller's to cancel; the others are cancelled all the same.
            log.info("%s goes on: %s", operation_id, error)

    # ------------------------------------------------------------------ forecasts

    async def _prospect(self, order: Order, one: Chosen) -> Prospect:
        model = one.model
        if one.error is not None or model is None:
            return Prospect(model=one.ref, state=model.status.state if model else None, does=False, error=one.error)
        try:
            return await self._would(order, model)
        except ModelyardError as error:
            if order.action is BulkAction.START and isinstance(error, Refused) and error.code in ALREADY:
                return Prospect(model=one.ref, state=model.status.state, does=False, message=error.message)
            return Prospect(model=one.ref, state=model.status.state, does=False, error=error)

    async def _would(self, order: Order, model: Model) -> Prospect:
        state = model.status.state
        does, message, forecast = True, "", None
        if order.action is BulkAction.START:
            forecast = await self._forecasts.start(model.namespace, model.name, None)
            message = forecast.waiting.message if forecast.waiting else ""
        elif order.action is BulkAction.SCHEDULE:
            message = f"Schedule: {order.schedule_edit}."
        else:
            change = await rehearse(lambda caller: command(self._models, order, model.ref, caller), None)
            does, message = _outcome(order, model)
            message = " ".join([message, *change.operations[-1].warnings]).strip()
        return Prospect(model=model.ref, state=state, does=does, message=message, forecast=forecast)

    def _tell(self) -> None:
        if self.on_change is not None:
            self.on_change()


async def command(models: ModelService, order: Order, ref: ModelRef, caller: Caller) -> None:
    """Give the command that ``order`` means for one model; a schedule is set by none. Raises what it raises."""
    match order.action:
        case BulkAction.START:
            await models.start(ref.namespace, ref.name, caller, restore_autoscaling=order.restore_autoscaling)
        case BulkAction.STOP:
            await models.stop(ref.namespace, ref.name, order.mode, order.timeout, caller)
        case BulkAction.RESTART:
            await models.restart(ref.namespace, ref.name, caller)
        case BulkAction.DELETE:
            await models.delete(ref.namespace, ref.name, order.mode, order.timeout, caller)
        case BulkAction.LABEL:

            async def revise(model: Model) -> Spec:
                return bulk.relabelled(model.spec, order.labels)

            await models.update(ref.namespace, ref.name, revise, caller)


def _outcome(order: Order, model: Model) -> tuple[bool, str]:
    """Whether anything would change by a command that is not refused, and what is to be said of that."""
    state = model.status.state
    if order.action is BulkAction.STOP:
        does = state is not State.STOPPED
        return does, f"{len(model.status.instances)} instance(s) would end." if does else "It is stopped already."
    if order.action is BulkAction.DELETE and state is State.DELETING:
        return False, "It is being deleted already."
    if order.action is BulkAction.LABEL and bulk.relabelled(model.spec, order.labels) == model.spec:
        return False, "It has these labels already."
    return True, ""


def _foreign(selection: Selection, namespace: str | None) -> list[Problem]:
    """What of a request about one namespace is about others."""
    if namespace is None:
        return []
    named = {name.rpartition("/")[0] for name in selection.names} | set(selection.namespaces)
    message = f"This path is about namespace {namespace!r}; use /api/v1/bulk for several."
    return [Problem("models", "invalid_value", message)] if named - {namespace, EVERYWHERE} else []


def _allowed(one: Chosen, action: BulkAction, viewer: Principal | None) -> Chosen:
    if viewer is None or one.error is not None:
        return one
    try:
        viewer.demand(action.permission, one.ref.namespace, one.ref.name)
    except ModelyardError as error:
        return Chosen(one.ref, one.model, error)
    return one


def _item(position: int, one: Chosen) -> Item:
    if one.error is None:
        return Item(position=position, model=one.ref)
    return Item(
        position=position, model=one.ref, state=ItemState.FAILED, code=one.error.code, message=one.error.message
    )
