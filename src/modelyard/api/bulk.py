"""Work on many models: start, stop, restart, delete, label and schedule them by one request. What becomes of it is an
operation (see system.py), which lists each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Response

from modelyard.api import schemas
from modelyard.api.answers import operation_out
from modelyard.api.context import CallerDep, Services, ToOperate, ToOperateSomewhere, accepted, answer
from modelyard.api.ledgers import forecast_out
from modelyard.api.schedule_shapes import schedule_in
from modelyard.control.bulk import Prospect
from modelyard.control.caller import Caller
from modelyard.domain.access import Principal
from modelyard.domain.bulk import Counts, Item, Order, ScheduleEdit, Selection, counts_out
from modelyard.domain.errors import InvalidRequest, ModelyardError, NotFound, Problem, Refused
from modelyard.domain.model import StopMode
from modelyard.domain.names import DEFAULT_NAMESPACE
from modelyard.domain.operations import Operation, OperationKind

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.BulkForecast, "description": "With `dry_run`, what would come of it."}
}

bulk = APIRouter(tags=["bulk"])


@bulk.post(
    "/bulk", status_code=202, response_model=schemas.Operation, responses=_RESPONSES,
    summary="Work on many models, of any namespaces",
)  # fmt: skip
async def bulk_everywhere(body: schemas.BulkRequest, caller: CallerDep, services: ToOperateSomewhere) -> Response:
    """A model that is named and missing, or not yours to change, is an item that has failed, and stops no other."""
    return await _take(body, None, caller, services)


@bulk.post(
    "/namespaces/{namespace}/bulk", status_code=202, response_model=schemas.Operation, responses=_RESPONSES,
    summary="Work on many models of a namespace",
)  # fmt: skip
async def bulk_in_namespace(
    namespace: str, body: schemas.BulkRequest, caller: CallerDep, services: ToOperate
) -> Response:
    if await services.store.get_namespace(namespace) is None:
        raise NotFound(f"There is no namespace {namespace!r}.")
    return await _take(body, namespace, caller, services)


async def _take(body: schemas.BulkRequest, namespace: str | None, caller: Caller, services: Services) -> Response:
    order = _order(body, namespace)
    caller = replace(caller, reason=body.reason)
    if body.dry_run:
        found = await services.bulk.forecast(order, namespace, caller)
        items = [await _prospect_out(services, one, caller.principal) for one in found]
        return answer(schemas.BulkForecast(action=order.action, concurrency=order.at_a_time, items=items))
    return accepted(await services.bulk.take(order, namespace, caller))


def _order(body: schemas.BulkRequest, namespace: str | None) -> Order:
    selector = body.selector or schemas.BulkSelector()
    if body.models and body.selector is not None:
        raise InvalidRequest([Problem("selector", "invalid_value", "Say models or a selector, not both.")])
    where = namespace or DEFAULT_NAMESPACE
    names = tuple(name if "/" in name else f"{where}/{name}" for name in body.models)
    selection = Selection(
        names=names, namespaces=tuple(selector.namespaces), labels=selector.labels, states=tuple(selector.states),
        search=selector.search, all=body.all,
    )  # fmt: skip
    edit, schedule = body.schedule_edit, None
    if body.schedule is not None:
        schedule, found = schedule_in(body.schedule)
        if found:
            raise InvalidRequest([replace(p, path=f"schedule.{p.path}") for p in found])
        edit = ScheduleEdit.SET
    return Order(
        action=body.action, selection=selection, restore_autoscaling=body.restore_autoscaling,
        mode=StopMode.DRAIN if body.graceful else StopMode.FORCE, timeout=body.timeout, labels=body.labels,
        schedule_edit=edit, schedule=schedule, concurrency=body.concurrency, on_error=body.on_error,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- answers


async def whole_out(services: Services, operation: Operation, viewer: Principal | None) -> schemas.Operation:
    """An operation as it is answered: one on many models with all of its items."""
    if operation.kind is not OperationKind.BULK:
        return operation_out(operation)
    items = await services.bulk.items(operation, viewer)
    counts: dict[Any, int] = {}
    for item in items:
        counts[item.state] = counts.get(item.state, 0) + 1
    found = operation_out(operation)
    found.items = [_item_out(item) for item in items]
    found.counts = counts_out(counts)
    return found


async def page_out(
    services: Services, operations: Sequence[Operation], viewer: Principal | None
) -> list[schemas.Operation]:
    """Operations as a list answers them: those on many models with how many of what the ``viewer`` sees there are of
    each state."""
    many = [o.id for o in operations if o.kind is OperationKind.BULK]
    seen = await services.bulk.counts(many, viewer)
    counts: dict[str, Counts] = {operation: seen.get(operation, {}) for operation in many}
    return [_counted(operation_out(o), counts.get(o.id)) for o in operations]


def _counted(operation: schemas.Operation, counts: Counts | None) -> schemas.Operation:
    operation.counts = None if counts is None else counts_out(counts)
    return operation


def _item_out(item: Item) -> schemas.BulkItem:
    return schemas.BulkItem(
        namespace=item.model.namespace,
        model=item.model.name,
        state=item.state,
        operation=item.operation,
        error=schemas.ItemError(code=item.code, detail=item.message, allowed=[]) if item.code else None,
        message="" if item.code else item.message,
    )


async def _prospect_out(services: Services, one: Prospect, viewer: Principal | None) -> schemas.BulkProspect:
    return schemas.BulkProspect(
        namespace=one.model.namespace,
        model=one.model.name,
        state=one.state,
        does=one.does,
        message=one.message,
        error=_error_out(one.error) if one.error else None,
        forecast=await forecast_out(services, one.forecast, viewer) if one.forecast else None,
    )


def _error_out(error: ModelyardError) -> schemas.ItemError:
    allowed = list(error.allowed) if isinstance(error, Refused) else []
    return schemas.ItemError(code=error.code, detail=error.message, allowed=allowed)
