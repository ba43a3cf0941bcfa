"""Unpacking an archive that somebody sends: zip, tar and tar.gz, into a folder of its own and nowhere else.

Only plain files and folders come out, with modes of our own; a link is refused before anything could be written through
it. What an archive says of itself (sizes, numbers) is checked first, what comes out is counted against the same limits.
An archive within an archive stays packed: it is a file like another, which ``scan.py`` refuses.
"""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.quantities import format_bytes
from modelyard.registry.formats import zips
from modelyard.registry.formats.names import MAX_FILES, Names, shown

_BLOCK: Final = 2**16
# tarfile reads a member's extended headers (long names, attributes) as a whole.
_MAX_HEADER: Final = 2**20
_TAR_BLOCK: Final = 512
_TAR_MAGIC: Final = slice(257, 262)
GZIP: Final = b"\x1f\x8b"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_FILE_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755
_MAX_PROBLEMS: Final = 100
_MAX_REASON: Final = 300
_LINK: Final = ("link", "It is a link: pack the file that it leads to (tar --dereference, zip without -y).")
_SPECIAL: Final = ("special_file", "It is a device, a pipe or a socket: leave it out.")
_SPARSE: Final = ("sparse_file", "It is stored with holes: pack it without tar's --sparse.")
# What zipfile, tarfile and zlib raise at a damaged archive; Malformed is a ValueError.
DAMAGE: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``size``: bytes of all files together, unpacked; ``files``: how many of them, folders counted too."""

    size: int
    files: int = MAX_FILES


class Stop(Exception):
    """No more of this archive is read."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def unpack(archive: Path, to: Path, limits: Limits, told: Callable[[int], None] = lambda size: None) -> None:
    """Unpack ``archive`` (told by its content, not its name) into ``to``, a folder that is empty or not yet
    there. When anything is refused, nothing is left of it; nor when ``told``, which is told of the bytes that have come
    out so far, raises.

    Raises:
        InvalidRequest: with a Problem for each member that may not be in a version, its ``path`` the member's name; for
            the archive as a whole (``unknown_archive``, ``damaged_archive``, ``archive_bomb``, ``too_large``,
            ``too_many_files``) with an empty ``path``
        OSError: the archive cannot be read, or ``to`` not be written
    """
    existed = to.exists()
    if existed and any(to.iterdir()):
        raise InvalidRequest([Problem("", "not_empty", f"{to} is not empty: give a folder of its own to unpack into.")])
    to.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    try:
        problems = _unpack(archive, Folder(to, limits, told))
        if problems:
            raise InvalidRequest(problems)
    except BaseException:
        _clear(to)
        if not existed:
            with suppress(OSError):
                to.rmdir()
        raise


def _unpack(archive: Path, folder: Folder) -> list[Problem]:
    with archive.open("rb") as file:
        head = file.read(_TAR_BLOCK)
    try:
        if head.startswith(_ZIP):
            return _unzip(archive, folder)
        if head.startswith(GZIP) or head[_TAR_MAGIC] == b"ustar":
            return _untar(archive, folder, is_packed=head.startswith(GZIP))
    except Stop as stop:
        return [*folder.problems, Problem("", stop.code, str(stop))]
    message = "This is not a zip, tar or tar.gz: unpack it yourself and give the folder."
    return [Problem("", "unknown_archive", message)]


class Folder:
    """Where members go, and the limits they share."""

    def __init__(self, root: Path, limits: Limits, told: Callable[[int], None]) -> None:
        self.limits = limits
        self._told = told
        self.problems: list[Problem] = []
        self._root = root
        self._names = Names()
        self._left = limits.size
        self._count = 0

    def admit(self, name: str, *, is_folder: bool, size: int, fault: tuple[str, str] | None) -> str | None:
        """The member's path if it may be written; problems are kept."""
        self._count += 1
        if self._count > self.limits.files:
            raise Stop("too_many_files", f"It holds over {self.limits.files} members: leave out what is not needed.")
        path = name.removeprefix("./").removesuffix("/") if is_folder else name.removeprefix("./")
        if is_folder and path in ("", "."):
            return None
        problem = self._names.folder_problem(path) if is_folder else self._names.problem(path)
        if fault is not None:
            problem = Problem(shown(name), *fault)
        if problem is not None:
            self.problems.append(problem)
            if len(self.problems) >= _MAX_PROBLEMS:
                raise Stop("too_many_problems", f"It has {_MAX_PROBLEMS} problems or more; these are the first.")
            return None
        if size > self._left:
            raise self._too_large()
        return path

    def make(self, path: str) -> None:
        (self._root / path).mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)

    def write(self, path: str, content: Readable) -> None:
        target = self._root / path
        target.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, _FILE_MODE), "wb", buffering=0) as file:
            while block := content.read(_BLOCK):
                self._left -= len(block)
                if self._left < 0:
                    raise self._too_large()
                file.write(block)
                self._told(self.limits.size - self._left)

    def _too_large(self) -> Stop:
        return Stop(
            "too_large", f"It would unpack to over {format_bytes(self.limits.size)}: leave out what is not needed."
        )


