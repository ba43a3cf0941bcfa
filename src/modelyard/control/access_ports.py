"""What members and keys need of a store, and who is told of them. The store implements it; control names it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
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

    async def snapshot(self) -> Snapshot:
        """All members and keys."""


# Who has to hold to the members and keys as they are now; called in turn, so an error of one is its own to handle.
Listener = Callable[[Snapshot], Awaitable[None]]
