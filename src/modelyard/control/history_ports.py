"""What the history of metrics needs of a store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from modelyard.control.ports import Fence
from modelyard.domain.access import Sight
from modelyard.domain.history import Sample
from modelyard.domain.model import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What was written of a model's ``length`` seconds (a minute or an hour) that began ``at``."""

    at: int
    length: int
    sample: Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What is to be added to a model: samples by the minute that they are of, and its running totals after them;
    totals None: they have not changed."""

    minutes: Mapping[int, Sample]
    totals: Sample | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """The models of a namespace (None: of all) that ``sight`` sees (None: all)."""

    namespace: str | None = None
    sight: Sight | None = None


class HistoryStore(Protocol):
    async def totals(self, site: str, gateway: str) -> Mapping[str, Sample]:
        """The running totals of this gateway up to which history is written, by the model's uid."""

    async def add(self, gateway: str, of: Mapping[str, Written], fence: Fence) -> None:
        """Add to what is written, in one transaction. What is held replaces what was written of the same minute.
        Raises LeaseLost."""

    async def held(self, after: int) -> Mapping[str, Kept]:
        """What was written last of what each model's instances hold, where any were there and that was later."""

    async def of_model(self, uid: str, start: int, end: int) -> Sequence[Kept]:
        """What begins within, by time."""

    async def last_held(self, uid: str, before: int) -> Kept | None:
        """What was written last of what the model's instances held, before that."""

    async def sums(self, whose: Whose, start: int, end: int, step: int) -> Mapping[int, Sample]:
        """What was counted of all these models together, by the multiple of ``step`` in which it began."""

    async def visible(self, whose: Whose, uids: Collection[str]) -> Collection[str]:
        """Those of ``uids`` that are among these models."""

    async def marks(self, uid: str, start: int, end: int, limit: int) -> Sequence[Event]:
        """The model's latest events of this time, the newest first."""

    async def roll_up(self, before: int) -> None:
        """Turn the minutes of whole hours before that into hours."""

    async def forget(self, before: int) -> int:
        """Remove what began before that; how many minutes and hours."""
