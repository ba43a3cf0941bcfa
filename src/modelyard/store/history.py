"""Metrics by minutes and hours: each method of the port is one transaction, and so is each piece of rolling up."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial, reduce
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from modelyard.control.history_ports import HistoryStore, Kept, Whose, Written
from modelyard.control.ports import Fence
from modelyard.domain.history import HOUR, MARKED, MINUTE, NOTHING, Sample, below
from modelyard.domain.model import Event
from modelyard.store import events as happenings
from modelyard.store import sites
from modelyard.store.codec import encode
from modelyard.store.database import Database
from modelyard.store.dialects import add_up, replace_row
from modelyard.store.sight import narrowed
from modelyard.store.tables import TOOK, events, metric_totals, model_metrics, models

_T: Final = model_metrics.c
_COUNTED: Final = ("requests", "errors", "rejected", "busy", *TOOK)
_HELD: Final = ("instances", "memory")
_COLUMNS: Final = [_T.at, _T.length, *(_T[name] for name in (*_COUNTED, *_HELD))]
_SAMPLES: Final = sa.select(*_COLUMNS)
_OF_MODEL: Final = _SAMPLES.where(
    _T.model_uid == sa.bindparam("of_uid"),
    _T.length.in_((MINUTE, HOUR)),
    _T.at >= sa.bindparam("start"),
    _T.at < sa.bindparam("end"),
).order_by(_T.at)
_LAST_HELD: Final = (
    _SAMPLES.where(
        _T.model_uid == sa.bindparam("of_uid"),
        _T.length == sa.bindparam("of_length"),
        _T.at < sa.bindparam("before"),
        _T.instances.is_not(None),
    )
    .order_by(_T.at.desc())
    .limit(1)
)
_DELETE_HOUR: Final = (
    sa.delete(model_metrics)
    .where(
        _T.model_uid == sa.bindparam("of_uid"),
        _T.length == MINUTE,
        _T.at >= sa.bindparam("start"),
        _T.at < sa.bindparam("end"),
    )
    .returning(*_COLUMNS)
)
_decode_totals: Final = msgspec.json.Decoder(Sample).decode
# Models' hours that are rolled up in one transaction, rows that are removed in one, and models that are asked for at a
# time: some milliseconds each.
_HOURS: Final = 3
_ROWS: Final = 200
_MOST: Final = 500


class SqlHistory(HistoryStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.history`. All methods raise Unavailable when the database
    fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def totals(self, site: str, gateway: str) -> Mapping[str, Sample]:
        columns = metric_totals.c
        await self._database.write(
            lambda c: c.execute(sa.delete(metric_totals).where(columns.site == site, columns.gateway != gateway))
        )
        statement = sa.select(columns.model_uid, columns.totals).where(columns.site == site)
        return await self._database.read(
            lambda c: {uid: _decode_totals(totals) for uid, totals in c.execute(statement)}
        )

    async def add(self, gateway: str, of: Mapping[str, Written], fence: Fence) -> None:
        await self._database.write(lambda c: _add(c, gateway, of, fence))

    async def held(self, after: int) -> Mapping[str, Kept]:
        statement = (
            sa.select(_T.model_uid, *_COLUMNS)
            .where(_T.length == MINUTE, _T.at > after, _T.instances.is_not(None))
            .order_by(_T.at)
        )

        def work(connection: sa.Connection) -> Mapping[str, Kept]:
            return {row[0]: _kept(row[1:]) for row in connection.execute(statement)}

        return {uid: kept for uid, kept in (await self._database.read(work)).items() if kept.sample.instances}

    async def of_model(self, uid: str, start: int, end: int) -> Sequence[Kept]:
        key = {"of_uid": uid, "start": start, "end": end}
        return await self._database.read(lambda c: [_kept(row) for row in c.execute(_OF_MODEL, key)])

    async def last_held(self, uid: str, before: int) -> Kept | None:
        for length in (MINUTE, HOUR):
            key = {"of_uid": uid, "of_length": length, "before": before}
            if (kept := await self._database.look(partial(_last_held, key=key))) is not None:
                return kept
        return None

    async def sums(self, whose: Whose, start: int, end: int, step: int) -> Mapping[int, Sample]:
        point = (_T.at - _T.at % step).label("point")
        statement = (
            sa.select(point, *(sa.func.sum(_T[name]) for name in _COUNTED))
            .where(_T.length.in_((MINUTE, HOUR)), _T.at >= start, _T.at < end)
            .group_by(point)
        )
        if whose.namespace is not None or whose.sight is not None:
            statement = _among(statement.join(models, models.c.uid == _T.model_uid), whose)
        return await self._database.read(
            lambda c: {row[0]: _sample((*row[1:], None, None)) for row in c.execute(statement)}
        )

    async def visible(self, whose: Whose, uids: Collection[str]) -> Collection[str]:
        wanted = sorted(uids)
        if whose.namespace is None and whose.sight is None:
            return wanted
        found: list[str] = []
        for first in range(0, len(wanted), _MOST):
            among = sa.select(models.c.uid).where(models.c.uid.in_(wanted[first : first + _MOST]))
            statement = _among(among, whose)
            found += await self._database.read(partial(_texts, statement=statement))
        return found

    async def marks(self, uid: str, start: int, end: int, limit: int) -> Sequence[Event]:
        statement = (
            sa.select(events)
            .where(
                events.c.model_uid == uid,
                events.c.type.in_(MARKED),
                events.c.at >= datetime.fromtimestamp(start, UTC),
                events.c.at < datetime.fromtimestamp(end, UTC),
            )
            .order_by(events.c.id.desc())
            .limit(limit)
        )
        return await self._database.read(lambda c: [happenings.event_of(row) for row in c.execute(statement)])

    async def roll_up(self, before: int) -> None:
        hour = (_T.at - _T.at % HOUR).label("hour")
        # The earliest first, and few at a time: they may have waited for days.
        statement = (
            sa.select(_T.model_uid, hour)
            .where(_T.length == MINUTE, _T.at < below(before, HOUR))
            .distinct()
            .order_by(hour)
            .limit(_MOST)
        )  # fmt: skip
        while found := await self._database.read(partial(_pairs, statement=statement)):
            for first in range(0, len(found), _HOURS):
                await self._database.write(partial(_roll_up, hours=found[first : first + _HOURS]))
                await asyncio.sleep(0)

    async def forget(self, before: int) -> int:
        key = sa.tuple_(_T.model_uid, _T.length, _T.at)
        old = (
            sa.select(_T.model_uid, _T.length, _T.at).where(_T.length.in_((MINUTE, HOUR)), _T.at < before).limit(_ROWS)
        )
        statement = sa.delete(model_metrics).where(key.in_(old))
        gone = 0
        while count := await self._database.write(lambda c: c.execute(statement).rowcount):
            gone += count
            await asyncio.sleep(0)
        return gone


def _among(statement: sa.Select[Any], whose: Whose) -> sa.Select[Any]:
    if whose.namespace is not None:
        statement = statement.where(models.c.namespace == whose.namespace)
    return narrowed(statement, whose.sight, models.c.namespace, models.c.name, models.c.uid)


def _last_held(connection: sa.Connection, key: Mapping[str, Any]) -> Kept | None:
    row = connection.execute(_LAST_HELD, key).first()
    return None if row is None else _kept(row)


def _texts(connection: sa.Connection, statement: sa.Select[Any]) -> list[str]:
    return list(connection.execute(statement).scalars())


def _pairs(connection: sa.Connection, statement: sa.Select[Any]) -> list[tuple[str, int]]:
    return [(row[0], row[1]) for row in connection.execute(statement)]


def _add(connection: sa.Connection, gateway: str, of: Mapping[str, Written], fence: Fence) -> None:
    sites.check(connection, fence)
    rows = [_row(uid, MINUTE, at, sample) for uid, new in of.items() for at, sample in new.minutes.items()]
    totals = [
        {"model_uid": uid, "site": fence.site, "gateway": gateway, "totals": encode(new.totals)}
        for uid, new in of.items()
        if new.totals is not None
    ]
    if rows:
        connection.execute(add_up(connection, model_metrics, _HELD), rows)
    if totals:
        connection.execute(replace_row(connection, metric_totals), totals)


def _roll_up(connection: sa.Connection, hours: Sequence[tuple[str, int]]) -> None:
    for uid, hour in hours:
        key = {"of_uid": uid, "start": hour, "end": hour + HOUR}
        minutes = sorted((_kept(row) for row in connection.execute(_DELETE_HOUR, key)), key=lambda kept: kept.at)
        whole = reduce(Sample.plus, (kept.sample for kept in minutes), NOTHING)
        rows = [_row(uid, HOUR, hour, whole)]
        last = next((kept.sample for kept in reversed(minutes) if kept.sample.instances is not None), NOTHING)
        if last.instances == 0 and whole.instances:
            # The most of the hour does not tell that nothing was left at its end.
            rows.append(_row(uid, HOUR, hour + HOUR, last))
        connection.execute(add_up(connection, model_metrics, _HELD), rows)


def _row(uid: str, length: int, at: int, sample: Sample) -> dict[str, Any]:
    return {
        "model_uid": uid,
        "length": length,
        "at": at,
        "requests": sample.requests,
        "errors": sample.errors,
        "rejected": sample.rejected,
        "busy": sample.busy,
        **dict(zip(TOOK, sample.buckets, strict=True)),
        "instances": sample.instances,
        "memory": sample.memory,
    }


def _kept(row: Any) -> Kept:
    at, length, *values = row
    return Kept(at=at, length=length, sample=_sample(values))


def _sample(values: Sequence[Any]) -> Sample:
    requests, errors, rejected, busy, *buckets, instances, memory = values
    return Sample(
        # PostgreSQL's sums are of a type of their own.
        requests=int(requests), errors=int(errors), rejected=int(rejected), busy=float(busy),
        buckets=tuple(map(int, buckets)), instances=instances, memory=memory,
    )  # fmt: skip
