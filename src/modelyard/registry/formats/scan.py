"""What may be in a version at all: every file of a folder looked at, every reason to refuse it given at once.

The defence is an allow-list: a file is let in for being known, by suffix and by content, as something that is loaded
without running code of its own; no list of what is bad would ever be whole (see ``pickles.py`` for what its
recognition can do). Nothing of a model is loaded or unpickled to find out. Limits: source code that is let in
(``allow_code``) is not looked into; templates (Jinja's, in a tokenizer's settings or a GGUF file) are text, for whoever
renders them to do so in a sandbox; a file that is replaced while it is scanned, or after, is noticed only by who
compares its :func:`fingerprint` with the one in :class:`Found`, as ``content/cutting.py`` does.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from modelyard.domain.errors import Problem
from modelyard.registry.formats import onnx
from modelyard.registry.formats.content import judge
from modelyard.registry.formats.kinds import Kind, Verdict
from modelyard.registry.formats.names import MAX_FILES, Names, shown
from modelyard.registry.formats.parts import Malformed

__all__ = ["MAX_FILES", "Fingerprint", "Found", "Kind", "Report", "fingerprint", "scan"]

_MAX_QUOTED: Final = 200
_SPECIAL: Final = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A file of ``size`` bytes at ``path``, relative to the folder that was scanned; ``fingerprint`` is from before it
    was looked into."""

    path: PurePosixPath
    size: int
    kind: Kind
    fingerprint: Fingerprint | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """``files`` by their paths, those refused for their content among them; with any ``problems`` they make no version.
    A problem's ``path`` is the file's. ``left_out`` are the paths of those that nobody wants: nothing is said of
    them."""

    files: tuple[Found, ...]
    problems: tuple[Problem, ...]
    left_out: tuple[str, ...] = ()


