"""From a :class:`Launch` to a running process: its folder, its socket, its log, its environment."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from modelyard.backends.local import process
from modelyard.backends.local.devices import Devices
from modelyard.backends.local.files import InstanceFiles, Launch, environment
from modelyard.backends.local.logs import Logs
from modelyard.backends.local.ports import Ports
from modelyard.backends.local.process import Handle, in_thread
from modelyard.backends.local.warm import WarmParents
from modelyard.backends.port import Artifacts
from modelyard.domain.errors import ModelyardError
from modelyard.domain.model import Failure, ModelRef
from modelyard.domain.secrets import Secret
from modelyard.domain.spec import Engine
from modelyard.threads import apart

# Values by variable, of a namespace's secrets. Raises ModelyardError: one of them cannot be opened.
OpenSecrets = Callable[[str, Mapping[str, Secret]], dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all instances of one backend share. ``worker`` and ``launcher`` are the commands that an
    instance's folder is appended to; ``inherited`` is the environment that instances start from;
    ``changed`` is told of each model whose instances look different; ``live`` names the instances, of all
    models, of which anything is left; ``devices`` are those of the machine; ``artifacts`` has the files of
    registered models (None: there are none); ``warm`` forks workers (None: all are launched afresh); ``opened`` opens
    the secrets of a namespace (None: it has none)."""

    instances_dir: Path
    home_id: str
    logs: Logs
    worker: tuple[str, ...]
    launcher: tuple[str, ...]
    inherited: Mapping[str, str]
    changed: Callable[[ModelRef], None]
    live: Callable[[], set[str]]
    devices: Devices
    artifacts: Artifacts | None = None
    warm: WarmParents | None = None
    opened: OpenSecrets | None = None
    ports: Ports = field(default_factory=Ports)

    def environment_of(self, launch: Launch) -> dict[str, str]:
        """Raises LaunchFailed: a secret of it cannot be had."""
        sealed, opened = launch.spec.container.secrets, dict[str, str]()
        if sealed:
            if self.opened is None:
                message = "There are no keys here to open secrets with."
                raise LaunchFailed(Failure(code="secret_lost", message=message, permanent=True))
            try:
                opened = self.opened(launch.ref.namespace, sealed)
            except ModelyardError as error:
                # No further try makes the key come back.
                raise LaunchFailed(Failure(code=error.code, message=error.message, permanent=True)) from None
        return environment(launch, self.home_id, self.inherited, opened, has_devices=bool(self.devices.present))


# How often, in seconds, it is told how far the laying out of files is.
_TELL_EVERY: Final = 0.5


class LaunchFailed(Exception):
    """There is no process; the reason why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class GivenUp(ModelyardError):
    """The instance was asked to end before its files were there."""


async def with_source(site: Site, launch: Launch, say: Callable[[str], None]) -> Launch:
    """The launch, if it may be, with the path of its registered model's files, which are laid out first where they are
    not yet; ``say`` is told how far that is. Its time to become ready begins after that.

    Raises:
        LaunchFailed: they cannot be had, or nothing may be launched from them
    """
    artifact, artifacts = launch.spec.artifact, site.artifacts
    if artifact is None:
        if artifacts is not None:
            await _admit(artifacts, launch)
        return launch
    what = f"{launch.spec.source} (version {artifact.version})"
    if artifacts is None:
        raise LaunchFailed(Failure(code="no_registry", message=f"There is no registry here to have {what} from."))
    loop, told_at, given_up = asyncio.get_running_loop(), 0.0, threading.Event()

    def progress(done: int, total: int) -> None:
        nonlocal told_at
        if given_up.is_set():
            raise GivenUp("Nobody waits for these files any more.")
        if total and loop.time() >= told_at + _TELL_EVERY:
            told_at = loop.time()
            loop.call_soon_threadsafe(say, f"Laying out {what}: {done * 100 // total} %.")

    await _admit(artifacts, launch)
    try:
        path = await apart(lambda: artifacts.lay_out(artifact, launch.spec.engine, progress), f"lay out {what}")
    except ModelyardError as error:
        raise LaunchFailed(Failure(code=error.code, message=f"{what} cannot be had: {error.message}")) from error
    except asyncio.CancelledError:
        given_up.set()
        raise
    except OSError as error:
        raise LaunchFailed(_storage_failure(f"{what} cannot be laid out", error)) from error
    # That may have taken minutes, in which a key was revoked.
    await _admit(artifacts, launch)
    say("")
    return replace(launch, source=str(path), created_at=datetime.now(UTC))


async def _admit(artifacts: Artifacts, launch: Launch) -> None:
    """Raises LaunchFailed."""
    try:
        await artifacts.admit(launch.ref.namespace, launch.spec)
    except ModelyardError as error:
        raise LaunchFailed(Failure(code=error.code, message=error.message)) from error


async def launch_process(site: Site, files: InstanceFiles, launch: Launch) -> Handle:
    """Start the main process of an instance and put it on record.

    Raises:
        LaunchFailed: it could not be started, or not be recorded; nothing of it runs.
    """
    try:
        listener, log = await in_thread(_prepare, site, files, launch)
    except OSError as error:
        raise LaunchFailed(_storage_failure(_unwritable(site), error)) from error
    try:
        handle = await _start(site, files, launch, listener, log)
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
        raise LaunchFailed(_storage_failure(_unwritable(site), error)) from error
    return handle


async def _start(site: Site, files: InstanceFiles, launch: Launch, listener: socket.socket | None, log: int) -> Handle:
    """Raises OSError."""
    env, folder = site.environment_of(launch), files.folder
    argv, fds = [*site.launcher, str(folder)], []
    if listener is not None:
        if site.warm is not None:
            forked = await site.warm.launch(launch.spec, env, folder, listener.fileno(), log)
            if forked is not None:
                return forked
        argv, fds = [*site.worker, str(folder)], [listener.fileno()]
        env["MODELYARD_SOCKET_FD"] = str(listener.fileno())
    # With the main process its group goes at once: no member of it can fork away from that.
    return await process.start(argv, env=env, cwd=str(folder), output=log, pass_fds=fds, whole_group=True)


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


def _unwritable(site: Site) -> str:
    return f"The instance's files in {site.instances_dir} cannot be written"


def _storage_failure(what: str, error: OSError) -> Failure:
    reasons = {
        errno.ENOSPC: "the disk is full: free some space",
        errno.EDQUOT: "the disk quota is used up: free some space",
        errno.EROFS: "the disk is read-only: mount it writable, or set another MODELYARD_HOME",
        errno.EACCES: "permission is denied: make it writable for the user that runs Modelyard",
    }
    reason = reasons.get(error.errno or 0, f"{error.strerror or error}")
    return Failure(code="storage_error", message=f"{what}: {reason}.")
