"""Processes of this machine: who they are, when they end, which belong together, how to be rid of them.

A process is known by its id *and* its start time, because the kernel gives ids out again: every signal
goes through a pidfd whose process was checked first. An instance's processes are found by the markers
in their environment (which survive ``setsid`` and double forks), by their session and by descent.
Nothing here knows what an instance is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from modelyard.tasks import spawn

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

INSTANCE_MARKER: Final = "MODELYARD_INSTANCE"
HOME_MARKER: Final = "MODELYARD_HOME_ID"
_INSTANCE_ID: Final = re.compile(rb"[a-z][a-z0-9]{7}")

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
# How often a process is looked at where the kernel has no pidfd (before Linux 5.3, some sandboxes).
_POLL_WITHOUT_PIDFD: Final = 0.02
# The parent of the kernel's own threads, which have no environment.
_KERNEL: Final = 2
# For a moment in the middle of exec() a process shows no environment.
_EXEC_TAKES: Final = 0.001

# With these /proc was not asked at all; any other error means that the process is gone or not ours to see.
_UNASKED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

# Scans, spawns and file work leave the event loop; a pool of our own is never clogged by others' work.
_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="local-backend")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking ``function`` beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_threads, functools.partial(function, *args, **kwargs))


# ------------------------------------------------------------------------------------------ identity


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process for good: ``ticks`` is its start in clock ticks since the machine started."""

    pid: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Stat:
    """What /proc/<pid>/stat says (proc_pid_stat(5)); ``memory`` in bytes resident."""

    id: ProcessId
    name: str
    state: str
    parent: int
    session: int
    threads: int
    memory: int

    @property
    def gone(self) -> bool:
        """A zombie holds nothing but its exit status, unless other threads of it still run."""
        return self.state in "ZX" and self.threads <= 1


def read_stat(pid: int) -> Stat | None:
    """None when there is no such process (that we may see).

    Raises:
        OSError: it cannot be known, for want of descriptors or memory.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - hot: one a process a scan
            data = file.read(1024)
    except OSError as error:
        if error.errno in _UNASKED:
            raise
        return None
    # The name is in brackets and may itself hold brackets and spaces.
    start, end = data.find(b"("), data.rfind(b")")
    fields = data[end + 2 :].split()
    return Stat(
        id=ProcessId(pid, int(fields[19])),
        name=data[start + 1 : end].decode("utf-8", "replace"),
        state=chr(fields[0][0]),
        parent=int(fields[1]),
        session=int(fields[3]),
        threads=int(fields[17]),
        memory=int(fields[21]) * PAGE,
    )


def identify(pid: int) -> ProcessId | None:
    stat = read_stat(pid)
    return stat.id if stat is not None else None


def is_alive(process: ProcessId) -> bool:
    stat = read_stat(process.pid)
    return stat is not None and stat.id == process and not stat.gone


def boot_id() -> str:
    """Differs after every start of the machine, so that ticks of different starts are never compared."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def send_signal(process: ProcessId, number: int) -> bool:
    """Signal exactly this process; False when it is not there (any more).

    Raises:
        PermissionError: it changed its user and may not be signalled by us.
    """
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except OSError:
        # No pidfd here: the check right before the signal leaves a gap of microseconds.
        if identify(process.pid) != process:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
            return True
        return False
    try:
        if identify(process.pid) != process:
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


# ---------------------------------------------------------------------------------------------- trees