class Fingerprint(NamedTuple):
    """What changes when a file does: times in nanoseconds. A link made or a mode set changes ``changed`` too."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


def fingerprint(path: Path) -> Fingerprint:
    """Taken before a file is scanned and again after it was read: when the two differ, what was read is not to be
    trusted. (A system whose clock ticks slower than files change may miss a change that leaves the size as it was.)

    Raises:
        OSError: it is not there any more
    """
    return _fingerprint(path.lstat())


def _fingerprint(status: os.stat_result) -> Fingerprint:
    return Fingerprint(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def scan(
    root: Path,
    *,
    allow_code: bool = False,
    allow_pickle: bool = False,
    wants: Callable[[str], bool] = lambda path: True,
) -> Report:
    """Look at the file or folder ``root``, which may be a link itself. ``allow_code``: source code may be in it.
    ``allow_pickle``: an administrator trusts this version, so files that run code when they are loaded may be too.
    ``wants`` says by its path whether a file is to be in it at all.

    Raises:
        OSError: ``root`` itself cannot be read
    """
    walk = _Walk(wants)
    walk.look(root.resolve(strict=True), root.name)
    walk.look_at_links()
    names = {path: entry.path for path, entry in walk.files.items()}
    data, problems = _external_data(names)
    found = []
    for path, entry in walk.files.items():
        try:
            verdict = judge(entry.path, is_data=path in data)
        except Malformed as error:
            # It was a plain file a moment ago.
            verdict = Verdict(Kind.UNKNOWN, "special_file", f"It cannot be read: {error}.")
        except OSError as error:
            verdict = Verdict(Kind.UNKNOWN, "unreadable", _unreadable(error))
        found.append(Found(PurePosixPath(path), entry.status.st_size, verdict.kind, _fingerprint(entry.status)))
        trusted = (verdict.trust == "code" and allow_code) or (verdict.trust == "pickle" and allow_pickle)
        if verdict.code and not trusted:
            problems.append(Problem(shown(path), verdict.code, verdict.message))
    if not found and not walk.problems:
        problems.append(Problem("", "empty", "There is no file in it: a version holds at least one."))
    problems = sorted((*walk.problems, *problems), key=lambda problem: problem.path)
    files = tuple(sorted(found, key=lambda file: file.path.parts))
    return Report(files, tuple(problems), tuple(sorted(walk.left_out)))


class _Entry(NamedTuple):
    path: Path
    status: os.stat_result


class _Walk:
    """The plain files of a folder, and what else is in it."""

    def __init__(self, wants: Callable[[str], bool]) -> None:
        self.files: dict[str, _Entry] = {}
        self.problems: list[Problem] = []
        self.left_out: list[str] = []
        self._inside: Counter[tuple[int, int]] = Counter()
        self._wants = wants
        self._names = Names()
        self._count = 0

    def look(self, root: Path, name: str) -> None:
        if not root.is_dir():
            self._see(root, name)
            return
        pending = [(root, "")]
        while pending:
            folder, prefix = pending.pop()
            for entry in self._entries(folder, prefix):
                path = prefix + entry.name
                self._count += 1
                if self._count > MAX_FILES:
                    message = f"There are over {MAX_FILES} files and folders in it: leave out what is not needed."
                    self.problems.append(Problem("", "too_many_files", message))
                    return
                if self._see(Path(entry.path), path):
                    pending.append((Path(entry.path), f"{path}/"))

    def look_at_links(self) -> None:
        """A file that has another name within the folder is as plain as one without; with a name outside, somebody
        may change there what is published here, or have published what is not theirs to give."""
        for path, entry in self.files.items():
            if entry.status.st_nlink > self._inside[entry.status.st_dev, entry.status.st_ino]:
                message = (
                    "It is a hard link to a file that has a name outside this folder too: put a copy in its place."
                )
                self.problems.append(Problem(shown(path), "hard_link", message))

    def _entries(self, folder: Path, prefix: str) -> Iterable[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not prefix:
                raise
            self.problems.append(Problem(shown(prefix[:-1]), "unreadable", _unreadable(error)))
            return ()

    def _see(self, file: Path, path: str) -> bool:
        """Note what is there; whether it is a folder."""
        try:
            status = file.lstat()
        except OSError as error:
            self.problems.append(Problem(shown(path), "unreadable", _unreadable(error)))
            return False
        if stat.S_ISDIR(status.st_mode):
            return True
        # Of a file that has two names here one may be wanted and the other not.
        self._inside[status.st_dev, status.st_ino] += 1
        if not self._wants(path):
            self.left_out.append(shown(path))
        elif stat.S_ISLNK(status.st_mode):
            message = "It is a symbolic link: put the file itself in its place (cp --dereference)."
            self.problems.append(Problem(shown(path), "link", message))
        elif not stat.S_ISREG(status.st_mode):
            what = _SPECIAL.get(stat.S_IFMT(status.st_mode), "no plain file")
            self.problems.append(Problem(shown(path), "special_file", f"It is {what}: leave it out."))
        else:
            problem = self._names.problem(path)
            if problem is not None:
                self.problems.append(problem)
            self.files[path] = _Entry(file, status)
        return False


def _unreadable(error: OSError) -> str:
    return f"It cannot be read: {error.strerror}. Let the user who publishes read it, or leave it out."


def _external_data(files: dict[str, Path]) -> tuple[set[str], list[Problem]]:
    """The files that the folder's ONNX models name as theirs, and what is wrong with what they name."""
    data: set[str] = set()
    problems: list[Problem] = []
    for model, path in files.items():
        if path.suffix.lower() != onnx.SUFFIX:
            continue
        try:
            tensors = onnx.external(path)
        except (Malformed, OSError):
            continue  # said of the file itself
        faults: dict[str, tuple[str, str]] = {}
        for tensor in tensors:
            place, fault = _place(model, tensor, files)
            data.add(place)
            if fault is not None:
                faults.setdefault(tensor.location, fault)
        problems.extend(Problem(shown(model), *fault) for fault in faults.values())
    return data, problems


def _place(model: str, tensor: onnx.External, files: dict[str, Path]) -> tuple[str, tuple[str, str] | None]:
    location, quoted = PurePosixPath(tensor.location), shown(tensor.location[:_MAX_QUOTED])
    if not tensor.location or location.is_absolute() or ".." in location.parts:
        message = f"It names the weights file {quoted!r}: put it beside the model and save the model again."
        return "", ("path_escape", message)
    place = str(PurePosixPath(model).parent / location)
    if place not in files:
        message = f"It names the weights file {quoted!r}, which is not there: add it."
        return place, ("missing_file", message)
    end = tensor.offset + (tensor.length or 0)
    try:
        size = files[place].stat().st_size
    except OSError:
        return place, None  # said of the file itself
    if end > size:
        message = f"It names {end} bytes of {quoted!r}, which has {size}: fetch or save it again."
        return place, ("damaged_file", message)
    return place, None
