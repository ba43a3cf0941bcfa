"""The surroundings of an instance's process: memory, open files, core dumps, working folder, /dev/shm.

A process applies them to itself, before it has a second thread (the kernel gives a process with threads
no user namespace of its own). Stdlib only: the ``command`` engine's launcher applies them and execs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Collection
from pathlib import Path

from modelyard.runtime.errors import LimitsFailure

_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_REC = 0x4000
_MS_SLAVE = 0x80000


def apply(*, memory: int | None, shared_memory: int | None, working_dir: str | None) -> None:
    """Put this process under its spec's limits. ``memory`` and ``shared_memory`` in bytes, None: no bound.

    Raises:
        LimitsFailure: with what to do about it, if one of them cannot be applied.
    """
    _become_subreaper()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if shared_memory is not None:
        _private_shared_memory(shared_memory)
    if working_dir is not None:
        _enter(working_dir)
    if memory is not None:
        _limit_memory(memory)


def _become_subreaper() -> None:
    """Have orphans of this process's tree become its children, so that none leaves the tree."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def allow_mapped(size: int) -> None:
    """Raise the memory limit, if there is one, by ``size`` bytes of files that are mapped but not written; lower it
    again where ``size`` is negative.

    The kernel counts every private writable mapping; pages of a file that nobody writes to are shared by
    all who map it, and cost this process nothing.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        raised = soft + size
        resource.setrlimit(
            resource.RLIMIT_DATA, (raised if hard == resource.RLIM_INFINITY else min(raised, hard), hard)
        )


def room() -> int | None:
    """Bytes of private memory that the limit leaves; None: there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY:
        return None
    lines = Path("/proc/self/status").read_text().splitlines()
    return soft - next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


def mapped(files: Collection[Path]) -> int:
    """Bytes of these files that are mapped as :func:`allow_mapped` allows."""
    names = {str(file.resolve()) for file in files}
    size = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, rights, _, _, _, *name = line.split(maxsplit=5)
        if name and name[0] in names and rights.startswith("rw-p"):
            start, end = bounds.split("-")
            size += int(end, 16) - int(start, 16)
    return size


def _limit_memory(memory: int) -> None:
    # RLIMIT_DATA bounds private writable memory (setrlimit(2), since Linux 4.7), not the address space that
    # libraries reserve. The hard limit stays, for allow_mapped().
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY and memory > hard:
        raise LimitsFailure(
            "memory_limit_unavailable",
            f"resources.memory ({memory} bytes) is above what this process may use (a hard RLIMIT_DATA of {hard} "
            "bytes): lower resources.memory, or raise the limit of the service that runs Modelyard.",
        )
    resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))


def _enter(working_dir: str) -> None:
    try:
        os.chdir(working_dir)
    except OSError as error:
        raise LimitsFailure(
            "working_dir_unavailable",
            f"container.working_dir {working_dir} cannot be entered ({error.strerror}): create it, or give another.",
        ) from error


def _private_shared_memory(size: int) -> None:
    """Mount a tmpfs of ``size`` bytes on /dev/shm that only this process and its children see."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWNS) != 0:
        # Without CAP_SYS_ADMIN a mount namespace needs a user namespace around it.
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
            raise _no_namespace(ctypes.get_errno())
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        except OSError as error:
            raise _no_namespace(error.errno or 0) from error
    # A slave sees what the machine mounts later, and the machine sees nothing of ours.
    if libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None) != 0:
        raise _no_namespace(ctypes.get_errno())
    options = f"size={size},mode=1777".encode()
    if libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", _MS_NOSUID | _MS_NODEV, options) != 0:
        raise _no_namespace(ctypes.get_errno())


def _no_namespace(number: int) -> LimitsFailure:
    name = errno.errorcode.get(number, str(number))
    return LimitsFailure(
        "shared_memory_unavailable",
        f"container.shared_memory needs a private mount namespace, which this machine refuses ({name}): allow "
        "unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns), run Modelyard as root, or leave container.shared_memory out "
        "to use the machine's own /dev/shm.",
    )
