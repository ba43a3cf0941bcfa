"""Models whose place has been taken, or that have to go: each is freed when its last use ends."""

from __future__ import annotations

from collections.abc import Callable, Collection

from modelyard.runtime.manager.entries import Loaded
from modelyard.tasks import spawn


class Retired:
    """``freed`` is called with each, when its memory is free."""

    def __init__(self, freed: Callable[[Loaded], None]) -> None:
        self._freed = freed
        self._going: list[Loaded] = []

    def add(self, loaded: Loaded) -> None:
        loaded.retired = True
        self._going.append(loaded)
        if not loaded.uses:
            self.free(loaded)

    def free(self, loaded: Loaded) -> None:
        """Its last use has ended."""
        spawn(self._free(loaded), f"free {loaded.name}")

    def size(self, kept: Collection[int]) -> int:
        """Bytes that are about to be free: of all but those whose ids are in ``kept``."""
        return sum(loaded.size for loaded in self._going if id(loaded) not in kept)

    async def gone(self) -> None:
        """Return when the memory of all is free."""
        for loaded in tuple(self._going):
            await loaded.freed.wait()

    async def _free(self, loaded: Loaded) -> None:
        if loaded.plane is not None:
            loaded.plane.close()
        # With the last reference in it.
        held, loaded.value, loaded.plane = [loaded.value], None, None
        try:
            await loaded.loader.free(held)
        finally:
            self._going.remove(loaded)
            loaded.freed.set()
            self._freed(loaded)
