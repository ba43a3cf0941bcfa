"""A value that nobody is shown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

# What is shown in its place; sent back it means the value that is there.
MASK: Final = "********"
# How a sealed value begins.
VERSION: Final = "v1"


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


def key_of(sealed: str) -> str:
    """The name of the key that it is under, which tells nothing of the key; empty: it is under none."""
    version, _, rest = sealed.partition(".")
    return rest.partition(".")[0] if version == VERSION else ""


def place_of_webhook(name: str) -> str:
    """Where what is secret of a webhook is bound to, beside its namespace: as a variable of a spec is."""
    return f"webhook {name}"
