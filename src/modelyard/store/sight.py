"""What a caller sees of many models, as a condition of a query: so that pages stay full and counts are right.

The same as :meth:`modelyard.domain.access.Principal.sees`; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from modelyard.domain.access import EVERYWHERE, Grant, Sight
from modelyard.store.tables import model_groups

_ESCAPE: Final = "!"
_LIKE: Final = str.maketrans({"*": "%", "?": "_", "%": "!%", "_": "!_", "!": "!!"})

Column = sa.ColumnElement[str]


def seen(
    sight: Sight | None, namespace: Column, name: Column, uid: Column | None = None
) -> sa.ColumnElement[bool] | None:
    """The condition for rows about the model ``name`` (empty: about none in particular) of ``namespace``; without a
    ``uid`` it has no groups. None: there is no condition."""
    if sight is None:
        return None
    covered = _covered(sight.reads, namespace, name)
    if uid is None:
        return covered
    of_it = sa.exists().where(model_groups.c.model_uid == uid)
    there = [~of_it, _covered(sight.edits, namespace, name)]
    if sight.groups:
        there.append(of_it.where(model_groups.c.group.in_(sorted(sight.groups))))
    return covered & sa.or_(*there)


def narrowed(
    statement: sa.Select[Any], sight: Sight | None, namespace: Column, name: Column, uid: Column | None = None
) -> sa.Select[Any]:
    """``statement`` for the rows that are seen."""
    condition = seen(sight, namespace, name, uid)
    return statement if condition is None else statement.where(condition)


def _covered(grants: Sequence[Grant], namespace: Column, name: Column) -> sa.ColumnElement[bool]:
    whole = {grant.namespace for grant in grants if not grant.models}
    if EVERYWHERE in whole:
        return sa.true()
    found: list[sa.ColumnElement[bool]] = [namespace.in_(sorted(whole))] if whole else []
    for grant in grants:
        if grant.models and grant.namespace not in whole:
            matches = sa.or_(*(_matches(name, pattern) for pattern in grant.models)) & (name != "")
            found.append(matches if grant.namespace == EVERYWHERE else matches & (namespace == grant.namespace))
    return sa.or_(*found) if found else sa.false()


def _matches(name: Column, pattern: str) -> sa.ColumnElement[bool]:
    """As shells match; names are lower-case, so it does not matter whether LIKE looks at that."""
    if "*" not in pattern and "?" not in pattern:
        return name == pattern
    return name.like(pattern.translate(_LIKE), escape=_ESCAPE)
