"""Queries of the table ``pins``, and of whose the versions in a cache are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Final

import sqlalchemy as sa

from modelyard.domain.keeping import Pin
from modelyard.domain.names import FileSource, parse_reference
from modelyard.registry.ports import Known, PinStore
from modelyard.store import models, namespaces
from modelyard.store.database import Database
from modelyard.store.dialects import insert_new
from modelyard.store.tables import pins, registered_models, registered_versions

_KEY: Final = (
    (pins.c.site == sa.bindparam("of_site"))
    & (pins.c.namespace == sa.bindparam("in_namespace"))
    & (pins.c.reference == sa.bindparam("of_reference"))
    & (pins.c.preload == sa.bindparam("of_preload"))
)
_DELETE: Final = sa.delete(pins).where(_KEY)
_ORDER: Final = (pins.c.at, pins.c.namespace, pins.c.reference, pins.c.preload)
_VERSIONS: Final = sa.select(
    registered_versions.c.manifest, registered_models.c.namespace, registered_models.c.name,
    registered_versions.c.version,
    sa.or_(registered_versions.c.deleted_at.is_not(None), registered_models.c.deleted_at.is_not(None)).label("deleted"),
).select_from(
    registered_versions.join(registered_models, registered_models.c.uid == registered_versions.c.model_uid)
)  # fmt: skip
# Manifests that are looked for at a time.
_CHUNK: Final = 500


class SqlPins(PinStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.pins`. All methods raise Unavailable when the database
    fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, pin: Pin) -> bool:
        return await self._database.write(lambda c: _add(c, pin))

    async def remove(self, site: str, namespace: str, reference: str, *, preload: bool) -> bool:
        key = {"of_site": site, "in_namespace": namespace, "of_reference": reference, "of_preload": preload}
        return await self._database.write(lambda c: bool(c.execute(_DELETE, key).rowcount))

    async def of_site(self, site: str) -> Sequence[Pin]:
        return await self._database.read(lambda c: _of_site(c, site))

    async def versions_of(self, manifests: Collection[str]) -> Mapping[str, Sequence[Known]]:
        wanted = sorted(manifests)
        found: dict[str, Sequence[Known]] = {}
        for start in range(0, len(wanted), _CHUNK):
            found |= await self._database.read(partial(_versions_of, manifests=wanted[start : start + _CHUNK]))
        return found

    async def served(self) -> Mapping[str, frozenset[tuple[str, str]]]:
        return await self._database.read(models.served)


def _add(connection: sa.Connection, pin: Pin) -> bool:
    namespaces.hold(connection, pin.namespace)
    values = {
        "site": pin.site,
        "namespace": pin.namespace,
        "reference": str(pin.reference),
        "preload": pin.preload,
        "at": pin.at,
        "actor": pin.by,
        "reason": pin.reason,
    }
    statement = insert_new(connection, pins, "site", "namespace", "reference", "preload")
    return connection.execute(statement, values).first() is not None


def _of_site(connection: sa.Connection, site: str) -> Sequence[Pin]:
    found = []
    for row in connection.execute(sa.select(pins).where(pins.c.site == site).order_by(*_ORDER)):
        reference = parse_reference(row.reference)
        assert not isinstance(reference, FileSource)
        found.append(
            Pin(
                site=row.site,
                namespace=row.namespace,
                reference=reference,
                preload=row.preload,
                at=row.at,
                by=row.actor,
                reason=row.reason,
            )
        )
    return found


def _versions_of(connection: sa.Connection, *, manifests: Sequence[str]) -> Mapping[str, Sequence[Known]]:
    found: defaultdict[str, list[Known]] = defaultdict(list)
    statement = _VERSIONS.where(registered_versions.c.manifest.in_(manifests)).order_by(
        registered_models.c.namespace, registered_models.c.name, registered_versions.c.precedence
    )
    for manifest, namespace, name, version, deleted in connection.execute(statement):
        found[manifest].append(Known(namespace=namespace, name=name, version=version, deleted=bool(deleted)))
    return dict(found)
