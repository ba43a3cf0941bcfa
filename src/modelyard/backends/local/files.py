"""What the local backend keeps on disk of an instance, so that the next control process knows it.

``run/i/<id>/`` (mode 0700) holds, each written whole or not at all:

- ``launch.json``: our own record, the whole :class:`Launch`
- ``instance.json``: what the worker reads
- ``main.json``: who the main process is
- ``ready.json``: since when it is ready, and the model's metadata
- ``process.json``, ``failure.json``: by the worker: who it is, and why it cannot load or go on
- ``releasing``: it is being ended on request, so its end is no failure
- ``exit.json``: it ended unasked and has not been forgotten yet

The instance's socket stands beside the folder: ``run/i/<id>.sock``.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import shutil
import socket
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from modelyard.backends.local.process import HOME_MARKER, INSTANCE_MARKER, ProcessId, boot_id
from modelyard.domain.model import Failure, ModelRef, Target
from modelyard.domain.observation import Exit
from modelyard.domain.spec import Engine, Spec

T = TypeVar("T")

_BACKLOG: Final = 128
# Ours alone: credentials of the control process, and descriptors that mean nothing in the child.
_WITHHELD: Final = (
    "MODELYARD_TOKEN", "MODELYARD_DATABASE_URL", "MODELYARD_LISTEN_FD", "MODELYARD_SOCKET_FD", "MODELYARD_SECRETS_KEY",
    "MODELYARD_PEERS_TOKEN",
)  # fmt: skip
# ONNX Runtime's Linux builds report to their maker unless told not to (since 1.29), with a database that they open and
# threads that they start when they are imported.
_QUIET: Final = {"ORT_DISABLE_TELEMETRY": "1"}
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# By these the libraries of CUDA and ROCm choose their devices.
DEVICE_VARIABLES: Final = (
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All that an instance is launched from. ``port``: of the ``command`` engine's server, else None;
    ``devices``: the ids of those that are its own; ``source``: the path of what it loads, where the spec names a
    registered model."""

    id: str
    ref: ModelRef
    target: Target
    spec: Spec
    created_at: datetime
    secret: str = field(repr=False)
    port: int | None = None
    devices: tuple[str, ...] = ()
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MainProcess:
    """main.json. The boot's id and ticks since then, because times of day change when a clock is set."""

    pid: int
    ticks: int
    boot: str

    @property
    def id(self) -> ProcessId | None:
        """None when the machine has been started anew since."""
        return ProcessId(self.pid, self.ticks) if self.boot == boot_id() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """ready.json."""

    since: datetime
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that a folder tells of its instance."""

    launch: Launch
    main: MainProcess | None
    ready: Ready | None
    exit: Exit | None
    releasing: bool


class _Reason(msgspec.Struct):
    """failure.json, by the worker."""

    code: str
    message: str
    permanent: bool = False


def new_instance_id() -> str:
    """8 characters, a letter first: 2 * 10^12 of them."""
    alphabet = string.ascii_lowercase + string.digits
    return secrets.choice(string.ascii_lowercase) + "".join(secrets.choice(alphabet) for _ in range(7))


def home_id(home: Path) -> str:
    """Marks the processes of one home, so that several homes on one machine keep out of each other's way."""
    return hashlib.sha256(os.fsencode(home)).hexdigest()[:16]


