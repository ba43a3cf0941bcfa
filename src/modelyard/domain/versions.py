"""Semantic versions, and the ranges that choose among them.

A version is one of Semantic Versioning 2.0.0 (https://semver.org) without build metadata: two builds of a version
have the same precedence, so that nothing could tell which of them is the newest.

A range is written as in node-semver (https://github.com/npm/node-semver#ranges), without its hyphen ranges:
``^1.4``, ``~1.4.2``, ``>=1.2,<2``, ``1.x``, ``*``, ``1.4.2``, and ``||`` between alternatives. A part that is left out
is any: ``1.4`` means ``1.4.x``. By the same rules a pre-release is only in a range that itself names a pre-release
of the same major, minor and patch: who asks for ``>=1.0.0-rc.1`` has agreed to the candidates of 1.0.0, not to those
of 2.0.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, total_ordering

# Longer ones are nobody's; every number in one then has at most three digits of length (see SemVer.precedence).
MAX_VERSION = 128
_MAX_RANGE = 256

# The suggested expression of semver.org's FAQ, without build metadata. Digits are ASCII's alone.
_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER = rf"(?:{_NUMBER}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_PRE = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*"
_VERSION = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_PRE}))?\Z")
_COMPARATOR = re.compile(
    rf"(\^|~|>=|<=|>|<|=)?({_NUMBER}|[xX*])(?:\.({_NUMBER}|[xX*])(?:\.({_NUMBER}|[xX*])(?:-({_PRE}))?)?)?\Z"
)
_AFTER_OPERATOR = re.compile(r"([<>=^~]) +")
_BETWEEN = re.compile(r" *, *| +")
_WILD = "xX*"


class InvalidVersion(ValueError):
    """The text is not a semantic version."""


class InvalidRange(ValueError):
    """The text is not a range of versions."""


@total_ordering
@dataclass(frozen=True)
class SemVer:
    """``major.minor.patch``, with the identifiers of a pre-release in ``pre``. Ordered by precedence."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()

    @property
    def core(self) -> tuple[int, int, int]:
        return self.major, self.minor, self.patch

    @cached_property
    def core_precedence(self) -> str:
        """What :attr:`precedence` begins with: the same for a version and all its pre-releases."""
        return ".".join(_sortable(str(number)) for number in self.core)

    @cached_property
    def precedence(self) -> str:
        """Text whose byte order is the order of precedence (semver.org, rule 11), for a database to sort by.

        A number is its length and its digits, so that 10 follows 9. A release ends in ``~``, behind which nothing
        sorts. A pre-release has its identifiers in its place: ``0`` goes before a numeric one and ``1`` before any
        other, as numeric ones are lower, and ``!`` ends each, which is lower than any character of one, so that
        ``alpha`` comes before ``alpha.1`` and that before ``alpha1``.
        """
        if not self.pre:
            return f"{self.core_precedence}~"
        return self.core_precedence + "".join(
            f"0{_sortable(part)}!" if part.isdigit() else f"1{part}!" for part in self.pre
        )

    def bumped(self, part: str) -> SemVer:
        """The release after this version in which the ``part`` major, minor or patch is raised. As in node-semver
        (https://github.com/npm/node-semver#functions, inc), what a pre-release leads up to is raised already:
        2.0.0 follows 2.0.0-rc.1, whichever part it is."""
        match part:
            case "major":
                leads = self.pre and not self.minor and not self.patch
                return SemVer(self.major if leads else self.major + 1, 0, 0)
            case "minor":
                leads = self.pre and not self.patch
                return SemVer(self.major, self.minor if leads else self.minor + 1, 0)
        return SemVer(self.major, self.minor, self.patch if self.pre else self.patch + 1)

    def __lt__(self, other: SemVer) -> bool:
        return self.precedence < other.precedence

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        return f"{text}-{'.'.join(self.pre)}" if self.pre else text


def _sortable(digits: str) -> str:
    return f"{len(digits):03}{digits}"


@dataclass(frozen=True, slots=True)
class Comparator:
    """``operator`` is one of ``= < <= > >=``."""

    operator: str
    version: SemVer

    def allows(self, version: SemVer) -> bool:
        match self.operator:
            case "<":
                return version < self.version
            case "<=":
                return version <= self.version
            case ">":
                return version > self.version
            case ">=":
                return version >= self.version
        return version == self.version


@dataclass(frozen=True, slots=True)
class Range:
    """A version is in it when one of the ``alternatives`` allows it, with all its comparators. ``text`` is its one
    spelling, without blanks."""

    text: str
    alternatives: tuple[tuple[Comparator, ...], ...]

    def allows(self, version: SemVer) -> bool:
        return any(
            all(comparator.allows(version) for comparator in comparators)
            and (not version.pre or any(named.core == version.core for named in named_pre_releases(comparators)))
            for comparators in self.alternatives
        )

    def __str__(self) -> str:
        return self.text


