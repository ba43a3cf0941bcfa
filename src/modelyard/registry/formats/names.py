"""Which names files of a version may have: those that every file system, Windows' too, can hold side by side.

Sources: https://learn.microsoft.com/windows/win32/fileio/naming-a-file, Unicode Technical Report 36 (bidirectional
controls).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from modelyard.domain.errors import Problem

MAX_FILES: Final = 100_000  # of one version, its folders counted too
MAX_NAME: Final = 255  # bytes of UTF-8, of one name
MAX_PATH: Final = 1024  # bytes of UTF-8, of all names and what parts them
_WINDOWS_CHARACTERS: Final = frozenset('<>:"|?*\\')
_WINDOWS_DEVICE: Final = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])\Z", re.IGNORECASE)
# These make a name read otherwise than it is.
_BIDIRECTIONAL: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_CONTROLS: Final = frozenset(("Cc", "Zl", "Zp"))


def shown(path: str) -> str:
    """``path`` in a form that can be printed and sent as UTF-8."""
    text = path.encode(errors="backslashreplace").decode()
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


class Names:
    """The paths of one version, checked one after the other: each by itself, and against those before it."""

    def __init__(self) -> None:
        self._spelled: dict[str, str] = {}
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def problem(self, path: str) -> Problem | None:
        """What is wrong with the file's ``path``, relative and parted by ``/``; None if nothing is."""
        found = _fault(path) or self._collision(path, is_folder=False)
        return None if found is None else Problem(shown(path), *found)

    def folder_problem(self, path: str) -> Problem | None:
        """As :meth:`problem`, of a folder, which may be there more than once."""
        found = _fault(path) or self._collision(path, is_folder=True)
        return None if found is None else Problem(shown(path), *found)

    def _collision(self, path: str, *, is_folder: bool) -> tuple[str, str] | None:
        parts = path.split("/")
        prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        for prefix in prefixes:
            other = self._spelled.setdefault(_folded(prefix), prefix)
            if other != prefix:
                message = (
                    f"{shown(other)} differs from it only in upper and lower case or in how its letters are encoded; "
                    "many file systems take the two for one: rename one of them."
                )
                return "name_collision", message
        folders = prefixes if is_folder else prefixes[:-1]
        if any(folder in self._files for folder in folders) or (not is_folder and path in self._folders):
            return "name_collision", "It, or a folder above it, is there as a file and as a folder: rename one."
        if not is_folder and path in self._files:
            return "name_collision", "It is there twice: remove one of the two."
        self._folders.update(folders)
        if not is_folder:
            self._files.add(path)
        return None


def _folded(path: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def _fault(path: str) -> tuple[str, str] | None:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "invalid_name", "Its name is not UTF-8: rename it."
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "path_escape", "Its name is absolute: give names relative to the version's folder."
    if size > MAX_PATH:
        return "invalid_name", f"Its path has {size} bytes: shorten it to at most {MAX_PATH}."
    for name in path.split("/"):
        found = _fault_of_part(name)
        if found is not None:
            return found
    return None


def _fault_of_part(name: str) -> tuple[str, str] | None:
    if name == "..":
        return "path_escape", "Its name leads out of the version's folder: give names without '..'."
    if name in ("", "."):
        return "invalid_name", "Its path has an empty name in it: write it with single slashes and without '.'."
    if len(name.encode()) > MAX_NAME:
        return "invalid_name", f"The name {shown(name[:40])}… has over {MAX_NAME} bytes: shorten it."
    for character in name:
        if unicodedata.category(character) in _CONTROLS or character in _BIDIRECTIONAL:
            return "invalid_name", f"Its name holds the control character U+{ord(character):04X}: rename it."
        if character in _WINDOWS_CHARACTERS:
            return "invalid_name", f"Windows allows no {character} in a name: rename it."
    if name[-1] in " .":
        return "invalid_name", "Windows drops a dot or a blank at a name's end: rename it."
    if _WINDOWS_DEVICE.match(name.partition(".")[0].rstrip(" ")):
        return "invalid_name", f"{shown(name)} names a device on Windows: rename it."
    return None
