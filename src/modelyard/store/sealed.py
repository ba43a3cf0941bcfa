"""What is sealed in the database, wherever it stands: the secrets of specs, old ones too, and those of webhooks. (Links
to sign in by are over in minutes, and so not among it.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from modelyard.control.access_ports import SealAgain, SealedStore
from modelyard.domain.secrets import key_of, place_of_webhook
from modelyard.store.codec import Raw
from modelyard.store.database import Database
from modelyard.store.tables import models, revisions, webhooks

# Models whose specs are gone through in one transaction.
_CHUNK: Final = 50
# How a sealed value begins within a document; what else does is looked at and left.
_MARK: Final = '%"v1.%'


class SqlSealed(SealedStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.sealed`. All raises Unavailable when the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count_by_key(self) -> Mapping[str, int]:
        def count(connection: sa.Connection) -> Mapping[str, int]:
            found: Counter[str] = Counter()
            for table in (models, revisions):
                for row in connection.execute(sa.select(table.c.spec).where(_marked(table))):
                    found.update(key_of(sealed) for _, sealed in _secrets(msgspec.json.decode(row.spec)))
            found.update(key_of(row.sealed) for row in connection.execute(sa.select(webhooks.c.sealed)))
            return found

        return await self._database.read(count)

    async def seal_again(self, again: SealAgain) -> int:
        changed = 0
        uids = await self._database.read(_with_secrets)
        for first in range(0, len(uids), _CHUNK):
            chunk = uids[first : first + _CHUNK]
            changed += await self._database.write(partial(_seal_specs, uids=chunk, again=again))
        return changed + await self._database.write(lambda c: _seal_webhooks(c, again))


def _marked(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.cast(table.c.spec, sa.Text).like(_MARK)


def _with_secrets(connection: sa.Connection) -> list[str]:
    of_models = sa.select(models.c.uid).where(_marked(models))
    of_revisions = sa.select(revisions.c.model_uid).where(_marked(revisions))
    return sorted(connection.execute(sa.union(of_models, of_revisions)).scalars())


def _seal_specs(connection: sa.Connection, uids: Iterable[str], again: SealAgain) -> int:
    """A model's specs are changed together, and what was one secret in several of them stays one: else a revision
    would seem to differ from the next in what it does not."""
    changed = 0
    for uid in uids:
        held = sa.select(models.c.namespace, models.c.spec).where(models.c.uid == uid).with_for_update()
        model = connection.execute(held).first()
        if model is None:
            continue
        anew: dict[tuple[str, str], str] = {}

        def seal(variable: str, sealed: str, anew: dict[tuple[str, str], str] = anew, ns: str = model.namespace) -> str:
            if (variable, sealed) not in anew:
                anew[variable, sealed] = again(ns, variable, sealed)
            return anew[variable, sealed]

        if (spec := _sealed_anew(model.spec, seal)) is not None:
            connection.execute(sa.update(models).where(models.c.uid == uid).values(spec=spec))
        of_it = revisions.c.model_uid == uid
        for row in connection.execute(sa.select(revisions.c.generation, revisions.c.spec).where(of_it)).all():
            if (spec := _sealed_anew(row.spec, seal)) is not None:
                same = of_it & (revisions.c.generation == row.generation)
                connection.execute(sa.update(revisions).where(same).values(spec=spec))
        changed += sum(before != after for (_, before), after in anew.items())
    return changed


def _seal_webhooks(connection: sa.Connection, again: SealAgain) -> int:
    changed = 0
    for row in connection.execute(sa.select(webhooks).with_for_update()).all():
        sealed = again(row.namespace, place_of_webhook(row.name), row.sealed)
        if sealed != row.sealed:
            same = (webhooks.c.namespace == row.namespace) & (webhooks.c.name == row.name)
            connection.execute(sa.update(webhooks).where(same).values(sealed=sealed))
            changed += 1
    return changed


def _secrets(spec: Any) -> Iterator[tuple[str, str]]:
    """The sealed values of a spec's document, whatever else is in it that is not known now, by their variables."""
    container = spec.get("container") if isinstance(spec, dict) else None
    found = container.get("secrets") if isinstance(container, dict) else None
    for variable, secret in found.items() if isinstance(found, dict) else ():
        if isinstance(secret, dict) and isinstance(secret.get("sealed"), str):
            yield variable, secret["sealed"]


def _sealed_anew(document: Raw, seal: Callable[[str, str], str]) -> str | None:
    """The document with its secrets as ``seal`` makes them; None: it has none that change."""
    spec = msgspec.json.decode(document)
    changed = {variable: anew for variable, old in _secrets(spec) if (anew := seal(variable, old)) != old}
    for variable, sealed in changed.items():
        spec["container"]["secrets"][variable]["sealed"] = sealed
    return msgspec.json.encode(spec).decode() if changed else None
