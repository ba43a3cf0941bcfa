"""From a supply to files: many runs at once, each chunk checked before it is written, and what is there kept.

A file is written under a name of its own and linked to its place when it is whole, so it may be cut off anywhere. What
a process that was killed has left of it is taken over: of that each chunk is checked, and only the others are
got. Two processes that write one file harm nobody: both write only what they have checked.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final

from modelyard.domain.errors import Unavailable
from modelyard.domain.quantities import rounded_bytes
from modelyard.registry.content.chunks import Buffer, matches
from modelyard.registry.content.leases import marks_of_living, myself
from modelyard.registry.content.manifest import Part
from modelyard.registry.content.parallel import all_of
from modelyard.registry.content.storage import finish, unfinished_prefix, write_all, written
from modelyard.registry.content.supply import Chunk, Run, Supply

_READERS: Final = 16
_FILES: Final = 4
# Files up to this size are made by one reader each.
_SMALL: Final = 8 * 2**20
# Seconds after which a file that nobody has written to is one that nobody is writing, where nothing is known of who
# has begun it.
_STALE: Final = 5.0
_TRIES: Final = 3
# Random; or which machine and which process has begun it, and then random.
_OURS: Final = re.compile(r"[0-9a-f]{16}|(?P<machine>[0-9a-f]{8})(?P<process>[0-9a-f]{8})[0-9a-f]{8}")

# Told of bytes that are there, of so many that are to be.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file to be made at ``path``: ``header``, then the parts. ``keep``: not over one that is there by then;
    ``durable``: on the disk before it is there, so that it is whole also after the machine has lost its power."""

    path: Path
    parts: tuple[Part, ...]
    header: bytes = b""
    mode: int = 0o644
    keep: bool = False
    durable: bool = True

    @property
    def size(self) -> int:
        return len(self.header) + sum(part.size for part in self.parts)


