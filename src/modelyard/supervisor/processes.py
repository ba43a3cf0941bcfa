"""Which processes belong to a home, told apart for good, and how to be rid of them.

For the supervisor and for ``modelyard down``, which must work without one. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KILL_GRACE = 5.0
# What each process of a home, other than those of its models, is started as.
MODULES = {"supervisor": "modelyard.supervisor", "gateway": "modelyard.gateway", "control": "modelyard.app"}
# The descriptor of the listening socket that several control processes share, in their environment.
CONTROL_FD = "MODELYARD_CONTROL_FD"
_INSTANCE_MARKER = "MODELYARD_HOME_ID"


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for good: the kernel gives ids out again, so the start (in clock ticks since the
    machine's start ``boot``) belongs to it. ``started``, in seconds since the epoch, is for people."""

    pid: int
    started: float
    ticks: int
    boot: str

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; a zombie has ended."""
        stat = _stat(self.pid)
        return stat is not None and stat[0] not in "ZX" and stat[1] == self.ticks and self.boot == _boot_id()

    def is_left(self) -> list[Identity]:
        """Itself while it runs, for :func:`end_processes`."""
        return [self] if self.is_alive else []

    def signal(self, number: int) -> bool:
        """Signal exactly this process; False when it is gone."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        except OSError:
            fd = None
        try:
            if not self.is_alive:
                return False
            if fd is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return False
        finally:
            if fd is not None:
                os.close(fd)
        return True


def identify(pid: int) -> Identity | None:
    stat = _stat(pid)
    if stat is None:
        return None
    started = _boot_time() + stat[1] / os.sysconf("SC_CLK_TCK")
    return Identity(pid=pid, started=started, ticks=stat[1], boot=_boot_id())


def read_record(path: Path) -> dict[str, Any]:
    """A ``run/*.json`` file; empty when there is none."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def recorded(record: Any) -> Identity | None:
    """The process that a record names, if it is still alive."""
    try:
        identity = Identity(record["pid"], record["started"], record["ticks"], record["boot"])
    except (KeyError, TypeError):
        return None
    return identity if identity.is_alive else None


def service_processes(home: Path, name: str) -> list[Identity]:
    """The living processes of a service (a key of ``MODULES``) of this home: those on record, then those
    that only their environment tells of, as a supervisor leaves them that is killed while it starts one."""
    up = read_record(home / "run" / "up.json")
    records = [up] if name == "supervisor" else [up.get(name), read_record(home / "run" / f"{name}.json")]
    found = {process.pid: process for record in records if (process := recorded(record)) is not None}
    for pid in _pids_with(f"MODELYARD_HOME={home}"):
        if pid not in found and _is_service(pid, name) and (identity := identify(pid)) and identity.is_alive:
            found[pid] = identity
    return list(found.values())


def _is_service(pid: int, name: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        # Anybody may write our home into an environment; only our own processes are ours to take over.
        is_ours = Path(f"/proc/{pid}").stat().st_uid == os.getuid()
    except OSError:
        return False
    return is_ours and f"\0-m\0{MODULES[name]}\0".encode() in words and _INSTANCE_MARKER not in environment(pid)


def instance_processes(home: Path) -> list[Identity]:
    """Every process of every instance of this home, found by the marker in its environment."""
    marker = f"{_INSTANCE_MARKER}={hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
    identities = (identify(pid) for pid in _pids_with(marker))
    return [identity for identity in identities if identity is not None and identity.is_alive]


def environment(pid: int) -> dict[str, str]:
    """What a process was started with; empty when it is gone or none of our business."""
    try:
        entries = os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes()).split("\0")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _pids_with(entry: str) -> Iterator[int]:
    """Processes with exactly this ``NAME=value`` in their environment."""
    wanted = os.fsencode(entry)
    for name in os.listdir("/proc"):  # noqa: PTH208 - a path object a process is waste
        if not name.isdecimal():
            continue
        try:
            environ = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if wanted in environ.split(b"\0"):
            yield int(name)


def end_processes(look: Callable[[], list[Identity]], deadline: Callable[[], float]) -> list[Identity]:
    """Ask all that ``look`` finds to end, kill what is left at ``deadline`` (monotonic, asked anew each
    time), and return what even that has not ended."""
    asked: set[Identity] = set()
    while left := look():
        late = time.monotonic() - deadline()
        if late >= _KILL_GRACE:
            return left
        for identity in left:
            if late >= 0:
                identity.signal(signal.SIGKILL)
            elif identity not in asked:
                asked.add(identity)
                identity.signal(signal.SIGTERM)
        time.sleep(0.02)
    return []


def _stat(pid: int) -> tuple[str, int] | None:
    """State and start ticks (proc_pid_stat(5)); the name before them may hold brackets and spaces."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[19])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _boot_time() -> float:
    lines = Path("/proc/stat").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("btime "))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def clean_up(run: Path) -> None:
    """Remove what says that something runs here."""
    # Whose key is good may have changed by the next start, so the gateway is told anew.
    for name in ("up.json", "gateway.json", "down.json", "access.json", "control.sock", "gateway.sock"):
        (run / name).unlink(missing_ok=True)
    for record in run.glob("control*.json"):
        record.unlink(missing_ok=True)
