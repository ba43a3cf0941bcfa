"""What the registry's commands are worked out from, and what they come to.

A :class:`Change` is all that one command writes, in one transaction, from a :class:`Shelf` that nobody else changes
meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from modelyard.domain.model import Event
from modelyard.domain.registry import Alias, AliasMove, RegisteredModel, Use, Version
from modelyard.domain.versions import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks for what reason at what time."""

    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One transaction: the model, versions and moves of aliases as they are to be. One without events writes
    nothing: what was asked for is so already."""

    model: RegisteredModel
    versions: tuple[Version, ...] = ()
    moves: tuple[AliasMove, ...] = ()
    events: tuple[Event, ...] = ()


class Shelf(Protocol):
    """One registered model and what stands under its name."""

    @property
    def model(self) -> RegisteredModel: ...

    def version(self, number: str) -> Version | None:
        """Also one that is deleted and not purged yet."""

    def highest(self, within: Range | None = None, *, but: str = "") -> str | None:
        """Of the versions that are not deleted, and not ``but``, the highest that ``within`` allows; without it the
        highest release, or the highest pre-release where there is no release."""

    def buried(self, number: str) -> str | None:
        """The manifest of the version that was once published under ``number`` and purged."""

    def alias(self, alias: str) -> Alias | None: ...

    def aliases_of(self, number: str) -> Sequence[str]:
        """Those that point at the version, by name."""

    def last_move(self, alias: str) -> AliasMove | None:
        """Also of an alias that was removed."""

    def uses(self) -> Sequence[Use]:
        """The served models of the namespace whose source is in this model, by their newest spec and by the one that
        serves; one model may have several."""
