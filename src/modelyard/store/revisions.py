"""Queries of the table ``revisions``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from modelyard.domain.model import Failure, Revision
from modelyard.domain.spec import Spec
from modelyard.store.codec import encode
from modelyard.store.salvage import decode_failure, decode_spec
from modelyard.store.tables import MAX_BIGINT, revisions

_GIVE_UP: Final = (
    sa.update(revisions)
    .where(revisions.c.model_uid == sa.bindparam("of_uid"), revisions.c.generation == sa.bindparam("of_generation"))
    .values(failure=sa.bindparam("why"))
)


def insert(connection: sa.Connection, revision: Revision) -> None:
    values = {
        "model_uid": revision.model_uid,
        "generation": revision.generation,
        "created_at": revision.created_at,
        "actor": revision.actor,
        "reason": revision.reason,
        "spec": encode(revision.spec),
        "failure": None if revision.failure is None else encode(revision.failure),
    }
    connection.execute(sa.insert(revisions), values)


def give_up(connection: sa.Connection, model_uid: str, given_up: Sequence[tuple[int, Failure]]) -> None:
    """Record why the rollouts of these generations were."""
    for generation, failure in given_up:
        key = {"of_uid": model_uid, "of_generation": generation}
        connection.execute(_GIVE_UP, {**key, "why": encode(failure)})


def get_spec(connection: sa.Connection, model_uid: str, generation: int) -> Spec | None:
    if not 0 < generation <= MAX_BIGINT:
        return None
    key = (revisions.c.model_uid == model_uid) & (revisions.c.generation == generation)
    row = connection.execute(sa.select(revisions.c.spec).where(key)).first()
    return None if row is None else decode_spec(row.spec)


def list_of(connection: sa.Connection, model_uid: str) -> Sequence[Revision]:
    """Newest first."""
    newest_first = revisions.c.generation.desc()
    rows = connection.execute(sa.select(revisions).where(revisions.c.model_uid == model_uid).order_by(newest_first))
    return [
        Revision(
            model_uid=row.model_uid,
            generation=row.generation,
            spec=decode_spec(row.spec),
            created_at=row.created_at,
            actor=row.actor,
            reason=row.reason,
            failure=None if row.failure is None else decode_failure(row.failure),
        )
        for row in rows
    ]


def manifests(connection: sa.Connection) -> frozenset[str]:
    """Those of the registered versions that the revisions of all models are made of."""
    manifest = revisions.c.spec[("artifact", "manifest")].as_string()
    return frozenset(connection.scalars(sa.select(manifest).where(manifest.is_not(None)).distinct()))
