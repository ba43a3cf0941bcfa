"""What is kept: the one rule of what makes room, for versions on a machine's disk and for models in its memory.

What is pinned, in use or was used a moment ago stays. Of the rest goes first what nobody wants any more, then what has
the lower rank, then what has not been used for the longest. All of it pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from modelyard.domain.names import Registered

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What a user wants kept in the cache of a site, whatever its size: the version that ``reference`` means at any
    time. ``preload``: it is also laid out there before anybody needs it. Both may be asked for of one reference."""

    site: str
    namespace: str
    reference: Registered
    preload: bool
    at: datetime
    by: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.reference}"


class Stays(StrEnum):
    """Why something does not go."""

    PINNED = "pinned"
    IN_USE = "in_use"
    YOUNG = "young"  # used a moment ago: it may be about to be used again


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How something is used: ``used_at`` in seconds of any clock, None while it is in use (or nobody knows);
    ``wanted``: somebody may come back to it; of lower ``rank`` it goes earlier, whenever it was used."""

    used_at: float | None
    pinned: bool = False
    wanted: bool = True
    rank: int = 0

    def stays(self, before: float) -> Stays | None:
        """Why it does not go; None if it may. What was used after ``before`` is young."""
        if self.pinned:
            return Stays.PINNED
        if self.used_at is None:
            return Stays.IN_USE
        return Stays.YOUNG if self.used_at > before else None

    @property
    def turn(self) -> tuple[bool, bool, int, float]:
        """What has the least of these goes first."""
        return self.wanted, self.used_at is None, self.rank, self.used_at or 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing(Generic[T]):
    """Something that takes room: ``what`` it is, by a ``name`` that no other has. It is made of ``pieces``, which it
    may have in common with others; room is only free when the last of these has gone. ``pieces`` by what each takes."""

    what: T
    name: str
    use: Use
    pieces: Mapping[Any, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Generic[T]):
    """What goes, in this order; what is ``left`` then. Where that is ``over`` what was asked for, ``kept`` says what
    takes the room, and why each of it stays: the last to go last."""

    going: tuple[Thing[T], ...] = ()
    left: int = 0
    over: int = 0
    kept: tuple[tuple[Thing[T], Stays], ...] = ()


def choose(things: Iterable[Thing[T]], budget: int | None, before: float) -> Choice[T]:
    """What goes so that all that is left takes no more than ``budget`` (None: there is room enough). What nobody wants
    goes in any case. Something that takes nothing at all does not go for the room's sake."""
    ordered = sorted(things, key=lambda thing: (thing.use.turn, thing.name))
    needed = Counter(piece for thing in ordered for piece in thing.pieces)
    left = sum({piece: size for thing in ordered for piece, size in thing.pieces.items()}.values())
    going: list[Thing[T]] = []
    kept: list[tuple[Thing[T], Stays]] = []
    for thing in ordered:
        stays, costs = thing.use.stays(before), any(thing.pieces.values())
        if stays is not None:
            if costs:
                kept.append((thing, stays))
            continue
        if thing.use.wanted and (budget is None or left <= budget or not costs):
            continue
        going.append(thing)
        for piece, size in thing.pieces.items():
            needed[piece] -= 1
            if not needed[piece]:
                left -= size
    over = 0 if budget is None else max(left - budget, 0)
    return Choice(going=tuple(going), left=left, over=over, kept=tuple(kept) if over else ())
