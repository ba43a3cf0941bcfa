"""From whatever somebody has (a file, a folder, an archive) to a version's bytes in a store."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.registry.content.cutting import Progress
from modelyard.registry.content.pushing import Pushed, push
from modelyard.registry.content.storage import Storage
from modelyard.registry.formats.archives import Limits, unpack
from modelyard.registry.formats.scan import Found, scan

ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What may be in a version beside what cannot run by itself: source ``code``, and files that run whatever they
    hold when they are loaded (``pickle``)."""

    code: bool = False
    pickle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Files that may make a version: those ``found`` below ``root``."""

    root: Path
    found: tuple[Found, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.found)

    def push(self, storage: Storage, *, like: Sequence[str] = (), progress: Progress | None = None) -> Pushed:
        """See :func:`modelyard.registry.content.pushing.push`."""
        return push(self.root, self.found, storage, like=like, progress=progress)


@contextmanager
def opened(path: Path, trust: Trust, say: Callable[[str], None] = lambda words: None) -> Iterator[Source]:
    """The files of a version at ``path``: one file, a folder, or an archive, which is unpacked for so long.

    Raises:
        InvalidRequest: with everything in it that may not be in a version
        OSError: it cannot be read
    """
    if path.is_dir() or not path.name.lower().endswith(ARCHIVES):
        yield _scanned(path, trust)
        return
    # Beside the archive there may be no right to write; the folder for temporary files is the user's to choose.
    folder = Path(tempfile.mkdtemp(prefix="modelyard-"))
    try:
        say(f"Unpacking {path.name}")
        free = shutil.disk_usage(folder).free
        unpack(path, folder / "unpacked", Limits(size=free))
        yield _scanned(folder / "unpacked", trust)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _scanned(path: Path, trust: Trust) -> Source:
    if not path.exists():
        raise InvalidRequest([Problem("source", "not_found", f"{path} does not exist.")])
    # A link may lead to the whole of it, none within it to a file.
    path = path.resolve()
    report = scan(path, allow_code=trust.code, allow_pickle=trust.pickle)
    if report.problems:
        raise InvalidRequest(report.problems)
    return Source(root=path if path.is_dir() else path.parent, found=report.files)
