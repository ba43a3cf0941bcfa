"""One of many does the work and the others wait: it saves work, and nothing is right or wrong by it.

A lease is a file that only one process can make; it is touched while its holder lives. That of a holder who is seen to
have ended, or has not touched it for a while, is taken away. Where two should come to hold one all the same (a network
file system that hides a file, a process that slept), the work is done twice, to the same end.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import threading
import time
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

_BEAT: Final = 1.0
# Without a touch for so long it is nobody's.
_STALE: Final = 5.0


class Holder(msgspec.Struct, frozen=True):
    """A process: the machine as long as it runs, the part of it that sees the same processes, its id and its start."""

    machine: str
    pid: int
    start: str

    @property
    def machine_mark(self) -> str:
        """8 hexadecimal digits that stand for the machine in names of files."""
        return _mark(self.machine)

    @property
    def mark(self) -> str:
        """8 hexadecimal digits that stand for the process on its machine."""
        return _mark(f"{self.pid} {self.start}")


class Lease:
    """The lease in a file. Belongs to one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, float] | None = None
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None

    def take(self) -> bool:
        """Hold it, unless somebody else does; call again to see whether that is still so."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            return True  # it can be kept nowhere: then everybody works
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            if self._is_nobodys():
                self._take_away()
            return False
        except OSError:
            return True
        with contextlib.suppress(OSError):
            os.write(descriptor, msgspec.json.encode(myself()))
        os.close(descriptor)
        self._beating = threading.Thread(target=self._beat, name=f"lease {self._path.name}", daemon=True)
        self._beating.start()
        return True

    def release(self) -> None:
        """Give it back; nothing if it is not held."""
        if self._beating is None:
            return
        self._stop.set()
        self._beating.join()
        self._beating = None
        with contextlib.suppress(OSError):
            if msgspec.json.decode(self._path.read_bytes(), type=Holder) == myself():
                self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT):
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def _is_nobodys(self) -> bool:
        try:
            touched = self._path.stat().st_mtime_ns
            holder = msgspec.json.decode(self._path.read_bytes(), type=Holder)
        except FileNotFoundError:
            return False
        except (OSError, msgspec.DecodeError):
            holder = None  # just being written, or damaged: time tells
            touched = 0
        if holder is not None and holder.machine == myself().machine and _start_of(holder.pid) != holder.start:
            return True
        now = time.monotonic()
        if self._seen is None or self._seen[0] != touched:
            # By our own clock: another machine's may be off.
            self._seen = touched, now
        return now - self._seen[1] > _STALE

    def _take_away(self) -> None:
        aside = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        with contextlib.suppress(OSError):
            self._path.rename(aside)
            aside.unlink()


def myself() -> Holder:
    """The process that asks."""
    # A child that was forked is another process.
    return _holder(os.getpid())


def marks_of_living() -> frozenset[str]:
    """Those of all processes of this machine that run now."""
    me = myself()
    try:
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    except OSError:
        return frozenset({me.mark})  # no other process names its files by this machine either
    started = ((pid, _start_of(pid)) for pid in pids)
    return frozenset({me.mark, *(Holder(me.machine, pid, start).mark for pid, start in started if start)})


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@cache
def _holder(pid: int) -> Holder:
    boot = Path("/proc/sys/kernel/random/boot_id")
    with contextlib.suppress(OSError):
        space = Path("/proc/self/ns/pid").stat().st_ino
        return Holder(f"{boot.read_text().strip()} {space}", pid, _start_of(pid))
    return Holder(f"{socket.gethostname()} {secrets.token_hex(8)}", pid, "")


def _start_of(pid: int) -> str:
    """When the process began, in clock ticks since the machine did; empty when it has ended."""
    try:
        # The second field, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in ("Z", "X") else fields[19]
    except (OSError, IndexError):
        return ""
