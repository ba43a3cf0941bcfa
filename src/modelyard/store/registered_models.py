"""Queries of the tables ``registered_models`` and ``registered_model_labels``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.ports import Page
from modelyard.domain.access import no_registered_model
from modelyard.domain.errors import AlreadyExists
from modelyard.domain.registry import LATEST, About, RegisteredModel
from modelyard.registry.ports import REGISTERED_SORTS, RegisteredModelQuery
from modelyard.store import namespaces
from modelyard.store.codec import decode_about, encode
from modelyard.store.dialects import insert_new
from modelyard.store.pages import check_page_size, invalid, page, read_token
from modelyard.store.sight import narrowed
from modelyard.store.tables import registered_model_labels as labels
from modelyard.store.tables import registered_models as models
from modelyard.store.tables import registered_versions, version_aliases

# SQLite bounds the length of a pattern.
_LONGEST_SEARCH: Final = 256

_SELECT: Final = sa.select(
    models.c.uid,
    models.c.namespace,
    models.c.name,
    models.c.about,
    version_aliases.c.version.label("latest"),
    models.c.version,
    models.c.created_at,
    models.c.updated_at,
    models.c.deleted_at,
    models.c.purge_at,
).select_from(
    models.outerjoin(
        version_aliases, (version_aliases.c.model_uid == models.c.uid) & (version_aliases.c.alias == LATEST)
    )
)
_NAMED: Final = (models.c.namespace == sa.bindparam("in_namespace")) & (models.c.name == sa.bindparam("named"))
_BY_NAME: Final = _SELECT.where(_NAMED)
_LOCK: Final = sa.select(models.c.uid).where(_NAMED).with_for_update()
_UPDATE: Final = sa.update(models).where(models.c.uid == sa.bindparam("of_uid"))


# ------------------------------------------------------------------------------------------- reading


def get(connection: sa.Connection, namespace: str, name: str) -> RegisteredModel:
    """Raises NotFound, naming what is missing."""
    row = connection.execute(_BY_NAME, {"in_namespace": namespace, "named": name}).first()
    if row is not None:
        return _model(row)
    if namespaces.get(connection, namespace) is None:
        raise namespaces.missing(namespace)
    raise no_registered_model(namespace, name)


def hold(connection: sa.Connection, namespace: str, name: str) -> RegisteredModel:
    """The model, which until the transaction ends nobody else changes. Raises NotFound."""
    # A statement of its own: PostgreSQL would give what stands beside a row that it waited for as it was before.
    connection.execute(_LOCK, {"in_namespace": namespace, "named": name})
    return get(connection, namespace, name)


def list_page(connection: sa.Connection, query: RegisteredModelQuery) -> Page[RegisteredModel]:
    """Raises InvalidRequest for a page size, sort, search or token that is none."""
    check_page_size(query)
    if query.sort not in REGISTERED_SORTS:
        raise invalid("sort", "invalid_value", f"sort is one of {', '.join(REGISTERED_SORTS)}.")
    field = query.sort.removeprefix("-")
    column = models.c[field]
    timed = field != "name"
    after = read_token(query, datetime.fromisoformat if timed else str, str)
    statement = _filtered(query)
    descending = query.sort.startswith("-")
    if after is not None:
        here = sa.tuple_(column, models.c.uid)
        there = sa.tuple_(sa.literal(after[0], column.type), sa.literal(after[1], models.c.uid.type))
        statement = statement.where(here < there if descending else here > there)
    order = (column.desc(), models.c.uid.desc()) if descending else (column, models.c.uid)
    rows = connection.execute(statement.order_by(*order).limit(query.page_size + 1)).all()

    def position(row: Any) -> Sequence[str]:
        value = getattr(row, field)
        return (value.isoformat() if timed else value), row.uid

    return page(rows, query, _model, position)


def _filtered(query: RegisteredModelQuery) -> sa.Select[Any]:
    there = models.c.deleted_at.is_not(None) if query.deleted else models.c.deleted_at.is_(None)
    statement = narrowed(_SELECT.where(there), query.sight, models.c.namespace, models.c.name)
    if query.namespace is not None:
        statement = statement.where(models.c.namespace == query.namespace)
    if query.series:
        statement = statement.where(models.c.series == query.series)
    if query.framework:
        made_with = sa.exists().where(
            registered_versions.c.model_uid == models.c.uid,
            registered_versions.c.framework == query.framework,
            registered_versions.c.deleted_at.is_(None),
        )
        statement = statement.where(made_with)
    for key, value in query.labels.items():
        labelled = sa.exists().where(labels.c.model_uid == models.c.uid, labels.c.key == key, labels.c.value == value)
        statement = statement.where(labelled)
    if query.search:
        text = query.search.casefold()
        if len(text) > _LONGEST_SEARCH:
            raise invalid("search", "too_long", f"A search has at most {_LONGEST_SEARCH} characters.")
        statement = statement.where(models.c.searched.contains(text, autoescape=True))
    return statement


def to_purge(connection: sa.Connection, now: datetime) -> Sequence[tuple[str, str]]:
    """Namespace and name of those whose time to be restored is over, the longest first."""
    statement = sa.select(models.c.namespace, models.c.name).where(models.c.purge_at <= now).order_by(models.c.purge_at)
    rows = connection.execute(statement)
    return [(namespace, name) for namespace, name in rows]


def _model(row: Any) -> RegisteredModel:
    # Taken apart at once: that is faster than by name, and whole pages pass through here.
    uid, namespace, name, about, latest, version, created, updated, deleted, purge = row
    return RegisteredModel(
        uid=uid,
        namespace=namespace,
        name=name,
        about=decode_about(about),
        latest=latest,
        version=version,
        created_at=created,
        updated_at=updated,
        deleted_at=deleted,
        purge_at=purge,
    )


# ------------------------------------------------------------------------------------------- writing


def insert(connection: sa.Connection, model: RegisteredModel) -> RegisteredModel:
    """Raises AlreadyExists, NotFound (the namespace)."""
    namespaces.hold(connection, model.namespace)
    model = replace(model, version=1)
    values = {
        "uid": model.uid,
        "namespace": model.namespace,
        "name": model.name,
        "created_at": model.created_at,
        **_values(model),
    }
    if connection.execute(insert_new(connection, models, "namespace", "name"), values).first() is None:
        raise _taken(get(connection, model.namespace, model.name))
    _insert_labels(connection, model)
    return model


def update(connection: sa.Connection, before: RegisteredModel, after: RegisteredModel) -> RegisteredModel:
    """Write a model that is held, and return it as it is stored now."""
    after = replace(after, version=before.version + 1)
    values = _values(after)
    if after.about == before.about:
        del values["about"], values["searched"]
    connection.execute(_UPDATE, {"of_uid": after.uid, **values})
    if after.about.labels != before.about.labels:
        connection.execute(sa.delete(labels).where(labels.c.model_uid == after.uid))
        _insert_labels(connection, after)
    return after


def delete(connection: sa.Connection, model: RegisteredModel) -> None:
    """With its versions, aliases and their moves."""
    connection.execute(sa.delete(models).where(models.c.uid == model.uid))


def _values(model: RegisteredModel) -> dict[str, Any]:
    return {
        "series": model.about.series,
        "version": model.version,
        "updated_at": model.updated_at,
        "deleted_at": model.deleted_at,
        "purge_at": model.purge_at,
        "searched": _searched(model.name, model.about),
        "about": encode(model.about),
    }


def _searched(name: str, about: About) -> str:
    """All that a search looks into, with case folded: what the databases make of case differs. No search can hold
    the character that keeps the parts from being one text."""
    return "\x1f".join([name, about.series, *about.labels.values(), about.description]).casefold()


def _insert_labels(connection: sa.Connection, model: RegisteredModel) -> None:
    rows = [{"model_uid": model.uid, "key": key, "value": value} for key, value in model.about.labels.items()]
    if rows:
        connection.execute(sa.insert(labels), rows)


def _taken(there: RegisteredModel) -> AlreadyExists:
    if there.deleted_at is None:
        return AlreadyExists(f"The model {there} is registered already. Change it, or choose another name.")
    return AlreadyExists(
        f"The model {there} was registered and deleted; its name stays taken until {there.purge_at:%Y-%m-%d %H:%M} "
        "UTC. Restore it, or choose another name."
    )