class _Target:
    """An open file that many write to, and what it is called."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self._descriptor, self._lock = descriptor, Lock()

    def write(self, piece: Buffer, offset: int) -> None:
        data = memoryview(piece)
        # The system lets one of them write at a time, and has the others wait on a core that could hash meanwhile.
        with self._lock:
            while data:
                count = os.pwrite(self._descriptor, data, offset)
                data, offset = data[count:], offset + count


class Fetch:
    """Makes files of one version. ``progress`` is told of all that is there, of ``total`` bytes, by many threads;
    ``spare`` bytes of the disk stay free."""

    def __init__(self, supply: Supply, total: int, progress: Progress | None, *, spare: int = 0) -> None:
        self._spare = spare
        self._supply, self._total, self._progress, self._lock = supply, total, progress, Lock()
        self._there = 0
        self._error: BaseException | None = None

    def make(self, files: Sequence[Wanted]) -> None:
        """Make all of them.

        Raises:
            Missing, Damaged: the store has not all of it; what was whole is kept
            Unavailable: the store fails, or the disk has no room for them
            OSError: a file cannot be written
        """
        _check_room(files, self._spare)
        with (
            ThreadPoolExecutor(_READERS, thread_name_prefix="fetch") as pool,
            # Several, or the readers would rest at each one's end.
            ThreadPoolExecutor(_FILES, thread_name_prefix="file") as large,
        ):
            try:
                small = [pool.submit(self._unless_failed, self._whole, file) for file in files if file.size <= _SMALL]
                others = [file for file in files if file.size > _SMALL]
                all_of(small + [large.submit(self._unless_failed, self._by_ranges, file, pool) for file in others])
            except BaseException as error:  # cut off by its user, too
                self._error = error
                raise

    def _unless_failed(self, work: Callable[..., None], *arguments: object) -> None:
        """After the first that fails nothing is begun any more, of no file."""
        if self._error is not None:
            raise self._error
        try:
            work(*arguments)
        except BaseException as error:
            self._error = self._error or error
            raise

    # ---------------------------------------------------------------- small files

    def _whole(self, file: Wanted) -> None:
        for left in _left_over(file.path):
            left.unlink(missing_ok=True)
        with written(file.path, file.mode, keep=file.keep, durable=file.durable) as descriptor:
            write_all(descriptor, file.header)
            for run in self._supply.runs(self._supply.chunks(file.parts, len(file.header))):
                for data in self._supply.read(run, file.path.name):
                    write_all(descriptor, data)
        self._count(file.size)

    # ---------------------------------------------------------------- large files

    def _by_ranges(self, file: Wanted, pool: ThreadPoolExecutor) -> None:
        for _ in range(_TRIES):
            unfinished, descriptor, found = _begun(file)
            try:
                missing = self._supply.chunks(file.parts, len(file.header))
                if found:
                    missing = self._without(missing, descriptor, pool)
                else:
                    _reserve(descriptor, file.size)
                os.pwrite(descriptor, file.header, 0)
                self._count(file.size - sum(chunk.at.size for chunk in missing))
                target = _Target(descriptor, file.path.name)
                fill = partial(self._unless_failed, self._fill, target)
                all_of([pool.submit(fill, run) for run in self._supply.runs(missing)])
                with contextlib.suppress(FileNotFoundError):  # somebody took it for left over; once more, then
                    finish(descriptor, unfinished, file.path, file.mode, keep=file.keep, durable=file.durable)
                    return
            finally:
                os.close(descriptor)
        raise OSError(errno.EIO, "was taken away again and again while it was written", str(file.path))

    def _without(self, chunks: Sequence[Chunk], descriptor: int, pool: ThreadPoolExecutor) -> list[Chunk]:
        """Those that are not in the file yet."""

        def is_missing(chunk: Chunk) -> bool:
            return not matches(os.pread(descriptor, chunk.at.size, chunk.offset), chunk.digest)

        return [chunk for chunk, missing in zip(chunks, pool.map(is_missing, chunks), strict=True) if missing]

    def _fill(self, target: _Target, run: Run) -> None:
        offset = run.offset
        for piece in self._supply.read(run, target.name):
            target.write(piece, offset)
            offset += len(piece)
        self._count(run.size)

    def _count(self, there: int) -> None:
        with self._lock:
            self._there += there
            if self._progress is not None:
                self._progress(self._there, self._total)


def _check_room(files: Sequence[Wanted], spare: int) -> None:
    """A manifest of a few bytes may tell of files of terabytes. Raises Unavailable."""
    if not files:
        return
    folder = next(folder for folder in files[0].path.parents if folder.is_dir())
    free = shutil.disk_usage(folder).free
    needed = sum(file.size for file in files) + spare
    if needed > free and needed - sum(map(_begun_size, files)) > free:
        raise Unavailable(
            f"{folder} has {rounded_bytes(free)} free, and these files need {rounded_bytes(needed)}, which is "
            f"{rounded_bytes(needed - free)} more: free some (modelyard cleanup), or choose another folder."
        )


def _reserve(descriptor: int, size: int) -> None:
    """Have the file this long, and where the file system can do that its room on the disk at once: to find it piece by
    piece costs a gigabyte 0.08 s of a core. Python's own call would write zeros where it cannot."""
    import ctypes  # late: it takes memory

    with contextlib.suppress(AttributeError):  # other systems have no such call
        if ctypes.CDLL(None).fallocate(descriptor, 0, ctypes.c_longlong(0), ctypes.c_longlong(size)) == 0:
            return
    os.ftruncate(descriptor, size)


def _begun_size(file: Wanted) -> int:
    """What of it is on the disk already, from a fetch that was cut off."""
    size = 0
    with contextlib.suppress(OSError):
        for left in file.path.parent.glob(f"{glob.escape(unfinished_prefix(file.path))}*"):
            size = max(size, left.stat().st_blocks * 512)
    return min(size, file.size)


def _begun(file: Wanted) -> tuple[Path, int, bool]:
    """An unfinished file of our own, open, and whether it is one that was left over."""
    file.path.parent.mkdir(parents=True, exist_ok=True)
    me = myself()
    mine = file.path.with_name(f"{unfinished_prefix(file.path)}{me.machine_mark}{me.mark}{secrets.token_hex(4)}")
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
                    if _is_nobodys(left.name[len(prefix) :]) or left.stat().st_mtime < time.time() - _STALE:
                        yield left


def _is_nobodys(suffix: str) -> bool:
    """Whether the process that has begun the file is seen to have ended."""
    begun = _OURS.fullmatch(suffix)
    if begun is None or begun["machine"] != myself().machine_mark:
        return False
    return begun["process"] not in marks_of_living()
