"""Roles, and what a caller who holds some may do and see."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from modelyard.domain.access import (
    EVERYWHERE,
    PERMISSIONS,
    Forbidden,
    Grant,
    Permission,
    Principal,
    PrincipalKind,
    Role,
    administrator,
    need_of,
)
from modelyard.domain.errors import NotFound


def person(*grants: Grant, groups: frozenset[str] = frozenset()) -> Principal:
    return Principal(name="alice", kind=PrincipalKind.PERSON, grants=grants, groups=groups)


def test_each_role_may_all_that_the_one_before_may_and_more() -> None:
    assert list(PERMISSIONS) == list(Role)
    for lower, higher in pairwise(Role):
        assert PERMISSIONS[lower] < PERMISSIONS[higher]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", Permission)
def test_a_grant_allows_what_its_role_may_in_its_namespace_only(role: Role, permission: Permission) -> None:
    caller = person(Grant("vision", role))
    assert caller.may(permission, "vision") is (permission in PERMISSIONS[role])
    assert not caller.may(permission, "speech")
    assert caller.may_somewhere(permission) is (permission in PERMISSIONS[role])
    assert caller.knows("vision")
    assert not caller.knows("speech")
    assert caller.namespaces() == {"vision"}


@pytest.mark.parametrize("namespace", ["a", EVERYWHERE])
@pytest.mark.parametrize("models", [(), ("m-*",)])
@pytest.mark.parametrize("role", Role)
def test_a_grant_tells_just_what_it_allows(role: Role, namespace: str, models: tuple[str, ...]) -> None:
    grant = Grant(namespace, role, models)
    holder = Principal(name="x", kind=PrincipalKind.KEY, grants=(grant,))
    assert grant.permissions == tuple(p for p in Permission if holder.may(p, "a", "m-1"))


def test_only_administrators_of_everywhere_oversee_the_installation() -> None:
    assert administrator("admin").may(Permission.OVERSEE, "vision")
    assert administrator("admin").namespaces() is None
    for caller in (
        person(Grant("vision", Role.ADMINISTRATOR)),
        person(Grant(EVERYWHERE, Role.EDITOR)),
        person(Grant(EVERYWHERE, Role.ADMINISTRATOR, ("digits",))),
    ):
        assert not caller.may(Permission.OVERSEE, "vision")
        assert not caller.may_somewhere(Permission.OVERSEE)


def test_a_grant_for_some_models_allows_nothing_on_others_nor_on_what_is_of_no_model() -> None:
    caller = person(Grant("vision", Role.OPERATOR, ("digits", "wine-*")))
    assert caller.may(Permission.OPERATE, "vision", "digits")
    assert caller.may(Permission.OPERATE, "vision", "wine-red")
    assert not caller.may(Permission.OPERATE, "vision", "wine")
    assert not caller.may(Permission.READ, "vision")
    assert caller.knows("vision")


def test_a_model_of_groups_is_there_for_their_members_and_for_those_who_edit() -> None:
    reads, edits = Grant("vision", Role.USER), Grant("vision", Role.EDITOR)
    assert person(reads).sees("vision", "digits", ())
    assert not person(reads).sees("vision", "digits", ("team-a",))
    assert person(reads, groups=frozenset({"team-a", "team-b"})).sees("vision", "digits", ("team-a",))
    assert person(edits).sees("vision", "digits", ("team-a",))
    assert not person(groups=frozenset({"team-a"})).sees("vision", "digits", ("team-a",))


def test_who_lacks_a_permission_is_told_the_least_role_that_has_it() -> None:
    assert need_of(Permission.OPERATE) == "the role operator or a higher one"
    assert need_of(Permission.OVERSEE) == "an administrator of the whole installation"


def test_the_table_of_roles_in_the_documentation_is_that_of_the_rules() -> None:
    text = (Path(__file__).parents[2] / "docs" / "administration.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    head = next(row for row in rows if row[0] == "role" and "oversee" in row)
    assert head[1:] == [str(permission) for permission in Permission]
    told = {row[0]: [cell == "yes" for cell in row[1:]] for row in rows[rows.index(head) + 2 :][: len(Role) + 1]}
    wanted = {str(role): [permission in PERMISSIONS[role] for permission in Permission] for role in Role}
    assert told == wanted | {"administrator of `*`": [True] * len(Permission)}


def test_what_a_caller_may_not_know_of_is_not_there_and_the_rest_is_refused() -> None:
    caller = person(Grant("vision", Role.VIEWER, ("wine-*",)))
    caller.demand(Permission.READ, "vision", "wine-red")
    for namespace, model, words in (
        ("speech", "wine-red", "no namespace 'speech'"), ("vision", "digits", "no model 'digits'")
    ):  # fmt: skip
        with pytest.raises(NotFound, match=words):
            caller.demand(Permission.OPERATE, namespace, model)
    with pytest.raises(Forbidden, match="the role operator"):
        caller.demand(Permission.OPERATE, "vision", "wine-red")
    assert caller.may_some(Permission.READ, "vision")
    assert not caller.may_some(Permission.OPERATE, "vision")
    assert administrator("admin").sight is None
