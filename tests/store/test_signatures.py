"""Keys and signatures as the databases keep and guard them, the same on both."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from modelyard.control.ports import EventQuery
from modelyard.domain import registering, signing
from modelyard.domain.errors import NotFound, Refused
from modelyard.domain.model import Namespace
from modelyard.domain.registry import RegisteredModel, Version
from modelyard.domain.signing import Ring, SignatureKind, SigningChange, VersionSignature
from modelyard.store import SqlStore
from modelyard.store.engine import parse_url
from tests.store.changes import EPOCH
from tests.store.test_catalog import asked, published, registered

PRINTS = [f"{number:064x}" for number in range(4)]


async def trusted(store: SqlStore, name: str, fingerprint: str, namespace: str = "default", **more: Any) -> None:
    kind, pem = more.get("kind", SignatureKind.OPENSSF), more.get("pem", "PEM")
    await store.signatures.change_ring(
        namespace, lambda ring: signing.trust(ring, name, kind, fingerprint, pem, asked())
    )


async def revoked(store: SqlStore, name: str) -> None:
    await store.signatures.change_ring("default", lambda ring: signing.revoke(ring, name, asked()))


async def required(store: SqlStore, namespace: str = "default") -> None:
    await store.signatures.change_ring(namespace, lambda ring: signing.require(ring, True, asked()))


async def signed(
    store: SqlStore, number: str, fingerprint: str, name: str = "pat", bundle: str = "{}"
) -> SigningChange:
    def decide(ring: Ring, model: RegisteredModel, version: Version, there: VersionSignature | None) -> SigningChange:
        at = asked()
        made = VersionSignature(
            model_uid=model.uid, version=number, fingerprint=fingerprint, kind=SignatureKind.OPENSSF,
            manifest=version.identity.content.manifest, bundle=bundle, checked_at=at.at, added_at=at.at,
            added_by=at.actor, reason=at.reason,
        )  # fmt: skip
        return signing.sign(ring, model, version, there, made, at)

    return await store.signatures.add("default", name, number, fingerprint, decide)


async def manifest_of(store: SqlStore, number: str) -> str:
    version = await store.catalog.look("default", "pat", lambda shelf: shelf.version(number))
    assert version is not None
    return version.identity.content.manifest


async def codes(store: SqlStore, number: str, manifest: str | None = None, namespace: str = "default") -> str | None:
    manifest = manifest or await manifest_of(store, number)
    problem = (await store.signatures.standing(namespace, "pat", number, manifest)).problem("it", "")
    return None if problem is None else problem.code


async def test_keys_are_kept_with_their_history_and_their_names_come_free(store: SqlStore) -> None:
    await trusted(store, "ci", PRINTS[0])
    await trusted(store, "b", PRINTS[1], kind=SignatureKind.HMAC, pem="")
    await revoked(store, "ci")
    await trusted(store, "ci", PRINTS[2])
    ring = await store.signatures.ring("default")
    assert [(key.name, key.fingerprint, key.is_trusted) for key in ring.keys] == [
        ("b", PRINTS[1], True), ("ci", PRINTS[2], True), ("ci", PRINTS[0], False),
    ]  # fmt: skip
    assert (ring.keys[0].kind, ring.keys[0].public_key) == (SignatureKind.HMAC, "")
    assert ring.find("ci").fingerprint == PRINTS[2]
    with pytest.raises(Refused):
        await trusted(store, "again", PRINTS[0])
    events = (await store.list_events(EventQuery(after=0))).items
    assert [(event.type, event.namespace, event.model) for event in events] == [
        ("KeyTrusted", "default", ""), ("KeyTrusted", "default", ""), ("KeyRevoked", "default", ""),
        ("KeyTrusted", "default", ""),
    ]  # fmt: skip


async def test_keys_and_policies_are_a_namespaces_own_and_go_with_it(store: SqlStore) -> None:
    await store.create_namespace(Namespace(name="team", created_at=EPOCH))
    await trusted(store, "ci", PRINTS[0], "team")
    await required(store, "team")
    assert (await store.signatures.ring("default")) == Ring(namespace="default")
    assert [n.require_signature for n in await store.list_namespaces()] == [False, True]
    with pytest.raises(NotFound, match="namespace 'nobody'"):
        await store.signatures.ring("nobody")
    with pytest.raises(NotFound, match="namespace 'nobody'"):
        await store.signatures.standing("nobody", "pat", "1.0.0", "")
    with pytest.raises(NotFound):
        await required(store, "nobody")
    await store.delete_namespace("team")
    await store.create_namespace(Namespace(name="team", created_at=EPOCH))
    assert (await store.signatures.ring("team")) == Ring(namespace="team")


async def test_a_signature_counts_for_its_own_version_and_bytes_while_its_key_is_trusted(store: SqlStore) -> None:
    await registered(store, "pat")
    await published(store, "pat", "1.0.0")
    await published(store, "pat", "1.1.0")
    assert await codes(store, "1.0.0") is None, "nothing is required"
    await required(store)
    assert await codes(store, "1.0.0") == "unsigned"
    await trusted(store, "ci", PRINTS[0])
    await trusted(store, "ops", PRINTS[1])
    change = await signed(store, "1.0.0", PRINTS[0])
    assert (change.model.version, [event.type for event in change.events]) == (4, ["VersionSigned"])
    assert await codes(store, "1.0.0") is None
    assert await codes(store, "1.1.0") == "unsigned"
    assert await codes(store, "1.0.0", f"sha256:{9:064x}") == "unsigned", "the same number, other bytes"
    await revoked(store, "ci")
    assert await codes(store, "1.0.0") == "untrusted_key"
    await signed(store, "1.0.0", PRINTS[1])
    assert await codes(store, "1.0.0") is None
    assert [s.fingerprint for s in await store.signatures.signatures("default", "pat", "1.0.0")] == PRINTS[:2]


async def test_a_key_that_another_namespace_trusts_vouches_for_nothing_here(store: SqlStore) -> None:
    await store.create_namespace(Namespace(name="team", created_at=EPOCH))
    await registered(store, "pat", "team")
    await registered(store, "pat")
    await published(store, "pat", "1.0.0")
    await trusted(store, "ci", PRINTS[0])
    await trusted(store, "ci", PRINTS[1], "team")
    await signed(store, "1.0.0", PRINTS[0])
    await required(store, "team")
    assert await codes(store, "1.0.0", namespace="team") == "unsigned"
    with pytest.raises(Refused):
        await signed(store, "1.0.0", PRINTS[1])


async def test_the_same_key_signs_once_and_what_is_not_there_not_at_all(store: SqlStore) -> None:
    await registered(store, "pat")
    await published(store, "pat", "1.0.0")
    await trusted(store, "ci", PRINTS[0])
    first = await signed(store, "1.0.0", PRINTS[0])
    again = await signed(store, "1.0.0", PRINTS[0], bundle="[]")
    assert (again.signature, again.events) == (first.signature, ())
    for name, number in (("pat", "2.0.0"), ("cat", "1.0.0")):
        with pytest.raises(NotFound):
            await signed(store, number, PRINTS[0], name)
    with pytest.raises(NotFound):
        await store.signatures.signatures("default", "cat", "1.0.0")


async def test_signatures_die_when_their_version_is_purged_and_not_before(store: SqlStore) -> None:
    await registered(store, "pat")
    for number in ("1.0.0", "1.1.0"):
        await published(store, "pat", number)
    await trusted(store, "ci", PRINTS[0])
    for number in ("1.0.0", "1.1.0"):
        await signed(store, number, PRINTS[0])
    await required(store)
    manifest = await manifest_of(store, "1.0.0")
    await store.catalog.change(
        "default", "pat", lambda shelf: registering.delete_version(shelf, "1.0.0", timedelta(days=1), asked())
    )
    await store.catalog.purge(EPOCH)
    assert len(await store.signatures.signatures("default", "pat", "1.0.0")) == 1
    await store.catalog.purge(EPOCH + timedelta(days=9))
    assert await store.signatures.signatures("default", "pat", "1.0.0") == []
    await published(store, "pat", "1.0.0")
    assert await codes(store, "1.0.0", manifest) == "unsigned", "pushed again it is signed again"
    await store.catalog.change("default", "pat", lambda shelf: registering.delete(shelf, timedelta(0), asked()))
    await store.catalog.purge(EPOCH + timedelta(days=9))
    with pytest.raises(NotFound):
        await store.signatures.signatures("default", "pat", "1.1.0")
    assert len((await store.signatures.ring("default")).keys) == 1


async def test_of_many_who_trust_a_key_under_one_name_one_does(store: SqlStore, url: str) -> None:
    others = [store, *[await SqlStore.open(url) for _ in range(2)]]
    done = await asyncio.gather(*(trusted(others[n % 3], "ci", PRINTS[n]) for n in range(4)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in done) == ["NoneType", "Refused", "Refused", "Refused"]
    assert len((await store.signatures.ring("default")).keys) == 1
    for other in others[1:]:
        await other.close()


async def test_the_database_refuses_what_cannot_be(store: SqlStore, url: str) -> None:
    await registered(store, "pat")
    await published(store, "pat", "1.0.0")
    await trusted(store, "ci", PRINTS[0])
    await signed(store, "1.0.0", PRINTS[0])
    engine = sa.create_engine(parse_url(url))
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys = on")
        for statement in (
            "UPDATE trusted_keys SET kind = 'rsa'",
            "UPDATE trusted_keys SET fingerprint = 'abc'",
            "UPDATE trusted_keys SET public_key = ''",
            "UPDATE version_signatures SET kind = 'rsa'",
            "UPDATE version_signatures SET version = '9.9.9'",
        ):
            with pytest.raises(sa.exc.IntegrityError):
                connection.exec_driver_sql(statement)
            connection.rollback()
    engine.dispose()


async def test_two_trusted_keys_never_have_one_name(store: SqlStore, url: str) -> None:
    await trusted(store, "ci", PRINTS[0])
    await trusted(store, "ops", PRINTS[1])
    engine = sa.create_engine(parse_url(url))
    with engine.connect() as connection, pytest.raises(sa.exc.IntegrityError):
        connection.exec_driver_sql("UPDATE trusted_keys SET name = 'ci'")
    engine.dispose()
    assert replace(await store.signatures.ring("default"), keys=()) == Ring(namespace="default")
