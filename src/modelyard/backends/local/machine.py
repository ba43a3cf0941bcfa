"""What this machine has, and what it allows."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
# Seconds; on a machine that is not overloaded it takes a tenth of one.
_PROBE_TAKES: Final = 10.0
_PROBE_SHARED_MEMORY: Final = """\
from modelyard.runtime import errors, limits
try:
    limits.apply(memory=None, shared_memory=1 << 20, working_dir=None)
except errors.LimitsFailure as failure:
    raise SystemExit(failure.message)
"""


def total_memory() -> int:
    """Bytes that this machine, or the control group that we are in, has."""
    limits = [limit for path in _memory_limit_files() if (limit := _read_limit(path)) is not None]
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits])


def total_cpu() -> float:
    """Cores that this process may use: those it is bound to, less what its control group's quota withholds."""
    quotas = [quota for folder in _control_groups("cpu") if (quota := _read_quota(folder)) is not None]
    return min([float(len(os.sched_getaffinity(0))), *quotas])


def shared_memory_refusal() -> str | None:
    """Why an instance cannot have a /dev/shm of its own here, None when it can. Blocks until that is known
    once, for ten seconds at most."""
    try:
        return _try_shared_memory()
    except (OSError, subprocess.TimeoutExpired) as error:
        return (
            f"Whether instances can have a /dev/shm of their own here could not be found out ({error}): try again "
            "when the machine is less busy, or leave container.shared_memory out to use the machine's own."
        )


@functools.cache
def _try_shared_memory() -> str | None:
    """Tried out in a process of its own: that is the only sure way to know.

    Raises:
        OSError, subprocess.TimeoutExpired: it is not known, and tried again next time.
    """
    probe = subprocess.run(
        [sys.executable, "-c", _PROBE_SHARED_MEMORY],
        capture_output=True, text=True, timeout=_PROBE_TAKES, check=False,
    )  # fmt: skip
    return (probe.stderr.strip() or "it cannot be set here") if probe.returncode else None


def _memory_limit_files() -> list[Path]:
    """Version 2's and version 1's."""
    return [folder / name for folder in _control_groups("memory") for name in ("memory.max", "memory.limit_in_bytes")]


def _control_groups(controller: str) -> list[Path]:
    """The folders of our control group and all above it (cgroups(7)): of version 2, or of version 1's
    ``controller``."""
    folders: list[Path] = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = _CGROUPS
        elif controller in controllers.split(","):
            root = _CGROUPS / controller
        else:
            continue
        own = root / path.lstrip("/")
        folders += [folder for folder in (own, *own.parents) if folder == root or root in folder.parents]
    return folders


def _read_limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _read_quota(folder: Path) -> float | None:
    """Cores: the time that the group may run for in each period, by the period. None where there is no bound."""
    try:
        if (both := folder / "cpu.max").exists():
            quota, period = both.read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):
        return None
    # Without a bound it says "max", and -1 in version 1.
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None
