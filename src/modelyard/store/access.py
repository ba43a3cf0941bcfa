"""Members of namespaces and API keys: each method of the port is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from modelyard.access.callers import Snapshot
from modelyard.access.keys import ApiKey
from modelyard.access.members import Member, MemberKind
from modelyard.control.access_ports import AccessStore, Membership
from modelyard.domain.access import EVERYWHERE, Role
from modelyard.domain.errors import AlreadyExists, NotFound
from modelyard.domain.rates import Rate
from modelyard.store import namespaces, news
from modelyard.store.codec import encode
from modelyard.store.database import Database
from modelyard.store.dialects import insert_new
from modelyard.store.recording import note_fields
from modelyard.store.tables import api_keys, members

_MEMBERS: Final = sa.select(members).order_by(members.c.namespace, members.c.kind, members.c.value)
_KEYS: Final = sa.select(api_keys).order_by(api_keys.c.namespace, api_keys.c.name, api_keys.c.created_at)
_OF_KEY: Final = (api_keys.c.namespace == sa.bindparam("in_namespace")) & (api_keys.c.id == sa.bindparam("of_key"))
_KEY: Final = sa.select(api_keys).where(_OF_KEY).with_for_update()
_IN_USE: Final = api_keys.c.revoked_at.is_(None)
_names: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_rate: Final = msgspec.json.Decoder(Rate).decode


class SqlAccess(AccessStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.access`. Besides what each method says it raises, all raise
    Unavailable when the database fails."""

    def __init__(self, database: Database, origin: str) -> None:
        self._database = database
        # Tells our own news from that of others.
        self._origin = origin

    async def list_members(self, namespace: str) -> Sequence[Membership]:
        def read(connection: sa.Connection) -> Sequence[Membership]:
            _expect(connection, namespace)
            rows = connection.execute(_MEMBERS.where(members.c.namespace == namespace))
            return [_membership(row) for row in rows]

        return await self._database.read(read)

    async def put_member(self, membership: Membership) -> bool:
        def write(connection: sa.Connection) -> bool:
            _hold(connection, membership.member.namespace)
            values = _member_values(membership)
            key = "namespace", "kind", "value"
            before = _said_of(connection, membership.member)
            new = connection.execute(insert_new(connection, members, *key), values).first() is not None
            if not new:
                changed = {name: value for name, value in values.items() if name not in key}
                connection.execute(sa.update(members).where(_same(membership.member)).values(changed))
            note_fields(connection, before, _said_of(connection, membership.member))
            self._announce(connection)
            return new

        return await self._database.write(write)

    async def remove_member(self, member: Member) -> bool:
        def write(connection: sa.Connection) -> bool:
            note_fields(connection, _said_of(connection, member), {})
            found = connection.execute(sa.delete(members).where(_same(member))).rowcount
            self._announce(connection)
            return bool(found)

        return await self._database.write(write)

    async def list_keys(self, namespace: str) -> Sequence[ApiKey]:
        def read(connection: sa.Connection) -> Sequence[ApiKey]:
            _expect(connection, namespace)
            return [_key(row) for row in connection.execute(_KEYS.where(api_keys.c.namespace == namespace))]

        return await self._database.read(read)

    async def add_key(self, key: ApiKey) -> None:
        def write(connection: sa.Connection) -> None:
            _hold(connection, key.namespace)
            same = (api_keys.c.namespace == key.namespace) & (api_keys.c.name == key.name)
            # The index refuses the second of two that come at once; the look only says it in words.
            if connection.execute(sa.select(api_keys.c.id).where(same, _IN_USE)).first() is not None:
                raise _name_taken(key)
            connection.execute(sa.insert(api_keys), {"id": key.id, **_key_values(key)})
            note_fields(connection, {}, {"id": key.id, **_shown(key)})
            self._announce(connection)

        try:
            await self._database.write(write)
        except sa.exc.IntegrityError as error:
            raise _name_taken(key) from error

    async def change_key(self, namespace: str, key_id: str, decide: Callable[[ApiKey], ApiKey]) -> ApiKey:
        def write(connection: sa.Connection) -> ApiKey:
            row = connection.execute(_KEY, {"in_namespace": namespace, "of_key": key_id}).first()
            if row is None:
                raise NotFound(f"There is no API key {key_id!r} {_where(namespace)}.")
            before = _key(row)
            after = decide(before)
            if after != before:
                statement = sa.update(api_keys).where(api_keys.c.id == key_id)
                connection.execute(statement.values(_key_values(after)))
                note_fields(connection, _shown(before), _shown(after), key=before.name)
                self._announce(connection)
            return after

        return await self._database.write(write)

    async def note_use(self, key_id: str, at: datetime) -> None:
        later = api_keys.c.last_used_at.is_(None) | (api_keys.c.last_used_at < at)
        statement = sa.update(api_keys).where(api_keys.c.id == key_id, later).values(last_used_at=at)
        await self._database.write(lambda c: c.execute(statement).rowcount)

    async def purge(self, kept: timedelta, now: datetime) -> int:
        ended = (api_keys.c.revoked_at <= now - kept) | (api_keys.c.expires_at <= now - kept)

        def write(connection: sa.Connection) -> int:
            found = connection.execute(sa.delete(api_keys).where(ended)).rowcount
            if found:
                self._announce(connection)
            return found

        return await self._database.write(write)

    async def snapshot(self) -> Snapshot:
        # Statements of their own: what is changed between them is told of afterwards.
        keys = await self._database.read(lambda c: tuple(_key(row) for row in c.execute(_KEYS)))
        found = await self._database.read(lambda c: tuple(_membership(row).member for row in c.execute(_MEMBERS)))
        return Snapshot(keys=keys, members=found)

    def _announce(self, connection: sa.Connection) -> None:
        news.announce_access(connection, self._origin)


