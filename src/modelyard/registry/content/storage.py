"""What holds the bytes of a store: objects by key, written once and never changed.

Names are relative paths: ``objects/ab/<root>`` (a part, after a short prefix where its served form needs one),
``packs/ab/<sha256>`` (small parts one after the other), ``manifests/ab/<hex>``, ``indexes/ab/<hex>``. A name's object
has a key: in a folder it is the name itself; a store that cannot remove an object only if nobody has touched it
meanwhile writes each under a key that never comes back, the name and :data:`AGAIN` with what tells them apart.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from modelyard.domain.errors import NotFound, Unavailable
from modelyard.registry.content.chunks import Buffer

# Written, but not complete; and on its way out, but perhaps to be put back. A crash leaves them for tidy().
UNFINISHED: Final = ".writing-"
_LEAVING: Final = ".leaving-"
_IDENTITY: Final = "store.id"
_LONG_NAME: Final = 200
AGAIN: Final = "~"

# What is read at a time: more takes memory anew each time, which takes longer than to ask more often.
READ: Final = 2 * 2**20

# Why a file system does not link: other file system, too many links, not allowed, not supported.
NO_LINK: Final = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


class Missing(NotFound):
    """The store has no such object."""

    code = "missing_content"


@dataclass(frozen=True, slots=True)
class Entry:
    """An object of a store: ``modified`` is when it was written or touched, ``condemned`` when it was first to go,
    where that is not done at once; in seconds since the epoch."""

    key: str
    size: int
    modified: float
    condemned: float | None = None


class Storage(Protocol):
    """One store. Calls block; many threads may call at once. All raise Unavailable when the store fails.

    ``at_once`` is by how many threads it is asked where there is much to ask. Where it ``waits``, :meth:`remove` only
    condemns an object at first, and it goes with a call whose ``before`` is later than that.
    """

    at_once: int = 1
    waits: bool = False

    def find(self, prefix: str) -> Iterator[Entry]:
        """The objects whose keys begin so."""

    def latest(self, name: str) -> str | None:
        """The key of the object that was last written under this name; None: there is none."""

    def size(self, key: str) -> int | None:
        """In bytes; None: there is no such object."""

    def read(self, key: str, offset: int = 0, size: int | None = None) -> Buffer:
        """``size`` bytes from ``offset`` on (None: to the end; fewer where it ends before). Raises Missing."""

    def pieces(self, key: str, offset: int, sizes: Sequence[int]) -> Iterator[Buffer]:
        """What is at ``offset`` in pieces of these sizes (shorter where it ends before), none over 1 MiB. Each is good
        until the next is asked for. Raises Missing."""
        for some in _together(sizes):
            data = memoryview(self.read(key, offset, sum(some)))
            offset += sum(some)
            for size in some:
                piece, data = data[:size], data[size:]
                yield piece

    def write(self, name: str, pieces: Iterable[Buffer]) -> str:
        """A new object of these pieces, whole or not at all, whatever was there under its name; its key. Of a part what
        is before it is a piece, and each of its chunks: by them another machine checks that it is the one of its
        name."""

    def touch(self, key: str) -> bool:
        """Make it as young as a new one; whether it was there."""

    def remove(self, key: str, before: float) -> bool:
        """Remove it unless it was written or touched since ``before`` (seconds since the epoch), also if that happens
        at this very moment, or condemn it; whether it is gone."""

    def tidy(self, before: float) -> int:
        """Remove what writes left unfinished before then, and put back what an interrupted removal took aside; bytes
        removed."""


def _together(sizes: Sequence[int]) -> Iterator[list[int]]:
    """As many at a time as are read at a time."""
    some: list[int] = []
    for size in sizes:
        if some and sum(some) + size > READ:
            yield some
            some = []
        some.append(size)
    if some:
        yield some


class Store(Storage, Protocol):
    """A store that is known wherever it is."""

    def identity(self) -> str:
        """32 hexadecimal digits that no other store has (but a copy of this one), made when they are first asked for:
        by them it is known to be this store, whatever its path or address and whichever machine sees it.

        Raises:
            Unavailable: they cannot be kept, or are damaged
        """

    def has_identity(self, identity: str) -> bool:
        """Whether this is the store of that identity. Makes nothing. Raises Unavailable."""


class Folder(Store):
    """A store in a folder. Objects are plain files, read-only, so that they can be linked to where they are served."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Where the object is, or would be."""
        return self.root / key

    def identity(self) -> str:
        path = self.root / _IDENTITY
        with _storage_errors(self.root, _IDENTITY):
            if not path.exists():
                with written(path, 0o444, keep=True) as file:
                    write_all(file, secrets.token_hex(16).encode())
            found = path.read_bytes()
        if not re.fullmatch(rb"[0-9a-f]{32}", found):
            raise Unavailable(f"{path} is damaged: remove it, and another one is made.")
        return found.decode()

    def has_identity(self, identity: str) -> bool:
        with _storage_errors(self.root, _IDENTITY):
            try:
                return (self.root / _IDENTITY).read_bytes() == identity.encode()
            except (FileNotFoundError, NotADirectoryError):
                return False

    def find(self, prefix: str) -> Iterator[Entry]:
        # Keys have folders of their own, so a prefix names one folder and how its files begin, or a whole tree.
        folder, _, start = prefix.rpartition("/")
        with _storage_errors(self.root):
            yield from self._find(folder, start)

    def _find(self, folder: str, start: str) -> Iterator[Entry]:
        try:
            found = sorted(os.scandir(self.root / folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in found:
            key = f"{folder}/{entry.name}" if folder else entry.name
            if not entry.name.startswith(start) or UNFINISHED in entry.name or _LEAVING in entry.name:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._find(key, "")
                continue
            if not folder:  # the store's identity
                continue
            with contextlib.suppress(FileNotFoundError):
                stat = entry.stat(follow_symlinks=False)
                yield Entry(key, stat.st_size, stat.st_mtime)

    def latest(self, name: str) -> str | None:
        return name if self.size(name) is not None else None

    def size(self, key: str) -> int | None:
        with _storage_errors(self.root, key):
            try:
                return self.path(key).stat().st_size
            except FileNotFoundError:
                return None

    def read(self, key: str, offset: int = 0, size: int | None = None) -> bytes:
        with _storage_errors(self.root, key), self.path(key).open("rb", buffering=0) as file:
            left = os.fstat(file.fileno()).st_size - offset if size is None else size
            pieces = []
            while left > 0:
                piece = os.pread(file.fileno(), left, offset)
                if not piece:
                    break
                pieces.append(piece)
                offset, left = offset + len(piece), left - len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, name: str, pieces: Iterable[Buffer]) -> str:
        with _storage_errors(self.root, name), written(self.path(name), 0o444) as file:
            for piece in pieces:
                write_all(file, piece)
        return name

    def touch(self, key: str) -> bool:
        with _storage_errors(self.root, key):
            try:
                os.utime(self.path(key))
            except FileNotFoundError:
                return False
        return True

    def remove(self, key: str, before: float) -> bool:
        path = self.path(key)
        aside = path.with_name(f"{path.name}{_LEAVING}{secrets.token_hex(8)}")
        with _storage_errors(self.root, key):
            try:
                # What is young is never taken aside, not for a moment, but for the touch that comes just now.
                if path.stat().st_mtime >= before:
                    return False
                path.rename(aside)
            except FileNotFoundError:
                return True
            # Whoever touches it from here on finds it missing and writes it anew; who did before is seen here.
            try:
                kept = aside.stat().st_mtime >= before
                if kept:
                    _put_back(aside, path)
                else:
                    aside.unlink()
            except FileNotFoundError:  # somebody else's tidy() took this for interrupted
                return False
        return not kept

    def tidy(self, before: float) -> int:
        freed = 0
        with _storage_errors(self.root):
            for path in self.root.glob(f"*/*/*{_LEAVING}*"):
                with contextlib.suppress(FileNotFoundError):
                    _put_back(path, path.with_name(path.name.partition(_LEAVING)[0]))
            for path in (*self.root.glob(f"*/*/*{UNFINISHED}*"), *self.root.glob(f"{_IDENTITY}{UNFINISHED}*")):
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    if stat.st_mtime < before:
                        path.unlink()
                        freed += stat.st_size
        return freed


def _put_back(aside: Path, path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(aside)
    aside.unlink()


@contextlib.contextmanager
def written(path: Path, mode: int, *, keep: bool = False, durable: bool = True) -> Iterator[int]:
    """A descriptor to write to; at the end, on the disk if it is to be ``durable``, it becomes ``path`` in one step,
    whatever was there. ``keep``: unless there is something."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{unfinished_prefix(path)}{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield descriptor
        finish(descriptor, unfinished, path, mode, keep=keep, durable=durable)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def finish(descriptor: int, unfinished: Path, path: Path, mode: int, *, keep: bool, durable: bool = True) -> None:
    """Make the open file ``unfinished``, on the disk if it is to be ``durable``, ``path``. Raises FileNotFoundError if
    somebody has taken it."""
    os.fchmod(descriptor, mode)
    if durable:
        os.fsync(descriptor)
    if not keep or not _linked(unfinished, path):
        unfinished.rename(path)
    if durable:
        sync_folder(path.parent)


def _linked(unfinished: Path, path: Path) -> bool:
    """Whether ``path`` is there now without having been replaced."""
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(unfinished)
    except OSError as error:
        if error.errno in NO_LINK:
            return False
        raise
    unfinished.unlink()
    return True


def unfinished_prefix(path: Path) -> str:
    """How the names of all that is not yet ``path`` begin. A name may be as long as names can be."""
    name = path.name.encode()
    return f"{path.name if len(name) <= _LONG_NAME else hashlib.sha256(name).hexdigest()}{UNFINISHED}"


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: Buffer) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextlib.contextmanager
def _storage_errors(root: Path, key: str = "") -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Missing(f"The store in {root} has no {key}.") from error
    except OSError as error:
        raise Unavailable(f"The store in {root} cannot be used: {_reason(error)}.") from error


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "there is no space left; free some, or run 'modelyard gc'"
    if error.errno == errno.EROFS:
        return "the file system is read-only"
    if error.errno == errno.EACCES:
        return f"permission is denied on {error.filename}; make it writable for the user that runs Modelyard"
    return error.strerror or str(error)
