"""What a request tries to do, for the record of who did what: known from its beginning to the writes that it makes.

The API begins an attempt, the store's writes carry its entries (:mod:`modelyard.store.recording`), and when the request
ends without having changed anything, the API has the attempt itself recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass

from modelyard.domain.audit import Record
from modelyard.domain.errors import ModelyardError

Target = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing of many that a request was about and may not, or cannot, change, and why."""

    kind: str
    namespace: str
    name: str
    error: ModelyardError


class Attempt:
    """``describe`` says what is tried, with as much as is known by now; None while nobody has shown who it is."""

    def __init__(self, describe: Callable[[], Record | None]) -> None:
        self.describe = describe
        # What has an entry of it: each thing that one request changes has one.
        self.targets: set[Target] = set()
        # What was refused to it while the rest was done: an entry each.
        self.refusals: list[Refusal] = []
        # It was carried out before, and is answered with what came of it then.
        self.repeats = False
        # Tasks that a request leaves behind act by themselves.
        self.over = False


_current: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


def current() -> Attempt | None:
    """The attempt on whose behalf this code runs."""
    attempt = _current.get()
    return None if attempt is None or attempt.over else attempt


def refused(kind: str, namespace: str, name: str, error: ModelyardError) -> None:
    """Have it on record that one thing of many was refused."""
    if (attempt := current()) is not None:
        attempt.refusals.append(Refusal(kind, namespace, name, error))


def repeated() -> None:
    """The request was carried out before: what it is answered with is no second act."""
    if (attempt := current()) is not None:
        attempt.repeats = True


def begin(attempt: Attempt) -> Token[Attempt | None]:
    return _current.set(attempt)


def end(attempt: Attempt, token: Token[Attempt | None]) -> None:
    attempt.over = True
    _current.reset(token)


@contextmanager
def aside() -> Iterator[None]:
    """What is written in here is not what the request is about: when a key was last used, say."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)
