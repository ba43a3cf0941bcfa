"""What must be trusted for a version to be published. What may be in one at all the scan has said before, where the
files are; here it is said once more, by the manifest, to whoever did not ask it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.registry import Trusted
from modelyard.registry.formats.kinds import Kind

# What lets files of these kinds in, the code of the problem without it, and what they are.
_NEEDS: Final[Mapping[Kind, tuple[Trusted, str, str]]] = {
    Kind.PYTHON: (Trusted.CODE, "code_refused", "source code"),
    Kind.PICKLE: (Trusted.PICKLE, "pickle_refused", "pickled, and runs whatever code it holds when it is loaded"),
    Kind.PROGRAM: (Trusted.PICKLE, "program_refused", "saved so that it may run code when it is loaded"),
}
_LISTED: Final = 5


def trusted(kinds: Mapping[Kind, Sequence[str]], trust: Collection[str]) -> tuple[str, ...]:
    """What of ``trust`` a version needs whose files' paths are these, by what they are.

    Raises:
        InvalidRequest: it needs more, or what may be in no version.
    """
    if problems := list(_problems(kinds, trust)):
        raise InvalidRequest(problems)
    return tuple(sorted({str(_NEEDS[kind][0]) for kind in kinds if kind in _NEEDS}))


def _problems(kinds: Mapping[Kind, Sequence[str]], trust: Collection[str]) -> Iterator[Problem]:
    for kind, (needed, code, what) in _NEEDS.items():
        if kind in kinds and needed not in trust:
            message = (
                f"This is {what}: {_names(kinds[kind])}. Leave it out, or publish the version with {needed!s} in its "
                f"trust (modelyard push --allow-{needed})."
            )
            yield Problem("trust", code, message)
    if Kind.UNKNOWN in kinds:
        message = f"Nobody can trust files of which it is not known what they are: {_names(kinds[Kind.UNKNOWN])}."
        yield Problem("trust", "unknown_format", f"{message} Leave them out.")


def _names(paths: Sequence[str]) -> str:
    rest = len(paths) - _LISTED
    return ", ".join(map(repr, paths[:_LISTED])) + (f" and {rest} more" if rest > 0 else "")
