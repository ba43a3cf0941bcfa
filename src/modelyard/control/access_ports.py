"""What members and keys need of a store, and who is told of them. The store implements it; control names it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from modelyard.access.callers import Snapshot
from modelyard.access.keys import ApiKey
from modelyard.access.members import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A member on record: since when, by whom and why."""

    member: Member
    added_at: datetime
    added_by: str
    reason: str = ""


class AccessStore(Protocol):
    """The record of members and keys. A namespace's go with it; those of EVERYWHERE belong to none."""

    async def list_members(self, namespace: str) -> Sequence[Membership]:
        """By kind and value. Raises NotFound: there is no such namespace."""

    async def put_member(self, membership: Membership) -> bool:
        """Whether it is new; one that is there has this role from now on. Raises NotFound: its namespace is not
        there."""

    async def remove_member(self, member: Member) -> bool:
        """Whether there was one of this kind and value in its namespace."""

    async def list_keys(self, namespace: str) -> Sequence[ApiKey]:
        """By name, ended ones too. Raises NotFound: there is no such namespace."""

    async def add_key(self, key: ApiKey) -> None:
        """Raises AlreadyExists (another one that is not revoked has its name), NotFound (its namespace)."""

    async def change_key(self, namespace: str, key_id: str, decide: Callable[[ApiKey], ApiKey]) -> ApiKey:
        """Write what ``decide`` makes of a key; what it raises undoes everything. Raises NotFound: the namespace has
        no such key."""

    async def note_use(self, key_id: str, at: datetime) -> None:
        """A key was used."""

    async def purge(self, kept: timedelta, now: datetime) -> int:
        """Forget the keys that ended longer ago than ``kept``, and say how many; nobody comes in with them anyway."""

    async def snapshot(self) -> Snapshot:
        """All members and keys."""


class CodeStore(Protocol):
    """The codes of links that sign a browser in, by their digests."""

    async def put_code(self, digest: str, sealed: str, expires_at: datetime) -> None:
        """Keep ``sealed`` for who shows the code."""

    async def take_code(self, digest: str, now: datetime) -> str | None:
        """What was kept, for the first who asks in time; None for everybody else. Then it is gone."""


# From a namespace, a variable of a spec (or what stands for one) and what is sealed for them to the same, sealed anew.
SealAgain = Callable[[str, str, str], str]


class SealedStore(Protocol):
    """Everything that is sealed and is kept for good."""

    async def count_by_key(self) -> Mapping[str, int]:
        """In how many places there is something sealed under which key, by its name."""

    async def seal_again(self, again: SealAgain) -> int:
        """Write what ``again`` makes of each, and say how many have changed. What is one value in several specs of a
        model stays one."""


# Who has to hold to the members and keys as they are now; called in turn, so an error of one is its own to handle.
Listener = Callable[[Snapshot], Awaitable[None]]