def _environ(pid: int) -> bytes:
    """What a process was started with; nothing when it is gone, not ours to read, or just being exec()ed.
    Raises OSError as :func:`read_stat`."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123 - hot, as above
            return file.readall() or b""
    except OSError as error:
        if error.errno in _UNASKED:
            raise
        return b""


def _markers(environ: bytes) -> tuple[str, str] | None:
    """The home and instance that a process was started for. Other programs may say anything there: what is
    no instance's id (it becomes a file's name) marks nothing."""
    # The search in bytes is what most processes end with; only the marked few are split.
    if HOME_MARKER.encode() not in environ:
        return None
    found = dict(entry.partition(b"=")[::2] for entry in environ.split(b"\0"))
    home, instance = found.get(HOME_MARKER.encode()), found.get(INSTANCE_MARKER.encode())
    if not home or not instance or not _INSTANCE_ID.fullmatch(instance):
        return None
    return home.decode("utf-8", "replace"), instance.decode()


class Census:
    """All processes of the machine at one moment. Making one blocks: use :func:`in_thread`. Raises OSError as
    :func:`read_stat`."""

    def __init__(self, home_id: str) -> None:
        own = os.getpid()
        pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208 - hot
        stats = (read_stat(pid) for pid in pids if pid not in (1, own))
        self._stats = {stat.id.pid: stat for stat in stats if stat is not None and not stat.gone}
        self._home_id = home_id

    def marked(self, since: int = 0) -> dict[str, list[Stat]]:
        """By instance: the processes that carry this home's marker, among those started at ``since``
        (ticks) or later."""
        young = [s for s in self._stats.values() if s.id.ticks >= since and _KERNEL not in (s.parent, s.id.pid)]
        environs = {stat.id.pid: _environ(stat.id.pid) for stat in young}
        if blank := [pid for pid, environ in environs.items() if not environ]:
            time.sleep(_EXEC_TAKES)
            environs.update((pid, _environ(pid)) for pid in blank)
        found: dict[str, list[Stat]] = {}
        for stat in young:
            markers = _markers(environs[stat.id.pid])
            if markers is not None and markers[0] == self._home_id:
                found.setdefault(markers[1], []).append(stat)
        return found

    def tree(self, marked: Sequence[Stat], main: ProcessId | None, known: Iterable[ProcessId] = ()) -> list[Stat]:
        """What belongs together: the ``marked``, those ``known`` from an earlier look, the session that
        ``main`` leads (also when it is dead), and all their descendants."""
        members = {stat.id.pid: stat for stat in marked}
        for process in (*known, *([main] if main else [])):
            stat = self._stats.get(process.pid)
            if stat is not None and stat.id == process:
                members[process.pid] = stat
        if main is not None:
            leader = self._stats.get(main.pid)
            # With a stranger at our number, a session of that number is the stranger's.
            if leader is None or leader.id == main:
                members.update((s.id.pid, s) for s in self._stats.values() if s.session == main.pid)
        grown = True
        while grown:
            children = [s for s in self._stats.values() if s.parent in members and s.id.pid not in members]
            members.update((s.id.pid, s) for s in children)
            grown = bool(children)
        return list(members.values())


@dataclass(slots=True)
class Tree:
    """The processes of one instance, looked for anew each time. ``known`` remembers who was seen, for
    those that later overwrite their environment and leave their parents."""

    home_id: str
    instance: str
    main: ProcessId | None = None
    known: set[ProcessId] = field(default_factory=set)

    def look(self) -> list[Stat]:
        """Blocks for one scan of /proc."""
        census = Census(self.home_id)
        marked = census.marked(since=self.main.ticks if self.main else 0).get(self.instance, [])
        members = census.tree(marked, self.main, self.known)
        self.known = {stat.id for stat in members}
        return members


# -------------------------------------------------------------------------------------------- watching


class Forked:
    """A child of this process that another one forked for it, and that nobody has collected."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code (negative: the signal's number), collected once it has ended. Blocks until then."""
        if self.returncode is None:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


Child = subprocess.Popen[bytes] | Forked


class Handle:
    """One process that is being watched, own child or not. ``exited`` is set once it has ended and,
    for a child, its ``returncode`` was collected (negative: the signal's number). ``whole_group``: what
    is left of the process group that it leads is killed when it ends."""

    def __init__(self, process: ProcessId, child: Child | None = None, *, whole_group: bool = False) -> None:
        self.id = process
        self._whole_group = whole_group
        self.exited = asyncio.Event()
        self.returncode: int | None = None
        self._child = child
        self._loop = asyncio.get_running_loop()
        self._pidfd: int | None = None
        self._poller: asyncio.Task[None] | None = None
        try:
            self._pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self._ended()
            return
        except OSError as error:
            logger.debug("no pidfd for process %d (%s): polling", process.pid, error)
            self._poller = spawn(self._poll(), f"watch process {process.pid}")
            return
        if child is None and not self._may_live():
            self._ended()
            return
        self._loop.add_reader(self._pidfd, self._ended)

    def signal(self, number: int) -> bool:
        """False when the process is gone."""
        return not self.exited.is_set() and send_signal(self.id, number)

    def kill_group(self) -> None:
        """Kill the process group that this child of ours leads. Only a child that has not been collected
        keeps its group's number from being given out again."""
        if self._child is not None and not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.id.pid, signal.SIGKILL)

    def detach(self) -> None:
        """Stop watching; the process goes on without us."""
        self._forget()
        if self._child is not None and self._child.returncode is None:
            # Popen would warn that its child still runs, which is what detaching means.
            self._child.returncode = 0

    async def _poll(self) -> None:
        while self._may_live():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(_POLL_WITHOUT_PIDFD)
        self._poller = None
        self._ended()

    def _may_live(self) -> bool:
        try:
            return is_alive(self.id)
        except OSError:
            return True

    def _ended(self) -> None:
        self._forget()
        if self._whole_group:
            self.kill_group()
        if self._child is not None:
            self.returncode = self._child.wait()
        self.exited.set()

    def _forget(self) -> None:
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if self._poller is not None:
            self._poller.cancel()
            self._poller = None


