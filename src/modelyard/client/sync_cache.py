"""The cache, as the blocking client has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.client import cache_calls as requests
from modelyard.client import cache_types

if TYPE_CHECKING:
    from modelyard.client.sync import Modelyard


class Cache:
    """The files of registered versions on the server's machine, and what is to stay there; ``namespace`` defaults to
    the client's. A range (``^1.4``) or an alias (``stable``) picks a version, and goes on meaning the one that it means
    at any time."""

    def __init__(self, client: Modelyard) -> None:
        self._client = client

    def get(self) -> cache_types.Cache:
        """What is in it, for whom, and what it saved."""
        return self._client.send(requests.get_cache())

    def pin(
        self, name: str, pick: str = "latest", *, namespace: str | None = None, preload: bool = False, reason: str = ""
    ) -> cache_types.Pin:
        """Keep a version in the cache, whatever its size; with ``preload`` it is also laid out before anybody needs
        it."""
        call = requests.pin(namespace or self._client.namespace, name, pick, reason, preload=preload)
        return self._client.send(call)

    def unpin(self, name: str, pick: str = "latest", *, namespace: str | None = None, preload: bool = False) -> None:
        """No longer keep it, or with ``preload`` no longer lay it out ahead."""
        self._client.send(requests.unpin(namespace or self._client.namespace, name, pick, preload=preload))
