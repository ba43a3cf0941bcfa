"""Which devices there are, and who sees which. Real processes print what they see; NVML is a stand-in."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from modelyard.backends.local import LocalBackend, devices, machine
from modelyard.backends.local.devices import Devices
from modelyard.domain.capacity import Device
from modelyard.domain.model import InstancePhase, ModelRef
from modelyard.domain.spec import Container, Resources, Spec
from modelyard.settings import Settings
from tests.backends.conftest import opened
from tests.backends.specs import member, run, surroundings, worker_spec
from tests.backends.waiting import ended, gone, ready, until

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
OTHER = ModelRef("u2", "default", "wine")


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home, devices="gpu:3")


def gpu_spec(gpus: int, **options: Any) -> Spec:
    return replace(worker_spec(**options), resources=Resources(gpus=gpus))


# ------------------------------------------------------------------------------------------- declared


@pytest.mark.parametrize(
    ("text", "count"), [("", None), ("none", 0), ("gpu:0", 0), ("gpu:2", 2), (" GPU:16 ", 16)]
)  # fmt: skip
def test_devices_are_declared_by_their_number(home: Path, text: str, count: int | None) -> None:
    assert Settings(home=home, devices=text).declared_gpus == count


@pytest.mark.parametrize("text", ["2", "gpu", "gpu:", "gpu:-1", "gpu:two", "tpu:2", "gpu:1000", "gpu:1,gpu:2"])
def test_a_declaration_that_is_none_says_how_to_write_it(home: Path, text: str) -> None:
    with pytest.raises(ValidationError, match=r"MODELYARD_DEVICES '.*' is not understood: write 'gpu:2'"):
        Settings(home=home, devices=text)


async def test_the_inventory_has_what_is_declared(backend: LocalBackend) -> None:
    inventory = await backend.inventory()
    assert [device.id for device in inventory.devices] == ["0", "1", "2"]
    assert inventory.memory == machine.total_memory()
    assert inventory.cpu == machine.total_cpu()


# ------------------------------------------------------------------------------------- who sees which


async def test_each_instance_sees_its_own_devices_the_lowest_free_first(backend: LocalBackend, ref: ModelRef) -> None:
    two = await run(backend, ref, gpu_spec(2))
    one = await run(backend, OTHER, gpu_spec(1))
    assert (two.devices, one.devices) == (("0", "1"), ("2",))
    assert (two.held.devices, one.held.devices) == (2, 1)
    env = (await surroundings(backend, ref))["env"]
    assert {env[name] for name in VISIBLE} == {"0,1"}
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "ROCR_VISIBLE_DEVICES" not in env, "ROCm would apply it before HIP's and count anew"
    other = (await surroundings(backend, OTHER))["env"]
    assert {other[name] for name in VISIBLE} == {"2"}


async def test_an_instance_without_devices_sees_none(backend: LocalBackend, ref: ModelRef) -> None:
    instance = await run(backend, ref, gpu_spec(0))
    env = (await surroundings(backend, ref))["env"]
    assert instance.devices == ()
    assert [env[name] for name in (*VISIBLE, "ROCR_VISIBLE_DEVICES")] == ["", "", "void", ""]


async def test_no_spec_chooses_its_own_device_where_devices_are_given_out(backend: LocalBackend, ref: ModelRef) -> None:
    own = {"CUDA_VISIBLE_DEVICES": "2", "ROCR_VISIBLE_DEVICES": "2", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    spec = replace(gpu_spec(1), container=Container(environment={**own, "COLOUR": "red"}))
    problems = await backend.check(spec)
    assert {(p.path, p.code) for p in problems} == {(f"container.environment.{name}", "reserved_name") for name in own}
    assert "set resources.gpus instead" in problems[0].message
    # One that was stored before the machine had devices runs all the same, with what it is given.
    await run(backend, ref, spec)
    env = (await surroundings(backend, ref))["env"]
    assert env["COLOUR"] == "red"
    assert env["CUDA_VISIBLE_DEVICES"] == "0"
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "ROCR_VISIBLE_DEVICES" not in env


async def test_a_device_is_free_only_when_its_instance_is_gone(backend: LocalBackend, ref: ModelRef) -> None:
    first = await run(backend, ref, gpu_spec(3, on_term="ignore"))
    await backend.release(ref, 300)
    await backend.converge(OTHER, member(gpu_spec(1)), 5)
    exit_ = await ended(backend, OTHER)
    assert exit_.failure.code == "no_device"
    assert exit_.failure.message == f"1 GPU needed, 0 free of 3. Held by {ref} ({first.id})."
    assert not exit_.failure.permanent
    assert [i.phase for i in (await backend.observe(ref)).instances] == [InstancePhase.TERMINATING]
    assert (await backend.ledger()).free.devices == 0
    await backend.release(ref, 0)
    await gone(backend, ref)
    assert (await backend.ledger()).free.devices == 3
    await backend.forget(OTHER, (exit_.id,))
    assert (await run(backend, OTHER, gpu_spec(1))).devices == ("0",)


async def test_a_refused_launch_survives_a_restart_until_it_is_forgotten(settings: Settings, ref: ModelRef) -> None:
    first = LocalBackend(settings)
    await first.open()
    await first.converge(ref, member(gpu_spec(4)), 5)
    exit_ = await ended(first, ref)
    await first.close(release=False)
    async with opened(settings) as backend:
        assert await ended(backend, ref) == exit_
        await backend.forget(ref, (exit_.id,))
        assert list(settings.instances_dir.iterdir()) == []


async def test_a_device_that_is_freed_is_given_out_again(backend: LocalBackend, ref: ModelRef) -> None:
    await backend.converge(ref, member(gpu_spec(1), 3), 5)
    instances = await ready(backend, ref, 3)
    assert [i.devices for i in instances] == [("0",), ("1",), ("2",)]
    await backend.converge(ref, member(gpu_spec(1), 2), 5, (instances[1].id,))
    await until(backend, ref, lambda o: len(o.instances) == 2, lambda o: o)
    assert (await run(backend, OTHER, gpu_spec(1))).devices == ("1",)


async def test_more_than_the_machine_has_is_a_problem(home: Path, backend: LocalBackend) -> None:
    spec = replace(worker_spec(), resources=Resources(cpu=4096, gpus=4))
    problems = {p.path: p for p in await backend.check(spec)}
    assert {p.code for p in problems.values()} == {"exceeds_machine"}
    assert problems["resources.gpus"].message == "4 GPUs asked for, and this machine has 3."
    assert f"({machine.total_cpu():g})" in problems["resources.cpu"].message
    (problem,) = await LocalBackend(Settings(home=home, devices="none")).check(gpu_spec(1))
    assert "has none" in problem.message
    assert "MODELYARD_DEVICES=gpu:N" in problem.message
    assert await backend.check(replace(worker_spec(), resources=Resources(cpu=0.5, gpus=3))) == []


# ----------------------------------------------------------------------------------------- found by NVML


class NvmlError(Exception):
    pass


@dataclass
class Gpu:
    uuid: str
    name: str = "NVIDIA H100"
    memory: int | None = 80 * 2**30
    mig: list[Gpu | None] | None = None
    lost: bool = False


@dataclass
class FakeNvml:
    """What nvidia-ml-py would say; names and errors are its own."""

    gpus: list[Gpu] = field(default_factory=list)
    driver: bool = True
    answers: threading.Event = field(default_factory=threading.Event)

    def module(self) -> ModuleType:
        module: Any = ModuleType("pynvml")
        module.NVMLError = NvmlError
        for name in ("NotSupported", "FunctionNotFound", "NotFound"):
            setattr(module, f"NVMLError_{name}", type(f"NVMLError_{name}", (NvmlError,), {}))
        module.NVML_DEVICE_MIG_ENABLE = 1

        def init() -> None:
            self.answers.wait()
            if not self.driver:
                raise NvmlError("Driver Not Loaded")

        def handle(index: int) -> Gpu:
            if self.gpus[index].lost:
                raise NvmlError("GPU is lost")
            return self.gpus[index]

        def mig_mode(gpu: Gpu) -> list[int]:
            if gpu.mig is None:
                raise module.NVMLError_NotSupported("Not Supported")
            return [int(bool(gpu.mig)), 0]

        def part(gpu: Gpu, index: int) -> Gpu:
            assert gpu.mig is not None
            found = gpu.mig[index]
            if found is None:
                raise module.NVMLError_NotFound("Not Found")
            return found

        def memory(gpu: Gpu) -> Any:
            if gpu.memory is None:
                raise module.NVMLError_NotSupported("Not Supported")
            return type("Memory", (), {"total": gpu.memory})

        module.nvmlInit, module.nvmlShutdown = init, lambda: None
        module.nvmlDeviceGetCount = lambda: len(self.gpus)
        module.nvmlDeviceGetHandleByIndex = handle
        module.nvmlDeviceGetUUID = lambda gpu: gpu.uuid
        module.nvmlDeviceGetName = lambda gpu: gpu.name.encode()
        module.nvmlDeviceGetMemoryInfo = memory
        module.nvmlDeviceGetMigMode = mig_mode
        module.nvmlDeviceGetMaxMigDeviceCount = lambda gpu: len(gpu.mig)
        module.nvmlDeviceGetMigDeviceHandleByIndex = part
        return module  # type: ignore[no-any-return]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    fake = FakeNvml([Gpu("GPU-aaaa"), Gpu("GPU-bbbb")])
    fake.answers.set()
    monkeypatch.setitem(sys.modules, "pynvml", fake.module())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield fake
    fake.answers.set()


async def looked(visible: str | None = None) -> Devices:
    found = Devices(None, visible)
    await found.look()
    return found


async def test_gpus_are_found_by_their_uuid(nvml: FakeNvml, home: Path, ref: ModelRef) -> None:
    async with opened(Settings(home=home)) as backend:
        assert (await backend.inventory()).devices == (
            Device(id="GPU-aaaa", name="NVIDIA H100", memory=80 * 2**30),
            Device(id="GPU-bbbb", name="NVIDIA H100", memory=80 * 2**30),
        )
        await run(backend, ref, gpu_spec(2))
        assert (await surroundings(backend, ref))["env"]["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa,GPU-bbbb"


async def test_of_a_divided_gpu_its_parts_are_the_devices(nvml: FakeNvml) -> None:
    nvml.gpus[0].mig = [Gpu("MIG-1", "NVIDIA H100 MIG 1g.10gb", 10 * 2**30), None, Gpu("MIG-2")]
    nvml.gpus[1].mig = []
    assert (await looked()).ids == ("MIG-1", "MIG-2", "GPU-bbbb")


async def test_a_gpu_that_shares_the_machines_memory_is_a_device_too(nvml: FakeNvml) -> None:
    nvml.gpus[0].memory = None
    assert [device.memory for device in (await looked()).present] == [None, 80 * 2**30]


async def test_a_declaration_wins_over_what_is_found(nvml: FakeNvml, home: Path) -> None:
    backend = LocalBackend(Settings(home=home, devices="gpu:1"))
    assert [device.id for device in (await backend.inventory()).devices] == ["0"]
    backend = LocalBackend(Settings(home=home, devices="none"))
    assert (await backend.inventory()).devices == ()


@pytest.mark.parametrize(
    ("visible", "ids"),
    [(None, ("GPU-aaaa", "GPU-bbbb")), ("1", ("GPU-bbbb",)), ("GPU-aa", ("GPU-aaaa",)), ("", ()), ("-1", ())],
)
async def test_what_was_withheld_from_modelyard_itself_is_not_given_out(
    nvml: FakeNvml, visible: str | None, ids: tuple[str, ...]
) -> None:
    assert (await looked(visible)).ids == ids


async def test_a_gpu_that_falls_off_its_bus_leaves_the_inventory_and_is_said_once(
    nvml: FakeNvml, caplog: pytest.LogCaptureFixture
) -> None:
    found = await looked()
    nvml.gpus[0].lost = True
    await found.look()
    await found.look()
    assert found.ids == ("GPU-bbbb",)
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == ["GPU 0 cannot be used: GPU is lost."]
    nvml.gpus[0].lost = False
    await found.look()
    assert found.ids == ("GPU-aaaa", "GPU-bbbb")


@pytest.mark.parametrize("there", [True, False])
async def test_without_the_library_there_are_no_devices_and_a_hint_where_there_could_be(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, there: bool
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(devices, "_NVIDIA", home if there else home / "nvidia0")
    found = await looked()
    await found.look()
    assert found.present == ()
    hints = [r.message for r in caplog.records if "pip install nvidia-ml-py" in r.message]
    assert len(hints) == int(there)


async def test_without_a_driver_there_are_no_devices_until_there_is_one(
    nvml: FakeNvml, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "_NVIDIA", home / "nvidia0")
    nvml.driver = False
    found = await looked()
    assert found.present == ()
    assert not caplog.records
    nvml.driver = True
    await found.look()
    assert found.ids == ("GPU-aaaa", "GPU-bbbb")


async def test_a_driver_that_hangs_holds_up_nobody_and_is_asked_once(
    nvml: FakeNvml, home: Path, ref: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "PATIENCE", 0.2)
    nvml.answers.clear()
    async with opened(Settings(home=home)) as backend:
        assert (await backend.inventory()).devices == ()
        await run(backend, ref, gpu_spec(0))
        look = backend._site.devices.look
        await look()
        await look()
        assert [t.name for t in threading.enumerate()].count("look for devices") == 1
        nvml.answers.set()
        await look()
        assert backend._site.devices.ids == ("GPU-aaaa", "GPU-bbbb")


# ------------------------------------------------------------------------------------------------ cores


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.cfs_quota_us": "25000\n", "cpu.cfs_period_us": "100000\n"}, 0.25),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_cores_are_bounded_by_the_control_group(
    home: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: float | None
) -> None:
    for name, text in files.items():
        (home / name).write_text(text)
    unbounded = machine.total_cpu()
    monkeypatch.setattr(machine, "_control_groups", lambda controller: [home, home / "missing"])
    if cores is None:
        assert machine.total_cpu() >= unbounded
    else:
        assert machine.total_cpu() == cores
