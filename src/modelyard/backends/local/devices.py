"""The accelerators of this machine: declared, or found by NVML (https://docs.nvidia.com/deploy/nvml-api).

Who holds which of them is :mod:`backend`'s business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from modelyard.domain.capacity import Device
from modelyard.domain.quantities import format_duration
from modelyard.threads import apart

logger = logging.getLogger(__name__)

HOW_TO_DECLARE: Final = (
    "For NVIDIA's to be found, run pip install nvidia-ml-py and start Modelyard again; "
    "others are declared: MODELYARD_DEVICES=gpu:N."
)
# A driver that does not answer for so long (seconds) is asked no more until it has. A machine with many GPUs
# may take seconds to wake them.
PATIENCE: Final = 10.0
_NVIDIA: Final = Path("/dev/nvidia0")


class Devices:
    """What there is, as last looked. Belongs to one event loop.

    Args:
        declared: so many GPUs, "0", "1", …; None: those that NVML finds.
        visible: CUDA_VISIBLE_DEVICES of this process: where it names devices, others are not ours to use.
    """

    def __init__(self, declared: int | None, visible: str | None) -> None:
        self.present = tuple(Device(id=str(n), name="declared") for n in range(declared or 0))
        self._nvml = _Nvml(visible) if declared is None else None
        self._looking: asyncio.Future[tuple[tuple[Device, ...], tuple[str, ...]]] | None = None
        self._said: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(device.id for device in self.present)

    async def look(self) -> None:
        """Look again: for :data:`PATIENCE` at most, after which all is taken to be as it was."""
        if self._nvml is None:
            return
        if self._looking is None:
            self._looking = apart(self._nvml.find, "look for devices")
        looking = self._looking
        done, _ = await asyncio.wait((looking,), timeout=PATIENCE)
        if not done:
            waited = format_duration(PATIENCE)
            self._say((f"NVIDIA's driver does not answer within {waited}: GPUs are taken to be as they were.",))
            return
        self._looking = None
        try:
            found, wrong = looking.result()
        except Exception:
            logger.exception("looking for devices fails: they are taken to be as they were")
            return
        if found != self.present:
            names = ", ".join(f"{device.id} ({device.name})" for device in found)
            logger.info("GPUs of this machine: %s", names or "none")
        self.present = found
        self._say(wrong)

    def _say(self, wrong: tuple[str, ...]) -> None:
        """Once, and not at each look."""
        for message in wrong:
            if message not in self._said:
                logger.warning("%s", message)
        self._said = wrong


class _Nvml:
    """Asks the driver. Everything here blocks, perhaps for ever: one call at a time."""

    def __init__(self, visible: str | None) -> None:
        self._visible = None if visible is None else [word.strip() for word in visible.split(",")]
        # Kept open: between looks the driver would put idle GPUs to sleep, and take seconds to wake them.
        self._open = False

    def find(self) -> tuple[tuple[Device, ...], tuple[str, ...]]:
        """The devices, and sentences on what is wrong."""
        try:
            import pynvml
        except ImportError:
            if not _NVIDIA.exists():
                return (), ()
            return (), (f"This machine seems to have NVIDIA GPUs that Modelyard cannot see. {HOW_TO_DECLARE}",)
        try:
            if not self._open:
                pynvml.nvmlInit()
                self._open = True
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self._close(pynvml)
            return (), (f"NVIDIA's driver cannot be asked for GPUs: {error}.",) if _NVIDIA.exists() else ()
        found: list[Device] = []
        wrong: list[str] = []
        for index in range(count):
            try:
                found += self._devices_of(pynvml, index)
            except pynvml.NVMLError as error:
                wrong.append(f"GPU {index} cannot be used: {error}.")
        return tuple(found), tuple(wrong)

    def _devices_of(self, pynvml: Any, index: int) -> list[Device]:
        """One GPU, or the MIG instances that it is divided into. Raises NVMLError."""
        gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        names = (str(index), _text(pynvml.nvmlDeviceGetUUID(gpu)))
        devices = []
        for handle in _parts(pynvml, gpu):
            uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
            memory = _memory(pynvml, handle)
            if self._is_ours(*names, uuid):
                devices.append(Device(id=uuid, name=_text(pynvml.nvmlDeviceGetName(handle)), memory=memory))
        return devices

    def _is_ours(self, index: str, *uuids: str) -> bool:
        if self._visible is None:
            return True
        # The start of a UUID will do for CUDA.
        starts = tuple(word for word in self._visible if word.startswith(("GPU-", "MIG-")))
        return index in self._visible or any(uuid.startswith(starts) for uuid in uuids)

    def _close(self, pynvml: Any) -> None:
        if self._open:
            self._open = False
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError as error:
                logger.debug("NVML cannot be closed: %s", error)


def _parts(pynvml: Any, gpu: Any) -> Iterator[Any]:
    """The handles of what can be given out of a GPU. Raises NVMLError."""
    try:
        mode, _ = pynvml.nvmlDeviceGetMigMode(gpu)
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        mode = None
    if mode != pynvml.NVML_DEVICE_MIG_ENABLE:
        yield gpu
        return
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
        except pynvml.NVMLError_NotFound:
            continue  # so many there could be
        yield handle


def _memory(pynvml: Any, handle: Any) -> int | None:
    """Bytes; None for a GPU that shares the machine's. Also how a GPU that fell off the bus is noticed."""
    try:
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    except pynvml.NVMLError_NotSupported:
        return None


def _text(value: str | bytes) -> str:
    """Older releases of nvidia-ml-py answer in bytes."""
    return value.decode() if isinstance(value, bytes) else value
