"""Queries of the tables ``models`` and ``model_labels``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.ports import MODEL_SORTS, Fence, ModelQuery, Page
from modelyard.domain.access import Sight
from modelyard.domain.errors import AlreadyExists, VersionConflict
from modelyard.domain.model import Model, ModelRef
from modelyard.domain.spec import Follow, Spec
from modelyard.domain.states import RunState, State
from modelyard.store import namespaces, revisions, sites
from modelyard.store.codec import encode
from modelyard.store.dialects import insert_new
from modelyard.store.pages import check_page_size, invalid, page, read_token
from modelyard.store.salvage import decode_spec, decode_status
from modelyard.store.sight import narrowed
from modelyard.store.tables import model_groups, model_labels, models, schedules
from modelyard.store.tables import revisions as revision_rows

# A name has at most 63 characters, so no longer text is part of one; SQLite bounds the pattern's length.
_LONGEST_SEARCH: Final = 64

_target = revision_rows.alias("target")
_good = revision_rows.alias("good")
_is_target: Final = (
    (_target.c.model_uid == models.c.uid)
    & (_target.c.generation == models.c.target_generation)
    & (models.c.target_generation != models.c.generation)
)
# The target's spec comes along only where it is not the newest: one query whatever the number of models.
_SELECT: Final = sa.select(
    models.c.uid,
    models.c.namespace,
    models.c.name,
    models.c.spec,
    _target.c.spec.label("target_spec"),
    models.c.generation,
    models.c.desired,
    models.c.status,
    models.c.created_at,
    models.c.updated_at,
    models.c.version,
    models.c.site,
    models.c.state,
    models.c.target_generation,
).select_from(models.outerjoin(_target, _is_target))
_BY_NAME: Final = _SELECT.where(
    models.c.namespace == sa.bindparam("in_namespace"), models.c.name == sa.bindparam("named")
)
_BY_UID: Final = _SELECT.where(models.c.uid == sa.bindparam("of_uid"))
_AT_VERSION: Final = (models.c.uid == sa.bindparam("of_uid")) & (models.c.version == sa.bindparam("at_version"))
_UPDATE: Final = sa.update(models).where(_AT_VERSION)
_VERSIONS: Final = sa.select(models.c.uid, models.c.namespace, models.c.name, models.c.version)
_CHUNK: Final = _SELECT.where(
    models.c.site == sa.bindparam("of_site"), models.c.uid > sa.bindparam("after_uid")
).order_by(models.c.uid)
_GROUPS: Final = sa.select(model_groups.c.group).where(model_groups.c.model_uid == sa.bindparam("of_uid"))
_DELETE: Final = sa.delete(models).where(_AT_VERSION)
# The fence is part of the one statement, so it costs no other.
_FENCED_UPDATE: Final = _UPDATE.where(sites.STANDS)
_FENCED_DELETE: Final = _DELETE.where(sites.STANDS)
_HOLD: Final = sa.select(models.c.uid).where(_AT_VERSION).with_for_update(read=True)


# ------------------------------------------------------------------------------------------- reading


def get(connection: sa.Connection, namespace: str, name: str) -> Model | None:
    row = connection.execute(_BY_NAME, {"in_namespace": namespace, "named": name}).first()
    return None if row is None else _model(row)


def get_by_uid(connection: sa.Connection, uid: str) -> Model | None:
    row = connection.execute(_BY_UID, {"of_uid": uid}).first()
    return None if row is None else _model(row)


def list_page(connection: sa.Connection, query: ModelQuery) -> Page[Model]:
    """Raises InvalidRequest for a page size, sort or token that is none."""
    check_page_size(query)
    if query.sort not in MODEL_SORTS:
        raise invalid("sort", "invalid_value", f"sort is one of {', '.join(MODEL_SORTS)}.")
    field = query.sort.removeprefix("-")
    column = models.c[field]
    timed = field in ("created_at", "updated_at")
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
        if field == "state":
            return row.state, row.uid
        value = getattr(row, field)
        return (value.isoformat() if timed else value), row.uid

    return page(rows, query, _model, position)


def _filtered(query: ModelQuery) -> sa.Select[Any]:
    statement = narrowed(_SELECT, query.sight, models.c.namespace, models.c.name, models.c.uid)
    if query.namespace is not None:
        statement = statement.where(models.c.namespace == query.namespace)
    if query.uids is not None:
        statement = statement.where(models.c.uid.in_(query.uids))
    if query.states:
        statement = statement.where(models.c.state.in_([str(state) for state in query.states]))
    if query.engine is not None:
        statement = statement.where(models.c.engine == query.engine)
    for key, value in query.labels.items():
        labelled = sa.exists().where(
            model_labels.c.model_uid == models.c.uid, model_labels.c.key == key, model_labels.c.value == value
        )
        statement = statement.where(labelled)
    if query.search:
        # Names are lower-case; so is the search then, on both databases (their LIKEs differ in this).
        text = query.search.lower()[:_LONGEST_SEARCH]
        statement = statement.where(models.c.name.contains(text, autoescape=True))
    if query.scheduled:
        statement = statement.where(sa.exists().where(schedules.c.model_uid == models.c.uid))
    return statement


def versions(connection: sa.Connection, site: str | None) -> Mapping[ModelRef, int]:
    statement = _VERSIONS if site is None else _VERSIONS.where(models.c.site == site)
    return {ModelRef(uid, namespace, name): version for uid, namespace, name, version in connection.execute(statement)}


def chunk_of(connection: sa.Connection, site: str, after: str, size: int) -> Sequence[Model]:
    """The ``size`` models of the site that follow the uid ``after``."""
    key = {"of_site": site, "after_uid": after}
    return [_model(row) for row in connection.execute(_CHUNK.limit(size), key)]


def adopt(connection: sa.Connection, site: str, *, everybodys: bool) -> None:
    """Models without a site, or all, become this one's."""
    move(connection, models.c.site != site if everybodys else models.c.site == "", site)


