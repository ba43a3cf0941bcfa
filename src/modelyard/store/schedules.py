"""Queries of the table ``schedules``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.ports import Idempotency
from modelyard.control.schedule_ports import ScheduleStore
from modelyard.domain.errors import VersionConflict
from modelyard.domain.model import ModelRef
from modelyard.domain.operations import OperationKind
from modelyard.domain.schedules import Schedule
from modelyard.domain.scheduling import ACTOR, ModelSchedule, ScheduleChange
from modelyard.store import idempotency as keys
from modelyard.store.codec import (
    Raw,
    decode_extension,
    decode_last_action,
    decode_schedule,
    decode_schedule_failure,
    encode,
)
from modelyard.store.database import Database
from modelyard.store.dialects import insert_new
from modelyard.store.tables import models, operations, schedules

_SELECT: Final = sa.select(schedules)
_BY_UID: Final = _SELECT.where(schedules.c.model_uid == sa.bindparam("of_uid"))
_AT_VERSION: Final = (schedules.c.model_uid == sa.bindparam("of_uid")) & (
    schedules.c.version == sa.bindparam("at_version")
)
_UPDATE: Final = sa.update(schedules).where(_AT_VERSION)
_DELETE: Final = sa.delete(schedules).where(_AT_VERSION)
# Looked up model by model: a join would have SQLite sort all models of the site for each chunk.
_OF_SITE: Final = schedules.c.enabled & sa.exists().where(
    models.c.uid == schedules.c.model_uid, models.c.site == sa.bindparam("of_site")
)
_CHUNK: Final = _SELECT.where(_OF_SITE, schedules.c.model_uid > sa.bindparam("after_uid")).order_by(
    schedules.c.model_uid
)
_EDITS: Final = sa.select(schedules.c.model_uid, schedules.c.edits).where(_OF_SITE)
# What starts or stops a model; an update or a rollback leaves that as it is.
_COMMANDS: Final = [
    str(kind)
    for kind in (
        OperationKind.DEPLOY, OperationKind.START, OperationKind.STOP, OperationKind.RESTART, OperationKind.DELETE
    )
]  # fmt: skip
_COMMANDED: Final = (
    sa.select(operations.c.id)
    .where(
        operations.c.namespace == sa.bindparam("in_namespace"),
        operations.c.model == sa.bindparam("named"),
        operations.c.created_at >= sa.bindparam("since"),
        operations.c.model_uid == sa.bindparam("of_uid"),
        operations.c.actor != ACTOR,
        operations.c.kind.in_(_COMMANDS),
    )
    .limit(1)
)
# Models that are asked for at a time.
_MOST: Final = 500


class SqlSchedules(ScheduleStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.schedules`. All methods raise Unavailable when the database
    fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, uid: str) -> ModelSchedule | None:
        return await self._database.look(lambda c: _get(c, uid))

    async def of(self, uids: Collection[str]) -> Mapping[str, ModelSchedule]:
        wanted = sorted(uids)
        found: dict[str, ModelSchedule] = {}
        for start in range(0, len(wanted), _MOST):
            found |= await self._database.look(partial(_of, uids=wanted[start : start + _MOST]))
        return found

    async def chunk(self, site: str, after: str, size: int) -> Sequence[ModelSchedule]:
        return await self._database.read(partial(_chunk, site=site, after=after, size=size))

    async def edits(self, site: str) -> Mapping[str, int]:
        return await self._database.read(lambda c: {row[0]: row[1] for row in c.execute(_EDITS, {"of_site": site})})

    async def commanded_since(self, model: ModelRef, at: datetime) -> bool:
        key = {"in_namespace": model.namespace, "named": model.name, "of_uid": model.uid, "since": at}
        return await self._database.look(lambda c: c.execute(_COMMANDED, key).first() is not None)

    async def recall(self, idempotency: Idempotency) -> bool:
        return await self._database.look(lambda c: keys.find(c, idempotency) is not None)


@dataclass(frozen=True, slots=True)
class Saved:
    """What an idempotency key leads to: that the schedule was changed."""

    id: str
    created_at: datetime


def saved(change: ScheduleChange) -> Saved:
    of = change.after or change.before
    assert of is not None
    return Saved(f"schedule of {of.model_uid}", of.updated_at)


def write(connection: sa.Connection, change: ScheduleChange) -> None:
    """Raises VersionConflict: ``change.before`` is no longer what is stored."""
    before, after = change.before, change.after
    if before is None:
        if after is not None:
            statement = insert_new(connection, schedules, "model_uid")
            _expect(connection.execute(statement, row_of(after)).first() is not None)
        return
    key = {"of_uid": before.model_uid, "at_version": before.version}
    if after is None:
        _expect(connection.execute(_DELETE, key).rowcount > 0)
    else:
        _expect(connection.execute(_UPDATE, key | _values(after, before.version + 1)).rowcount > 0)


def _expect(found: bool) -> None:
    if not found:
        raise VersionConflict("The model's schedule was changed in between. Read it again and repeat the change.")


def _get(connection: sa.Connection, uid: str) -> ModelSchedule | None:
    row = connection.execute(_BY_UID, {"of_uid": uid}).first()
    return None if row is None else _schedule(row)


def _of(connection: sa.Connection, uids: Sequence[str]) -> Mapping[str, ModelSchedule]:
    rows = connection.execute(_SELECT.where(schedules.c.model_uid.in_(uids)))
    return {row.model_uid: _schedule(row) for row in rows}


def _chunk(connection: sa.Connection, site: str, after: str, size: int) -> Sequence[ModelSchedule]:
    rows = connection.execute(_CHUNK.limit(size), {"of_site": site, "after_uid": after})
    return [_schedule(row) for row in rows]


def row_of(new: ModelSchedule) -> dict[str, Any]:
    """As it is first written."""
    return {"model_uid": new.model_uid, **_values(new, new.edits)}


def _values(of: ModelSchedule, version: int) -> dict[str, Any]:
    return {
        "enabled": of.schedule.enabled,
        "edits": of.edits,
        "version": version,
        "updated_at": of.updated_at,
        "updated_by": of.updated_by,
        "handled_until": of.handled_until,
        "extension": None if of.extension is None else encode(of.extension),
        "schedule": encode(of.schedule),
        "last": None if of.last is None else encode(of.last),
        "failure": None if of.failure is None else encode(of.failure),
    }


def _schedule(row: Any) -> ModelSchedule:
    # Taken apart at once: those of a whole site pass through here.
    (
        uid, _, edits, version, updated_at, updated_by, handled_until, extension, document, last, failure
    ) = row  # fmt: skip
    return ModelSchedule(
        model_uid=uid,
        schedule=_decoded(document),
        updated_at=updated_at,
        updated_by=updated_by,
        handled_until=handled_until,
        extension=None if extension is None else decode_extension(extension),
        last=None if last is None else decode_last_action(last),
        failure=None if failure is None else decode_schedule_failure(failure),
        edits=edits,
        version=version,
    )


@lru_cache(maxsize=512)
def _decoded(document: Raw) -> Schedule:
    """Many models have the same one."""
    return decode_schedule(document)
