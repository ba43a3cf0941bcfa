"""Who is loaded next, and who makes room for it: one decision at a time from what is so now. Pure.

Critical models come first and alone; then what a request waits for; then what is loaded ahead, by priority. What is
loaded ahead takes room that is free and drives nobody out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.domain.keeping import Thing, choose


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One that waits or is under way. ``need`` in bytes; None: nobody knows before it is loaded. ``asked``: somebody
    waits for it; ``overdue``: it has taken so long that others do not wait for it any more; ``holds``: the models that
    it depends on, which stay for it."""

    name: str
    number: int
    critical: bool = False
    asked: bool = False
    overdue: bool = False
    priority: int = 0
    need: int | None = None
    holds: frozenset[str] = frozenset()

    @property
    def turn(self) -> tuple[bool, bool, int, int]:
        """What has the least of these is loaded first."""
        return not self.critical, not self.asked, -self.priority, self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes. ``budget`` None: no limit; ``held`` by what is loaded; ``closing``: what is about to be free."""

    budget: int | None = None
    held: Sequence[Thing[Any]] = ()
    closing: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """Load it now."""

    name: str


@dataclass(frozen=True, slots=True)
class Evict:
    """Let these go, so that ``name`` fits."""

    name: str
    things: tuple[Thing[Any], ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """There is no free room to load it ahead: it is loaded when somebody asks for it."""

    name: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """It does not fit, whoever goes. ``pinned``: bytes that stay held."""

    name: str
    need: int
    pinned: int


Step = Start | Evict | Leave | Refuse


def decide(
    waiting: Sequence[Load], loading: Sequence[Load], memory: Memory, slots: int, *, calm: bool = False
) -> Step | None:
    """What is to be done first; None: nothing for now. ``calm``: nothing is loaded ahead at the moment."""
    holding_up = any(load.critical and not load.overdue for load in (*waiting, *loading))
    promised = 0
    for load in sorted(waiting, key=lambda load: load.turn):
        is_ahead = not load.critical and not load.asked
        if (holding_up and not load.critical) or (calm and is_ahead) or not _has_slot(load, loading, slots):
            continue
        if memory.budget is None:
            return Start(load.name)
        step = _room(load, loading, memory, memory.budget, promised)
        if step is not None:
            return step
        promised += _waits_for_closing(load, loading, memory, memory.budget)
    return None


def _has_slot(load: Load, loading: Sequence[Load], slots: int) -> bool:
    if sum(other.name == load.name for other in loading) > 1:
        # An older load of it may hang, and is not waited for; but not one more with each change.
        return False
    counted = [other for other in loading if not other.overdue]
    if load.asked:
        # Not held up by what nobody waits for.
        counted = [other for other in counted if other.asked]
    return len(counted) < slots


def _room(load: Load, loading: Sequence[Load], memory: Memory, budget: int, promised: int) -> Step | None:
    if any(other.need is None for other in loading):
        # What it takes is being found out, and would be told wrong with another beside it.
        return None
    if load.need is None:
        return None if loading else Start(load.name)
    # What it is to take the place of serves until then.
    own = {load.name, *load.holds}
    pinned = _taken(thing for thing in memory.held if thing.use.pinned or thing.name in own)
    if load.need > budget - pinned:
        return Refuse(load.name, load.need, pinned)
    reserved = sum(other.need or 0 for other in loading)
    held = _taken(memory.held)
    # What is promised to others takes the room of what is closing.
    if held + max(memory.closing, promised) + reserved + load.need <= budget:
        return Start(load.name)
    if not load.asked and not load.critical:
        return Leave(load.name)
    choice = choose(memory.held, budget - promised - reserved - load.need, float("inf"))
    if choice.over or not choice.going:
        return None
    return Evict(load.name, choice.going)


def _waits_for_closing(load: Load, loading: Sequence[Load], memory: Memory, budget: int) -> int:
    """What others must leave to it: bytes that are about to be free, and that it has made free."""
    if load.need is None or not memory.closing:
        return 0
    reserved = sum(other.need or 0 for other in loading)
    held = _taken(memory.held)
    return load.need if held + reserved + load.need <= budget else 0


def _taken(things: Iterable[Thing[Any]]) -> int:
    return sum({piece: size for thing in things for piece, size in thing.pieces.items()}.values())


def overflow(memory: Memory, loading: Sequence[Load]) -> tuple[Thing[Any], ...]:
    """What goes because what is loaded takes more than was thought."""
    if memory.budget is None:
        return ()
    reserved = sum(load.need or 0 for load in loading)
    return choose(memory.held, memory.budget - reserved, float("inf")).going
