"""What an instance's process writes into its own folder: who it is, and why it failed.

Stdlib only and cheap to import: the first lines of every worker run through here.
"""

from __future__ import annotations

import os
from pathlib import Path

from modelyard.runtime.errors import LoadFailure

PROCESS_FILE = "process.json"
FAILURE_FILE = "failure.json"


def process_started() -> float:
    """When this process was started, in seconds since the epoch, computed as psutil's ``create_time`` is,
    so that the two compare equal."""
    # The name of the program stands in parentheses and may hold anything; the fields go on after the last one.
    fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
    ticks = float(fields[19])  # starttime, field 22 of proc(5)
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return ticks / os.sysconf("SC_CLK_TCK") + float(boot.split()[1])


def write_process(folder: Path) -> None:
    """Write ``process.json``: {"pid", "started"}."""
    _write(folder / PROCESS_FILE, f'{{"pid": {os.getpid()}, "started": {process_started()!r}}}\n')


def write_failure(folder: Path, failure: LoadFailure) -> None:
    """Write ``failure.json``, so that the reason outlives the process. A folder that cannot be written is
    no second failure: the reason stands in the log too."""
    import json

    try:
        _write(folder / FAILURE_FILE, json.dumps(failure.as_dict()) + "\n")
    except OSError as error:
        os.write(2, f"{folder / FAILURE_FILE} cannot be written: {error}\n".encode())


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
