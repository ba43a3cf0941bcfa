"""The warm parents of one backend, a process for each family of engines: started where one will be of use, asked to
fork, ended when they no longer serve. See :mod:`modelyard.runtime.warm` for what happens in them.

Nothing depends on them: whenever one is not there, does not answer at once, or has imported code that has changed on
disk, the worker is launched afresh, and another parent is started for those that come later.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from modelyard import tasks
from modelyard.backends.local import process
from modelyard.backends.local.process import Forked, Handle, in_thread, read_stat
from modelyard.domain.spec import Spec
from modelyard.runtime.warm import FAMILIES, LISTENER, NUMBER, ORDER, RUNNING

logger = logging.getLogger(__name__)

# What Python, the C library and the libraries that a parent imports read before a worker could set it.
_EARLY: Final = re.compile(
    r"(LD|PYTHON|GLIBC|MALLOC|OMP|GOMP|KMP|ACC|OPENBLAS|GOTO|BLAS|BLIS|MKL|NPY|NUMPY|NUMEXPR|SCIPY|SKLEARN|JOBLIB|LOKY"
    r"|ORT|ONNXRUNTIME|OPENSSL|SSL|GFORTRAN|UV|LC|PSUTIL|SOURCE|_PYTHON)_.*|PYTHON.*|LANG|LANGUAGE|TZ|TMPDIR|TEMP|TMP|HOME"
)
# Seconds that a parent, or a new worker, has to answer, and how long it has when it does not sleep meanwhile.
_PATIENCE: Final = 0.05
_WHILE_BUSY: Final = 2.0
_IMPORTS_TAKE: Final = 60.0
# Parents are started this long (seconds) after the backend was opened, or an engine first used: what made that
# necessary goes first.
_LATER: Final = 1.0
# One that was not asked for so long ends, and is not started again when the backend is next opened ...
_KEPT: Final = 6 * 3600.0
# ... but for these, which are always there: the first start in a new home, or after a weekend, is as fast as any, for
# 27 MiB.
_ALWAYS: Final = frozenset({"onnx"})
# After a failure another is started after the first of these, after the next after twice as long, up to the second.
_TRY_AGAIN: Final = (1.0, 300.0)
_NOTED_EVERY: Final = 60.0
_COLLECTING_TAKES: Final = 2.0
# Bytes: what a parent says of itself names some hundred files.
_HELLO: Final = 2**18


class _Refused(Exception):
    """There can be no parent on this machine."""


class _Failed(Exception):
    """The parent has not forked a worker; nothing of one is left."""


@dataclass(slots=True)
class _Parent:
    """One that can fork. ``files``: what its code was read from, with the times (ns) of change; ``asked``: how many
    orders are under way."""

    handle: Handle
    orders: socket.socket
    files: Mapping[str, int] = field(default_factory=dict)
    asked: int = 0

    def is_current(self) -> bool:
        """Whether a process started now would import the same code. Blocks."""
        try:
            return all(os.stat(path).st_mtime_ns == at for path, at in self.files.items())  # noqa: PTH116 - hot
        except OSError:
            return False

    def fork(self, order: bytes, descriptors: Sequence[int]) -> Forked:
        """Have a worker forked that has taken up the order. Blocks. Raises _Failed."""
        ours, theirs = socket.socketpair()
        with ours:
            try:
                with theirs:
                    socket.send_fds(self.orders, [ORDER], [theirs.fileno()], socket.MSG_DONTWAIT)
                (pid,) = NUMBER.unpack(_hear(ours, NUMBER.size, self.handle.id.pid))
            except OSError as error:
                raise _Failed(f"it cannot be asked: {error}") from error
            stat = read_stat(pid)
            if stat is None or stat.parent != os.getpid():
                raise _Failed(f"process {pid} is no child of this one")
            child = Forked(pid)
            try:
                ours.settimeout(_WHILE_BUSY)
                socket.send_fds(ours, [NUMBER.pack(len(order))], descriptors)
                ours.sendall(order)
                if _hear(ours, len(RUNNING), pid) != RUNNING:
                    raise _Failed("the worker could not be set up")
            except BaseException as error:
                child.kill()
                child.wait()
                if isinstance(error, OSError):
                    raise _Failed(f"the worker cannot be told: {error}") from error
                raise
            return child


def _hear(channel: socket.socket, size: int, pid: int) -> bytes:
    """So many bytes from the process ``pid``, which may take longer when it works than when it sleeps. Raises
    _Failed."""
    poll, until = select.poll(), time.monotonic() + _WHILE_BUSY
    poll.register(channel, select.POLLIN)
    heard = b""
    while len(heard) < size:
        if poll.poll(_PATIENCE * 1000):
            part = channel.recv(size - len(heard))
            if not part:
                raise _Failed("it has ended")
            heard += part
            continue
        stat = read_stat(pid)
        if stat is None or stat.state not in "RD" or time.monotonic() > until:
            raise _Failed("it does not answer")
    return heard


@dataclass(slots=True)
class _Family:
    """``used``: when a worker of it was last launched (seconds since the epoch)."""

    name: str
    used: float = 0.0
    parent: _Parent | None = None
    task: asyncio.Task[None] | None = None

    @property
    def left(self) -> float:
        """Seconds for which a parent is of use, if nobody asks for it meanwhile."""
        return math.inf if self.name in _ALWAYS else self.used + _KEPT - time.time()


class WarmParents:
    """``folder`` keeps which families were used, for the next control process; ``environment`` is what the parents
    start from; ``command`` runs a worker afresh, and is what a forked one is shown as."""

    def __init__(self, folder: Path, environment: Mapping[str, str], command: Sequence[str]) -> None:
        self._folder = folder
        self._environment = environment
        self._command = command
        self._families: dict[str, _Family] = {}
        self._open = False

    async def open(self) -> None:
        self._open = True
        for name, used in (dict.fromkeys(_ALWAYS, 0.0) | await in_thread(self._recall)).items():
            self._keep(name, used)

    async def close(self) -> None:
        """What was forked goes on."""
        self._open = False
        families, self._families = self._families, {}
        await tasks.stop(*(family.task for family in families.values() if family.task is not None))

    async def launch(
        self, spec: Spec, environment: Mapping[str, str], folder: Path, listener: int, log: int
    ) -> Handle | None:
        """A worker, as a fresh launch would make it; None: launch it afresh."""
        name = _family_of(spec)
        if name is None or not self._open:
            return None
        family = self._families.get(name) or self._keep(name)
        await self._note_use(family)
        parent = family.parent
        if parent is None:
            return None
        order = json.dumps({
            "environment": {**environment, "MODELYARD_SOCKET_FD": str(LISTENER)},
            "folder": str(folder),
            "command": [*self._command, str(folder)],
        }).encode()  # fmt: skip

        def fork() -> Forked:
            if not parent.is_current():
                raise _Failed("its code is not what is installed now")
            return parent.fork(order, (listener, log))

        parent.asked += 1
        try:
            return await process.watch_new(fork, whole_group=True)
        except (_Failed, OSError) as error:
            if family.parent is parent:
                logger.warning("the warm parent for %s workers is started anew: %s", name, error)
                family.parent = None
                parent.handle.signal(signal.SIGKILL)
            return None
        finally:
            parent.asked -= 1

    # --------------------------------------------------------------------------------------- helpers

    def _keep(self, name: str, used: float = 0.0) -> _Family:
        family = self._families[name] = _Family(name, used)
        family.task = tasks.spawn(self._run(family), f"warm parent for {name}")
        return family

    async def _run(self, family: _Family) -> None:
        """Have a parent for as long as the family is used."""
        shortest, longest = _TRY_AGAIN
        wait = _LATER
        while family.left > 0:
            await asyncio.sleep(wait)
            began = time.monotonic()
            try:
                async with self._parent(family.name) as family.parent:
                    await self._until_over(family, family.parent.handle)
            except _Refused as refusal:
                logger.info("%s workers are launched afresh: %s", family.name, refusal)
                return
            except (OSError, ValueError, TimeoutError) as error:
                logger.warning("no warm parent for %s workers: %s", family.name, error)
            finally:
                family.parent = None
            wait = shortest if time.monotonic() > began + longest else min(wait * 2, longest)
        del self._families[family.name]

    async def _until_over(self, family: _Family, parent: Handle) -> None:
        """Until the parent has ended, or nothing was asked of it for too long."""
        while (left := family.left) > 0 and not parent.exited.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if left == math.inf else left):
                    await parent.exited.wait()

    @contextlib.asynccontextmanager
    async def _parent(self, name: str) -> AsyncIterator[_Parent]:
        """One that has imported everything. It is ended afterwards; what it has forked goes on.

        Raises:
            _Refused: this machine can have none.
            OSError, ValueError, TimeoutError: not this time.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.setblocking(False)
            with theirs:
                # -P as a worker that is launched afresh.
                command = [sys.executable, "-P", "-m", "modelyard.runtime.warm", name, str(theirs.fileno())]
                # What goes wrong in it is written where this process writes.
                handle = await process.start(
                    command, env=self._environment, cwd=str(self._folder), output=2, pass_fds=[theirs.fileno()]
                )
            parent = _Parent(handle, ours)
            try:
                async with asyncio.timeout(_IMPORTS_TAKE):
                    told = await asyncio.get_running_loop().sock_recv(ours, _HELLO)
                if not told:
                    raise ValueError("it has ended while it imported")
                parent.files = _files_of(json.loads(told))
                yield parent
            finally:
                handle.signal(signal.SIGKILL)
                await _collect(parent)

    async def _note_use(self, family: _Family) -> None:
        now = time.time()
        noted, family.used = family.used, now
        if now > noted + _NOTED_EVERY:
            await in_thread(self._note, family.name)

    def _note(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / name).touch(mode=0o600)

    def _recall(self) -> dict[str, float]:
        """By family: when one of it was last used. Blocks."""
        found = {}
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in set(FAMILIES.values()):
                with contextlib.suppress(FileNotFoundError):
                    found[name] = (self._folder / name).stat().st_mtime
        return found