class InstanceFiles:
    """One instance's folder and socket. Everything here blocks."""

    def __init__(self, instances_dir: Path, instance: str) -> None:
        self.folder = instances_dir / instance
        self.socket_path = instances_dir / f"{instance}.sock"

    # ------------------------------------------------------------------------------------- writing

    def create(self, launch: Launch) -> None:
        """Raises OSError: no room, a read-only disk."""
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700)
        self._write("launch.json", launch)
        self._write("instance.json", _for_worker(launch))

    def bind(self) -> socket.socket:
        """The instance's socket, listening: a request that comes before the worker waits for it."""
        self.socket_path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self.socket_path))
            self.socket_path.chmod(0o600)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener

    def write_main(self, process: ProcessId) -> None:
        self._write("main.json", MainProcess(pid=process.pid, ticks=process.ticks, boot=boot_id()))

    def write_ready(self, ready: Ready) -> None:
        self._write("ready.json", ready)

    def write_exit(self, launch: Launch, exit_: Exit) -> None:
        if not self.folder.exists():
            # It ended before anything of it was written.
            self.create(launch)
        self._write("exit.json", exit_)

    def mark_releasing(self) -> None:
        (self.folder / "releasing").touch(mode=0o600)

    def remove_socket(self) -> None:
        self.socket_path.unlink(missing_ok=True)

    def remove(self) -> None:
        self.remove_socket()
        if self.folder.exists():
            shutil.rmtree(self.folder)

    # ------------------------------------------------------------------------------------- reading

    def recall(self) -> Record | None:
        """What is on record; None when not even the launch is."""
        launch = self._read("launch.json", Launch)
        if launch is None:
            return None
        return Record(
            launch=launch,
            main=self._read("main.json", MainProcess),
            ready=self._read("ready.json", Ready),
            exit=self._read("exit.json", Exit),
            releasing=(self.folder / "releasing").exists(),
        )

    def failure(self) -> Failure | None:
        """The worker's own word on why it ended."""
        reason = self._read("failure.json", _Reason)
        if reason is None:
            return None
        return Failure(code=reason.code, message=reason.message, permanent=reason.permanent)

    # ------------------------------------------------------------------------------------- helpers

    def _write(self, name: str, value: Any) -> None:
        """Raises OSError."""
        new = self.folder / f".{name}.new"
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.json.encode(value))
            new.replace(self.folder / name)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    def _read(self, name: str, kind: type[T]) -> T | None:
        """None too when it is damaged (the machine lost power): the same as if it had not been written."""
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=kind)
        except (OSError, msgspec.DecodeError):
            return None


def _for_worker(launch: Launch) -> Mapping[str, Any]:
    spec = launch.spec
    options = dict(spec.options)
    if launch.port is not None:
        options["port"] = launch.port
    return {
        "instance": launch.id,
        "namespace": launch.ref.namespace,
        "model": launch.ref.name,
        "model_uid": launch.ref.uid,
        "generation": launch.target.generation,
        "epoch": launch.target.epoch,
        "engine": spec.engine,
        "source": launch.source or spec.source_path,
        "options": options,
        "trusted": spec.trusted,
        "resources": {"cpu": spec.resources.cpu, "memory": spec.resources.memory},
        "devices": launch.devices,
        "shared_memory": spec.container.shared_memory,
        "working_dir": spec.container.working_dir,
        "secret": launch.secret,
    }


def environment(
    launch: Launch, home: str, inherited: Mapping[str, str], opened: Mapping[str, str], *, has_devices: bool
) -> dict[str, str]:
    """What the instance's processes see: the backend's own environment without its secrets, the spec's with its secrets
    ``opened``, and the markers by which they are found again. Where the machine ``has_devices``, no spec chooses its
    own."""
    env = common_environment(inherited, max(1, math.ceil(launch.spec.resources.cpu or 1)), launch.devices)
    kept = DEVICE_VARIABLES if has_devices or launch.devices else ()
    for told in (launch.spec.container.environment, opened):
        env.update((name, value) for name, value in told.items() if name not in kept)
    if launch.spec.engine is Engine.COMMAND:
        env["PORT"] = str(launch.port)
    env[INSTANCE_MARKER] = launch.id
    env[HOME_MARKER] = home
    return env


def common_environment(inherited: Mapping[str, str], threads: int, devices: tuple[str, ...]) -> dict[str, str]:
    """What processes of so many threads see with these devices, whatever instance they are of."""
    env = _QUIET | {name: value for name, value in inherited.items() if name not in _WITHHELD}
    env.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    env.update(_visible(devices))
    return env


def _visible(devices: tuple[str, ...]) -> dict[str, str]:
    """Libraries take every device they see, so that an instance sees its own only."""
    ids = ",".join(devices)
    variables = {
        "CUDA_VISIBLE_DEVICES": ids,
        "HIP_VISIBLE_DEVICES": ids,
        "NVIDIA_VISIBLE_DEVICES": ids or "void",
        # Numbers count by bus, as NVML does, and not by speed.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    if not devices:
        # Only to hide all: ROCm applies it before HIP's and counts what is left anew, so that device 1 of the
        # one would be no device of the other.
        variables["ROCR_VISIBLE_DEVICES"] = ""
    return variables
