"""``file://`` and plain paths, where they are to be copied: whoever pushes from this machine reads them where they lie
(:func:`modelyard.registry.importing.brought`)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from modelyard.domain.errors import InvalidRequest, NotFound, Problem, Unavailable
from modelyard.registry.content.cutting import Progress
from modelyard.registry.formats.names import shown
from modelyard.registry.formats.scan import Fingerprint, fingerprint
from modelyard.registry.sources.address import Address
from modelyard.registry.sources.files import Changed, File, bring
from modelyard.registry.sources.picking import Picking

_PIECE: Final = 2**20


def fetch(address: Address, to: Path, picking: Picking, progress: Progress | None = None) -> str:
    """Copies of the files below ``to``; nothing is said of where they were.

    Raises:
        InvalidRequest: names that may not be in a version, links, what is no plain file
        NotFound: there is nothing
        Unavailable: they change, or cannot be read
    """
    root = Path(address.path)
    try:
        files = [_file(path, where) for where, path in _plain(root, picking)]
        if not files:
            raise NotFound(f"There is nothing in {shown(address.path)}, or nothing of it is wanted.")
        bring(files, to, progress)
    except FileNotFoundError as error:
        raise NotFound(f"There is no {shown(address.path)}.") from error
    except Changed as error:
        raise Unavailable(f"{shown(address.path)} changes while it is copied: try again when it does not.") from error
    return ""


def _plain(root: Path, picking: Picking) -> Iterator[tuple[str, Path]]:
    """Raises InvalidRequest: what is wanted is not all plain files."""
    if not root.is_dir():
        yield root.name, root.resolve(strict=True)
        return
    problems = []
    for folder, folders, names in os.walk(root):
        for name in (*names, *folders):
            path = Path(folder, name)
            where, mode = path.relative_to(root).as_posix(), path.lstat().st_mode
            if stat.S_ISDIR(mode) or not picking.wants(where):
                continue
            if stat.S_ISREG(mode):
                yield where, path
            else:
                message = "It is a link or no plain file: put the file itself in its place, or leave it out."
                problems.append(Problem(shown(where), "link" if stat.S_ISLNK(mode) else "special_file", message))
    if problems:
        raise InvalidRequest(problems)


def _file(path: Path, where: str) -> File:
    known = fingerprint(path)
    return File(path=where, size=known.size, tag=f"{path} {known}", read=partial(_read, path, known))


def _read(path: Path, known: Fingerprint, start: int, end: int | None) -> Iterator[bytes]:
    assert end is not None
    # What has become a pipe meanwhile must not be waited for, what has become a link not be followed.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        while start < end and (piece := os.pread(descriptor, min(_PIECE, end - start), start)):
            yield piece
            start += len(piece)
    finally:
        os.close(descriptor)
    if fingerprint(path) != known:
        raise Changed
