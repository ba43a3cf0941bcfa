"""What is sealed under a key that is not the newest: sealed anew, so that the old key can be thrown away."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from modelyard.access.secrets import SecretBox, SecretLost
from modelyard.control.access_ports import SealedStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Former:
    """A key that is not the newest, and in how many places there is still something under it: old revisions count, too.
    ``here``: it can be opened."""

    key: str
    count: int
    here: bool


class Resealing:
    """Each model and each webhook is changed at once or not at all, so that it can end anywhere and be begun again;
    what cannot be opened is left as it is."""

    def __init__(self, store: SealedStore, box: SecretBox) -> None:
        self._store = store
        self._box = box

    async def run(self) -> int:
        """Seal everything under the newest key, and say how many values that were. Raises SecretLost: there are no
        keys to be had; Unavailable."""
        if len(await asyncio.to_thread(lambda: self._box.names)) < 2:
            return 0
        changed = await self._store.seal_again(self._again)
        if changed:
            log.info("%d secrets were sealed anew, under the newest key", changed)
        return changed

    async def formers(self) -> list[Former]:
        """Those that anything is under. Raises SecretLost, Unavailable."""
        counts = await self._store.count_by_key()
        if not counts:
            return []
        names = await asyncio.to_thread(lambda: self._box.names)
        return [Former(key, count, key in names) for key, count in sorted(counts.items()) if key != names[0]]

    def _again(self, namespace: str, variable: str, sealed: str) -> str:
        try:
            return self._box.again(namespace, variable, sealed)
        except SecretLost as error:
            log.warning("It stays as it is sealed in namespace %s: %s", namespace, error)
            return sealed
