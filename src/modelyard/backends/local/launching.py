"""From a :class:`Launch` to a running process: its folder, its socket, its log, its environment."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.backends.local import process
from modelyard.backends.local.devices import Devices
from modelyard.backends.local.files import InstanceFiles, Launch, environment
from modelyard.backends.local.logs import Logs
from modelyard.backends.local.ports import Ports
from modelyard.backends.local.process import Handle, in_thread
from modelyard.domain.model import Failure, ModelRef
from modelyard.domain.spec import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all instances of one backend share. ``worker`` and ``launcher`` are the commands that an
    instance's folder is appended to; ``inherited`` is the environment that instances start from;
    ``changed`` is told of each model whose instances look different; ``live`` names the instances, of all
    models, of which anything is left; ``devices`` are those of the machine."""

    instances_dir: Path
    home_id: str
    logs: Logs
    worker: tuple[str, ...]
    launcher: tuple[str, ...]
    inherited: Mapping[str, str]
    changed: Callable[[ModelRef], None]
    live: Callable[[], set[str]]
    devices: Devices
    ports: Ports = field(default_factory=Ports)

    def environment_of(self, launch: Launch) -> dict[str, str]:
        return environment(launch, self.home_id, self.inherited, has_devices=bool(self.devices.present))


class LaunchFailed(Exception):
    """There is no process; the reason why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


async def launch_process(site: Site, files: InstanceFiles, launch: Launch) -> Handle:
    """Start the main process of an instance and put it on record.

    Raises:
        LaunchFailed: it could not be started, or not be recorded; nothing of it runs.
    """
    try:
        listener, log = await in_thread(_prepare, site, files, launch)
    except OSError as error:
        raise LaunchFailed(_storage_failure(site.instances_dir, error)) from error
    try:
        env = site.environment_of(launch)
        argv, fds = [*site.launcher, str(files.folder)], []
        if listener is not None:
            argv, fds = [*site.worker, str(files.folder)], [listener.fileno()]
            env["MODELYARD_SOCKET_FD"] = str(listener.fileno())
        # With the main process its group goes at once: no member of it can fork away from that.
        handle = await process.start(argv, env=env, cwd=str(files.folder), output=log, pass_fds=fds, whole_group=True)
    except OSError as error:
        failure = Failure(code="launch_failed", message=f"The process could not be started: {error}.")
        raise LaunchFailed(failure) from error
    finally:
        os.close(log)
        if listener is not None:
            listener.close()
    try:
        await in_thread(files.write_main, handle.id)
    except OSError as error:
        # A process that the next control process would not know again must not live.
        handle.signal(signal.SIGKILL)
        await handle.exited.wait()
        raise LaunchFailed(_storage_failure(site.instances_dir, error)) from error
    return handle


def _prepare(site: Site, files: InstanceFiles, launch: Launch) -> tuple[socket.socket | None, int]:
    """The folder, the socket (none for a user's server) and a descriptor of the log. Blocks; raises OSError."""
    files.create(launch)
    listener = None if launch.spec.engine is Engine.COMMAND else files.bind()
    try:
        return listener, site.logs.open(launch.ref, launch.id)
    except OSError:
        if listener is not None:
            listener.close()
        raise


def _storage_failure(folder: Path, error: OSError) -> Failure:
    reasons = {
        errno.ENOSPC: "the disk is full: free some space",
        errno.EDQUOT: "the disk quota is used up: free some space",
        errno.EROFS: "the disk is read-only: mount it writable, or set another MODELYARD_HOME",
        errno.EACCES: "permission is denied: make it writable for the user that runs Modelyard",
    }
    reason = reasons.get(error.errno or 0, f"{error.strerror or error}")
    return Failure(code="storage_error", message=f"The instance's files in {folder} cannot be written: {reason}.")
