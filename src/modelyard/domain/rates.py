"""How often something may be asked: a rate with room for bursts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.domain.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """``per_second`` requests over time, of which ``burst`` may come at once (None: as many as a second allows, one at
    least)."""

    per_second: float
    burst: int | None = None

    @property
    def room(self) -> float:
        """How many may come at once."""
        return float(self.burst) if self.burst is not None else max(1.0, self.per_second)


def rate_problems(path: str, rate: Rate) -> Iterator[Problem]:
    """What is wrong with a rate that stands at ``path``."""
    if not 0.001 <= rate.per_second <= 1_000_000:
        yield Problem(f"{path}.per_second", "out_of_range", "per_second is from 0.001 to 1000000.")
    if rate.burst is not None and not 1 <= rate.burst <= 1_000_000:
        yield Problem(f"{path}.burst", "out_of_range", "burst is from 1 to 1000000.")
