"""A value that nobody is shown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

# What is shown in its place; sent back it means the value that is there.
MASK: Final = "********"


@dataclass(frozen=True, slots=True)
class Secret:
    """A sealed value: ``sealed`` can be opened by who has the key, and by nobody else."""

    sealed: str = field(repr=False)

    def __str__(self) -> str:
        return MASK

    @property
    def told(self) -> str:
        """For comparisons: another text for another secret, from which nothing of it follows."""
        return f"{MASK} ({hashlib.sha256(self.sealed.encode()).hexdigest()[:8]})"
