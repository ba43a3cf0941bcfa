"""Which of a source's files are wanted: all, or those that patterns say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class Picking:
    """Patterns of whole paths, as shells write them; a ``*`` goes over slashes too, and a pattern that ends with a
    slash means all in that folder. Without any to ``include`` all are wanted but those to ``exclude``."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def wants(self, path: str) -> bool:
        return (not self.include or _any(path, self.include)) and not _any(path, self.exclude)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noting(Picking):
    """Notes what it was asked about and is ``left_out``, so that nothing is so in silence."""

    left_out: set[str] = field(default_factory=set)

    def wants(self, path: str) -> bool:
        is_wanted = Picking.wants(self, path)
        if not is_wanted:
            self.left_out.add(path)
        return is_wanted


EVERYTHING = Picking()


def _any(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)
