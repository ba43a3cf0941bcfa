"""Queries of the record of who did what: a chain of entries, and the one row that says where it ends and begins."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from modelyard.control import attempts
from modelyard.control.auditing import AuditLog, AuditQuery, Verdict
from modelyard.control.ports import Page
from modelyard.domain.actions import CONTROLLER
from modelyard.domain.audit import (
    RETAIN,
    ActorKind,
    AuditEntry,
    Broken,
    Mark,
    Origin,
    Outcome,
    Record,
    Verifier,
    append,
)
from modelyard.domain.errors import Unavailable
from modelyard.store.codec import decode_mapping
from modelyard.store.database import Database
from modelyard.store.dialects import is_postgresql
from modelyard.store.pages import check_page_size, page, read_token
from modelyard.store.tables import audit_chain as chain
from modelyard.store.tables import audit_entries as entries

# Rows that are read in about a millisecond.
_SMALL_PAGE: Final = 100
# Entries that are read and looked through at a time: some 5 ms of the event loop on PostgreSQL.
_CHUNK: Final = 250
# Entries that one transaction forgets.
_FORGOTTEN: Final = 1000

_SELECT: Final = sa.select(entries)
_ONE: Final = _SELECT.where(entries.c.number == sa.bindparam("of_number"))
_AFTER: Final = (
    _SELECT.where(entries.c.number > sa.bindparam("after"), entries.c.number <= sa.bindparam("up_to"))
    .order_by(entries.c.number)
    .limit(_CHUNK)
)
_CHAIN: Final = sa.select(chain)
# Whoever numbers entries holds the row until its transaction has ended, so numbers are in the order of commits.
_HOLD: Final = sa.select(chain.c.number, chain.c.hash).with_for_update()
_HEAD: Final = sa.update(chain).values(number=sa.bindparam("to_number"), hash=sa.bindparam("to_hash"))
_INSERT: Final = sa.insert(entries)
_COLUMNS: Final = tuple(column.name for column in entries.columns)
_SQLITE_INSERT: Final = "INSERT INTO audit_entries ({}) VALUES ({})".format(  # noqa: S608 - names of columns
    ", ".join(_COLUMNS), ", ".join(f":{name}" for name in _COLUMNS)
)


def write(connection: sa.Connection, records: Sequence[Record]) -> Mark:
    """Put ``records`` on record, and return the new head; last in the transaction, after events are numbered
    (:func:`modelyard.store.events.append`), so that there is no deadlock."""
    if not is_postgresql(connection):
        return _write_sqlite(connection.connection.driver_connection, records)
    row = connection.execute(_HOLD).first()
    made = append(_end(row), records)
    connection.execute(_INSERT, [_values(entry) for entry in made])
    head = made[-1].mark
    connection.execute(_HEAD, {"to_number": head.number, "to_hash": head.hash})
    return head


def _write_sqlite(driver: Any, records: Sequence[Record]) -> Mark:
    """The same, told to the driver itself: a third of what it takes through SQLAlchemy, beside every change."""
    made = append(_end(driver.execute("SELECT number, hash FROM audit_chain").fetchone()), records)
    driver.executemany(_SQLITE_INSERT, [{**_values(entry), "at": _sqlite_time(entry.record.at)} for entry in made])
    head = made[-1].mark
    driver.execute("UPDATE audit_chain SET number = ?, hash = ?", (head.number, head.hash))
    return head


def _sqlite_time(at: datetime) -> str:
    """As SQLAlchemy writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _end(row: Any) -> Mark:
    """Where the chain ends."""
    if row is None:
        raise Unavailable(
            "The record of who did what has lost its end (the row in audit_chain): nothing may be changed without a "
            "record. Restore the database from a backup."
        )
    return Mark(number=row[0], hash=row[1])


