"""``python -m modelyard.runtime.warm FAMILY FD``: a process that has imported what an engine's workers need, has no
thread and no session, and forks workers from itself, so that none of them imports anything.

::

    control process ──FD: one descriptor an order──▶ warm parent ──clone──▶ worker
          └───── over that descriptor: order ─▶, "r" when it is set up ◀─────┘

What to run is told to the worker alone, over the order's own socket: the parent never sees an instance's
environment, folder or secret. The worker is born a child of the control process (``CLONE_PARENT``), as one that was
launched afresh is: that process collects its exit status, whatever becomes of the parent meanwhile.

The parent ends with the control process, or when FD is closed. All forked from one parent share its address layout
and its seed of ``hash()``, as servers that fork do; every other source of randomness is seeded anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import importlib
import json
import mmap
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

# By engine: which parent its workers come from.
FAMILIES: Final = {"onnx": "onnx", "sklearn": "sklearn", "python": "python", "mock": "python"}
# An order over a parent's socket, and a worker's word that it is set up and goes on by itself.
ORDER: Final = b"f"
RUNNING: Final = b"r"
# Of an order's length and a worker's process id, as sent.
NUMBER: Final = struct.Struct("!Q")
# Where a worker finds its listening socket.
LISTENER: Final = 3

_IMPORTS: Final = {
    "onnx": ("modelyard.runtime.engines.onnx",),
    "sklearn": ("modelyard.runtime.engines.sklearn", "skops.io"),
    "python": ("modelyard.runtime.engines.python", "modelyard.runtime.engines.mock"),
}
_COMMON: Final = (
    "modelyard.runtime.__main__",
    "modelyard.runtime.dataplane",
    "modelyard.runtime.engines",
    "modelyard.runtime.instance",
    "modelyard.runtime.limits",
    "modelyard.runtime.record",
    "modelyard.runtime.worker",
)
_CHANNEL: Final = LISTENER + 1
# Descriptors are moved up here before they are put in their places.
_ASIDE: Final = 64
# Where memory runs out, a parent goes before anything that serves.
_EXPENDABLE: Final = 800

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_MM: Final = 35
_PR_SET_MM_MAP: Final = 14
_PR_GET_TID_ADDRESS: Final = 40
_CLONE_PARENT: Final = 0x00008000
_CLONE_CHILD_CLEARTID: Final = 0x00200000
_CLONE_CHILD_SETTID: Final = 0x01000000
# By machine: the numbers of clone, get_robust_list and set_robust_list, and where clone takes the address of the
# child's id (the last two arguments change places).
_CALLS: Final = {"x86_64": (56, 274, 273, 3), "aarch64": (220, 100, 99, 4)}

# Holds the interpreter's lock during its calls, as a fork must.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.sbrk.restype = ctypes.c_size_t


def _prctl(option: int, *arguments: int) -> int:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return int(_libc.prctl(option, *(ctypes.c_ulong(argument) for argument in padded)))


class Unable(Exception):
    """This machine's kernel or C library lacks what forking needs: workers are launched afresh."""


# ------------------------------------------------------------------------------------------ the parent


def main(arguments: list[str]) -> None:
    gc.disable()
    family, fd = arguments[0], int(arguments[1])
    began = time.time_ns()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    orders = socket.socket(fileno=fd)
    score = Path("/proc/self/oom_score_adj")
    usual = score.read_text()
    try:
        for module in (*_COMMON, *_IMPORTS[family]):
            importlib.import_module(module)
        forking = _Forking()
        show(sys.orig_argv, os.environ)
        _check_fit(fd)
    except (Unable, OSError, ImportError) as error:
        orders.send(json.dumps({"refused": str(error)}).encode())
        return
    score.write_text(str(_EXPENDABLE))
    orders.send(json.dumps({"began": began, "files": _files()}).encode())
    # What there is stays: a collection in a worker would only make private copies of its pages.
    gc.collect()
    gc.freeze()
    while (channel := _next_order(orders)) is not None:
        pid = forking.fork()
        if pid == 0:
            _become_worker(channel, orders, usual)
        # Where nobody listens any more, the worker finds that out as well.
        with channel, contextlib.suppress(OSError):
            channel.sendall(NUMBER.pack(pid))


def _check_fit(orders: int) -> None:
    """Raises Unable: what a child would lack, or share, it can only have of its own."""
    threads = len(os.listdir("/proc/self/task")) - 1  # noqa: PTH208
    if threads:
        raise Unable(f"importing the engine has started {threads} thread(s)")
    # A device, for example, or a database.
    for fd in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(fd) not in (0, 1, 2, orders):
            with contextlib.suppress(FileNotFoundError):  # that of the listing itself
                raise Unable(f"importing the engine has opened {Path(f'/proc/self/fd/{fd}').readlink()}")


def _next_order(orders: socket.socket) -> socket.socket | None:
    """The socket of an order; None: there will be no more."""
    word, descriptors, _, _ = socket.recv_fds(orders, len(ORDER), 1)
    return socket.socket(fileno=descriptors[0]) if word == ORDER and descriptors else None


def _files() -> dict[str, int]:
    """What the code in this process was read from, with the times of change: modules of ours, the entry modules of
    others', and the folders that packages are installed into."""
    paths = {sys.executable, *filter(os.path.isdir, sys.path)}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and (name.startswith("modelyard.") or "." not in name):
            paths.add(file)
    return {path: os.stat(path).st_mtime_ns for path in paths if os.path.exists(path)}  # noqa: PTH110, PTH116


