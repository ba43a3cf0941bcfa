"""The one seat of a home from which its instances are driven: a lock file, and who holds it. Standard library only.

The lock goes with the process, however that ends. Within it stands who has it, so that a process that hangs
can be told for sure, and killed, before another one takes its place.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
from dataclasses import asdict
from pathlib import Path

from modelyard.supervisor.processes import identify, read_record, recorded, service_processes

log = logging.getLogger(__name__)


class HomeSeat:
    """``run/control.lock`` of ``home``, for one control process."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._path = home / "run" / "control.lock"
        self._fd: int | None = None

    def take(self) -> bool:
        """False while another process has it. Raises OSError when the home cannot be written."""
        if self._fd is not None:
            return True
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        me = identify(os.getpid())
        assert me is not None
        # On a full disk nobody can tell who it is, and nobody will kill it by mistake.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(asdict(me)).encode(), 0)
        return True

    def give_back(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            # Who has it next has not signed yet when others look.
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
            os.close(fd)

    def clear(self) -> None:
        """Kill the process that has it: only if that surely is a control process of this home."""
        holder = recorded(read_record(self._path))
        if holder is None or holder.pid == os.getpid() or holder not in service_processes(self._home, "control"):
            return
        log.warning("Control process %d hangs: its lease has run out. Killing it", holder.pid)
        holder.signal(signal.SIGKILL)