class SqlAudit(AuditLog):
    """Get one from :attr:`modelyard.store.store.SqlStore.audit`. Besides what each method says it raises, all raise
    Unavailable when the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, *records: Record) -> None:
        with attempts.aside():
            await self._database.write(lambda c: write(c, records))

    async def get(self, number: int) -> AuditEntry | None:
        row = await self._database.look(lambda c: c.execute(_ONE, {"of_number": number}).first())
        return None if row is None else _entry(row)

    async def list(self, query: AuditQuery) -> Page[AuditEntry]:
        narrow = query.search or query.actor or query.action or query.target or query.outcome or query.request
        small = query.page_size <= _SMALL_PAGE and not narrow
        return await (self._database.look if small else self._database.read)(lambda c: _list(c, query))

    async def export(self, query: AuditQuery) -> AsyncIterator[Sequence[AuditEntry]]:
        row = await self._database.look(_chain)
        after, up_to = row.kept_number, row.number
        statement = _matching(_AFTER, query)
        while True:
            bounds = {"after": after, "up_to": up_to}
            rows = await self._database.read(partial(_rows, statement=statement, bounds=bounds))
            if rows:
                after = rows[-1].number
                yield [_entry(row) for row in rows]
            if len(rows) < _CHUNK:
                return

    async def verify(self) -> Verdict:
        while True:
            row = await self._database.look(_chain)
            verdict = await self._follow(row)
            now = await self._database.look(_chain)
            if now.kept_number == row.kept_number:
                return verdict
            # Retention has removed some of what was being read.

    async def _follow(self, row: Any) -> Verdict:
        start, head = Mark(number=row.kept_number, hash=row.kept_hash), Mark(number=row.number, hash=row.hash)
        verifier = Verifier(start)
        after = start.number
        while verifier.broken is None and after < head.number:
            found = await self._database.read(partial(_check, verifier=verifier, after=after, up_to=head.number))
            if found is None:
                break
            after = found
        verifier.finish(head)
        return Verdict(
            kept_from=start, kept_at=row.kept_at, head=head, entries=verifier.entries, broken=verifier.broken
        )

    async def retain(self, days: float | None, now: datetime) -> int:
        if days is None:
            return 0
        gone = 0
        with attempts.aside():
            await self._database.write(partial(_move_beginning, before=now - timedelta(days=days), now=now))
            # What a crash leaves of what is to go, goes the next time; nobody looks at it any more.
            while count := await self._database.write(_forget):
                gone += count
        return gone


def _chain(connection: sa.Connection) -> Any:
    row = connection.execute(_CHAIN).first()
    if row is None:
        raise Unavailable("The record of who did what has lost its end (the row in audit_chain).")
    return row


def _rows(connection: sa.Connection, statement: sa.Select[Any], bounds: dict[str, Any]) -> Sequence[Any]:
    return connection.execute(statement, bounds).all()


def _check(connection: sa.Connection, verifier: Verifier, after: int, up_to: int) -> int | None:
    """Have the next entries verified; the number of the last of them."""
    try:
        rows = _rows(connection, _AFTER, {"after": after, "up_to": up_to})
        documents = [_entry(row).document() for row in rows]
    except (ValueError, TypeError, msgspec.MsgspecError):
        # One is not even readable any more: its time, a kind or the change itself. Those before it are.
        if up_to > after + 1:
            return _check(connection, verifier, after, after + (min(up_to - after, _CHUNK) + 1) // 2)
        verifier.broken = verifier.broken or Broken(number=up_to, why="it was changed")
        return None
    verifier.feed(documents)
    return rows[-1].number if rows else None


def _move_beginning(connection: sa.Connection, before: datetime, now: datetime) -> None:
    """Have the record begin after the last entry of an unbroken row of entries from ``before``."""
    head = connection.execute(_HOLD).one()
    row = _chain(connection)
    young = connection.scalar(
        sa.select(sa.func.min(entries.c.number)).where(entries.c.at >= before, entries.c.number > row.kept_number)
    )
    last = head.number if young is None else young - 1
    if last <= row.kept_number:
        return
    hash_ = connection.scalar(sa.select(entries.c.hash).where(entries.c.number == last))
    if hash_ is None:
        # It is broken, which retention must not hide.
        return
    said = {"number": last, "hash": hash_, "entries": last - row.kept_number}
    connection.execute(sa.update(chain).values(kept_number=last, kept_hash=hash_, kept_at=now))
    entry = Record(
        at=now, actor=CONTROLLER, actor_kind=ActorKind.CONTROLLER, action=RETAIN, kind="audit",
        reason=f"Entries from before {before:%Y-%m-%d %H:%M} UTC are kept no longer", change=said,
    )  # fmt: skip
    write(connection, [entry])


def _forget(connection: sa.Connection) -> int:
    kept = _chain(connection).kept_number
    some = sa.select(entries.c.number).where(entries.c.number <= kept).order_by(entries.c.number).limit(_FORGOTTEN)
    return connection.execute(sa.delete(entries).where(entries.c.number.in_(some))).rowcount


def _list(connection: sa.Connection, query: AuditQuery) -> Page[AuditEntry]:
    check_page_size(query)
    position = read_token(query, int)
    kept = sa.select(chain.c.kept_number).scalar_subquery()
    statement = _matching(_SELECT, query).where(entries.c.number > kept).order_by(entries.c.number.desc())
    if position:
        statement = statement.where(entries.c.number < position[0])
    rows = connection.execute(statement.limit(query.page_size + 1)).all()
    return page(rows, query, _entry, lambda row: (str(row.number),))


def _matching(statement: sa.Select[Any], query: AuditQuery) -> sa.Select[Any]:
    for column, wanted in (
        (entries.c.actor, query.actor),
        (entries.c.action, query.action),
        (entries.c.namespace, query.namespace),
        (entries.c.name, query.target),
        (entries.c.outcome, query.outcome),
        (entries.c.request, query.request),
    ):
        if wanted is not None:
            statement = statement.where(column == wanted)
    if query.since is not None:
        statement = statement.where(entries.c.at >= query.since)
    if query.until is not None:
        statement = statement.where(entries.c.at < query.until)
    if query.search:
        statement = statement.where(sa.func.lower(entries.c.reason).contains(query.search.lower(), autoescape=True))
    return statement


def _values(entry: AuditEntry) -> dict[str, Any]:
    record = entry.record
    return {
        "number": entry.number,
        "at": record.at,
        "actor": record.actor,
        "actor_kind": record.actor_kind,
        "action": record.action,
        "namespace": record.namespace,
        "kind": record.kind,
        "name": record.name,
        "reason": record.reason,
        "address": record.origin.address,
        "client": record.origin.client,
        "request": record.origin.request,
        "outcome": record.outcome,
        "code": record.code,
        # As it was hashed; msgspec would be quicker by 2 µs and writes some numbers otherwise.
        "change": json.dumps(record.change, ensure_ascii=False, separators=(",", ":")),
        "previous": entry.previous,
        "hash": entry.hash,
    }


def _entry(row: Any) -> AuditEntry:
    record = Record(
        at=row.at,
        actor=row.actor,
        actor_kind=ActorKind(row.actor_kind),
        action=row.action,
        namespace=row.namespace,
        kind=row.kind,
        name=row.name,
        reason=row.reason,
        origin=Origin(address=row.address, client=row.client, request=row.request),
        outcome=Outcome(row.outcome),
        code=row.code,
        change=decode_mapping(row.change),
    )
    return AuditEntry(number=row.number, record=record, previous=row.previous, hash=row.hash)