def move(connection: sa.Connection, which: sa.ColumnElement[bool], site: str) -> int:
    """Make the site of ``which`` models this one, and say how many. Their version grows: whoever has read one before
    would write the site that it had then."""
    return connection.execute(sa.update(models).where(which).values(site=site, version=models.c.version + 1)).rowcount


def groups_of(connection: sa.Connection, uid: str) -> frozenset[str]:
    """The groups of a model, also of one that is deleted: those that it had at last."""
    return frozenset(connection.scalars(_GROUPS, {"of_uid": uid}))


def count_by_site(connection: sa.Connection) -> Mapping[str, int]:
    rows = connection.execute(sa.select(models.c.site, sa.func.count()).group_by(models.c.site))
    return {row.site: row[1] for row in rows}


def count(connection: sa.Connection, sight: Sight | None) -> Mapping[str, int]:
    counted = narrowed(
        sa.select(models.c.state, sa.func.count()), sight, models.c.namespace, models.c.name, models.c.uid
    )
    rows = connection.execute(counted.group_by(models.c.state))
    return {State(state): number for state, number in rows}


def _model(row: Any) -> Model:
    # Taken apart at once: that is faster than by name, and pages and whole sites pass through here.
    (
        uid, namespace, name, spec_document, target_document, generation, desired, status, created, updated, version,
        site, state, target_generation,
    ) = row  # fmt: skip
    spec = decode_spec(spec_document)
    return Model(
        uid=uid,
        namespace=namespace,
        name=name,
        spec=spec,
        target_spec=spec if target_document is None else decode_spec(target_document),
        generation=generation,
        desired=RunState(desired),
        status=decode_status(status, state, target_generation, updated),
        created_at=created,
        updated_at=updated,
        version=version,
        site=site,
    )


def following(connection: sa.Connection, site: str) -> Sequence[str]:
    """The uids of models that follow their source."""
    follows = models.c.spec["follow"].as_string() == str(Follow.AUTO)
    return list(connection.scalars(sa.select(models.c.uid).where(models.c.site == site, follows)))


def served(connection: sa.Connection) -> Mapping[str, frozenset[tuple[str, str]]]:
    """The models (namespace and name) that run or are to run, by the manifests of the registered versions that they are
    made of: by their newest spec, their target's and that of the last good one, of which instances may serve still."""
    good = models.c.status[("good", "generation")].as_integer()
    found: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for source, table in (
        (models, models),
        (models.join(_target, _is_target), _target),
        (models.join(_good, (_good.c.model_uid == models.c.uid) & (_good.c.generation == good)), _good),
    ):
        manifest = table.c.spec[("artifact", "manifest")].as_string()
        runs = (models.c.desired == str(RunState.RUNNING)) | (models.c.state != str(State.STOPPED))
        wanted = sa.select(manifest, models.c.namespace, models.c.name).select_from(source)
        for digest, namespace, name in connection.execute(wanted.where(runs, manifest.is_not(None))):
            found[digest].add((namespace, name))
    return {digest: frozenset(names) for digest, names in found.items()}