def _unzip(archive: Path, folder: Folder) -> list[Problem]:
    try:
        with zips.opened(archive) as content:
            admitted = [(member, path) for member in content.infolist() if (path := _admit_zipped(folder, member))]
            unpacked = sum(member.file_size for member, _ in admitted)
            if unpacked > folder.limits.size:
                raise Stop("too_large", f"It would unpack to {format_bytes(unpacked)}: leave out what is not needed.")
            if folder.problems:
                return folder.problems
            for member, path in admitted:
                if _is_folder(member):
                    folder.make(path)
                else:
                    with content.open(member) as file:
                        folder.write(path, file)
    except DAMAGE as error:
        raise damaged(error) from error
    return []


def _admit_zipped(folder: Folder, member: zipfile.ZipInfo) -> str | None:
    mode, is_folder = member.external_attr >> 16, _is_folder(member)
    fault = None
    if member.flag_bits & 1:
        fault = ("encrypted", "It is encrypted: pack it without a password.")
    elif stat.S_ISLNK(mode):
        fault = _LINK
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = _SPECIAL
    elif is_folder and member.file_size:
        fault = ("special_file", "It is a folder with content of its own: pack it again.")
    # zipfile cuts a name at its first NUL, which another program would not.
    return folder.admit(member.orig_filename, is_folder=is_folder, size=member.file_size, fault=fault)


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return member.orig_filename.endswith("/")


def _untar(archive: Path, folder: Folder, *, is_packed: bool) -> list[Problem]:
    packed = archive.stat().st_size
    with archive.open("rb") as raw, gzip.GzipFile(fileobj=raw) if is_packed else raw as plain:
        source = Source(plain, folder.limits, packed if is_packed else None)
        try:
            for member in members(source):
                path = folder.admit(member.name, is_folder=member.isdir(), size=member.size, fault=fault_in_tar(member))
                if path is None or folder.problems:
                    continue
                if member.isdir():
                    folder.make(path)
                else:
                    folder.write(path, Member(source, member.size))
            source.finish()
        except DAMAGE as error:
            raise damaged(error) from error
    return folder.problems


def damaged(error: Exception) -> Stop:
    return Stop("damaged_archive", f"It cannot be unpacked: {shown(str(error)[:_MAX_REASON])}. Pack it again.")


def members(source: Source) -> Iterable[tarfile.TarInfo]:
    with tarfile.open(fileobj=source, mode="r:", errorlevel=2) as content:  # type: ignore[call-overload]
        while (member := content.next()) is not None:
            # tarfile keeps every member it has seen.
            content.members.clear()
            yield member


def fault_in_tar(member: tarfile.TarInfo) -> tuple[str, str] | None:
    if member.issym() or member.islnk():
        return _LINK
    if member.issparse():
        return _SPARSE
    if member.isdir() or member.isreg():
        return None
    return _SPECIAL


class Source:
    """A tar that is read once, from its beginning to its end, and counted: as much of a file as tarfile needs."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, limits: Limits, packed: int | None) -> None:
        self._file = file
        self._position = 0
        self._last = b""
        self._packed = packed
        # Beside the content: each member's header, with its extensions, and its padding.
        self._most = limits.size + limits.files * 8 * _TAR_BLOCK + 2**20

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise Stop("damaged_archive", "It has a header that is too large: pack it again.")
        content = self._last = self._file.read(size)
        self._position += len(content)
        if self._position > self._most:
            raise Stop("too_large", "It unpacks to more than it may: leave out what is not needed.")
        if self._packed is not None and zips.too_tight(self._position, self._packed):
            raise Stop("archive_bomb", f"It unpacks to over {zips.MAX_RATIO} times its size: pack it without gzip.")
        return content

    def finish(self) -> None:
        """Read what is left (gzip's checksum is at its end), after tarfile has found no further header."""
        if self._last != bytes(_TAR_BLOCK):
            # tarfile takes whatever is no header for the end.
            raise tarfile.ReadError("it ends too early, or is damaged")
        while self.read(_BLOCK):
            pass

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise tarfile.ReadError("its members overlap")
        while self._position < position and self.read(min(position - self._position, _BLOCK)):
            pass
        return self._position


class Member:
    """The ``size`` bytes that follow in ``source``."""

    def __init__(self, source: Source, size: int) -> None:
        self._source = source
        self._left = size

    def read(self, size: int, /) -> bytes:
        content = self._source.read(min(size, self._left))
        if self._left and not content:
            raise tarfile.ReadError("it ends too early")
        self._left -= len(content)
        return content


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
