"""Instances' output: one file an instance, written by the instance's processes themselves.

``instances/<namespace>/<name>/<uid>/<instance>.log``: a model shows its own logs, not those of a deleted
one whose name it has. These are kept beside its own, to be read from the disk, for as long as :meth:`Logs.prune`
counts them among the name's last.

Since they write with O_APPEND and outlive us, a log is rotated by copying it away and cutting it to
nothing (what is written in the microseconds between the two is lost). Lines come from others: they
may be of any length and in any encoding.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from modelyard.backends.local.process import in_thread
from modelyard.backends.port import LogLine
from modelyard.domain.model import ModelRef

logger = logging.getLogger(__name__)

ROTATE_AT: Final = 10 * 2**20
ROTATED_KEPT: Final = 3
# A name's, those of deleted models included.
ENDED_KEPT: Final = 20
MAX_LINE: Final = 16 * 1024
# Of one file, in bytes: however many lines are asked for.
MAX_TAIL: Final = 16 * 2**20
# What a failure carries of a log: it goes into the model's events, each time.
EXCERPT_LINES: Final = 20
EXCERPT_BYTES: Final = 4096
EXCERPT_LINE: Final = 512
_BLOCK: Final = 64 * 1024
_FOLLOW_EVERY: Final = 0.1


class Logs:
    """All instances' logs of one home. ``rotate_at`` in bytes."""

    def __init__(self, logs_dir: Path, *, rotate_at: int = ROTATE_AT) -> None:
        self.root = logs_dir / "instances"
        self._rotate_at = rotate_at
        # A follower learns from these that its file was cut, however fast it has grown again.
        self._rotations: Counter[Path] = Counter()

    def path(self, ref: ModelRef, instance: str) -> Path:
        return self._folder(ref) / f"{instance}.log"

    def open(self, ref: ModelRef, instance: str) -> int:
        """A file descriptor to append to; the caller closes it. Blocks; raises OSError."""
        path = self.path(ref, instance)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def folders(self) -> list[Path]:
        """Every model's, those of deleted ones too. Blocks."""
        return sorted(path for path in self.root.glob("*/*/*") if path.is_dir())

    # ------------------------------------------------------------------------------------- keeping

    def rotate(self, ref: ModelRef, instance: str) -> None:
        """Cut the log if it has grown too long. Blocks."""
        path = self.path(ref, instance)
        try:
            if path.stat().st_size < self._rotate_at:
                return
        except FileNotFoundError:
            return
        for number in range(ROTATED_KEPT - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                _rotated(path, number).replace(_rotated(path, number + 1))
        try:
            shutil.copyfile(path, _rotated(path, 1))
            _rotated(path, 1).chmod(0o600)
        except OSError as error:
            # A disk that is full stays full unless the log is cut all the same.
            logger.warning("log %s could not be kept on rotation: %s", path, error)
            _rotated(path, 1).unlink(missing_ok=True)
        os.truncate(path, 0)
        self._rotations[path] += 1

    def prune(self, ref: ModelRef, live: Collection[str]) -> None:
        """Keep the logs of the ``live`` instances and of the last ended ones of the name. Blocks."""
        own = self._folder(ref)
        ended = [path for path in _by_age(own.parent.glob("*/*.log")) if path.stem not in live]
        for path in ended[: max(len(ended) - ENDED_KEPT, 0)]:
            self._rotations.pop(path, None)
            for old in (path, *(_rotated(path, n) for n in range(1, ROTATED_KEPT + 1))):
                old.unlink(missing_ok=True)
            # A launch of this model may be about to write into its own.
            if path.parent != own:
                with contextlib.suppress(OSError):
                    path.parent.rmdir()

    # ------------------------------------------------------------------------------------- reading

    def tail(self, ref: ModelRef, instance: str, count: int) -> list[str]:
        """The last ``count`` lines. Blocks."""
        return self._tail(self.path(ref, instance), count)[0]

    def excerpt(self, ref: ModelRef, instance: str) -> list[str]:
        """The last lines, bounded in number and size. Blocks."""
        lines: list[str] = []
        left = EXCERPT_BYTES
        for line in reversed(self.tail(ref, instance, EXCERPT_LINES)):
            short = cut(line, EXCERPT_LINE)
            left -= len(short.encode())
            if left < 0:
                break
            lines.append(short)
        return lines[::-1]

    async def read(
        self, ref: ModelRef, instance: str | None, *, tail: int, follow: bool, is_live: Callable[[str], bool]
    ) -> AsyncIterator[LogLine]:
        """The last ``tail`` lines, oldest log first, then new ones as they come: of one instance until it
        is no longer live, of all (``instance`` None), later ones too, until the caller has had enough."""
        followed: dict[Path, _Place] = {}
        left, chunks = max(tail, 0), []
        wanted: list[Path] = []
        try:
            wanted = await in_thread(self._wanted, ref, instance)
        except OSError as error:
            yield LogLine(instance=instance or "", text=_unreadable(error))
        for path in reversed(wanted):
            lines, place = await in_thread(self._tail, path, left)
            followed[path] = place
            chunks.append((path.stem, lines))
            left -= len(lines)
        for name, lines in reversed(chunks):
            for line in lines:
                yield LogLine(instance=name, text=line)
        while follow:
            # Asked before reading, so that the last words of an instance that has just ended are read.
            goes_on = instance is None or is_live(instance)
            # Where the folder cannot be listed now, later ones are seen later.
            with contextlib.suppress(OSError):
                wanted = await in_thread(self._wanted, ref, instance)
            for path in wanted:
                place = followed.setdefault(path, _Place())
                for line in await in_thread(self._news, path, place, not goes_on):
                    yield LogLine(instance=path.stem, text=line)
            if not goes_on:
                return
            await asyncio.sleep(_FOLLOW_EVERY)

    def _folder(self, ref: ModelRef) -> Path:
        return self.root / ref.namespace / ref.name / ref.uid

    def _wanted(self, ref: ModelRef, instance: str | None) -> list[Path]:
        """Oldest first. Raises OSError."""
        return [path for path in _by_age(self._folder(ref).glob("*.log")) if instance in (None, path.stem)]

    def _tail(self, path: Path, count: int) -> tuple[list[str], _Place]:
        rotations = self._rotations[path]
        lines: list[str] = []
        end = 0
        for number in range(ROTATED_KEPT + 1):
            try:
                with (_rotated(path, number) if number else path).open("rb") as file:
                    size = file.seek(0, os.SEEK_END)
                    found = _last_lines(file.fileno(), size, count - len(lines))
            except FileNotFoundError:
                break
            except OSError as error:
                # What cannot be read now (no descriptors left, a disk that fails) is said in its place.
                lines.insert(0, _unreadable(error))
                if number == 0:
                    with contextlib.suppress(OSError):
                        end = path.stat().st_size
                break
            if number == 0:
                end = size
            lines = found + lines
            if len(lines) >= count:
                break
        return lines, _Place(offset=end, rotations=rotations)

    def _news(self, path: Path, place: _Place, last: bool) -> list[str]:
        """Whole lines written since ``place``, which moves on; the ``last`` time a half line too. What cannot
        be read now is read the next time."""
        data, offset = b"", place.offset
        rotations = self._rotations[path]
        try:
            if rotations != place.rotations or path.stat().st_size < offset:
                data, offset = _read_from(_rotated(path, 1), offset), 0
            news = _read_from(path, offset)
        except OSError:
            return []
        place.offset, place.rotations = offset + len(news), rotations
        return place.lines(data + news, last)


@dataclass(slots=True)
class _Place:
    """How far a follower has read."""

    offset: int = 0
    rotations: int = 0
    _half: bytes = field(default=b"")

    def lines(self, data: bytes, last: bool) -> list[str]:
        *whole, half = (self._half + data).split(b"\n")
        if last and half:
            whole.append(half)
            half = b""
        # A line without end is passed on in pieces rather than kept.
        if len(half) > MAX_LINE:
            whole.append(half)
            half = b""
        self._half = half
        return [_text(line) for line in whole]


def cut(text: str, most: int) -> str:
    """``text``, or its first ``most`` characters and how many more there were."""
    more = len(text) - most
    return f"{text[:most]} … ({more} characters more)" if more > 0 else text


def _by_age(paths: Iterable[Path]) -> list[Path]:
    """Oldest first, less those that are gone. Raises OSError."""
    dated = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            dated.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(dated)]


def _unreadable(error: OSError) -> str:
    return f"(the log cannot be read: {error.strerror or error})"


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _read_from(path: Path, offset: int) -> bytes:
    """At most one rotation's worth, so that a follower never takes a big log into memory at once."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(ROTATE_AT)
    except FileNotFoundError:
        return b""


def _last_lines(fd: int, size: int, count: int) -> list[str]:
    """The last ``count`` lines of an open file, read backwards block by block."""
    if count <= 0 or size == 0:
        return []
    blocks: list[bytes] = []
    start, ends = size, 0
    # One more line end than lines: the last line ends with one too.
    while start > 0 and ends <= count and size - start < MAX_TAIL:
        step = min(_BLOCK, start)
        start -= step
        blocks.append(os.pread(fd, step, start))
        ends += blocks[-1].count(b"\n")
    lines = b"".join(reversed(blocks)).removesuffix(b"\n").split(b"\n")
    return [_text(line) for line in lines[-count:]]


def _text(line: bytes) -> str:
    cut = len(line) - MAX_LINE
    text = line[:MAX_LINE].decode("utf-8", "replace").rstrip("\r")
    return f"{text} … ({cut} bytes more)" if cut > 0 else text
