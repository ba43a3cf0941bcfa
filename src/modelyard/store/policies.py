"""Policies, overrides of them, and what has been done for them: each method of the port is one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from modelyard.control.policy_ports import PolicyStore
from modelyard.domain.commands import Asked, event_of
from modelyard.domain.errors import EtagMismatch, NotFound, Refused
from modelyard.domain.etags import first_version
from modelyard.domain.model import Event, Model
from modelyard.domain.policies import INSTALLATION, Mark, MarkKind, Mode, Override, Policy, Rules, Selector
from modelyard.store import events, namespaces
from modelyard.store.codec import encode
from modelyard.store.database import Database
from modelyard.store.dialects import insert_new
from modelyard.store.tables import models, policies, policy_marks, policy_overrides

_SELECT: Final = sa.select(policies).order_by(policies.c.namespace, policies.c.name)
_IS: Final = (policies.c.namespace == sa.bindparam("of_scope")) & (policies.c.name == sa.bindparam("named"))
_ONE: Final = sa.select(policies).where(_IS)
_LOCKED: Final = _ONE.with_for_update()
_SAME_NAME: Final = sa.select(policies.c.namespace).where(policies.c.name == sa.bindparam("named"))
_OVERRIDE: Final = (
    (policy_overrides.c.model_uid == sa.bindparam("of_uid"))
    & (policy_overrides.c.scope == sa.bindparam("of_scope"))
    & (policy_overrides.c.policy == sa.bindparam("of_policy"))
)
_MARK: Final = (
    (policy_marks.c.model_uid == sa.bindparam("of_uid"))
    & (policy_marks.c.scope == sa.bindparam("of_scope"))
    & (policy_marks.c.policy == sa.bindparam("of_policy"))
    & (policy_marks.c.kind == sa.bindparam("of_kind"))
)
_MODEL: Final = (
    sa.select(models.c.uid).where(models.c.uid == sa.bindparam("of_uid")).with_for_update(read=True, key_share=True)
)
_HELD_POLICY: Final = sa.select(policies.c.name).where(_IS).with_for_update(read=True, key_share=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """What of a policy no query looks at."""

    selector: Selector = Selector()
    mode: Mode = Mode.ENFORCE
    rules: Rules = Rules()
    description: str = ""


_decode_body: Final = msgspec.json.Decoder(_Body).decode


class SqlPolicies(PolicyStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.policies`. Besides what each method says it raises, all raise
    Unavailable when the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def policies(self, *scopes: str) -> Sequence[Policy]:
        statement = _SELECT.where(policies.c.namespace.in_(scopes)) if scopes else _SELECT
        return await self._database.look(lambda c: [_policy(row) for row in c.execute(statement)])

    async def get_policy(self, scope: str, name: str) -> Policy | None:
        return await self._database.look(lambda c: _get(c, scope, name, _ONE))

    async def put_policy(self, policy: Policy, if_match: int | None, asked: Asked) -> tuple[Policy, bool]:
        return await self._database.write(lambda c: _put(c, policy, if_match, asked))

    async def delete_policy(self, scope: str, name: str, if_match: int | None, asked: Asked) -> bool:
        return await self._database.write(lambda c: _delete(c, scope, name, if_match, asked))

    async def overrides(self, model_uid: str | None = None) -> Sequence[Override]:
        statement = sa.select(policy_overrides).order_by(*policy_overrides.primary_key)
        if model_uid is not None:
            statement = statement.where(policy_overrides.c.model_uid == model_uid)
        return await self._database.look(lambda c: [_override(row) for row in c.execute(statement)])

    async def put_override(self, override: Override, model: Model, asked: Asked) -> None:
        await self._database.write(lambda c: _put_override(c, override, model, asked))

    async def delete_override(self, override: Override, model: Model, asked: Asked) -> None:
        await self._database.write(lambda c: _delete_override(c, override, model, asked))

    async def marks(self, model_uid: str | None = None) -> Sequence[Mark]:
        statement = sa.select(policy_marks).order_by(*policy_marks.primary_key)
        if model_uid is not None:
            statement = statement.where(policy_marks.c.model_uid == model_uid)
        return await self._database.read(lambda c: [_mark_of(row) for row in c.execute(statement)])

    async def mark(self, mark: Mark, event: Event | None = None) -> bool:
        return await self._database.write(lambda c: _mark(c, mark, event))

    async def unmark(self, mark: Mark) -> None:
        statement = sa.delete(policy_marks).where(_MARK)
        await self._database.write(lambda c: c.execute(statement, _mark_key(mark)))


# ------------------------------------------------------------------------------------------- policies


def _get(connection: sa.Connection, scope: str, name: str, statement: sa.Select[Any]) -> Policy | None:
    row = connection.execute(statement, {"of_scope": scope, "named": name}).first()
    return None if row is None else _policy(row)


def _put(connection: sa.Connection, policy: Policy, if_match: int | None, asked: Asked) -> tuple[Policy, bool]:
    if policy.namespace != INSTALLATION:
        namespaces.hold(connection, policy.namespace)
    before = _get(connection, policy.namespace, policy.name, _LOCKED)
    _check_version(before, if_match)
    if before is not None and _body(before) == _body(policy):
        return before, False
    if before is None:
        _refuse_same_name(connection, policy)
    written = replace(
        policy,
        version=first_version(asked.at) if before is None else before.version + 1,
        created_at=asked.at if before is None else before.created_at,
        changed_at=asked.at,
        changed_by=asked.actor,
    )
    values = {
        "version": written.version,
        "created_at": written.created_at,
        "changed_at": written.changed_at,
        "changed_by": written.changed_by,
        "body": encode(_body(written)),
    }
    if before is None:
        key = {"namespace": written.namespace, "name": written.name}
        if connection.execute(insert_new(connection, policies, "namespace", "name"), key | values).first() is None:
            raise EtagMismatch(f"The policy {policy.name!r} was made by somebody else in between. Get it again.")
    else:
        key = {"of_scope": written.namespace, "named": written.name}
        connection.execute(sa.update(policies).where(_IS).values(values), key)
    words = "is set" if before is None else "is changed"
    message = f"Policy {written.name} of {written.scope} {words}: {', '.join(written.rules.named)}, {written.mode}."
    data = {"policy": written.name, "version": written.version, "mode": str(written.mode)}
    events.append(connection, [_event(written, "PolicySet", asked, message, data)])
    return written, before is None


def _delete(connection: sa.Connection, scope: str, name: str, if_match: int | None, asked: Asked) -> bool:
    before = _get(connection, scope, name, _LOCKED)
    _check_version(before, if_match)
    if before is None:
        return False
    connection.execute(sa.delete(policies).where(_IS), {"of_scope": scope, "named": name})
    message = f"Policy {name} of {before.scope} is deleted."
    events.append(connection, [_event(before, "PolicyDeleted", asked, message, {"policy": name})])
    return True


def _refuse_same_name(connection: sa.Connection, policy: Policy) -> None:
    others = set(connection.execute(_SAME_NAME, {"named": policy.name}).scalars())
    if policy.namespace == INSTALLATION and others:
        raise Refused(
            "policy_exists", f"Namespace {min(others)!r} has a policy {policy.name!r}: choose another name.", ["rename"]
        )
    if INSTALLATION in others:
        raise Refused(
            "policy_exists", f"The installation has a policy {policy.name!r}: choose another name.", ["rename"]
        )


def _check_version(before: Policy | None, if_match: int | None) -> None:
    there = 0 if before is None else before.version
    if if_match is not None and if_match != there:
        now = f"at version {there}" if there else "not there"
        raise EtagMismatch(f"The policy is {now}, If-Match names {if_match}: get it again and repeat the change.")


def _body(policy: Policy) -> _Body:
    return _Body(
        selector=policy.selector, mode=policy.mode, rules=policy.rules, description=policy.description
    )  # fmt: skip


def _event(policy: Policy, type_: str, asked: Asked, message: str, data: Mapping[str, Any]) -> Event:
    return Event(
        at=asked.at, namespace=policy.namespace, model="", model_uid="", type=type_, reason=asked.reason or type_,
        message=message, actor=asked.actor, data=data,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- overrides and marks


def tidy(connection: sa.Connection, now: datetime) -> int:
    """Forget overrides that have expired; how many."""
    return connection.execute(sa.delete(policy_overrides).where(policy_overrides.c.expires_at <= now)).rowcount


def _put_override(connection: sa.Connection, override: Override, model: Model, asked: Asked) -> None:
    if not _hold(connection, override.model_uid, override.scope, override.policy):
        raise NotFound(f"The model {model.name!r} or the policy {override.policy!r} is gone meanwhile.")
    key = {"of_uid": override.model_uid, "of_scope": override.scope, "of_policy": override.policy}
    connection.execute(sa.delete(policy_overrides).where(_OVERRIDE), key)
    values = {
        "model_uid": override.model_uid,
        "scope": override.scope,
        "policy": override.policy,
        "reason": override.reason,
        "created_by": override.by,
        "created_at": override.created_at,
        "expires_at": override.expires_at,
    }
    connection.execute(sa.insert(policy_overrides), values)
    message = f"Policy {override.policy} does not hold for it until {override.expires_at:%Y-%m-%d %H:%M} UTC."
    data = {"policy": override.policy, "expires": override.expires_at.isoformat()}
    events.append(connection, [event_of(model, "PolicyOverrideSet", asked, message, data)])


def _delete_override(connection: sa.Connection, override: Override, model: Model, asked: Asked) -> None:
    key = {"of_uid": override.model_uid, "of_scope": override.scope, "of_policy": override.policy}
    if connection.execute(sa.delete(policy_overrides).where(_OVERRIDE), key).rowcount:
        message = f"Policy {override.policy} holds for it again."
        event = event_of(model, "PolicyOverrideDeleted", asked, message, {"policy": override.policy})
        events.append(connection, [event])


def _mark(connection: sa.Connection, mark: Mark, event: Event | None) -> bool:
    if not _hold(connection, mark.model_uid, mark.scope, mark.policy):
        return False
    values = {
        "model_uid": mark.model_uid,
        "scope": mark.scope,
        "policy": mark.policy,
        "kind": mark.kind,
        "at": mark.at,
    }
    statement = insert_new(connection, policy_marks, "model_uid", "scope", "policy", "kind")
    if connection.execute(statement, values).first() is None:
        # There is one of its kind: of this occasion, or of an earlier one, which it takes the place of.
        earlier = sa.update(policy_marks).where(_MARK, policy_marks.c.at != mark.at).values(at=mark.at)
        if not connection.execute(earlier, _mark_key(mark)).rowcount:
            return False
    if event is not None:
        events.append(connection, [event])
    return True


def _hold(connection: sa.Connection, model_uid: str, scope: str, policy: str) -> bool:
    """Keep model and policy from being deleted until the transaction ends. False: one of them is gone."""
    if connection.execute(_MODEL, {"of_uid": model_uid}).first() is None:
        return False
    return connection.execute(_HELD_POLICY, {"of_scope": scope, "named": policy}).first() is not None


def _mark_key(mark: Mark) -> dict[str, Any]:
    return {"of_uid": mark.model_uid, "of_scope": mark.scope, "of_policy": mark.policy, "of_kind": str(mark.kind)}


# ------------------------------------------------------------------------------------------- rows


def _policy(row: Any) -> Policy:
    body = _decode_body(row.body)
    return Policy(
        name=row.name,
        namespace=row.namespace,
        selector=body.selector,
        mode=body.mode,
        rules=body.rules,
        description=body.description,
        version=row.version,
        created_at=row.created_at,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )


def _override(row: Any) -> Override:
    uid, scope, policy, reason, by, created_at, expires_at = row
    return Override(
        policy=policy, scope=scope, model_uid=uid, reason=reason, by=by, created_at=created_at, expires_at=expires_at
    )  # fmt: skip


def _mark_of(row: Any) -> Mark:
    return Mark(model_uid=row.model_uid, scope=row.scope, policy=row.policy, kind=MarkKind(row.kind), at=row.at)
