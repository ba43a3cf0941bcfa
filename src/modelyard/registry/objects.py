"""The store's objects, and the files of this machine's cache, for callers on other machines: read in pieces, written
only where they are what their name says.

Neither way one is ever held whole. What blocks runs in threads of its own: an upload holds one for as long as its
sender takes, and must not keep others waiting for theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from modelyard.domain.errors import InvalidRequest, ModelyardError, Problem
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.chunks import Buffer
from modelyard.registry.content.manifest import is_key
from modelyard.registry.content.receiving import is_name, receive
from modelyard.registry.content.storage import Entry, Folder, Missing, Storage
from modelyard.registry.room import watched

T = TypeVar("T")

# Bytes that are read or passed on at a time.
_PIECE: Final = 2**18
_READERS: Final = 4
# Seconds for each such piece of an upload, or for its end: one that is slower keeps others from their turn.
_PATIENCE: Final = 60.0
# Uploads at a time; others wait, and their senders with them.
_WRITERS: Final = 8


class TooSlow(ModelyardError):
    """Hardly anything of the upload arrived for too long. Try again over a better line."""

    code = "too_slow"
    http_status = 408
    title = "Upload too slow"


class Objects:
    """Of one store, and of one cache."""

    def __init__(self, storage: Storage, cache: Cache) -> None:
        self._storage, self._cache = storage, cache
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="object")
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="upload")

    async def find(self, prefix: str, after: str, count: int) -> Sequence[Entry]:
        """At most ``count`` of the objects whose keys begin so, those next behind the key ``after``, by key."""

        def first() -> list[Entry]:
            behind = (entry for entry in self._storage.find(prefix) if entry.key > after)
            return heapq.nsmallest(count, behind, key=lambda entry: entry.key)

        return await self._read(first)

    async def latest(self, name: str) -> str | None:
        return await self._read(lambda: self._storage.latest(name))

    async def size(self, key: str) -> int:
        """Raises Missing."""
        size = await self._read(lambda: self._storage.size(key))
        if size is None:
            raise Missing(f"The store has no {key}.")
        return size

    async def touch(self, key: str) -> bool:
        return await self._read(lambda: self._storage.touch(key))

    async def read(self, key: str, offset: int, size: int) -> AsyncIterator[Buffer]:
        """So many bytes, in pieces. Raises Missing where they are not all there."""
        while size > 0:
            length = min(size, _PIECE)
            piece = await self._read(partial(self._storage.read, key, offset, length))
            if len(piece) != length:
                raise Missing(f"The store has only the beginning of {key}.")
            yield piece
            offset, size = offset + length, size - length

    async def cached(self, name: str, stored: str) -> tuple[Path, int]:
        """Where the cache's file of this name is, or the object ``stored`` (a key) where the store is a folder; and its
        size. Raises Missing."""

        def found() -> tuple[Path, int]:
            paths = [self._cache.path(name)]
            if isinstance(self._storage, Folder) and is_key(stored):
                paths.append(self._storage.path(stored))
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    return path, path.stat().st_size
            raise Missing(f"This cache has no file {name}.")

        return await self._read(found)

    async def read_cached(self, path: Path, offset: int, size: int) -> AsyncIterator[Buffer]:
        """So many bytes, in pieces, of what :meth:`cached` found. Raises Missing where they are not all there."""

        def read(offset: int, size: int) -> bytes:
            with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
                return os.pread(file.fileno(), size, offset)
            return b""

        while size > 0:
            piece = await self._read(partial(read, offset, min(size, _PIECE)))
            if not piece:
                raise Missing("It has gone while it was read.")
            yield piece
            offset, size = offset + len(piece), size - len(piece)

    async def write(self, name: str, body: AsyncIterator[bytes]) -> str:
        """Keep what is sent under ``name``; its key.

        Raises:
            InvalidRequest: nothing can have this name, or what is sent is not what it says
            NoSpace: the disk is full
            TooSlow: it arrives too slowly
            Unavailable: the store fails
        """
        if not is_name(name):
            raise InvalidRequest([Problem("path.name", "invalid_value", f"Nothing in a store has the name {name!r}.")])
        loop = asyncio.get_running_loop()
        incoming = _Incoming(body, loop)

        def work() -> str:
            try:
                return receive(self._storage, name, self._within_the_disk(iter(incoming)))
            finally:
                incoming.close()

        working = loop.run_in_executor(self._writers, work)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            # Its sender has gone. The thread ends with its next piece, and what it wrote with it.
            incoming.close()
            raise

    def _within_the_disk(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        if not isinstance(self._storage, Folder):
            yield from pieces
            return
        look, there = watched(self._storage.root), 0
        for piece in pieces:
            there += len(piece)
            look(there, 0)
            yield piece

    async def _read(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)


class _Incoming:
    """A body that comes over an event loop, as a thread reads it: the next piece comes while one is worked on."""

    def __init__(self, body: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._body, self._loop = body, loop
        self._closed = False
        self._next = self._ask()

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._wait():
            if self._closed:
                raise CancelledError
            self._next = self._ask()
            yield piece

    def _wait(self) -> bytes:
        try:
            return self._next.result(_PATIENCE)
        except TimeoutError as error:
            raise TooSlow from error

    def close(self) -> None:
        """Nothing more is wanted, or nothing more will come."""
        self._closed = True
        self._next.cancel()

    def _ask(self) -> Future[bytes]:
        return asyncio.run_coroutine_threadsafe(self._gather(), self._loop)

    async def _gather(self) -> bytes:
        held = bytearray()
        async for some in self._body:
            held += some
            if len(held) >= _PIECE:
                break
        return bytes(held)
