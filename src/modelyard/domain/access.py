"""Who may do what: roles and what each allows, grants, and whoever holds them.

A caller is a :class:`Principal` however it has shown who it is (the administrator's token, an API key, a token of an
identity provider). What a route needs is a :class:`Permission`; what the caller holds in the namespace it is about
decides. Nothing of a namespace in which a caller may not even read is there for it: it is answered 404.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, NoReturn

from modelyard.domain.errors import ModelyardError, NotFound, Problem

# The namespace of a grant that holds in all of them.
EVERYWHERE: Final = "*"

_PATTERN: Final = re.compile(r"[a-z0-9*?-]{1,63}")


class Permission(StrEnum):
    """What a route needs. All but the last are held in a namespace."""

    READ = "read"  # models, versions, events, operations, schedules, metrics
    INFER = "infer"  # ask a model
    OPERATE = "operate"  # start, stop, restart, scale, steer rollouts, schedule
    EDIT = "edit"  # deploy, change and delete models; publish versions, move aliases
    ADMINISTER = "administer"  # members, keys, policies and trust of a namespace
    OVERSEE = "oversee"  # namespaces, quotas, sites, the store, the record of all that was done


class Role(StrEnum):
    """What somebody is in a namespace. Each may all that the one before may."""

    VIEWER = "viewer"
    USER = "user"
    OPERATOR = "operator"
    EDITOR = "editor"
    ADMINISTRATOR = "administrator"


PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.USER: frozenset({Permission.READ, Permission.INFER}),
    Role.OPERATOR: frozenset({Permission.READ, Permission.INFER, Permission.OPERATE}),
    Role.EDITOR: frozenset({Permission.READ, Permission.INFER, Permission.OPERATE, Permission.EDIT}),
    Role.ADMINISTRATOR: frozenset(Permission) - {Permission.OVERSEE},
}


def need_of(permission: Permission) -> str:
    """Which roles have it, in words."""
    if permission is Permission.OVERSEE:
        return "an administrator of the whole installation"
    least = next(role for role in Role if permission in PERMISSIONS[role])
    return f"the role {least!s} or a higher one"


class Forbidden(ModelyardError):
    """The caller's role does not allow this."""

    code = "forbidden"
    http_status = 403
    title = "Not allowed"


class PrincipalKind(StrEnum):
    ADMINISTRATOR = "administrator"  # the bearer of the token in $MODELYARD_HOME/admin.token
    KEY = "key"
    PERSON = "person"  # by a token of an identity provider
    SYSTEM = "system"  # a schedule, a policy, the autoscaler: nobody who calls