def named_pre_releases(comparators: Iterable[Comparator]) -> tuple[SemVer, ...]:
    """The pre-releases that an alternative names: only those of the same major, minor and patch are in it."""
    return tuple(comparator.version for comparator in comparators if comparator.version.pre)


def parse_version(text: str) -> SemVer:
    """Raises InvalidVersion, with a sentence that says what to write instead."""
    match = _VERSION.match(text) if len(text) <= MAX_VERSION else None
    if match is None:
        why = "versions here have no build metadata" if "+" in text else "it is no semantic version"
        raise InvalidVersion(f"{text[:80]!r}: {why}. Write for example 1.4.2 or 2.0.0-rc.1.")
    major, minor, patch, pre = match.groups()
    return SemVer(int(major), int(minor), int(patch), tuple(pre.split(".")) if pre else ())


def is_version(text: str) -> bool:
    try:
        parse_version(text)
    except InvalidVersion:
        return False
    return True


def is_range(text: str) -> bool:
    """Whether ``text`` is a range; every version is one."""
    try:
        parse_range(text)
    except InvalidRange:
        return False
    return True


def parse_range(text: str) -> Range:
    """Raises InvalidRange, with a sentence that says what to write instead."""
    alternatives, spellings = [], []
    for part in text.split("||") if len(text) <= _MAX_RANGE else [""]:
        comparators: list[Comparator] = []
        words = []
        for word in _BETWEEN.split(_AFTER_OPERATOR.sub(r"\1", part.strip(" "))):
            spelling, found = _read(word)
            words.append(spelling)
            comparators += found
        alternatives.append(tuple(comparators))
        spellings.append(",".join(words))
    return Range("||".join(spellings), tuple(alternatives))


def newest(versions: Iterable[SemVer]) -> SemVer | None:
    """The highest release; where there are only pre-releases, the highest of these. None where there is none."""
    return max(versions, key=lambda version: (not version.pre, version), default=None)


# ------------------------------------------------------------------------------------------- ranges


def _read(word: str) -> tuple[str, tuple[Comparator, ...]]:
    """One comparator as it is written: its one spelling, and what it stands for."""
    match = _COMPARATOR.match(word)
    if match is None:
        raise _no_range(word)
    operator, *parts, pre = match.groups()
    given = [part for part in parts if part is not None]
    fixed = given[: next((i for i, part in enumerate(given) if part in _WILD), len(given))]
    # A number behind a wildcard (1.x.3), a pre-release of any patch (1.4.x-rc) and "more than anything" say nothing.
    if any(part not in _WILD for part in given[len(fixed) :]) or (pre and len(fixed) < 3) or (operator and not fixed):
        raise _no_range(word)
    numbers = [int(part) for part in fixed]
    operator = "" if operator in (None, "=") else operator
    spelling = operator + (".".join(fixed) or "*") + (f"-{pre}" if pre else "")
    return spelling, _bounds(operator, numbers, tuple(pre.split(".")) if pre else ())


def _bounds(operator: str, numbers: list[int], pre: tuple[str, ...]) -> tuple[Comparator, ...]:
    """Node-semver's reading of an operator before the first ``numbers`` of a version."""
    if not numbers:
        return ()
    low = _padded(numbers, pre)
    last = len(numbers) - 1
    whole = last == 2
    if operator == "^":
        # The first number that is not 0 may not change; of those that are given, the last.
        first = next((i for i, number in enumerate(numbers) if number), last)
        return Comparator(">=", low), Comparator("<", _raised(numbers, first))
    if operator == "~":
        return Comparator(">=", low), Comparator("<", _raised(numbers, min(1, last)))
    if not operator:
        if whole:
            return (Comparator("=", low),)
        return Comparator(">=", low), Comparator("<", _raised(numbers, last))
    if whole or operator == ">=":
        return (Comparator(operator, low),)
    if operator == "<":
        return (Comparator("<", _below(low)),)
    above = _raised(numbers, last)
    return (Comparator("<", above),) if operator == "<=" else (Comparator(">=", SemVer(*above.core)),)


def _raised(numbers: list[int], index: int) -> SemVer:
    """Where the next value of the number at ``index`` begins."""
    return _below(_padded([*numbers[:index], numbers[index] + 1]))


def _padded(numbers: list[int], pre: tuple[str, ...] = ()) -> SemVer:
    major, minor, patch = (*numbers, 0, 0)[:3]
    return SemVer(major, minor, patch, pre)


def _below(version: SemVer) -> SemVer:
    """The lowest pre-release there can be of ``version``: what is lower than it has none of these either."""
    return SemVer(*version.core, ("0",))


def _no_range(word: str) -> InvalidRange:
    return InvalidRange(
        f"{word[:80]!r} is no version or range of versions: write for example 1.4.2, ^1.4, ~1.4.2, 1.x or >=1.2,<2."
    )
