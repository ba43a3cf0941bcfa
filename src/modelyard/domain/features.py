"""What a namespace may use of Modelyard: feature flags, each with what it lets or forbids.

A flag that nobody has set is as it is by default, so a new one changes nothing for namespaces that are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelyard.domain.errors import Problem
from modelyard.domain.names import FileSource, InvalidReference, parse_reference
from modelyard.domain.spec import BackendName, Engine, Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A flag: what it is by ``default`` (its type is the flag's), and what it is about."""

    default: bool | str
    about: str


FEATURES: Final[Mapping[str, Feature]] = {
    "python": Feature(default=True, about="Models of the engine python: code that users bring runs in a worker."),
    "command": Feature(default=True, about="Models of the engine command: programs that users name are run."),
    "files": Feature(default=True, about="Sources that are files of the server instead of registered versions."),
    "public": Feature(default=True, about="Models that anybody may ask without a token."),
    "backends": Feature(default="", about="The backends that may be used, with commas between them; empty: all."),
}


def feature(features: Mapping[str, bool | str], name: str) -> bool | str:
    """What a flag of :data:`FEATURES` is."""
    return features.get(name, FEATURES[name].default)


def merged(features: Mapping[str, bool | str], changes: Mapping[str, Any]) -> dict[str, bool | str]:
    """``features`` with ``changes``; None takes a flag back to its default."""
    found = {**features, **changes}
    return {name: value for name, value in found.items() if value is not None}


def feature_problems(changes: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with what flags are to become, by path in ``features``."""
    return [problem for name, value in changes.items() for problem in _wrong(name, value)]


def _wrong(name: str, value: Any) -> Iterator[Problem]:
    path = f"features.{name}"
    known = FEATURES.get(name)
    if known is None:
        yield Problem(path, "unknown_field", f"There is no such feature; there are {', '.join(FEATURES)}.")
    elif value is not None and type(value) is not type(known.default):
        kind = "true or false" if isinstance(known.default, bool) else "text"
        yield Problem(path, "invalid_value", f"It is {kind}. {known.about}")
    elif name == "backends" and value:
        unknown = [part for part in _parts(str(value)) if part not in list(BackendName)]
        if unknown:
            message = f"There is no backend {unknown[0]!r}; there are {', '.join(BackendName)}."
            yield Problem(path, "unknown_value", message)


def _parts(text: str) -> list[str]:
    return [part for part in map(str.strip, text.split(",")) if part]


def forbidden(features: Mapping[str, bool | str], spec: Spec) -> list[Problem]:
    """What of ``spec`` its namespace may not use, at paths relative to it."""
    return list(_forbidden(features, spec)) if features else []


def _forbidden(features: Mapping[str, bool | str], spec: Spec) -> Iterator[Problem]:
    for engine, name in ((Engine.PYTHON, "python"), (Engine.COMMAND, "command")):
        if spec.engine is engine and not feature(features, name):
            yield _problem("engine", f"models of the engine {engine}")
    if not feature(features, "files") and _is_file(spec.source):
        yield _problem("source", "files of the server: register a model and name its version")
    if spec.public and not feature(features, "public"):
        yield _problem("public", "models that are asked without a token")
    backends = _parts(str(feature(features, "backends")))
    if backends and spec.backend not in backends:
        yield _problem("backend", f"the backend {spec.backend}; it may use {', '.join(backends)}")


def _problem(path: str, what: str) -> Problem:
    return Problem(path, "feature_off", f"This namespace may not use {what}.")


def _is_file(source: str | None) -> bool:
    try:
        return source is not None and isinstance(parse_reference(source), FileSource)
    except InvalidReference:
        return False  # the rules say what is wrong with it