# ------------------------------------------------------------------------------------------- writing


def write(
    connection: sa.Connection, before: Model | None, after: Model | None, fence: Fence | None = None
) -> Model | None:
    """Go from ``before`` to ``after`` and return it as it is stored now. Equal ones write nothing, yet
    ``before`` must be what is stored.

    Raises:
        LeaseLost, VersionConflict, AlreadyExists, NotFound: as :meth:`modelyard.control.ports.Store.commit`.
    """
    if before is None:
        if fence is not None:
            sites.check(connection, fence)
        return None if after is None else _insert(connection, after)
    key: dict[str, Any] = {"of_uid": before.uid, "at_version": before.version}
    if fence is not None:
        key |= sites.proof(fence)
    if after is None:
        statement = _DELETE if fence is None else _FENCED_DELETE
        _expect(connection, connection.execute(statement, key).rowcount, before, fence)
        return None
    if after == before:
        if fence is not None:
            sites.check(connection, fence)
        _expect(connection, connection.execute(_HOLD, key).first() is not None, before, None)
        return after
    after = replace(after, version=before.version + 1)
    values = _values(after)
    if after.spec == before.spec:
        # Besides being waste: of a document that this version cannot read whole a part would be lost.
        del values["spec"], values["engine"]
    update = _UPDATE if fence is None else _FENCED_UPDATE
    _expect(connection, connection.execute(update, key | values).rowcount, before, fence)
    if after.spec.labels != before.spec.labels:
        connection.execute(sa.delete(model_labels).where(model_labels.c.model_uid == after.uid))
        _insert_labels(connection, after)
    if after.spec.groups != before.spec.groups:
        connection.execute(sa.delete(model_groups).where(model_groups.c.model_uid == after.uid))
        _insert_groups(connection, after)
    return after


def with_target_spec(connection: sa.Connection, before: Model | None, after: Model) -> Model:
    """``after`` with the spec that reading it would give as ``target_spec``: its target's revision's."""
    return replace(after, target_spec=_target_spec(connection, before, after))


def _target_spec(connection: sa.Connection, before: Model | None, after: Model) -> Spec:
    generation = after.status.target.generation
    if generation == after.generation:
        return after.spec
    if before is not None and generation == before.status.target.generation:
        return before.target_spec
    return revisions.get_spec(connection, after.uid, generation) or after.spec


def _insert(connection: sa.Connection, model: Model) -> Model:
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
        raise AlreadyExists(f"The model {model.ref} exists already. Update it, or choose another name.")
    _insert_labels(connection, model)
    _insert_groups(connection, model)
    return model


def _insert_groups(connection: sa.Connection, model: Model) -> None:
    rows = [{"model_uid": model.uid, "group": group} for group in dict.fromkeys(model.spec.groups)]
    if rows:
        connection.execute(sa.insert(model_groups), rows)


def _insert_labels(connection: sa.Connection, model: Model) -> None:
    rows = [{"model_uid": model.uid, "key": key, "value": value} for key, value in model.spec.labels.items()]
    if rows:
        connection.execute(sa.insert(model_labels), rows)


def _values(model: Model) -> dict[str, Any]:
    return {
        "engine": model.spec.engine,
        "site": model.site,
        "desired": model.desired,
        "state": model.status.state,
        "generation": model.generation,
        "target_generation": model.status.target.generation,
        "version": model.version,
        "updated_at": model.updated_at,
        "spec": encode(model.spec),
        "status": encode(model.status),
    }


def _expect(connection: sa.Connection, found: int, before: Model, fence: Fence | None) -> None:
    if not found:
        if fence is not None:
            sites.check(connection, fence)
        raise VersionConflict(
            f"The model {before.ref} was changed or deleted by somebody else in between (after version "
            f"{before.version}). Read it again and repeat the change."
        )
