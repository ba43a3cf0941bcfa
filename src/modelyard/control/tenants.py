"""Members and API keys as users ask for them, and the directory by which callers are known, kept up to date with them.

Nobody hands out more than they hold: who administers a namespace makes members and keys of that namespace only. The
administrator's token is in no record here, so nothing that is done here can lock its bearer out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from modelyard import tasks
from modelyard.access.callers import Callers, Snapshot
from modelyard.access.keys import ApiKey, digest, new_key, new_secret
from modelyard.access.members import Member, MemberKind
from modelyard.control.access_ports import AccessStore, Listener, Membership
from modelyard.control.ports import Gateway
from modelyard.domain.access import EVERYWHERE, Permission, Principal, Role, pattern_problem
from modelyard.domain.errors import InvalidRequest, ModelyardError, NotFound, Problem, Refused
from modelyard.domain.names import name_problem
from modelyard.domain.rates import Rate

log = logging.getLogger(__name__)

# The longest time for which the secret before a rotation still works.
MAX_OVERLAP: Final = timedelta(days=30)
# News of other processes can be lost, so the record is also looked at so often (seconds).
_LOOK_EVERY: Final = 30.0
_MAX_PATTERNS: Final = 100
_MAX_SUBJECT: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """What is asked for of a key."""

    name: str
    role: Role
    models: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    rate: Rate | None = None
    expires_at: datetime | None = None


class Directory:
    """Has ``callers`` know the members and keys as they are on record. Listeners are told of each change, and wait
    for nothing else: when a command here returns, what it has taken away works nowhere in this process any more. They
    are told of no keys that have ended: what a gateway takes at once is bounded."""

    def __init__(
        self,
        store: AccessStore,
        callers: Callers,
        noted: Callable[[str, datetime], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._callers = callers
        self._noted = noted
        self._clock = clock
        self._turn = asyncio.Lock()
        self._stale = asyncio.Event()
        self.snapshot = Snapshot()
        self.listeners: list[Listener] = []

    async def refresh(self) -> None:
        """Read the record anew."""
        async with self._turn:
            found = await self._store.snapshot()
            # When a key was last used concerns nobody here.
            found = replace(found, keys=tuple(replace(key, last_used_at=None) for key in found.keys))
            if found == self.snapshot:
                return
            self.snapshot = found
            self._callers.replace(found)
            living = found.living(self._clock())
            for tell in self.listeners:
                await tell(living)

    @asynccontextmanager
    async def told_to(self, gateway: Gateway) -> AsyncIterator[None]:
        """Have ``gateway`` know the same meanwhile, and be told by it of the use of keys."""
        async with self._turn:
            await gateway.set_access(self.snapshot.living(self._clock()))
            self.listeners.append(gateway.set_access)
        listening = tasks.spawn(self._hear(gateway), "hear of the use of keys")
        try:
            yield
        finally:
            self.listeners.remove(gateway.set_access)
            await tasks.stop(listening)

    async def _hear(self, gateway: Gateway) -> None:
        async for uses in gateway.key_uses():
            for key_id, at in uses.items():
                self._noted(key_id, at)

    def stir(self) -> None:
        """The record may have changed: have it looked at."""
        self._stale.set()

    async def run(self) -> None:
        """Follow what other processes change, for ever."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._stale.wait()
            except TimeoutError:
                pass
            self._stale.clear()
            try:
                await self.refresh()
            except ModelyardError as error:
                log.warning("The members and keys could not be read: %s", error)


class UseNotes:
    """Writes down when keys were used: never in the way of the request that uses one."""

    def __init__(self, store: AccessStore) -> None:
        self._store = store
        self._writing: set[asyncio.Task[None]] = set()

    def __call__(self, key_id: str, at: datetime) -> None:
        task = tasks.spawn(self._write(key_id, at), "note a key's use")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, key_id: str, at: datetime) -> None:
        try:
            await self._store.note_use(key_id, at)
        except ModelyardError as error:
            log.warning("The use of an API key could not be noted: %s", error)

    async def close(self) -> None:
        await asyncio.gather(*self._writing, return_exceptions=True)


