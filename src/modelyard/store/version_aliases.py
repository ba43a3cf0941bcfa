"""Queries of the tables ``version_aliases`` and ``alias_moves``: where aliases point, and where they did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.ports import Page
from modelyard.domain.registry import Alias, AliasMove, MoveKind
from modelyard.registry.ports import MoveQuery
from modelyard.store.pages import check_page_size, page, read_token
from modelyard.store.tables import alias_moves as moves
from modelyard.store.tables import version_aliases as aliases

_SELECT: Final = sa.select(
    aliases.c.alias, aliases.c.version, aliases.c.moves, moves.c.at, moves.c.actor, moves.c.reason
).select_from(
    aliases.join(
        moves,
        (moves.c.model_uid == aliases.c.model_uid)
        & (moves.c.alias == aliases.c.alias)
        & (moves.c.number == aliases.c.moves),
    )
)
_KEY: Final = (aliases.c.model_uid == sa.bindparam("of_uid")) & (aliases.c.alias == sa.bindparam("of_alias"))
_UPDATE: Final = sa.update(aliases).where(_KEY)
_DELETE: Final = sa.delete(aliases).where(_KEY)


def get(connection: sa.Connection, model_uid: str, alias: str) -> Alias | None:
    row = connection.execute(_SELECT.where(_KEY), {"of_uid": model_uid, "of_alias": alias}).first()
    return None if row is None else _alias(row)


def list_of(connection: sa.Connection, model_uid: str) -> Sequence[Alias]:
    """By name."""
    rows = connection.execute(_SELECT.where(aliases.c.model_uid == model_uid).order_by(aliases.c.alias))
    return [_alias(row) for row in rows]


def names_of(connection: sa.Connection, model_uid: str, number: str) -> Sequence[str]:
    """Those that point at the version."""
    there = (aliases.c.model_uid == model_uid) & (aliases.c.version == number)
    return list(connection.scalars(sa.select(aliases.c.alias).where(there).order_by(aliases.c.alias)))


def last_move(connection: sa.Connection, model_uid: str, alias: str) -> AliasMove | None:
    row = connection.execute(_moves_of(model_uid, alias).limit(1)).first()
    return None if row is None else _move(row)


def list_moves(connection: sa.Connection, query: MoveQuery) -> Page[AliasMove]:
    """The last first. Raises InvalidRequest for a page size or token that is none."""
    check_page_size(query)
    after = read_token(query, int)
    statement = _moves_of(query.model_uid, query.alias)
    if after is not None:
        statement = statement.where(moves.c.number < after[0])
    rows = connection.execute(statement.limit(query.page_size + 1)).all()
    return page(rows, query, _move, lambda row: (str(row.number),))


def write(connection: sa.Connection, model_uid: str, move: AliasMove) -> None:
    """Carry out a move and put it down. The model is held."""
    values = {
        "model_uid": model_uid,
        "alias": move.alias,
        "number": move.number,
        "kind": move.kind,
        "before": move.before,
        "after": move.after,
        "at": move.at,
        "actor": move.actor,
        "reason": move.reason,
    }
    connection.execute(sa.insert(moves), values)
    key = {"of_uid": model_uid, "of_alias": move.alias}
    if move.after is None:
        connection.execute(_DELETE, key)
        return
    place = {"version": move.after, "moves": move.number}
    if not connection.execute(_UPDATE, key | place).rowcount:
        connection.execute(sa.insert(aliases), {"model_uid": model_uid, "alias": move.alias, **place})


def _moves_of(model_uid: str, alias: str) -> sa.Select[Any]:
    of_alias = (moves.c.model_uid == model_uid) & (moves.c.alias == alias)
    return sa.select(moves).where(of_alias).order_by(moves.c.number.desc())


def _alias(row: Any) -> Alias:
    return Alias(
        alias=row.alias,
        version=row.version,
        moved_at=row.at,
        moved_by=row.actor,
        reason=row.reason,
        moves=row.moves,
    )


def _move(row: Any) -> AliasMove:
    return AliasMove(
        alias=row.alias,
        number=row.number,
        kind=MoveKind(row.kind),
        before=row.before,
        after=row.after,
        at=row.at,
        actor=row.actor,
        reason=row.reason,
    )