def _family_of(spec: Spec) -> str | None:
    """Which parent can fork its worker; None: what it needs comes before the imports."""
    name = FAMILIES.get(spec.engine)
    # Only ONNX Runtime is told later how many threads it may have.
    if name != "onnx" and (spec.resources.cpu or 1) > 1:
        return None
    return None if any(map(_EARLY.fullmatch, spec.container.environment)) else name


def _files_of(hello: Mapping[str, Any]) -> Mapping[str, int]:
    """Raises _Refused, ValueError."""
    if "refused" in hello:
        raise _Refused(hello["refused"])
    files: Mapping[str, int] = hello["files"]
    if max(files.values()) > hello["began"]:
        raise ValueError("its code was changed while it was imported")
    return files


async def _collect(parent: _Parent) -> None:
    """Once it is gone, the exit statuses of it and of those that it forked and told nobody of, which end by
    themselves and are still in its group."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_COLLECTING_TAKES):
            await parent.handle.exited.wait()
    # Whoever was told of one collects it.
    while parent.asked:  # noqa: ASYNC110 - for milliseconds, and rarely
        await asyncio.sleep(_PATIENCE)
    parent.handle.detach()
    await in_thread(_collect_group, parent.handle.id.pid)


def _collect_group(group: int) -> None:
    until = time.monotonic() + _COLLECTING_TAKES
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < until:
            pid, _ = os.waitpid(-group, os.WNOHANG)
            if not pid:
                time.sleep(_PATIENCE)
