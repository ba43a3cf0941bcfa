"""From a store to files: many ranges at once, each chunk checked before it is written, and what is there kept.

A file is written under a name of its own and linked to its place when it is whole, so it may be cut off anywhere. What
a process that was killed has left of it is taken over: of that each chunk is checked, and only the others are read
from the store. Two processes that write one file harm nobody: both write only what they have checked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from modelyard.registry.content.chunks import Buffer, matches
from modelyard.registry.content.manifest import Damaged, Extent, Index, Manifest, Part
from modelyard.registry.content.storage import Storage, finish, unfinished_prefix, write_all, written
from modelyard.registry.content.stored import MEND, chunks_at

# What is read from the store at a time, and by how many threads.
_RANGE: Final = 8 * 2**20
_READERS: Final = 8
# Seconds after which a file that nobody has written to is one that nobody is writing.
_STALE: Final = 5.0
_TRIES: Final = 3
_OURS: Final = re.compile(r"[0-9a-f]{16}")

# Told of bytes that are there, of so many that are to be.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file to be made at ``path``: ``header``, then the parts. ``keep``: not over one that is there by then."""

    path: Path
    parts: tuple[Part, ...]
    header: bytes = b""
    mode: int = 0o644
    keep: bool = False

    @property
    def size(self) -> int:
        return len(self.header) + sum(part.size for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Bytes at ``offset`` of the file: where the store has them, and their digest."""

    offset: int
    at: Extent
    digest: bytes


class Fetch:
    """Makes files of one version. ``fetched`` counts the bytes that came from the store; ``progress`` is told of all
    that is there, by many threads."""

    def __init__(
        self, storage: Storage, manifest: Manifest, index: Index, total: int, progress: Progress | None
    ) -> None:
        self._storage, self._manifest, self._index = storage, manifest, index
        self._total, self._progress, self._lock = total, progress, Lock()
        self._there = 0
        self.fetched = 0

    def make(self, files: Sequence[Wanted]) -> None:
        """Make all of them.

        Raises:
            Missing, Damaged: the store has not all of it; what was whole is kept
            Unavailable: the store fails
            OSError: a file cannot be written
        """
        large = [file for file in files if file.size > _RANGE]
        with ThreadPoolExecutor(_READERS, thread_name_prefix="fetch") as pool:
            _all([pool.submit(self._whole, file) for file in files if file.size <= _RANGE])
            for file in large:
                self._by_ranges(file, pool)

    # ---------------------------------------------------------------- small files

    def _whole(self, file: Wanted) -> None:
        for left in _left_over(file.path):
            left.unlink(missing_ok=True)
        with written(file.path, file.mode, keep=file.keep) as descriptor:
            write_all(descriptor, file.header)
            for chunks in _ranges(self._chunks(file)):
                write_all(descriptor, self._read(chunks))
        self._count(file.size, file.size)

    # ---------------------------------------------------------------- large files

    def _by_ranges(self, file: Wanted, pool: ThreadPoolExecutor) -> None:
        for _ in range(_TRIES):
            unfinished, descriptor, found = _begun(file)
            try:
                missing = self._chunks(file)
                if found:
                    missing = self._without(missing, descriptor, pool)
                else:
                    os.ftruncate(descriptor, file.size)
                os.pwrite(descriptor, file.header, 0)
                self._count(file.size - sum(chunk.at.size for chunk in missing), 0)
                _all([pool.submit(self._fill, descriptor, chunks) for chunks in _ranges(missing)])
                with contextlib.suppress(FileNotFoundError):  # somebody took it for left over; once more, then
                    finish(descriptor, unfinished, file.path, file.mode, keep=file.keep)
                    return
            finally:
                os.close(descriptor)
        raise OSError(errno.EIO, "was taken away again and again while it was written", str(file.path))

    def _without(self, chunks: Sequence[_Chunk], descriptor: int, pool: ThreadPoolExecutor) -> list[_Chunk]:
        """Those that are not in the file yet."""

        def is_missing(chunk: _Chunk) -> bool:
            return not matches(os.pread(descriptor, chunk.at.size, chunk.offset), chunk.digest)

        return [chunk for chunk, missing in zip(chunks, pool.map(is_missing, chunks), strict=True) if missing]

    def _fill(self, descriptor: int, chunks: Sequence[_Chunk]) -> None:
        data, offset = memoryview(self._read(chunks)), chunks[0].offset
        size = len(data)
        while data:
            count = os.pwrite(descriptor, data, offset)
            data, offset = data[count:], offset + count
        self._count(size, size)

    # ---------------------------------------------------------------- the store

    def _chunks(self, file: Wanted) -> list[_Chunk]:
        """All of the file, in order. Raises Damaged."""
        found, offset = [], len(file.header)
        for part in file.parts:
            chunks = self._manifest.chunks[part.root]
            for number, at in enumerate(chunks_at(chunks, self._index.get(part.root, ()))):
                if at is None:
                    raise Damaged(f"The store does not say where all of part {part.root} is. {MEND}")
                found.append(_Chunk(offset, at, chunks.digest(number)))
                offset += at.size
        return found

    def _read(self, chunks: Sequence[_Chunk]) -> Buffer:
        """Chunks that lie side by side in the store, each as its digest says. Raises Missing, Damaged."""
        first = chunks[0].at
        data = self._storage.read(first.key, first.offset, sum(chunk.at.size for chunk in chunks))
        view, offset = memoryview(data), 0
        for chunk in chunks:
            if not matches(view[offset : offset + chunk.at.size], chunk.digest):
                where = f"{chunk.at.key} from byte {chunk.at.offset} on"
                raise Damaged(f"The store's {where} is damaged. {MEND}")
            offset += chunk.at.size
        return data

    def _count(self, there: int, fetched: int) -> None:
        with self._lock:
            self._there += there
            self.fetched += fetched
            if self._progress is not None:
                self._progress(self._there, self._total)


def _ranges(chunks: Sequence[_Chunk]) -> Iterator[list[_Chunk]]:
    """Chunks that lie side by side in the file and in the store, as many at a time as are read at once."""
    run: list[_Chunk] = []
    for chunk in chunks:
        last = run[-1] if run else None
        if last is not None and not (
            last.offset + last.at.size == chunk.offset
            and last.at.key == chunk.at.key
            and last.at.offset + last.at.size == chunk.at.offset
            and chunk.offset + chunk.at.size - run[0].offset <= _RANGE
        ):
            yield run
            run = []
        run.append(chunk)
    if run:
        yield run


def _all(futures: Sequence[Future[None]]) -> None:
    """Wait for all of them; after the first that fails nothing new is begun, and its error is raised."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    failed = next((future for future in done if not future.cancelled() and future.exception() is not None), None)
    if failed is not None:
        for future in futures:
            future.cancel()
        wait(futures)
        failed.result()


def _begun(file: Wanted) -> tuple[Path, int, bool]:
    """An unfinished file of our own, open, and whether it is one that was left over."""
    file.path.parent.mkdir(parents=True, exist_ok=True)
    mine = file.path.with_name(f"{unfinished_prefix(file.path)}{secrets.token_hex(8)}")
    for left in _left_over(file.path):
        with contextlib.suppress(FileNotFoundError):
            if left.stat().st_size == file.size:
                left.rename(mine)
                os.utime(mine)
                return mine, os.open(mine, os.O_RDWR | os.O_CLOEXEC), True
            left.unlink()
    return mine, os.open(mine, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), False


def _left_over(path: Path) -> Iterator[Path]:
    """What processes that were killed have left of the file at ``path``."""
    prefix = unfinished_prefix(path)
    with contextlib.suppress(FileNotFoundError):
        for left in path.parent.iterdir():
            # A user's own file may begin so; it does not end so.
            if left.name.startswith(prefix) and _OURS.fullmatch(left.name[len(prefix) :]):
                with contextlib.suppress(FileNotFoundError):
                    if left.stat().st_mtime < time.time() - _STALE:
                        yield left
