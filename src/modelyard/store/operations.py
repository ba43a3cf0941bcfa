"""Queries of the table ``operations``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.ports import OperationQuery, Page
from modelyard.domain.errors import AlreadyExists, VersionConflict
from modelyard.domain.operations import Operation, OperationKind, OperationState
from modelyard.store.codec import decode_mapping, decode_steps, decode_target, decode_texts, encode
from modelyard.store.dialects import upsert
from modelyard.store.pages import check_page_size, page, read_token
from modelyard.store.sight import narrowed
from modelyard.store.tables import operations

_RUNNING: Final = operations.c.state == "running"
_SELECT: Final = sa.select(operations)
# Kept: building a statement costs more than running it on SQLite.
_BY_ID: Final = _SELECT.where(operations.c.id == sa.bindparam("of_id"))
_RUNNING_OF: Final = _SELECT.where(operations.c.model_uid == sa.bindparam("of_uid"), _RUNNING).order_by(
    operations.c.created_at, operations.c.id
)
_OTHER_DELETES: Final = sa.select(operations.c.id).where(
    operations.c.model_uid == sa.bindparam("of_uid"),
    operations.c.kind == str(OperationKind.DELETE),
    operations.c.id != sa.bindparam("but"),
    _RUNNING,
)
_PROGRESS: Final = ("state", "updated_at", "target", "steps", "result", "error")


def get(connection: sa.Connection, operation_id: str) -> Operation | None:
    row = connection.execute(_BY_ID, {"of_id": operation_id}).first()
    return None if row is None else of_row(row)


def list_page(connection: sa.Connection, query: OperationQuery) -> Page[Operation]:
    """Newest first. Raises InvalidRequest for a page size or token that is none."""
    check_page_size(query)
    after = read_token(query, datetime.fromisoformat, str)
    order = (operations.c.created_at, operations.c.id)
    statement = _SELECT.order_by(*(column.desc() for column in order)).limit(query.page_size + 1)
    columns = operations.c.namespace, operations.c.model, operations.c.model_uid
    statement = narrowed(statement, query.sight, *columns)
    if query.namespace is not None:
        statement = statement.where(operations.c.namespace == query.namespace)
    if query.model is not None:
        statement = statement.where(operations.c.model == query.model)
    if query.done is not None:
        statement = statement.where(~_RUNNING if query.done else _RUNNING)
    if after is not None:
        there = [sa.literal(value, column.type) for value, column in zip(after, order, strict=True)]
        statement = statement.where(sa.tuple_(*order) < sa.tuple_(*there))
    rows = connection.execute(statement).all()
    return page(rows, query, of_row, lambda row: (row.created_at.isoformat(), row.id))


def running(connection: sa.Connection, model_uid: str) -> Sequence[Operation]:
    """Oldest first."""
    return [of_row(row) for row in connection.execute(_RUNNING_OF, {"of_uid": model_uid})]


def write(connection: sa.Connection, changed: Sequence[Operation]) -> None:
    """Insert those that are new, record the progress of those that are not.

    Raises:
        VersionConflict: one of them has ended meanwhile; what has ended stays as it is.
        AlreadyExists: a delete of the model is under way.
    """
    # What ends goes first, so that a delete may take the place of an earlier one in the same change.
    for operation in sorted(changed, key=lambda o: not o.done):
        if operation.kind is OperationKind.DELETE and not operation.done:
            _refuse_second_delete(connection, operation)
        statement = upsert(connection, operations, "id", _PROGRESS, _RUNNING)
        if connection.execute(statement, _values(operation)).first() is None:
            raise VersionConflict(f"The operation {operation.id} has ended in between. Read it again.")


def _refuse_second_delete(connection: sa.Connection, operation: Operation) -> None:
    # The model's row is locked by this transaction, so no other delete of it slips in after the look.
    under_way = connection.scalar(_OTHER_DELETES, {"of_uid": operation.model_uid, "but": operation.id})
    if under_way is not None:
        raise AlreadyExists(f"A delete of the model is under way already: operation {under_way}. Wait for it.")


def _values(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "kind": operation.kind,
        "state": operation.state,
        "namespace": operation.namespace,
        "model": operation.model,
        "model_uid": operation.model_uid,
        "actor": operation.actor,
        "reason": operation.reason,
        "created_at": operation.created_at,
        "updated_at": operation.updated_at,
        "target": None if operation.target is None else encode(operation.target),
        "steps": encode(operation.steps),
        "result": None if operation.result is None else encode(operation.result),
        "error": None if operation.error is None else encode(operation.error),
        "warnings": encode(operation.warnings) if operation.warnings else None,
    }


def of_row(row: Any) -> Operation:
    return Operation(
        id=row.id,
        kind=OperationKind(row.kind),
        state=OperationState(row.state),
        namespace=row.namespace,
        model=row.model,
        model_uid=row.model_uid,
        actor=row.actor,
        reason=row.reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
        target=None if row.target is None else decode_target(row.target),
        steps=decode_steps(row.steps),
        result=None if row.result is None else decode_mapping(row.result),
        error=None if row.error is None else decode_mapping(row.error),
        warnings=() if row.warnings is None else decode_texts(row.warnings),
    )
