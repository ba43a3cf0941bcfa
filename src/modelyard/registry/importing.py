"""From whatever somebody has (a file, a folder, an archive, here or elsewhere) to a version's bytes in a store."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.content.cutting import Progress
from modelyard.registry.content.pushing import Pushed, push
from modelyard.registry.content.storage import Storage
from modelyard.registry.formats.archives import Limits, unpack
from modelyard.registry.formats.names import shown
from modelyard.registry.formats.scan import Found, scan
from modelyard.registry.room import room, watched
from modelyard.registry.sources.address import parse
from modelyard.registry.sources.fetching import fetch
from modelyard.registry.sources.picking import EVERYTHING, Noting, Picking
from modelyard.registry.sources.staging import staged

ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz")
_LISTED: Final = 20

Say = Callable[[str], None]
# Shows how far something is that moves bytes, with a few words of what it is.
Moving = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What may be in a version beside what cannot run by itself: source ``code``, and files that run whatever they
    hold when they are loaded (``pickle``)."""

    code: bool = False
    pickle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Files that may make a version: those ``found`` below ``root``. ``origin`` is where they were fetched from, and
    which ones they were there; empty for those that lay here."""

    root: Path
    found: tuple[Found, ...]
    origin: str = ""

    @property
    def size(self) -> int:
        return sum(file.size for file in self.found)

    def push(
        self, storage: Storage, *, like: Sequence[str] = (), compress: bool = False, progress: Progress | None = None
    ) -> Pushed:
        """See :func:`modelyard.registry.content.pushing.push`."""
        return push(self.root, self.found, storage, like=like, compress=compress, progress=progress)


def _silent(words: str) -> None:
    pass


@contextmanager
def brought(
    source: str, trust: Trust, moving: Moving, say: Say = _silent, picking: Picking = EVERYTHING
) -> Iterator[Source]:
    """The files of a version at ``source``, a path or an address. What was fetched is kept until the block comes to its
    end: after one that raises, the next try fetches only what is not there yet.

    Raises:
        InvalidRequest: with everything in it that may not be in a version
        ModelyardError: it cannot be fetched; see :func:`modelyard.registry.sources.fetching.fetch`
        OSError: it cannot be read
    """
    address = parse(source)
    if address.is_local:
        with opened(Path(address.path), trust, say, picking) as files:
            yield files
        return
    with staged(source) as staging:
        folder, noting = staging / "files", Noting(include=picking.include, exclude=picking.exclude)
        with moving(f"Fetching {address}") as progress:
            origin = fetch(source, folder, noting, progress=progress)
        _say_left_out(say, noting.left_out)
        with opened(only(folder), trust, say, picking) as files:
            yield replace(files, origin=origin)


@contextmanager
def opened(path: Path, trust: Trust, say: Say = _silent, picking: Picking = EVERYTHING) -> Iterator[Source]:
    """The files of a version at ``path``: one file, a folder, or an archive, which is unpacked for so long.

    Raises:
        InvalidRequest: with everything in it that may not be in a version
        OSError: it cannot be read
    """
    if not is_archive(path):
        yield scanned(path, trust, say, picking)
        return
    # Beside the archive there may be no right to write; the folder for temporary files is the user's to choose.
    folder = Path(tempfile.mkdtemp(prefix="modelyard-"))
    try:
        say(f"Unpacking {path.name}")
        yield scanned(unpacked(path, folder / "unpacked"), trust, say, picking)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def only(folder: Path) -> Path:
    """The archive that is all there is, which is the version then, or the folder: in one an archive is a file like
    another, which the scan refuses."""
    found = list(folder.iterdir())
    return found[0] if len(found) == 1 and is_archive(found[0]) else folder


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVES) and not path.is_dir()


def unpacked(archive: Path, to: Path, progress: Progress | None = None) -> Path:
    """The folder ``to``, which is not there yet, with what is in the archive. ``progress`` is told of the bytes that
    have come out, of an unknown number, and what it raises is raised.

    Raises:
        InvalidRequest, OSError: as :func:`modelyard.registry.formats.archives.unpack`
        NoSpace: it does not go on the disk
    """
    tell = watched(to, progress)
    unpack(archive, to, Limits(size=room(to)), lambda size: tell(size, 0))
    return to


def scanned(path: Path, trust: Trust, say: Say = _silent, picking: Picking = EVERYTHING) -> Source:
    """The files of a version at ``path``, none of which is unpacked. Raises as :func:`opened`."""
    if not path.exists():
        raise InvalidRequest([Problem("source", "not_found", f"{path} does not exist.")])
    # A link may lead to the whole of it, none within it to a file.
    path = path.resolve()
    report = scan(path, allow_code=trust.code, allow_pickle=trust.pickle, wants=picking.wants)
    _say_left_out(say, report.left_out)
    if report.problems:
        raise InvalidRequest(report.problems)
    return Source(root=path if path.is_dir() else path.parent, found=report.files)


def _say_left_out(say: Say, paths: Collection[str]) -> None:
    if paths:
        rest = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
        say(f"Left out: {', '.join(map(shown, sorted(paths)[:_LISTED]))}{rest}")
