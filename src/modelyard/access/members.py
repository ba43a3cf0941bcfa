"""Members of namespaces, and what a person may by being one.

A member is named by what an identity provider says of it: its subject, its e-mail address or a group that it is in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from modelyard.domain.access import EVERYWHERE, Grant, Principal, PrincipalKind, Role
from modelyard.domain.names import is_name


class MemberKind(StrEnum):
    """What a member is told by."""

    SUBJECT = "subject"  # the token's sub
    EMAIL = "email"  # its email, if it says that this is verified; letter case does not matter
    GROUP = "group"  # one of its groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """``kind`` and ``value`` say who has ``role`` in ``namespace`` (EVERYWHERE: in all), for the ``models`` whose names
    match one of these patterns; none: for all."""

    namespace: str
    kind: MemberKind
    value: str
    role: Role
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a valid token says of a person. ``name`` is how it is called in events and records; ``expires_at`` is
    the token's end."""

    subject: str
    name: str
    email: str = ""
    groups: frozenset[str] = frozenset()
    expires_at: datetime

    def is_member(self, member: Member) -> bool:
        """Whether ``member`` means this person."""
        match member.kind:
            case MemberKind.SUBJECT:
                return member.value == self.subject
            case MemberKind.EMAIL:
                return bool(self.email) and member.value.casefold() == self.email.casefold()
            case MemberKind.GROUP:
                return member.value in self.groups

    def principal(self, members: Iterable[Member]) -> Principal:
        """This person as a caller, with the role of each of ``members`` that means it."""
        grants = {Grant(m.namespace, m.role, m.models): None for m in members if self.is_member(m)}
        return Principal(name=self.name, kind=PrincipalKind.PERSON, grants=tuple(grants), groups=self.groups)


def parse_roles(text: str) -> tuple[Member, ...]:
    """Members by group from the settings: ``group=role@namespace`` with commas between them; ``@*`` or no namespace
    means all of them.

    Raises:
        ValueError: one of them is not so.
    """
    found = []
    for pair in filter(None, map(str.strip, text.split(","))):
        group, _, rest = pair.rpartition("=")
        role, _, namespace = rest.partition("@")
        if not group or role not in frozenset(Role):
            raise ValueError(
                f"{pair[:100]!r} is not understood: write group=role@namespace, with a role of {', '.join(Role)}."
            )
        if namespace not in ("", EVERYWHERE) and not is_name(namespace):
            raise ValueError(f"{pair[:100]!r} names the namespace {namespace!r}, which is no name of one.")
        found.append(
            Member(namespace=namespace or EVERYWHERE, kind=MemberKind.GROUP, value=group.strip(), role=Role(role))
        )
    return tuple(found)