class _Forking:
    """Forks this process, which must have one thread, into a child of its own parent.

    The C library's fork() cannot do that. What it does besides is done here: the child's id and the list of its
    robust mutexes are put right. Locks that other threads hold there are none.

    Raises:
        Unable: not on this machine.
    """

    def __init__(self) -> None:
        calls = _CALLS.get(os.uname().machine)
        if calls is None:
            raise Unable(f"forking is not known on {os.uname().machine}")
        clone, get_robust_list, set_robust_list, place = calls
        self._clone, self._set_robust_list = ctypes.c_long(clone), ctypes.c_long(set_robust_list)
        address = ctypes.c_size_t()
        if _prctl(_PR_GET_TID_ADDRESS, ctypes.addressof(address)) or not address.value:
            raise Unable("the kernel does not tell where a thread's id is kept (CONFIG_CHECKPOINT_RESTORE)")
        if ctypes.c_int.from_address(address.value).value != os.getpid():
            raise Unable("the C library does not keep a thread's id where the kernel writes it")
        self._robust, self._size = ctypes.c_size_t(), ctypes.c_size_t()
        places = (ctypes.c_long(0), ctypes.byref(self._robust), ctypes.byref(self._size))
        if _libc.syscall(ctypes.c_long(get_robust_list), *places):
            raise Unable("the kernel does not tell where the list of robust mutexes is")
        flags = _CLONE_PARENT | _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID | signal.SIGCHLD
        self._arguments = [ctypes.c_long(number) for number in (flags, 0, 0, 0, 0)]
        self._arguments[place] = ctypes.c_long(address.value)

    def fork(self) -> int:
        """0 in the child. Raises OSError."""
        ctypes.pythonapi.PyOS_BeforeFork()
        pid: int = _libc.syscall(self._clone, *self._arguments)
        if pid != 0:
            ctypes.pythonapi.PyOS_AfterFork_Parent()
            if pid < 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            return pid
        ctypes.pythonapi.PyOS_AfterFork_Child()
        _libc.syscall(self._set_robust_list, self._robust, self._size)
        return 0


# ------------------------------------------------------------------------------------------ the worker


def _become_worker(channel: socket.socket, orders: socket.socket, score: str) -> NoReturn:
    """Take up the order and serve. As long as it has not said that it runs, whoever gave the order launches another
    one when this one ends."""
    try:
        order, descriptors = _receive(channel)
        os.setsid()
        listener, log = descriptors
        _place(listener, log, channel.detach())
        orders.detach()
        Path("/proc/self/oom_score_adj").write_text(score)
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["folder"])
        show(order["command"], order["environment"])
        _seed()
        from modelyard.runtime import __main__ as worker

        sys.modules["__main__"] = worker
        sys.orig_argv[:] = order["command"]
        sys.argv[:] = [worker.__file__, "--instance", order["folder"]]
        os.write(_CHANNEL, RUNNING)
        os.close(_CHANNEL)
    except EOFError:
        os._exit(1)
    except BaseException as error:
        os.write(2, f"A forked worker could not be set up: {error!r}\n".encode())
        os._exit(1)
    worker.serve_instance(Path(order["folder"]))


def _receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The order with its descriptors. Raises EOFError: it was taken back."""
    data, descriptors, _, _ = socket.recv_fds(channel, NUMBER.size, 2)
    if len(data) < NUMBER.size or len(descriptors) < 2:
        raise EOFError
    (left,) = NUMBER.unpack(data)
    parts = []
    while left:
        part = channel.recv(min(left, 2**16))
        if not part:
            raise EOFError
        parts.append(part)
        left -= len(part)
    return json.loads(b"".join(parts)), descriptors


def _place(listener: int, log: int, channel: int) -> None:
    """Each descriptor where a worker has it, and no other open."""
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ASIDE) for fd in (listener, log, channel)]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(aside[1], 1)
    os.dup2(aside[1], 2)
    os.dup2(aside[0], LISTENER, inheritable=False)
    os.dup2(aside[2], _CHANNEL, inheritable=False)
    os.closerange(_CHANNEL + 1, os.sysconf("SC_OPEN_MAX"))


def _seed() -> None:
    """What was seeded when it was imported. The ``random`` module seeds itself after a fork."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


class _MemoryMap(ctypes.Structure):
    """``struct prctl_mm_map`` of linux/prctl.h."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in (
            "start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack",
            "arg_start", "arg_end", "env_start", "env_end", "auxv",
        )),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    )  # fmt: skip


# Where the kernel reads what show() showed last.
_shown: mmap.mmap | None = None


def show(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Have /proc show this command line and this environment as those of this process: they are what it was
    executed with otherwise, and instances' processes are found by them.

    Raises:
        OSError: the kernel does not allow that.
    """
    global _shown
    line = b"".join(os.fsencode(word) + b"\0" for word in command)
    variables = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environment.items())
    area = mmap.mmap(-1, len(line) + len(variables), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.write(line + variables)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    # As they are numbered in proc_pid_stat(5); the first here is the third there.
    number = {place: int(fields[place - 3]) for place in (26, 27, 28, 45, 46, 47)}
    asked = _MemoryMap(
        start_code=number[26], end_code=number[27], start_data=number[45], end_data=number[46],
        start_brk=number[47], brk=_libc.sbrk(ctypes.c_long(0)), start_stack=number[28],
        arg_start=start, arg_end=start + len(line), env_start=start + len(line),
        env_end=start + len(line) + len(variables), auxv=0, auxv_size=0, exe_fd=2**32 - 1,
    )  # fmt: skip
    if _prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.addressof(asked), ctypes.sizeof(asked)):
        code = ctypes.get_errno()
        raise OSError(code, f"the kernel does not let a process say what /proc shows of it: {os.strerror(code)}")
    _shown = area


if __name__ == "__main__":
    main(sys.argv[1:])
