"""The little in which the queries of the two databases differ: INSERT … ON CONFLICT, which SQLAlchemy
spells once for each. The statements are kept: building one costs more than running it on SQLite."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

Insert = sa.sql.dml.ReturningInsert[Any]


def is_postgresql(connection: sa.Connection) -> bool:
    return connection.dialect.name == "postgresql"


def insert_new(connection: sa.Connection, table: sa.Table, *unique: str) -> Insert:
    """An INSERT that returns a row, or none where a row with the same ``unique`` columns stands already
    (an error instead would end the transaction on PostgreSQL, and would have to be told from others)."""
    return _insert_new(is_postgresql(connection), table, unique)


def upsert(connection: sa.Connection, table: sa.Table, key: str, changing: tuple[str, ...], where: Any) -> Insert:
    """An INSERT that sets the columns ``changing`` of the row with the same ``key`` instead, if there is
    one and it is as ``where`` says. Returns a row, or none where it is not."""
    return _upsert(is_postgresql(connection), table, key, changing, where)


def add_up(connection: sa.Connection, table: sa.Table, replacing: tuple[str, ...]) -> sa.Insert:
    """An INSERT that adds to the row with the same primary key instead, if there is one: all columns but those
    ``replacing``, of which the new value stands unless it is NULL."""
    return _add_up(is_postgresql(connection), table, replacing)


def replace_row(connection: sa.Connection, table: sa.Table) -> sa.Insert:
    """An INSERT that sets all columns of the row with the same primary key instead, if there is one."""
    return _replace_row(is_postgresql(connection), table)


@functools.cache
def _insert_new(on_postgresql: bool, table: sa.Table, unique: tuple[str, ...]) -> Insert:
    statement = _insert(on_postgresql, table).on_conflict_do_nothing(index_elements=unique)
    return statement.returning(table.c[unique[0]])


@functools.cache
def _upsert(on_postgresql: bool, table: sa.Table, key: str, changing: tuple[str, ...], where: Any) -> Insert:
    statement = _insert(on_postgresql, table)
    values = {name: statement.excluded[name] for name in changing}
    statement = statement.on_conflict_do_update(index_elements=[key], set_=values, where=where)
    return statement.returning(table.c[key])


@functools.cache
def _add_up(on_postgresql: bool, table: sa.Table, replacing: tuple[str, ...]) -> sa.Insert:
    statement = _insert(on_postgresql, table)
    keys = [column.name for column in table.primary_key]
    values = {
        column.name: sa.func.coalesce(statement.excluded[column.name], column)
        if column.name in replacing
        else column + statement.excluded[column.name]
        for column in table.columns
        if column.name not in keys
    }
    return statement.on_conflict_do_update(index_elements=keys, set_=values)


@functools.cache
def _replace_row(on_postgresql: bool, table: sa.Table) -> sa.Insert:
    statement = _insert(on_postgresql, table)
    keys = [column.name for column in table.primary_key]
    values = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=values)


def _insert(on_postgresql: bool, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    # Imported here: the other database's dialect would cost each process some megabytes for nothing.
    if on_postgresql:
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