async def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    output: int,
    pass_fds: Sequence[int] = (),
    whole_group: bool = False,
) -> Handle:
    """Start a process in a session of its own, with ``output`` (a file descriptor) as stdout and stderr.
    ``whole_group`` as for :class:`Handle`.

    Raises:
        OSError: it could not be started.
    """

    def fork() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
            start_new_session=True,
        )

    return await watch_new(fork, whole_group=whole_group)


async def watch_new(fork: Callable[[], Child], *, whole_group: bool = False) -> Handle:
    """Have ``fork`` make a child in a thread, and watch it. ``whole_group`` as for :class:`Handle`. Raises what
    ``fork`` raises, and OSError."""
    # It must not be abandoned half way by a cancelled caller: nobody would know the child.
    forked = asyncio.ensure_future(in_thread(fork))
    try:
        child = await asyncio.shield(forked)
    except asyncio.CancelledError:
        # Nor by one that is cancelled again while it ends the child.
        await asyncio.shield(spawn(_end_unwanted(forked), "end an unwanted process"))
        raise
    # Not reaped before Handle looks, so its number cannot have been given out again.
    try:
        process = identify(child.pid)
        if process is None:
            raise ProcessLookupError(errno.ESRCH, "/proc does not show the new process")
    except OSError:
        child.kill()
        await in_thread(child.wait)
        raise
    return Handle(process, child, whole_group=whole_group)


async def _end_unwanted(forked: asyncio.Future[Child]) -> None:
    try:
        child = await forked
    except Exception:
        return  # there is none
    child.kill()
    await in_thread(child.wait)


# --------------------------------------------------------------------------------------------- ending


async def end_all(look: Callable[[], list[Stat]], report: Callable[[str], Awaitable[None]]) -> None:
    """Kill everything that ``look`` finds, and return once it finds nothing.

    ``report`` is told in a sentence when something does not go away, and again when that changes.
    """
    loop = asyncio.get_running_loop()
    began, told = loop.time(), ""
    # Where there were stragglers, one may have forked and ended behind the back of a look: look twice.
    empty, needed = 0, 1
    while empty < needed:
        members = await in_thread(look)
        if not members:
            empty += 1
            continue
        empty, needed = 0, 2
        for stat in members:
            try:
                send_signal(stat.id, signal.SIGKILL)
            except PermissionError:
                logger.warning("process %d (%s) may not be killed by us", stat.id.pid, stat.name)
        late = loop.time() - began
        if late > 2.0 and (stuck := _stuck(members)) != told:
            told = stuck
            await report(stuck)
        # What the kernel is slow to take down (a big address space, a dying disk) is not worth a busy loop.
        await _wait_gone([stat.id for stat in members], timeout=min(0.05 + late / 4, 2.0))


def _stuck(members: Sequence[Stat]) -> str:
    names = ", ".join(
        f"{s.id.pid} ({s.name}, {'in uninterruptible sleep' if s.state == 'D' else f'state {s.state}'})"
        for s in members[:5]
    )
    return f"{len(members)} process(es) cannot be killed yet: {names}."


async def _wait_gone(processes: Sequence[ProcessId], timeout: float) -> None:
    handles = [Handle(process) for process in processes]
    try:
        async with asyncio.timeout(timeout):
            for handle in handles:
                await handle.exited.wait()
    except TimeoutError:
        pass
    finally:
        for handle in handles:
            handle.detach()
