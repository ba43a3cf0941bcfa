"""Secrets of specs on their way in: sealed, or kept as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelyard.access.secrets import MAX_VALUE, SecretBox
from modelyard.domain.errors import Problem
from modelyard.domain.secrets import MASK, Secret
from modelyard.domain.spec import Spec

# Makes of the values that a request has by their variables what the spec keeps, and says what is wrong with them.
Seal = Callable[[Mapping[str, str]], tuple[dict[str, Secret], list[Problem]]]


def sealing(box: SecretBox, namespace: str, before: Spec | None = None) -> Seal:
    """Seals for ``namespace``; what is masked, or has not changed, stays as it is in ``before``."""
    kept = before.container.secrets if before is not None else {}

    def seal(values: Mapping[str, str]) -> tuple[dict[str, Secret], list[Problem]]:
        sealed: dict[str, Secret] = {}
        problems = []
        for variable, value in values.items():
            had = kept.get(variable)
            if value == MASK:
                if had is not None:
                    sealed[variable] = had
                else:
                    problems.append(_problem(variable, "required", f"There is no {variable} to keep: send its value."))
            elif "\x00" in value or len(value.encode("utf-8", "replace")) > MAX_VALUE:
                message = f"A secret has at most {MAX_VALUE} bytes, none of them NUL."
                problems.append(_problem(variable, "invalid_value", message))
            elif had is not None and box.is_of(namespace, variable, had, value):
                sealed[variable] = had
            else:
                sealed[variable] = box.seal(namespace, variable, value)
        return sealed, problems

    return seal


def unsealed(values: Mapping[str, str]) -> tuple[dict[str, Secret], list[Problem]]:
    """For a spec of which only the problems are wanted."""
    return dict.fromkeys(values, Secret("")), []


def _problem(variable: str, code: str, message: str) -> Problem:
    return Problem(f"spec.container.secrets.{variable}", code, message)