class Tenants:
    """The commands on members and keys. ``namespace`` may be EVERYWHERE; that the caller may ask is the route's to
    see to, that it hands out no more than it holds is checked here again."""

    def __init__(self, store: AccessStore, directory: Directory, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock

    async def refresh(self) -> None:
        """What is on record has changed by another way: a namespace was deleted."""
        await self._directory.refresh()

    # ------------------------------------------------------------------ members

    async def members(self, namespace: str) -> Sequence[Membership]:
        return await self._store.list_members(namespace)

    async def put_member(self, member: Member, by: Principal, reason: str) -> tuple[Membership, bool]:
        """Give ``member`` its role, and say whether it is a new member. Raises InvalidRequest, NotFound, Forbidden."""
        _check_administers(by, member.namespace)
        problems = _pattern_problems(member.models)
        if not 0 < len(member.value) <= _MAX_SUBJECT or not member.value.isprintable():
            problems.append(Problem("member", "invalid_value", "A member has 1 to 255 printable characters."))
        if problems:
            raise InvalidRequest(problems)
        membership = Membership(member=member, added_at=self._clock(), added_by=by.name, reason=reason)
        new = await self._store.put_member(membership)
        await self._directory.refresh()
        return membership, new

    async def remove_member(self, member: Member, by: Principal) -> None:
        """Raises NotFound, Forbidden."""
        _check_administers(by, member.namespace)
        if not await self._store.remove_member(member):
            raise NotFound(f"{text_of(member)} is no member of {called(member.namespace)}.")
        await self._directory.refresh()

    # ------------------------------------------------------------------ keys

    async def keys(self, namespace: str) -> Sequence[ApiKey]:
        return await self._store.list_keys(namespace)

    async def key(self, namespace: str, key_id: str) -> ApiKey:
        """Raises NotFound."""
        return await self._store.change_key(namespace, key_id, lambda key: key)

    async def create_key(self, namespace: str, wanted: NewKey, by: Principal) -> tuple[ApiKey, str]:
        """The key and its secret, which nobody can ever be told again. Raises InvalidRequest, AlreadyExists, NotFound,
        Forbidden."""
        _check_administers(by, namespace)
        self._check(wanted, by)
        secret, key_id = new_key()
        key = ApiKey(
            id=key_id, name=wanted.name, digest=digest(secret), namespace=namespace, role=wanted.role,
            models=wanted.models, groups=wanted.groups, rate=wanted.rate, created_at=self._clock(),
            created_by=by.name, expires_at=wanted.expires_at,
        )  # fmt: skip
        await self._store.add_key(key)
        await self._directory.refresh()
        return key, secret

    async def rotate_key(self, namespace: str, key_id: str, overlap: timedelta, by: Principal) -> tuple[ApiKey, str]:
        """The key with another secret; the one before works for ``overlap`` more. Raises InvalidRequest, NotFound,
        Refused (it has ended), Forbidden."""
        _check_administers(by, namespace)
        if not timedelta() <= overlap <= MAX_OVERLAP:
            raise InvalidRequest([Problem("overlap", "out_of_range", "The secret before works for 30 days at most.")])
        secret, now = new_secret(key_id), self._clock()

        def rotate(key: ApiKey) -> ApiKey:
            if ended := key.ended(now):
                raise Refused("key_ended", f"{ended} Make a new one.")
            return key.rotated(secret, now + overlap if overlap else None)

        key = await self._store.change_key(namespace, key_id, rotate)
        await self._directory.refresh()
        return key, secret

    async def revoke_key(self, namespace: str, key_id: str, by: Principal) -> ApiKey:
        """It works no longer when this returns; one that was revoked before stays so. Raises NotFound, Forbidden."""
        _check_administers(by, namespace)
        now = self._clock()

        def revoke(key: ApiKey) -> ApiKey:
            return key if key.revoked_at is not None else replace(key, revoked_at=now)

        key = await self._store.change_key(namespace, key_id, revoke)
        await self._directory.refresh()
        return key

    def _check(self, wanted: NewKey, by: Principal) -> None:
        problems = _pattern_problems(wanted.models)
        if (wrong := name_problem("name", wanted.name)) is not None:
            problems.append(wrong)
        for index, group in enumerate(wanted.groups):
            if not 0 < len(group) <= 256 or not group.isprintable():
                message = "A group's name has 1 to 256 printable characters."
                problems.append(Problem(f"groups[{index}]", "invalid_name", message))
        if wanted.expires_at is not None and wanted.expires_at <= self._clock():
            problems.append(Problem("expires_at", "out_of_range", "This is in the past."))
        limit = self._end_of(by)
        if limit is not None and (wanted.expires_at is None or wanted.expires_at > limit):
            message = f"A key that is made with a key ends no later than that: at {limit.isoformat()}."
            problems.append(Problem("expires_at", "out_of_range", message))
        if problems:
            raise InvalidRequest(problems)

    def _end_of(self, by: Principal) -> datetime | None:
        """When the key that ``by`` has shown ends, if it has shown one."""
        ends = (k.expires_at for k in self._directory.snapshot.keys if k.revoked_at is None and k.principal() == by)
        return next(ends, None)


def _check_administers(by: Principal, namespace: str) -> None:
    by.demand(Permission.OVERSEE if namespace == EVERYWHERE else Permission.ADMINISTER, namespace)


def _pattern_problems(models: Sequence[str]) -> list[Problem]:
    if len(models) > _MAX_PATTERNS:
        return [Problem("models", "out_of_range", f"There are at most {_MAX_PATTERNS} patterns.")]
    found = (pattern_problem(f"models[{index}]", pattern) for index, pattern in enumerate(models))
    return [problem for problem in found if problem is not None]


def called(namespace: str) -> str:
    """In a sentence."""
    return "all namespaces" if namespace == EVERYWHERE else f"namespace {namespace!r}"


def text_of(member: Member) -> str:
    """A member as one text: an e-mail address, ``group:NAME`` or ``subject:NAME``; :func:`member_in` reads it."""
    return member.value if member.kind is MemberKind.EMAIL else f"{member.kind}:{member.value}"


def member_in(namespace: str, text: str, role: Role = Role.VIEWER, models: tuple[str, ...] = ()) -> Member:
    """What :func:`text_of` writes; a text of no known kind is an address if it has an @, else a subject."""
    head, colon, rest = text.partition(":")
    if colon and head in (MemberKind.GROUP, MemberKind.SUBJECT, MemberKind.EMAIL):
        kind, value = MemberKind(head), rest
    else:
        kind, value = MemberKind.EMAIL if "@" in text else MemberKind.SUBJECT, text
    if kind is MemberKind.EMAIL:
        value = value.casefold()
    return Member(namespace=namespace, kind=kind, value=value, role=role, models=models)
