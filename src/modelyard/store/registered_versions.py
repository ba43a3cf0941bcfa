"""Queries of the tables ``registered_versions`` and ``buried_versions``.

Versions are ordered by the column ``precedence`` (:attr:`modelyard.domain.versions.SemVer.precedence`), whose byte
order is theirs; so a range of versions is a range of an index.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.ports import Page
from modelyard.domain.registry import RegisteredModel, Version
from modelyard.domain.versions import Comparator, Range, named_pre_releases, parse_range, parse_version
from modelyard.registry.ports import VersionQuery
from modelyard.store.codec import decode_identity, decode_notes, encode
from modelyard.store.dialects import insert_new
from modelyard.store.pages import check_page_size, page, read_token
from modelyard.store.tables import buried_versions as buried
from modelyard.store.tables import registered_models as models
from modelyard.store.tables import registered_versions as versions

_COLUMNS: Final = (
    versions.c.model_uid,
    versions.c.version,
    versions.c.identity,
    versions.c.notes,
    versions.c.published_at,
    versions.c.published_by,
    versions.c.reason,
    versions.c.edits,
    versions.c.deleted_at,
    versions.c.purge_at,
    versions.c.precedence,
)
_KEY: Final = (versions.c.model_uid == sa.bindparam("of_uid")) & (versions.c.version == sa.bindparam("of_version"))
_BY_KEY: Final = sa.select(*_COLUMNS, versions.c.card).where(_KEY)
_UPDATE: Final = sa.update(versions).where(_KEY)
_DELETE: Final = sa.delete(versions).where(_KEY)
_OPERATORS: Final[Mapping[str, Callable[[Any, str], sa.ColumnElement[bool]]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


# ------------------------------------------------------------------------------------------- reading


def get(connection: sa.Connection, model_uid: str, number: str) -> Version | None:
    row = connection.execute(_BY_KEY, {"of_uid": model_uid, "of_version": number}).first()
    return None if row is None else _version(row[:-1], row.card)


def list_page(connection: sa.Connection, query: VersionQuery) -> Page[Version]:
    """The highest first. Raises InvalidRequest for a page size or token that is none."""
    check_page_size(query)
    after = read_token(query, str)
    there = versions.c.deleted_at.is_not(None) if query.deleted else versions.c.deleted_at.is_(None)
    statement = sa.select(*_COLUMNS).where(versions.c.model_uid == query.model_uid, there)
    if query.within:
        statement = statement.where(_within(parse_range(query.within)))
    if query.framework:
        statement = statement.where(versions.c.framework == query.framework)
    if after is not None:
        statement = statement.where(versions.c.precedence < after[0])
    rows = connection.execute(statement.order_by(versions.c.precedence.desc()).limit(query.page_size + 1)).all()
    return page(rows, query, _version, lambda row: (row.precedence,))


def highest(connection: sa.Connection, model_uid: str, within: Range | None, but: str) -> str | None:
    """See :meth:`modelyard.domain.shelf.Shelf.highest`."""
    statement = (
        sa.select(versions.c.version)
        .where(versions.c.model_uid == model_uid, versions.c.deleted_at.is_(None), versions.c.version != but)
        .order_by(versions.c.precedence.desc())
        .limit(1)
    )
    if within is not None:
        found: str | None = connection.scalar(statement.where(_within(within)))
        return found
    return connection.scalar(statement.where(~versions.c.prerelease)) or connection.scalar(statement)


def _within(range_: Range) -> sa.ColumnElement[bool]:
    """What :meth:`modelyard.domain.versions.Range.allows` says, as a condition."""
    return sa.or_(*(_allowed(comparators) for comparators in range_.alternatives))


def _allowed(comparators: Sequence[Comparator]) -> sa.ColumnElement[bool]:
    key = versions.c.precedence
    bounds = [_OPERATORS[c.operator](key, c.version.precedence) for c in comparators]
    # A pre-release sorts between the beginning that it shares with its release and that release itself.
    candidates = [
        (key > named.core_precedence) & (key < f"{named.core_precedence}~") for named in named_pre_releases(comparators)
    ]
    return sa.and_(*bounds, sa.or_(~versions.c.prerelease, *candidates))


def to_purge(connection: sa.Connection, now: datetime) -> Sequence[tuple[str, str, str]]:
    """Namespace, name and number of those whose time to be restored is over, the longest first."""
    statement = (
        sa.select(models.c.namespace, models.c.name, versions.c.version)
        .select_from(versions.join(models, models.c.uid == versions.c.model_uid))
        .where(versions.c.purge_at <= now)
        .order_by(versions.c.purge_at)
    )
    return [(namespace, name, number) for namespace, name, number in connection.execute(statement)]


def manifests(connection: sa.Connection) -> frozenset[str]:
    return frozenset(connection.scalars(sa.select(versions.c.manifest).distinct()))


def unnamed(connection: sa.Connection, candidates: Sequence[str]) -> Sequence[str]:
    """Those of the manifests ``candidates`` that no version names."""
    named = set(connection.scalars(sa.select(versions.c.manifest).where(versions.c.manifest.in_(candidates))))
    return [manifest for manifest in dict.fromkeys(candidates) if manifest not in named]


def _version(row: Any, card: str = "") -> Version:
    uid, number, identity, notes, published_at, published_by, reason, edits, deleted, purge, _ = row
    said = decode_notes(notes)
    return Version(
        model_uid=uid,
        version=number,
        identity=decode_identity(identity),
        notes=replace(said, card=card) if card else said,
        published_at=published_at,
        published_by=published_by,
        reason=reason,
        edits=edits,
        deleted_at=deleted,
        purge_at=purge,
    )


# ------------------------------------------------------------------------------------------- writing


def write(connection: sa.Connection, version: Version) -> None:
    """Insert a new version, or write what may change of one that is there. Its model is held."""
    key = {"of_uid": version.model_uid, "of_version": version.version}
    if connection.execute(_UPDATE, key | _changing(version)).rowcount:
        return
    parsed, identity = parse_version(version.version), version.identity
    values = {
        "model_uid": version.model_uid,
        "version": version.version,
        "precedence": parsed.precedence,
        "prerelease": bool(parsed.pre),
        "framework": identity.framework.name if identity.framework else "",
        "manifest": identity.content.manifest,
        "published_at": version.published_at,
        "published_by": version.published_by,
        "reason": version.reason,
        "identity": encode(identity),
    }
    connection.execute(sa.insert(versions), values | _changing(version))


def _changing(version: Version) -> dict[str, Any]:
    return {
        "edits": version.edits,
        "deleted_at": version.deleted_at,
        "purge_at": version.purge_at,
        # Apart from the rest, so that a page of versions is read without their cards.
        "notes": encode(replace(version.notes, card="")),
        "card": version.notes.card,
    }


def delete(connection: sa.Connection, version: Version) -> None:
    connection.execute(_DELETE, {"of_uid": version.model_uid, "of_version": version.version})


# ------------------------------------------------------------------------------------------- buried ones


def buried_manifest(connection: sa.Connection, model: RegisteredModel, number: str) -> str | None:
    key = (
        (buried.c.namespace == model.namespace) & (buried.c.name == model.name) & (buried.c.version == number)
    )  # fmt: skip
    found: str | None = connection.scalar(sa.select(buried.c.manifest).where(key))
    return found


def bury(connection: sa.Connection, model: RegisteredModel, number: str | None, now: datetime) -> Sequence[str]:
    """Keep of a version (None: of all of the model) that its number was taken, and by which bytes. Their manifests."""
    statement = sa.select(versions.c.version, versions.c.manifest).where(versions.c.model_uid == model.uid)
    if number is not None:
        statement = statement.where(versions.c.version == number)
    gone = connection.execute(statement).all()
    insert = insert_new(connection, buried, "namespace", "name", "version")
    for row in gone:
        # One that was buried before was of the same bytes.
        values = {"namespace": model.namespace, "name": model.name, "buried_at": now}
        connection.execute(insert, {**values, "version": row.version, "manifest": row.manifest})
    return [row.manifest for row in gone]
