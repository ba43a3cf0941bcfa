"""A control process is killed with -9; the next one finds everything. Real processes throughout."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.local import LocalBackend
from modelyard.backends.local import process as local_process
from modelyard.backends.local.files import InstanceFiles, home_id
from modelyard.backends.local.process import ProcessId, identify, read_stat, send_signal
from modelyard.domain.model import InstancePhase, ModelRef
from modelyard.domain.spec import HealthCheck, Resources
from modelyard.settings import Settings
from tests.backends.conftest import WORKER, opened
from tests.backends.specs import TARGET, log_lines, member, processes, run, worker_spec
from tests.backends.waiting import ended, gone, ready, until

ROOT = Path(__file__).parents[2]


class Control:
    """A control process that may be killed."""

    def __init__(
        self, home: Path, replicas: int, options: dict[str, Any], *, devices: str = "none", gpus: int = 0
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.backends.control", str(home), json.dumps(options), str(replicas), str(gpus)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(["src", str(ROOT / "src")]),
                "MODELYARD_DEVICES": devices,
            },
        )  # fmt: skip

    async def hear(self, word: str) -> list[str]:
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            said = await asyncio.to_thread(self._process.stdout.readline)
        assert said.split()[:1] == [word], said
        return said.split()[1:]

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        with self._process:
            self._process.kill()


async def kill_and_wait(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while (stat := read_stat(pid)) is not None and not stat.gone:
            await asyncio.sleep(0.005)


async def test_running_instances_are_adopted_as_they_are(settings: Settings, ref: ModelRef) -> None:
    first = Control(settings.home, 2, {"family": "daemon"})
    ids = await first.hear("ready")
    first.kill()
    before = processes(settings)
    async with opened(settings) as backend:
        adopted = (await backend.observe(ref)).instances
        assert [i.id for i in sorted(adopted, key=lambda i: ids.index(i.id))] == ids
        assert {i.phase for i in adopted} == {InstancePhase.READY}
        assert {i.target for i in adopted} == {TARGET}
        assert all(i.metadata["platform"] == "test" and i.processes == 2 and i.memory for i in adopted)
        assert (await backend.observe(ref)).exits == ()
        assert processes(settings) == before
        await backend.converge(ref, member(worker_spec(), 2), 5)
        assert {i.id for i in (await backend.observe(ref)).instances} == set(ids)
        await backend.release(ref, 5)
        await gone(backend, ref)
        assert processes(settings) == set()


async def test_adopted_instances_keep_their_devices_and_nobody_else_gets_them(home: Path, ref: ModelRef) -> None:
    first = Control(home, 2, {}, devices="gpu:3", gpus=1)
    ids = await first.hear("ready")
    first.kill()
    settings = Settings(home=home, devices="gpu:3")
    async with opened(settings) as backend:
        adopted = {i.id: i for i in (await backend.observe(ref)).instances}
        assert [adopted[id_].devices for id_ in ids] == [("0",), ("1",)]
        assert {i.held.devices for i in adopted.values()} == {1}
        assert {h.instance: h.devices for h in (await backend.ledger()).holdings} == {
            ids[0]: ("0",), ids[1]: ("1",),
        }  # fmt: skip
        other = ModelRef("u2", "default", "wine")
        newcomer = await run(backend, other, replace(worker_spec(), resources=Resources(gpus=1)))
        assert newcomer.devices == ("2",)
        for id_ in ids:
            pid = adopted[id_].pid
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert f"CUDA_VISIBLE_DEVICES={adopted[id_].devices[0]}".encode() in environ


async def test_a_device_that_is_no_longer_there_is_no_part_of_the_ledger(home: Path, ref: ModelRef) -> None:
    first = Control(home, 1, {}, devices="gpu:2", gpus=2)
    await first.hear("ready")
    first.kill()
    async with opened(Settings(home=home, devices="gpu:1")) as backend:
        (adopted,) = (await backend.observe(ref)).instances
        assert adopted.devices == ("0", "1")
        assert adopted.held.devices == 1
        assert (await backend.ledger()).free.devices == 0


async def test_an_instance_that_was_loading_is_adopted_and_becomes_ready(settings: Settings, ref: ModelRef) -> None:
    first = LocalBackend(settings, worker=WORKER)
    await first.open()
    await first.converge(ref, member(worker_spec()), 5)
    (instance,) = await until(first, ref, lambda o: o.instances[0].pid is not None, lambda o: o.instances)
    await first.close(release=False)
    async with opened(settings) as backend:
        (adopted,) = await ready(backend, ref, 1)
        assert (adopted.id, adopted.pid) == (instance.id, instance.pid)


async def test_an_adopted_instance_is_watched_like_any_other(settings: Settings, ref: ModelRef) -> None:
    first = Control(settings.home, 1, {})
    (id_,) = await first.hear("ready")
    first.kill()
    async with opened(settings) as backend:
        (instance,) = (await backend.observe(ref)).instances
        assert instance.pid is not None
        os.kill(instance.pid, signal.SIGKILL)
        exit_ = await ended(backend, ref)
        assert (exit_.id, exit_.failure.code) == (id_, "crashed")
        assert exit_.failure.log


async def test_an_end_that_nobody_watched_is_an_exit_with_its_reason(settings: Settings, ref: ModelRef) -> None:
    first = Control(settings.home, 1, {"say": ["last words"]})
    (id_,) = await first.hear("ready")
    (pid,) = processes(settings)
    first.kill()
    await kill_and_wait(pid)
    async with opened(settings) as backend:
        exit_ = await ended(backend, ref)
        assert exit_.id == id_
        assert exit_.failure.message == "The process ended while no control process was watching."
        assert "last words" in exit_.failure.log


async def test_a_load_failure_that_nobody_watched_keeps_its_reason(settings: Settings, ref: ModelRef) -> None:
    first = LocalBackend(settings, worker=WORKER)
    await first.open()
    await first.converge(ref, member(worker_spec(load="hang")), 5)
    (instance,) = await until(first, ref, lambda o: o.instances[0].pid is not None, lambda o: o.instances)
    await first.close(release=False)
    assert instance.pid is not None
    await kill_and_wait(instance.pid)
    failure = {"code": "out_of_memory", "message": "It is too big.", "permanent": True}
    (settings.instances_dir / instance.id / "failure.json").write_text(json.dumps(failure))
    async with opened(settings) as backend:
        assert (await ended(backend, ref)).failure.code == "out_of_memory"


async def test_exits_survive_until_they_are_forgotten(settings: Settings, ref: ModelRef) -> None:
    first = LocalBackend(settings, worker=WORKER)
    await first.open()
    await run(first, ref, worker_spec(exit_after=0.05))
    exit_ = await ended(first, ref)
    await first.close(release=False)
    async with opened(settings) as backend:
        assert await ended(backend, ref) == exit_
        await backend.forget(ref, (exit_.id,))
    async with opened(settings) as backend:
        assert (await backend.observe(ref)).exits == ()
    assert list(settings.instances_dir.iterdir()) == []


async def test_an_end_that_was_asked_for_is_no_exit_after_a_crash(settings: Settings, ref: ModelRef) -> None:
    first = Control(settings.home, 1, {"on_term": "ignore", "family": "daemon"})
    (id_,) = await first.hear("ready")
    first.say("300")
    await first.hear("releasing")
    async with asyncio.timeout(10):
        while not (settings.instances_dir / id_ / "releasing").exists():
            await asyncio.sleep(0.01)
    first.kill()
    async with opened(settings) as backend:
        assert [i.phase for i in (await backend.observe(ref)).instances] == [InstancePhase.TERMINATING]
        await backend.release(ref, 0.1)
        await gone(backend, ref)
        assert (await backend.observe(ref)).exits == ()
    assert processes(settings) == set()


async def test_an_impostor_on_the_socket_is_not_adopted(settings: Settings, ref: ModelRef) -> None:
    first = Control(settings.home, 1, {"impostor": True})
    await first.hear("ready")
    first.kill()
    async with opened(settings) as backend:
        exit_ = await ended(backend, ref)
        assert exit_.failure.code == "adoption_failed"
    assert processes(settings) == set()


async def test_a_worker_that_hangs_at_adoption_is_left_to_its_health_check(settings: Settings, ref: ModelRef) -> None:
    check = HealthCheck(interval=0.1, timeout=0.3, retries=2)
    first = LocalBackend(settings, worker=WORKER)
    await first.open()
    instance = await run(first, ref, worker_spec(check=check))
    await first.close(release=False)
    assert instance.pid is not None
    os.kill(instance.pid, signal.SIGSTOP)
    async with opened(settings) as backend:
        assert [i.phase for i in (await backend.observe(ref)).instances] == [InstancePhase.READY]
        assert (await ended(backend, ref)).failure.code == "unhealthy"


async def test_processes_without_a_folder_are_killed(settings: Settings) -> None:
    env = {**os.environ, "MODELYARD_INSTANCE": "lost0000", "MODELYARD_HOME_ID": home_id(settings.home)}
    other = {**env, "MODELYARD_HOME_ID": home_id(settings.home / "other")}
    sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleep, env=env) as orphan, subprocess.Popen(sleep, env=other) as neighbour:
        async with opened(settings):
            assert await asyncio.to_thread(orphan.wait, 10) == -signal.SIGKILL
            assert neighbour.poll() is None
        neighbour.kill()


async def test_a_folder_without_a_process_is_cleaned_away(settings: Settings, ref: ModelRef) -> None:
    async with opened(settings) as backend:
        instance = await run(backend, ref, worker_spec())
        files = InstanceFiles(settings.instances_dir, instance.id)
        launched = (files.folder / "launch.json").read_bytes()
    files.folder.mkdir(parents=True)
    (files.folder / "launch.json").write_bytes(launched)
    half_written = settings.instances_dir / "halfdone"
    half_written.mkdir()
    (settings.instances_dir / "socket00.sock").touch()
    async with opened(settings) as backend:
        await gone(backend, ref)
        assert (await backend.observe(ref)).exits == ()
        async with asyncio.timeout(10):
            while list(settings.instances_dir.iterdir()):
                await asyncio.sleep(0.01)


async def test_a_process_that_was_started_but_not_recorded_is_ended(settings: Settings, ref: ModelRef) -> None:
    first = LocalBackend(settings, worker=WORKER)
    await first.open()
    instance = await run(first, ref, worker_spec())
    await first.close(release=False)
    (settings.instances_dir / instance.id / "main.json").unlink()
    async with opened(settings) as backend:
        await gone(backend, ref)
        assert (await backend.observe(ref)).exits == ()
    assert processes(settings) == set()


@pytest.mark.parametrize("where", ["pid", "boot"])
async def test_a_stranger_with_a_reused_pid_is_never_signalled(settings: Settings, ref: ModelRef, where: str) -> None:
    first = LocalBackend(settings, worker=WORKER)
    await first.open()
    instance = await run(first, ref, worker_spec())
    await first.close(release=False)
    assert instance.pid is not None
    os.kill(instance.pid, signal.SIGKILL)
    # A stranger, in a session of its own, gets the number that the record names.
    sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleep, start_new_session=True) as stranger:
        record = settings.instances_dir / instance.id / "main.json"
        main = json.loads(record.read_text())
        own = identify(stranger.pid)
        assert own is not None
        changed = {"pid": {"pid": stranger.pid}, "boot": {"pid": own.pid, "ticks": own.ticks, "boot": "another"}}
        record.write_text(json.dumps(main | changed[where]))
        async with opened(settings) as backend:
            assert (await ended(backend, ref)).failure.code == "crashed"
        assert stranger.poll() is None
        assert not send_signal(ProcessId(stranger.pid, own.ticks - 1), signal.SIGKILL)
        stranger.kill()


async def test_without_pidfds_ends_are_seen_all_the_same(
    settings: Settings, ref: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pidfd(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(local_process.os, "pidfd_open", no_pidfd)
    first = Control(settings.home, 1, {})
    await first.hear("ready")
    first.kill()
    async with opened(settings) as backend:
        await backend.converge(ref, member(worker_spec(), 2), 5)
        instances = await ready(backend, ref, 2)
        for instance in instances:
            assert instance.pid is not None
            os.kill(instance.pid, signal.SIGKILL)
        observed = await until(backend, ref, lambda o: len(o.exits) == 2 and not o.instances, lambda o: o)
        assert {e.failure.code for e in observed.exits} == {"crashed"}
        await run(backend, ModelRef("u2", "default", "wine"), worker_spec(family="daemon"))
    assert processes(settings) == set()


async def test_the_log_goes_on_across_control_processes(settings: Settings, ref: ModelRef) -> None:
    first = Control(settings.home, 1, {"say": ["hello"]})
    (id_,) = await first.hear("ready")
    first.kill()
    async with opened(settings) as backend:
        await backend.release(ref, 5)
        await gone(backend, ref)
        lines = await log_lines(backend, ref, id_)
    assert lines[0] == "hello"
    assert lines[-1] == "terminating"
