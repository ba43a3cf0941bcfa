"""What whatever arrives leaves free on a disk: the database may be on the same one, and must go on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from modelyard.domain.errors import ModelyardError
from modelyard.domain.quantities import rounded_bytes
from modelyard.registry.content.cutting import Progress

LEFT_FREE: Final = 256 * 2**20
# Bytes after which it is looked again: others write to the disk, too.
LOOK_EVERY: Final = 64 * 2**20


class NoSpace(ModelyardError):
    """The disk is full but for what stays free on it: free some space, or run 'modelyard gc', and try again."""

    code = "no_space"
    http_status = 507
    title = "No space left"


def room(folder: Path) -> int:
    """Bytes that may still be written below ``folder``, which may not be there yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return max(shutil.disk_usage(there).free - LEFT_FREE, 0)


def check(folder: Path, size: int = 1) -> None:
    """Raises NoSpace where so many bytes more do not go below ``folder``."""
    left = room(folder)
    if size > left:
        raise NoSpace(
            f"The disk of {folder} has room for {rounded_bytes(left)} more, which is too little: "
            f"{rounded_bytes(LEFT_FREE)} stay free on it. Free some space there (modelyard gc), and try again. What "
            "you fetch yourself goes to where XDG_CACHE_HOME says."
        )


def watched(folder: Path, progress: Progress | None = None) -> Progress:
    """``progress``, which also looks at the disk of ``folder``: at first, and whenever so many bytes have come that it
    may have filled. It raises NoSpace, and may be told by many threads."""
    check(folder)
    looked = 0

    def tell(done: int, total: int) -> None:
        nonlocal looked
        # What is counted begins anew where one step follows another.
        if abs(done - looked) >= LOOK_EVERY:
            looked = done
            check(folder)
        if progress is not None:
            progress(done, total)

    return tell