def forget(connection: sa.Connection, namespace: str) -> None:
    """Of a namespace that is no more: whoever makes one of that name later has other members."""
    connection.execute(sa.delete(members).where(members.c.namespace == namespace))
    connection.execute(sa.delete(api_keys).where(api_keys.c.namespace == namespace))


def _expect(connection: sa.Connection, namespace: str) -> None:
    if namespace != EVERYWHERE and namespaces.get(connection, namespace) is None:
        raise namespaces.missing(namespace)


def _hold(connection: sa.Connection, namespace: str) -> None:
    if namespace != EVERYWHERE:
        namespaces.hold(connection, namespace)


def _where(namespace: str) -> str:
    return "for all namespaces" if namespace == EVERYWHERE else f"in namespace {namespace!r}"


def _name_taken(key: ApiKey) -> AlreadyExists:
    return AlreadyExists(
        f"There is an API key {key.name!r} {_where(key.namespace)} already: rotate or revoke that one, or choose "
        "another name."
    )


def _same(member: Member) -> sa.ColumnElement[bool]:
    return sa.and_(
        members.c.namespace == member.namespace, members.c.kind == str(member.kind), members.c.value == member.value
    )


def _said_of(connection: sa.Connection, member: Member) -> dict[str, Any]:
    """What the record says of a member, as it is now; nothing where there is none."""
    row = connection.execute(sa.select(members.c.role, members.c.models).where(_same(member))).first()
    return {} if row is None else {"role": row.role, "models": _names(row.models)}


def _shown(key: ApiKey) -> dict[str, Any]:
    """What the record says of a key; of its secret, that it is another one."""
    return {
        "name": key.name,
        "secret": key.digest,
        "role": str(key.role),
        "models": key.models,
        "groups": key.groups,
        "rate": key.rate,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "previous_until": key.previous_until,
    }


def _member_values(membership: Membership) -> dict[str, Any]:
    member = membership.member
    return {
        "namespace": member.namespace,
        "kind": member.kind,
        "value": member.value,
        "role": member.role,
        "models": encode(member.models),
        "added_at": membership.added_at,
        "added_by": membership.added_by,
        "reason": membership.reason,
    }


def _membership(row: Any) -> Membership:
    member = Member(
        namespace=row.namespace, kind=MemberKind(row.kind), value=row.value, role=Role(row.role),
        models=_names(row.models),
    )  # fmt: skip
    return Membership(member=member, added_at=row.added_at, added_by=row.added_by, reason=row.reason)


def _key_values(key: ApiKey) -> dict[str, Any]:
    return {
        "namespace": key.namespace,
        "name": key.name,
        "digest": key.digest,
        "role": key.role,
        "models": encode(key.models),
        "groups": encode(key.groups),
        "rate": None if key.rate is None else encode(key.rate),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "previous_digest": key.previous_digest,
        "previous_until": key.previous_until,
    }


def _key(row: Any) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        digest=row.digest,
        namespace=row.namespace,
        role=Role(row.role),
        models=_names(row.models),
        groups=_names(row.groups),
        rate=None if row.rate is None else _rate(row.rate),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        previous_digest=row.previous_digest,
        previous_until=row.previous_until,
    )
