"""Signatures of versions and the keys of namespaces: each method of the port is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from modelyard.domain.registering import find_version
from modelyard.domain.signing import (
    Ring,
    RingChange,
    SignatureKind,
    SigningChange,
    Standing,
    TrustedKey,
    VersionSignature,
)
from modelyard.registry.signing.ports import DecideSigning, SignatureStore
from modelyard.store import events, namespaces, registered_models
from modelyard.store.database import Database
from modelyard.store.shelf import SqlShelf
from modelyard.store.tables import namespaces as spaces
from modelyard.store.tables import registered_models as models
from modelyard.store.tables import trusted_keys as keys
from modelyard.store.tables import version_signatures as signatures

_REQUIRED: Final = sa.select(spaces.c.require_signature).where(spaces.c.name == sa.bindparam("in_namespace"))
# Whoever only adds a model to the namespace need not wait.
_LOCK: Final = _REQUIRED.with_for_update(key_share=True)
_KEYS: Final = (
    sa.select(keys)
    .where(keys.c.namespace == sa.bindparam("in_namespace"))
    .order_by(keys.c.name, keys.c.trusted_at.desc(), keys.c.fingerprint)
)
_KEY: Final = (keys.c.namespace == sa.bindparam("in_namespace")) & (keys.c.fingerprint == sa.bindparam("of_key"))
_UPDATE_KEY: Final = sa.update(keys).where(_KEY)
_OF_VERSION: Final = (
    sa.select(signatures)
    .where(signatures.c.model_uid == sa.bindparam("of_uid"), signatures.c.version == sa.bindparam("of_version"))
    .order_by(signatures.c.added_at, signatures.c.fingerprint)
)
_BY: Final = (
    sa.select(keys)
    .select_from(
        models.join(signatures, signatures.c.model_uid == models.c.uid).join(
            keys, (keys.c.namespace == models.c.namespace) & (keys.c.fingerprint == signatures.c.fingerprint)
        )
    )
    .where(
        models.c.namespace == sa.bindparam("in_namespace"),
        models.c.name == sa.bindparam("named"),
        signatures.c.version == sa.bindparam("of_version"),
        signatures.c.manifest == sa.bindparam("of_manifest"),
    )
    .order_by(keys.c.name, keys.c.fingerprint)
)


class SqlSignatures(SignatureStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.signatures`. Besides what each method says it raises, all
    raise Unavailable when the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ring(self, namespace: str) -> Ring:
        return await self._database.look(lambda c: _ring(c, namespace, _REQUIRED))

    async def change_ring(self, namespace: str, decide: Callable[[Ring], RingChange]) -> RingChange:
        return await self._database.write(lambda c: _change_ring(c, namespace, decide))

    async def add(
        self, namespace: str, name: str, number: str, fingerprint: str, decide: DecideSigning
    ) -> SigningChange:
        return await self._database.write(lambda c: _add(c, namespace, name, number, fingerprint, decide))

    async def signatures(self, namespace: str, name: str, number: str) -> Sequence[VersionSignature]:
        return await self._database.look(lambda c: _list(c, registered_models.get(c, namespace, name).uid, number))

    async def standing(
        self, namespace: str, name: str, number: str, manifest: str, *, required: bool = False
    ) -> Standing:
        def read(connection: sa.Connection) -> Standing:
            if not required and not _required(connection, namespace, _REQUIRED):
                return Standing(required=False)
            of = {"in_namespace": namespace, "named": name, "of_version": number, "of_manifest": manifest}
            return Standing(required=True, signed_by=tuple(_key(row) for row in connection.execute(_BY, of)))

        return await self._database.look(read)


def _required(connection: sa.Connection, namespace: str, statement: sa.Select[Any]) -> bool:
    found = connection.scalar(statement, {"in_namespace": namespace})
    if found is None:
        raise namespaces.missing(namespace)
    return bool(found)


def _ring(connection: sa.Connection, namespace: str, statement: sa.Select[Any]) -> Ring:
    required = _required(connection, namespace, statement)
    rows = connection.execute(_KEYS, {"in_namespace": namespace})
    return Ring(namespace=namespace, required=required, keys=tuple(_key(row) for row in rows))


def _change_ring(connection: sa.Connection, namespace: str, decide: Callable[[Ring], RingChange]) -> RingChange:
    ring = _ring(connection, namespace, _LOCK)
    change = decide(ring)
    if not change.events:
        return change
    if change.required != ring.required:
        statement = sa.update(spaces).where(spaces.c.name == namespace)
        connection.execute(statement.values(require_signature=change.required))
    if change.key is not None:
        _write_key(connection, change.key)
    return replace(change, events=events.append(connection, change.events))


def _write_key(connection: sa.Connection, key: TrustedKey) -> None:
    revoked = {"revoked_at": key.revoked_at, "revoked_by": key.revoked_by, "revoked_for": key.revoked_for}
    of = {"in_namespace": key.namespace, "of_key": key.fingerprint}
    if connection.execute(_UPDATE_KEY, of | revoked).rowcount:
        return
    values = {
        "namespace": key.namespace,
        "fingerprint": key.fingerprint,
        "name": key.name,
        "kind": key.kind,
        "public_key": key.public_key,
        "trusted_at": key.trusted_at,
        "trusted_by": key.trusted_by,
        "reason": key.reason,
    }
    connection.execute(sa.insert(keys), values | revoked)


def _add(
    connection: sa.Connection, namespace: str, name: str, number: str, fingerprint: str, decide: DecideSigning
) -> SigningChange:
    # In this order whoever revokes the key has done so, or comes after.
    ring = _ring(connection, namespace, _LOCK)
    model = registered_models.hold(connection, namespace, name)
    version = find_version(SqlShelf(connection, model), number)
    there = next((s for s in _list(connection, model.uid, number) if s.fingerprint == fingerprint), None)
    change = decide(ring, model, version, there)
    if not change.events:
        return change
    after = registered_models.update(connection, model, change.model)
    added = change.signature
    values = {
        "model_uid": added.model_uid,
        "version": added.version,
        "fingerprint": added.fingerprint,
        "kind": added.kind,
        "manifest": added.manifest,
        "bundle": added.bundle,
        "checked_at": added.checked_at,
        "added_at": added.added_at,
        "added_by": added.added_by,
        "reason": added.reason,
    }
    connection.execute(sa.insert(signatures), values)
    return replace(change, model=after, events=events.append(connection, change.events))


def _list(connection: sa.Connection, model_uid: str, number: str) -> Sequence[VersionSignature]:
    rows = connection.execute(_OF_VERSION, {"of_uid": model_uid, "of_version": number})
    return [
        VersionSignature(
            model_uid=row.model_uid,
            version=row.version,
            fingerprint=row.fingerprint,
            kind=SignatureKind(row.kind),
            manifest=row.manifest,
            bundle=row.bundle,
            checked_at=row.checked_at,
            added_at=row.added_at,
            added_by=row.added_by,
            reason=row.reason,
        )
        for row in rows
    ]


def _key(row: Any) -> TrustedKey:
    return TrustedKey(
        namespace=row.namespace,
        name=row.name,
        kind=SignatureKind(row.kind),
        fingerprint=row.fingerprint,
        public_key=row.public_key,
        trusted_at=row.trusted_at,
        trusted_by=row.trusted_by,
        reason=row.reason,
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
        revoked_for=row.revoked_for,
    )
