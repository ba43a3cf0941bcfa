"""What an instance's process finds around it, and what it does not."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.backends.local import LocalBackend
from modelyard.backends.local.files import home_id
from modelyard.domain.model import ModelRef
from modelyard.domain.spec import Container, Engine, Resources, Spec
from modelyard.settings import Settings
from tests.backends.conftest import opened
from tests.backends.specs import log_lines, member, run, surroundings, worker_spec
from tests.backends.waiting import ended, gone


async def test_the_specs_environment_is_seen_and_our_secrets_are_not(
    settings: Settings, ref: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_TOKEN", "secret")
    monkeypatch.setenv("MODELYARD_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("INHERITED", "yes")
    container = Container(environment={"COLOUR": "red", "MKL_NUM_THREADS": "7"})
    spec = worker_spec(container=container)
    async with opened(settings) as backend:
        instance = await run(backend, ref, spec)
        env = (await surroundings(backend, ref))["env"]
    assert not {"MODELYARD_TOKEN", "MODELYARD_DATABASE_URL"} & env.keys()
    assert env["INHERITED"] == "yes"
    assert env["COLOUR"] == "red"
    assert env["OMP_NUM_THREADS"] == "1"
    assert env["MKL_NUM_THREADS"] == "7"
    assert env["MODELYARD_INSTANCE"] == instance.id
    assert env["MODELYARD_HOME_ID"] == home_id(settings.home)


async def test_threads_follow_the_cores(backend: LocalBackend, ref: ModelRef) -> None:
    await run(backend, ref, replace(worker_spec(), resources=Resources(cpu=2.5)))
    env = (await surroundings(backend, ref))["env"]
    assert [env[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")] == ["3", "3", "3"]


async def test_an_instance_sees_no_gpu_unless_its_spec_shows_it_one(
    settings: Settings, ref: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    async with opened(settings) as backend:
        await run(backend, ref, worker_spec())
        assert (await surroundings(backend, ref))["env"]["CUDA_VISIBLE_DEVICES"] == ""
        other = replace(ref, uid="u2", name="other")
        await run(backend, other, worker_spec(container=Container(environment={"CUDA_VISIBLE_DEVICES": "1"})))
        assert (await surroundings(backend, other))["env"]["CUDA_VISIBLE_DEVICES"] == "1"


async def test_a_users_own_server_gets_the_same_threads_devices_and_memory(
    backend: LocalBackend, ref: ModelRef
) -> None:
    script = (
        "import os, resource, socket, sys\n"
        "names = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'CUDA_VISIBLE_DEVICES')\n"
        "print([os.environ[n] for n in names], resource.getrlimit(resource.RLIMIT_DATA)[0], flush=True)\n"
        "listening = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "while True: listening.accept()\n"
    )
    options = {"command": [sys.executable, "-c", script, "{port}"]}
    resources = Resources(cpu=1.5, memory=256 * 2**20)
    await run(backend, ref, Spec(engine=Engine.COMMAND, options=options, resources=resources))
    assert await log_lines(backend, ref) == [f"['2', '2', '2', ''] {256 * 2**20}"]


async def test_a_process_leads_a_session_of_its_own_in_a_folder_of_its_own(
    backend: LocalBackend, ref: ModelRef, settings: Settings
) -> None:
    instance = await run(backend, ref, worker_spec())
    found = await surroundings(backend, ref)
    assert found["session"] == found["pid"] == instance.pid
    assert found["cwd"] == str(settings.instances_dir / instance.id)


async def test_records_with_secrets_are_for_their_owner_only(
    backend: LocalBackend, ref: ModelRef, settings: Settings
) -> None:
    instance = await run(backend, ref, worker_spec())
    folder = settings.instances_dir / instance.id
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.glob("*.json")} == {0o600}
    assert folder.with_name(f"{instance.id}.sock").stat().st_mode & 0o777 == 0o600


async def test_no_descriptor_of_ours_leaks_into_the_instance(backend: LocalBackend, ref: ModelRef, home: Path) -> None:
    with (home / "open").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        instance = await run(backend, ref, worker_spec())
        targets = [os.readlink(f"/proc/{instance.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{instance.pid}/fd")]
    assert ours.name not in targets


# --------------------------------------------------------------------------------- a disk that refuses


async def test_a_home_that_cannot_hold_instances_is_an_exit_not_a_crash(settings: Settings, ref: ModelRef) -> None:
    settings.run_dir.mkdir()
    settings.instances_dir.write_text("in the way")
    async with opened(settings) as backend:
        await backend.converge(ref, member(worker_spec()), 5)
        exit_ = await ended(backend, ref)
        assert exit_.failure.code == "storage_error"
        assert f"The instance's files in {settings.instances_dir} cannot be written" in exit_.failure.message
        await backend.forget(ref, (exit_.id,))
        assert (await backend.observe(ref)).exits == ()


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A file system of 64 KiB at the home."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(home)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a file system is not allowed here: {mounted.stderr.decode().strip()}")
    yield home
    subprocess.run(["umount", "--lazy", str(home)], check=True)


async def test_a_full_disk_is_named(small_disk: Path, settings: Settings, ref: ModelRef) -> None:
    async with opened(settings) as backend:
        fill(small_disk / "fill")
        await backend.converge(ref, member(worker_spec()), 5)
        exit_ = await ended(backend, ref)
        assert exit_.failure.code == "storage_error"
        assert "the disk is full" in exit_.failure.message
        (small_disk / "fill").unlink()
        await backend.forget(ref, (exit_.id,))
        await run(backend, ref, worker_spec())


async def test_a_disk_that_fills_up_does_not_keep_an_instance_from_ending(
    small_disk: Path, settings: Settings, ref: ModelRef
) -> None:
    async with opened(settings) as backend:
        await run(backend, ref, worker_spec())
        fill(small_disk / "fill")
        await backend.release(ref, 5)
        await gone(backend, ref)


async def test_a_read_only_disk_is_named(small_disk: Path, settings: Settings, ref: ModelRef) -> None:
    async with opened(settings) as backend:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        await backend.converge(ref, member(worker_spec()), 5)
        exit_ = await ended(backend, ref)
        assert exit_.failure.code == "storage_error"
        assert "the disk is read-only" in exit_.failure.message
        await backend.forget(ref, (exit_.id,))
        assert (await backend.observe(ref)).exits == ()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
