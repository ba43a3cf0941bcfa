"""What this process holds in memory, and what a load has added to it."""

from __future__ import annotations

import ctypes
import os
from enum import StrEnum
from pathlib import Path
from typing import Final

# malloc.h; and what counts as large (bytes): smaller ones cost more time to map than memory to keep.
_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 2**20


class SizeFrom(StrEnum):
    """Where the size of a loaded model is from."""

    GIVEN = "given"
    MEASURED = "measured"  # what the process grew by while nothing else was loaded or freed
    ESTIMATED = "estimated"  # its files' size
    UNKNOWN = "unknown"


def resident() -> int:
    """Bytes of this process that are in memory (VmRSS)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def trim() -> None:
    """Have the allocator give back what it holds free, which would else be counted, or be used by the next load without
    being counted. Only glibc has it."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)


def keep_apart() -> None:
    """Have the allocator map large blocks one by one, as it does at first: so a freed model's memory is the system's
    again. Else it learns from freed blocks to keep ever larger ones, in as many arenas as there were threads (measured:
    an evicted model's memory stayed, and a budget of 64 MiB came to 150). Only glibc has it."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, _LARGE)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def mib(size: int) -> str:
    """For people."""
    return f"{size / 2**20:,.0f} MiB"