@dataclass(frozen=True, slots=True)
class Grant:
    """A role in ``namespace`` (EVERYWHERE: in all, and an administrator then oversees the installation), for the
    ``models`` whose names match one of these patterns (as in shells); none: for all."""

    namespace: str
    role: Role
    models: tuple[str, ...] = ()

    @property
    def oversees(self) -> bool:
        """Whether all of the installation is its holder's to run."""
        return self.namespace == EVERYWHERE and self.role is Role.ADMINISTRATOR and not self.models

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """What it allows, in their order."""
        held = PERMISSIONS[self.role] | ({Permission.OVERSEE} if self.oversees else frozenset())
        return tuple(permission for permission in Permission if permission in held)

    def covers(self, namespace: str, model: str | None) -> bool:
        """Whether it holds for ``model`` in ``namespace``; None: for what belongs to no one model."""
        if self.namespace not in (EVERYWHERE, namespace):
            return False
        if not self.models:
            return True
        return model is not None and any(fnmatchcase(model, pattern) for pattern in self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Which of all models a caller sees, for those who choose among many: what one of ``reads`` covers, if it is of no
    group or of one of ``groups``, or if one of ``edits`` covers it too."""

    reads: tuple[Grant, ...]
    edits: tuple[Grant, ...]
    groups: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller. ``name`` says who in events and records, and never holds a secret; ``groups`` are those that its
    identity provider names."""

    name: str
    kind: PrincipalKind
    grants: tuple[Grant, ...] = ()
    groups: frozenset[str] = frozenset()

    @property
    def oversees(self) -> bool:
        """Whether all of the installation is its to run."""
        return any(grant.oversees for grant in self.grants)

    def may(self, permission: Permission, namespace: str, model: str | None = None) -> bool:
        if permission is Permission.OVERSEE:
            return self.oversees
        return any(permission in PERMISSIONS[g.role] and g.covers(namespace, model) for g in self.grants)

    def may_some(self, permission: Permission, namespace: str) -> bool:
        """In the namespace, for any model at least."""
        if permission is Permission.OVERSEE:
            return self.oversees
        return any(permission in PERMISSIONS[g.role] and g.namespace in (EVERYWHERE, namespace) for g in self.grants)

    def may_somewhere(self, permission: Permission) -> bool:
        """In any namespace, for any model."""
        if permission is Permission.OVERSEE:
            return self.oversees
        return any(permission in PERMISSIONS[g.role] for g in self.grants)

    def knows(self, namespace: str) -> bool:
        """Whether the namespace is there for it."""
        return any(g.namespace in (EVERYWHERE, namespace) for g in self.grants)

    def namespaces(self) -> frozenset[str] | None:
        """Those that are there for it; None: all."""
        names = frozenset(g.namespace for g in self.grants)
        return None if EVERYWHERE in names else names

    def sees(self, namespace: str, model: str, groups: Iterable[str]) -> bool:
        """Whether a model is there for it. One of no ``groups`` is for all who may read in its namespace, another one
        for members of one of them, and for those who edit there and so may change the groups."""
        if not self.may(Permission.READ, namespace, model):
            return False
        wanted = frozenset(groups)
        return not wanted or bool(wanted & self.groups) or self.may(Permission.EDIT, namespace, model)

    @property
    def sight(self) -> Sight | None:
        """As :meth:`sees`, for many models; None: it sees all."""
        reads = tuple(g for g in self.grants if Permission.READ in PERMISSIONS[g.role])
        edits = tuple(g for g in reads if Permission.EDIT in PERMISSIONS[g.role])
        if any(g.namespace == EVERYWHERE and not g.models for g in edits):
            return None
        return Sight(reads=reads, edits=edits, groups=self.groups)

    def demand(self, permission: Permission, namespace: str, model: str | None = None) -> None:
        """Raises NotFound or Forbidden, whichever of them the caller may know, where it may not."""
        if self.may(permission, namespace, model):
            return
        if permission is not Permission.OVERSEE:
            if not self.knows(namespace):
                raise NotFound(f"There is no namespace {namespace!r}.")
            if model is not None and not self.may(Permission.READ, namespace, model):
                raise no_model(namespace, model)
        self.refuse(permission, namespace)

    def refuse(self, permission: Permission, namespace: str | None = None) -> NoReturn:
        """Raises Forbidden."""
        where = f" in namespace {namespace!r}" if namespace and permission is not Permission.OVERSEE else ""
        raise Forbidden(f"{self.name} may not do this{where}: it needs {need_of(permission)}.")


def no_model(namespace: str, name: str) -> NotFound:
    """What is said of a model that is not there, or not for the caller: nobody can tell which."""
    return NotFound(f"There is no model {name!r} in namespace {namespace!r}.")


def no_registered_model(namespace: str, name: str) -> NotFound:
    """As :func:`no_model`, of a registered one."""
    return NotFound(f"There is no registered model {name!r} in namespace {namespace!r}.")


def pattern_problem(path: str, pattern: str) -> Problem | None:
    """What is wrong with a pattern of models' names. They are those of shells without sets of characters, which not
    every database could look for."""
    if _PATTERN.fullmatch(pattern):
        return None
    message = f"{pattern!r} is no pattern of models' names: use lower-case letters, digits, hyphens, * and ?."
    return Problem(path, "invalid_value", message)


def administrator(name: str) -> Principal:
    """One who may everything everywhere."""
    return Principal(
        name=name, kind=PrincipalKind.ADMINISTRATOR, grants=(Grant(EVERYWHERE, Role.ADMINISTRATOR),)
    )  # fmt: skip
