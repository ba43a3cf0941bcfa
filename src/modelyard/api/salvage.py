"""All that is wrong with a request, also with one that already failed on its shape.

A caller wants all errors at once. The fields that have the wrong shape are taken out, and what is left
is checked, again for its shape and then by the rules, as if they had not been given.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from modelyard.api import schemas
from modelyard.api.sealing import Seal, unsealed
from modelyard.api.sources import with_source
from modelyard.api.translate import field_problem, spec_in
from modelyard.control.checks import SpecChecks
from modelyard.domain.access import Principal
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.names import name_problem
from modelyard.domain.spec import Spec

Path = tuple[int | str, ...]

# A value that hides others behind it (a list in place of an object) is looked behind this often.
_ROUNDS = 5


async def read_spec(
    document: Mapping[str, Any], namespace: str, checks: SpecChecks, seal: Seal, viewer: Principal | None,
    had: str | None, before: Spec | None = None,
) -> Spec:  # fmt: skip
    """The spec that ``document`` spells, with its secrets as ``seal`` makes them. Its source stands for what it means
    now, or, if it is the one of ``before``, for what that was made of. For ``viewer`` and ``had`` see
    :func:`modelyard.api.sources.with_source`.

    Raises:
        InvalidRequest: with everything that is wrong with it.
    """
    try:
        body = schemas.Spec.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest(await all_problems({"spec": document}, _under_spec(error), checks)) from None
    made_of = before.artifact if before is not None else None
    artifact, problems = made_of, list[Problem]()
    if before is None or made_of is None or body.engine != before.engine:
        body, artifact, problems = await with_source(body, namespace, checks, viewer, had, made_of)
    spec, misspelt = spec_in(body, seal)
    spec, problems = replace(spec, artifact=artifact), problems + misspelt
    if problems:
        named = {p.path for p in problems}
        problems += [p for p in await checks.problems(spec) if p.path not in named]
        raise InvalidRequest(problems)
    return spec


async def all_problems(body: Any, errors: Iterable[ErrorDetails], checks: SpecChecks) -> list[Problem]:
    """``errors`` of ``body`` in our words, and what else is wrong with a model in it."""
    problems: dict[str, Problem] = {}
    wrong: list[Path] = []
    for error in errors:
        for path, problem in _translated(error):
            problems.setdefault(problem.path, problem)
            wrong.append(path)
    if isinstance(body, dict) and () not in wrong:
        for problem in await _further(body, wrong, checks):
            problems.setdefault(problem.path, problem)
    return list(problems.values())


def _translated(error: ErrorDetails) -> list[tuple[Path, Problem]]:
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, schemas.NotInteroperable):
        return [(path, field_problem(path, "not_interoperable", message)) for path, message in cause.found]
    path = tuple(error["loc"])
    return [(path, field_problem(path, error["type"], error["msg"]))]


async def _further(body: dict[str, Any], wrong: list[Path], checks: SpecChecks) -> list[Problem]:
    rest = copy.deepcopy(body)
    for path in wrong:
        _take_out(rest, path)
    name = rest.get("name")
    problem = name_problem("name", name) if isinstance(name, str) else None
    problems = [problem] if problem else []
    if not isinstance(rest.get("spec"), dict):
        return problems
    for _ in range(_ROUNDS):
        try:
            spec, more = spec_in(schemas.Spec.model_validate(rest["spec"]), unsealed)
        except ValidationError as error:
            for detail in _under_spec(error):
                problems += [p for _, p in _translated(detail)]
                _take_out(rest, tuple(detail["loc"]))
            continue
        return [*problems, *more, *await checks.problems(spec)]
    return problems


def _under_spec(error: ValidationError) -> list[ErrorDetails]:
    return [ErrorDetails({**detail, "loc": ("spec", *detail["loc"])}) for detail in error.errors()]


def _take_out(document: Any, path: Path) -> None:
    """Remove what is at ``path``, or, within a list, the whole list: what is left of it means something else."""
    holder, key = None, None
    for part in path:
        if isinstance(document, dict):
            holder, key = document, part
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            break
    if holder is not None:
        holder.pop(key, None)
