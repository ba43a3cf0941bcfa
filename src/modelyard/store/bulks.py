"""Queries of the tables ``bulks`` and ``bulk_items``, and their store: each method of the port is one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.bulk_ports import BulkStore
from modelyard.control.ports import Idempotency, Place
from modelyard.domain.access import Sight
from modelyard.domain.bulk import Bulk, Counts, Item, ItemState
from modelyard.domain.errors import Refused, VersionConflict
from modelyard.domain.model import ModelRef
from modelyard.domain.operations import Operation, OperationKind
from modelyard.domain.recording import refused_of_many
from modelyard.domain.states import State
from modelyard.store import operations
from modelyard.store.codec import decode_bulk_order, decode_mapping, encode
from modelyard.store.database import Database
from modelyard.store.idempotency import remember
from modelyard.store.recording import note_refusal
from modelyard.store.sight import narrowed
from modelyard.store.tables import bulk_items as rows
from modelyard.store.tables import bulks, models
from modelyard.store.tables import operations as records

# As literals, as in the partial indexes: a parameter would not be known to be one of them.
_WAITS: Final = rows.c.state == sa.literal("waiting", literal_execute=True)
_RUNS: Final = records.c.state == sa.literal("running", literal_execute=True)
_OF: Final = rows.c.bulk_id == sa.bindparam("of_bulk")
_AT: Final = _OF & (rows.c.position == sa.bindparam("at"))
_WITH_OPERATION: Final = rows.outerjoin(records, records.c.id == rows.c.operation_id)
_NOW: Final = sa.case(
    (rows.c.state == str(ItemState.RUNNING), sa.func.coalesce(records.c.state, rows.c.state)), else_=rows.c.state
)
_COLUMNS: Final = (rows.c.position, rows.c.namespace, rows.c.model, rows.c.model_uid, rows.c.operation_id)
_ITEMS: Final = (
    sa.select(*_COLUMNS, _NOW.label("now"), rows.c.code, rows.c.message, records.c.error)
    .select_from(_WITH_OPERATION)
    .order_by(rows.c.position)
)
_ALL: Final = _ITEMS.where(_OF)
_ONE: Final = _ITEMS.where(_AT)
_WAITING: Final = _ITEMS.where(_OF, _WAITS).limit(sa.bindparam("most"))
_STUCK: Final = _ITEMS.where(_OF, rows.c.state == str(ItemState.RUNNING), rows.c.operation_id.is_(None))
_QUEUED: Final = (
    sa.select(sa.func.count())
    .select_from(_WITH_OPERATION.join(models, models.c.uid == rows.c.model_uid))
    .where(_OF, _NOW.in_([str(ItemState.RUNNING)]), models.c.state == str(State.QUEUED))
)
_BULKS: Final = sa.select(bulks.c.site, bulks.c.cancelled_by, bulks.c.order, records).join_from(
    bulks, records, records.c.id == bulks.c.operation_id
)
_BULK: Final = _BULKS.where(bulks.c.operation_id == sa.bindparam("of_bulk"))
_ACTIVE: Final = _BULKS.where(records.c.model_uid == "", _RUNS, records.c.kind == str(OperationKind.BULK)).order_by(
    records.c.created_at, records.c.id
)
_LOOK: Final = sa.select(rows.c.state, rows.c.operation_id, rows.c.message).where(_AT)
_BEGIN: Final = (
    sa.update(rows)
    .where(_AT, _WAITS)
    .values(state=str(ItemState.RUNNING), operation_id=sa.bindparam("by"), message=sa.bindparam("why"))
)
_END: Final[dict[str, Any]] = {
    "state": sa.bindparam("as_state"),
    "code": sa.bindparam("as_code"),
    "message": sa.bindparam("why"),
}
_SETTLE: Final = (
    sa.update(rows)
    .where(_AT, rows.c.state.in_([str(ItemState.WAITING), str(ItemState.RUNNING)]), rows.c.operation_id.is_(None))
    .values(_END)
)
_END_WAITING: Final = sa.update(rows).where(_OF, _WAITS).values(_END)
_CANCEL: Final = (
    sa.update(bulks).where(bulks.c.operation_id == sa.bindparam("of_bulk")).values(cancelled_by=sa.bindparam("by"))
)
_VOID: Final = sa.update(rows).where(_WAITS, rows.c.launches, rows.c.asked_at <= sa.bindparam("until")).values(_END)
_VOID_OF: Final = _VOID.where(rows.c.model_uid == sa.bindparam("of_uid"))
_VOID_IN: Final = _VOID.where(rows.c.namespace == sa.bindparam("in_namespace"))


class SqlBulks(BulkStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.bulks`. Besides what each method says it raises, all raise
    Unavailable when the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.shared = database.shared

    async def add(self, bulk: Bulk, items: Sequence[Item], idempotency: Idempotency | None = None) -> None:
        await self._database.write(lambda c: _add(c, bulk, items, idempotency))

    async def get(self, operation_id: str) -> Bulk | None:
        return await self._database.look(lambda c: _first(c, operation_id))

    async def active(self) -> Sequence[Bulk]:
        return await self._database.look(lambda c: [_bulk(row) for row in c.execute(_ACTIVE)])

    async def take_over(self, operation_id: str, site: str, to: str) -> bool:
        mine = sa.update(bulks).where(bulks.c.operation_id == operation_id, bulks.c.site == site).values(site=to)
        return await self._database.write(lambda c: c.execute(mine).rowcount == 1)

    async def items(self, operation_id: str) -> Sequence[Item]:
        return await self._database.read(lambda c: _items(c, _ALL, operation_id))

    async def waiting(self, operation_id: str, count: int) -> Sequence[Item]:
        return await self._database.look(lambda c: _items(c, _WAITING, operation_id, most=count))

    async def stuck(self, operation_id: str) -> Sequence[Item]:
        return await self._database.read(lambda c: _items(c, _STUCK, operation_id))

    async def counts(self, operation_ids: Sequence[str], sight: Sight | None = None) -> Mapping[str, Counts]:
        return await self._database.read(lambda c: _counts(c, operation_ids, sight))

    async def queued(self, operation_id: str) -> int:
        return await self._database.read(lambda c: c.scalar(_QUEUED, {"of_bulk": operation_id}) or 0)

    async def begin(self, place: Place, operation_id: str | None = None, message: str = "") -> bool:
        return await self._database.write(lambda c: _begin(c, place, operation_id, message))

    async def settle(self, place: Place, state: ItemState, code: str, message: str) -> None:
        await self._database.write(lambda c: _settle(c, place, _end(state, code, message)))

    async def end_waiting(
        self, operation_id: str, state: ItemState, code: str, message: str, *, cancelled_by: str = ""
    ) -> None:
        key = {"of_bulk": operation_id}

        def end(connection: sa.Connection) -> None:
            connection.execute(_END_WAITING, key | _end(state, code, message))
            if cancelled_by:
                connection.execute(_CANCEL, key | {"by": cancelled_by})

        await self._database.write(end)

    async def call_off(self, namespace: str | None, at: datetime) -> None:
        until = _void(at, "All models were stopped after this was asked for.")
        if namespace is None:
            await self._database.write(lambda c: c.execute(_VOID, until))
        else:
            await self._database.write(lambda c: c.execute(_VOID_IN, until | {"in_namespace": namespace}))


# ------------------------------------------------------------------------------------------- in a commit's transaction


def lead_to(connection: sa.Connection, place: Place, operation: Operation) -> None:
    """Have the item at ``place`` be carried out by ``operation``. After the model's row is locked, as in
    :func:`make_void`. Raises VersionConflict: it no longer waits."""
    if not _begin(connection, place, operation.id):
        raise VersionConflict("The item was begun or cancelled in between.")


def recall(connection: sa.Connection, place: Place) -> Operation | None:
    """See :meth:`modelyard.control.ports.Store.recall`."""
    row = connection.execute(_LOOK, _key(place)).first()
    if row is None or row.state == ItemState.WAITING:
        return None
    if row.operation_id is None:
        raise Refused("item_over", row.message or f"This item is {row.state}.")
    return operations.get(connection, row.operation_id)


def make_void(connection: sa.Connection, changed: Sequence[Operation]) -> None:
    """Cancel what waits to launch the model of a stop or delete and was asked for before that."""
    for operation in changed:
        if operation.kind in (OperationKind.STOP, OperationKind.DELETE):
            until = _void(operation.created_at, f"A {operation.kind} of the model was asked for after this.")
            connection.execute(_VOID_OF, until | {"of_uid": operation.model_uid})


# ------------------------------------------------------------------------------------------- helpers


def _void(at: datetime, message: str) -> dict[str, Any]:
    return {"until": at, **_end(ItemState.CANCELLED, "superseded", message)}


def _end(state: ItemState, code: str, message: str) -> dict[str, Any]:
    return {"as_state": state, "as_code": code, "why": message}


def _key(place: Place) -> dict[str, Any]:
    return {"of_bulk": place.bulk, "at": place.position}


def _begin(connection: sa.Connection, place: Place, operation_id: str | None, message: str = "") -> bool:
    return connection.execute(_BEGIN, _key(place) | {"by": operation_id, "why": message}).rowcount == 1


def _settle(connection: sa.Connection, place: Place, end: dict[str, Any]) -> None:
    ended = connection.execute(_SETTLE, _key(place) | end).rowcount
    if ended and end["as_state"] is ItemState.FAILED and (bulk := _first(connection, place.bulk)) is not None:
        (item,) = _items(connection, _ONE, place.bulk, at=place.position)
        note_refusal(connection, refused_of_many(bulk, item, datetime.now(UTC)))


def _add(connection: sa.Connection, bulk: Bulk, items: Sequence[Item], idempotency: Idempotency | None) -> None:
    if idempotency is not None:
        remember(connection, idempotency, bulk.operation)
    operations.write(connection, [bulk.operation])
    values = {"site": bulk.site, "cancelled_by": bulk.cancelled_by, "order": encode(bulk.order)}
    connection.execute(sa.insert(bulks), {"operation_id": bulk.operation.id, **values})
    common = {
        "bulk_id": bulk.operation.id,
        "asked_at": bulk.operation.created_at,
        "launches": bulk.order.action.launches,
    }
    connection.execute(sa.insert(rows), [common | _values(item) for item in items])


def _values(item: Item) -> dict[str, Any]:
    return {
        "position": item.position,
        "namespace": item.model.namespace,
        "model": item.model.name,
        "model_uid": item.model.uid,
        "state": item.state,
        "operation_id": item.operation,
        "code": item.code,
        "message": item.message,
    }


def _items(connection: sa.Connection, statement: sa.Select[Any], operation_id: str, **more: int) -> list[Item]:
    return [_item(row) for row in connection.execute(statement, {"of_bulk": operation_id, **more})]


def _item(row: Any) -> Item:
    error = {} if row.error is None else decode_mapping(row.error)
    return Item(
        position=row.position,
        model=ModelRef(row.model_uid, row.namespace, row.model),
        state=ItemState(row.now),
        operation=row.operation_id,
        code=error.get("code", row.code),
        message=error.get("message", row.message),
    )


def _counts(connection: sa.Connection, operation_ids: Sequence[str], sight: Sight | None) -> Mapping[str, Counts]:
    counted = (
        sa.select(rows.c.bulk_id, _NOW.label("now"), sa.func.count().label("number"))
        .select_from(_WITH_OPERATION)
        .where(rows.c.bulk_id.in_(operation_ids))
    )
    statement = narrowed(counted, sight, rows.c.namespace, rows.c.model, rows.c.model_uid).group_by(
        rows.c.bulk_id, sa.text("now")
    )
    found: defaultdict[str, dict[ItemState, int]] = defaultdict(dict)
    for row in connection.execute(statement):
        found[row.bulk_id][ItemState(row.now)] = row.number
    return found


def _first(connection: sa.Connection, operation_id: str) -> Bulk | None:
    row = connection.execute(_BULK, {"of_bulk": operation_id}).first()
    return None if row is None else _bulk(row)


def _bulk(row: Any) -> Bulk:
    return Bulk(
        operation=operations.of_row(row),
        order=decode_bulk_order(row.order),
        site=row.site,
        cancelled_by=row.cancelled_by,
    )
