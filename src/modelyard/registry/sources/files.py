"""The files of a source brought into a folder: many ranges at once, what is there kept, each file checked when it is
whole and only then put to its place.

What a scheme's module knows of a file is in :class:`File`; how its bytes come is the ``read`` that it gives.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard.domain.errors import InvalidRequest, ModelyardError, Problem, Unavailable
from modelyard.registry import room
from modelyard.registry.content.chunks import Buffer
from modelyard.registry.content.cutting import Progress
from modelyard.registry.content.storage import UNFINISHED
from modelyard.registry.formats.names import MAX_FILES, Names, shown
from modelyard.registry.sources.partial import BLOCK, Partial
from modelyard.registry.sources.working import Crew

# Asked for at a time; more connections than that are held by a server of any kind.
RANGE: Final = 16 * 2**20
_READ: Final = 2**20


class Changed(Exception):
    """The file is another one than it was a moment ago."""


class Broken(Unavailable):
    """The connection broke, and what has arrived cannot be gone on with: begin anew."""


class Damaged(ModelyardError):
    """What arrived is not what it should be."""

    code = "damaged_source"
    http_status = 502


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of a source, to be at ``path``, parted by ``/``. ``size`` is None if nobody knows. ``tag`` is another
    whenever its content is; with an empty one it is read as a whole, in one go. ``digest``: ``sha256:``, ``md5:`` or
    ``git:`` (a blob's SHA-1) and hexadecimal digits, or nothing to check it by. ``read`` gives the bytes from an offset
    up to another, in order, and raises Changed. ``mend`` is asked about one that its digest refuses: True takes it."""

    path: str
    size: int | None
    tag: str
    read: Callable[[int, int | None], Iterator[Buffer]]
    digest: str = ""
    mend: Callable[[], bool] | None = None


def check_names(paths: Sequence[str]) -> None:
    """Before the first is fetched. Raises InvalidRequest: some may not be in a version."""
    if len(paths) > MAX_FILES:
        message = f"There are over {MAX_FILES} files in it: leave out what is not needed (--exclude)."
        raise InvalidRequest([Problem("", "too_many_files", message)])
    names = Names()
    problems = [problem for path in paths if (problem := names.problem(path)) is not None]
    if problems:
        raise InvalidRequest(problems)


def bring(files: Sequence[File], to: Path, progress: Progress | None = None) -> None:
    """Have just these files in the folder ``to``. What is unfinished is kept beside it, in ``<to>.parts``, where the
    next call goes on.

    Raises:
        InvalidRequest: a name may not be in a version
        Changed: a file changed meanwhile
        Damaged: a file is not what its digest says; it is fetched anew the next time
        NoSpace: they do not go on the disk
        OSError: a file cannot be written
        Exception: whatever ``read`` or ``progress`` raises
    """
    check_names([file.path for file in files])
    prune(to, {file.path for file in files})
    to.mkdir(parents=True, exist_ok=True)
    parts = to.with_name(f"{to.name}.parts")
    bringing = _Bringing(files, [_partial(parts, to, file) for file in files], progress)
    bringing.check_space(to)
    bringing.run()


def prune(to: Path, wanted: set[str]) -> None:
    """Remove what an earlier fetch has left in ``to`` and this one does not bring."""
    for folder, _, names in os.walk(to, topdown=False):
        for name in names:
            path = Path(folder, name)
            if path.relative_to(to).as_posix() not in wanted:
                path.unlink()
        if Path(folder) != to:
            # A file may have its name now.
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def keep_begun(to: Path, wanted: set[str]) -> None:
    """As :func:`prune`, but for what a pull that was killed has left of files that are wanted: the next one goes on
    with it."""
    kept = set(wanted)
    for path in to.rglob(f"*{UNFINISHED}*"):
        name = path.relative_to(to).as_posix()
        if name.partition(UNFINISHED)[0] in wanted and path.is_file() and not path.is_symlink():
            kept.add(name)
            # Nobody else works in this folder: what is unfinished need not be old to be left over.
            os.utime(path, (0, 0))
    prune(to, kept)


def _partial(parts: Path, to: Path, file: File) -> Partial:
    return Partial(parts, to / file.path, file.path, tag=file.tag, size=file.size or 0)


class _Bringing:
    def __init__(self, files: Sequence[File], partials: Sequence[Partial], progress: Progress | None) -> None:
        self._pairs = list(zip(files, partials, strict=True))
        self._progress = progress or (lambda there, total: None)
        self._total = sum(file.size or 0 for file in files)
        self._there = sum(partial.there for partial in partials)
        self._lock = threading.Lock()
        self._crew = Crew()

    def check_space(self, to: Path) -> None:
        room.check(to, self._total - self._there)

    def run(self) -> None:
        self._progress(self._there, self._total)
        jobs: list[tuple[File, Partial, int, int | None]] = []
        left: dict[int, int] = {}
        for file, partial in self._pairs:
            runs = list(_ranges(file, partial))
            left[id(partial)] = len(runs)
            jobs.extend((file, partial, start, end) for start, end in runs)
            if not runs and not partial.is_done:
                self._finish(file, partial)

        def work(job: tuple[File, Partial, int, int | None]) -> None:
            file, partial, start, end = job
            self._range(file, partial, start, end)
            with self._lock:
                left[id(partial)] -= 1
                is_last = not left[id(partial)]
            if is_last:
                self._finish(file, partial)

        self._crew.each(work, jobs)

    def _range(self, file: File, partial: Partial, start: int, end: int | None) -> None:
        at, block = start, bytearray()
        try:
            for piece in file.read(start, end):
                self._crew.check()
                if end is not None and at + len(block) + len(piece) > end:
                    raise Damaged(f"More of {shown(file.path)} arrived than was asked for: see to the source.")
                block += piece
                self._count(len(piece))
                if len(block) >= BLOCK:
                    partial.write(at, bytes(block))
                    at, block = at + len(block), bytearray()
        finally:
            if block and partial.folder.exists():
                partial.write(at, bytes(block))
                at += len(block)
        if file.size is None:
            partial.size = at
        elif at != end:
            raise Unavailable(f"{shown(file.path)} ended early: try again, what is there is kept.")

    def _finish(self, file: File, partial: Partial) -> None:
        if file.digest and digest_of(partial.data, file.digest) != file.digest and not (file.mend and file.mend()):
            partial.discard()
            raise Damaged(
                f"{shown(file.path)} arrived damaged, or is not what it was: its digest is not {file.digest}. What "
                "arrived is thrown away: try again, and if it goes on, see to the source."
            )
        partial.finish()

    def _count(self, size: int) -> None:
        with self._lock:
            self._there += size
            self._progress(self._there, max(self._total, self._there))


def _ranges(file: File, partial: Partial) -> Iterator[tuple[int, int | None]]:
    if file.size is None:
        yield 0, None
    elif not file.tag:
        if file.size:
            yield 0, file.size
    else:
        for start, end in partial.missing():
            for at in range(start, end, RANGE):
                yield at, min(at + RANGE, end)


def digest_of(path: Path, like: str) -> str:
    """The digest of a file, of the kind that ``like`` is."""
    kind = like.partition(":")[0]
    hashing = hashlib.new({"git": "sha1"}.get(kind, kind), usedforsecurity=False)
    if kind == "git":
        hashing.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb", buffering=0) as content:
        while piece := content.read(_READ):
            hashing.update(piece)
    return f"{kind}:{hashing.hexdigest()}"
