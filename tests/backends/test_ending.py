"""How instances end: asked or not, willing or not, alone or with a family. All against real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from modelyard.backends.local import LocalBackend
from modelyard.backends.local import process as local_process
from modelyard.backends.local.files import home_id
from modelyard.domain.model import InstancePhase, ModelRef
from modelyard.domain.spec import HealthCheck
from modelyard.settings import Settings
from tests.backends.conftest import WORKER, opened
from tests.backends.specs import TARGET, log_lines, member, processes, run, worker_spec
from tests.backends.waiting import ended, gone, ready, until


async def test_a_killed_worker_is_an_exit_that_names_the_signal(
    backend: LocalBackend, ref: ModelRef, settings: Settings
) -> None:
    instance = await run(backend, ref, worker_spec(say=["loading", "half way"]))
    assert instance.pid is not None
    os.kill(instance.pid, signal.SIGKILL)
    exit_ = await ended(backend, ref)
    assert (exit_.id, exit_.target) == (instance.id, TARGET)
    assert exit_.failure.code == "crashed"
    assert exit_.failure.message == "The process was killed by SIGKILL."
    assert exit_.failure.log[:2] == ("loading", "half way")
    assert not exit_.failure.permanent
    assert processes(settings) == set()


async def test_an_exit_names_its_code_and_is_seen_together_with_the_instance_going(
    backend: LocalBackend, ref: ModelRef
) -> None:
    await run(backend, ref, worker_spec(exit_after=0.2, exit_code=7, family="daemon"))
    first = await until(
        backend, ref, lambda o: not o.instances or o.instances[0].phase is not InstancePhase.READY, lambda o: o
    )
    assert first.exits, "an instance that goes without a reason would be replaced without a wait"
    assert first.exits[0].failure.message == "The process exited with code 7."
    await gone(backend, ref)


async def test_an_exit_is_reported_until_it_is_forgotten(
    backend: LocalBackend, ref: ModelRef, settings: Settings
) -> None:
    await run(backend, ref, worker_spec(exit_after=0.05))
    exit_ = await ended(backend, ref)
    assert (settings.instances_dir / exit_.id / "exit.json").is_file()
    await backend.forget(ref, (exit_.id,))
    assert (await backend.observe(ref)).exits == ()
    assert list(settings.instances_dir.iterdir()) == []


async def test_a_load_failure_is_told_in_the_workers_own_words(backend: LocalBackend, ref: ModelRef) -> None:
    await backend.converge(ref, member(worker_spec(load="fail")), 5)
    exit_ = await ended(backend, ref)
    assert exit_.failure.code == "bad_model"
    assert exit_.failure.message == "The model is no model."
    assert exit_.failure.permanent
    assert exit_.failure.log[-1] == "cannot load"


async def test_what_an_exit_carries_is_bounded_however_much_its_worker_says(
    backend: LocalBackend, ref: ModelRef
) -> None:
    spec = worker_spec(load="fail", message="m" * 2**20, say=["s" * 2**20] * 30)
    await backend.converge(ref, member(spec), 5)
    failure = (await ended(backend, ref)).failure
    assert failure.message.startswith("mmm")
    assert len(failure.message) < 2100
    assert failure.log[-1] == "cannot load"
    assert len("".join(failure.log).encode()) <= 4096


async def test_a_worker_that_ignores_the_request_is_killed_after_its_grace(
    backend: LocalBackend, ref: ModelRef
) -> None:
    instance = await run(backend, ref, worker_spec(on_term="ignore"))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await backend.release(ref, 0.5)
    await gone(backend, ref)
    assert 0.5 <= loop.time() - began < 2
    assert "terminating" in await log_lines(backend, ref, instance.id)


async def test_a_shorter_grace_shortens_a_longer_one(backend: LocalBackend, ref: ModelRef) -> None:
    await run(backend, ref, worker_spec(on_term="ignore"))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await backend.release(ref, 300)
    await backend.release(ref, 600)
    await backend.release(ref, 0.2)
    await gone(backend, ref)
    assert loop.time() - began < 2


async def test_without_grace_nothing_is_asked(backend: LocalBackend, ref: ModelRef) -> None:
    await run(backend, ref, worker_spec(on_term="ignore"))
    await backend.release(ref, 0)
    await gone(backend, ref)
    assert "terminating" not in await log_lines(backend, ref)


async def test_a_worker_may_take_its_time_within_the_grace(backend: LocalBackend, ref: ModelRef) -> None:
    await run(backend, ref, worker_spec(on_term=0.4))
    await backend.release(ref, 30)
    assert [i.phase for i in (await backend.observe(ref)).instances] == [InstancePhase.TERMINATING]
    await gone(backend, ref)
    assert (await backend.observe(ref)).exits == ()


@pytest.mark.parametrize("family", ["children", "daemon"])
@pytest.mark.parametrize("grace", [0, 5])
async def test_gone_means_the_whole_tree(
    backend: LocalBackend, ref: ModelRef, settings: Settings, family: str, grace: float
) -> None:
    instance = await run(backend, ref, worker_spec(family=family))
    family_pids = processes(settings)
    assert len(family_pids) == (8 if family == "children" else 2)
    assert instance.processes == len(family_pids)
    assert instance.memory > 2**20
    await backend.release(ref, grace)
    await gone(backend, ref)
    assert not [pid for pid in family_pids if _lives(pid)]
    assert list(settings.instances_dir.iterdir()) == []


@pytest.mark.parametrize("grace", [0, 5])
async def test_a_child_that_keeps_forking_away_does_not_get_away(
    backend: LocalBackend, ref: ModelRef, settings: Settings, grace: float
) -> None:
    await run(backend, ref, worker_spec(family="hopper"))
    await backend.release(ref, grace)
    await gone(backend, ref)
    for _ in range(20):
        assert processes(settings) == set()


async def test_closing_during_a_launch_loses_nothing(settings: Settings, ref: ModelRef) -> None:
    first = LocalBackend(settings, worker=WORKER)
    await first.open()
    await first.converge(ref, member(worker_spec(), 3), 5)
    await first.close(release=False)
    async with opened(settings) as second:
        await ready(second, ref, 3)
    assert processes(settings) == set()


async def test_what_outlives_a_crashed_worker_is_killed_too(
    backend: LocalBackend, ref: ModelRef, settings: Settings
) -> None:
    instance = await run(backend, ref, worker_spec(family="daemon"))
    assert instance.pid is not None
    os.kill(instance.pid, signal.SIGKILL)
    await ended(backend, ref)
    assert processes(settings) == set()


async def test_a_stopped_process_ends_too(backend: LocalBackend, ref: ModelRef) -> None:
    instance = await run(backend, ref, worker_spec())
    assert instance.pid is not None
    os.kill(instance.pid, signal.SIGSTOP)
    await backend.release(ref, 0.2)
    await gone(backend, ref)


async def test_what_cannot_be_killed_is_said_and_stays_in_sight(
    backend: LocalBackend, ref: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(backend, ref, worker_spec(family="daemon"))
    really_send = local_process.send_signal
    monkeypatch.setattr(local_process, "send_signal", lambda process, number: True)
    await backend.release(ref, 0)
    stuck = await until(backend, ref, lambda o: bool(o.instances[0].message), lambda o: o.instances[0])
    assert stuck.phase is InstancePhase.TERMINATING
    assert stuck.message.startswith("1 process(es) cannot be killed yet: ")
    assert "(python" in stuck.message
    monkeypatch.setattr(local_process, "send_signal", really_send)
    await gone(backend, ref)


@pytest.fixture
def stranger(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes that are none of ours, with the given environment."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**environ: bytes) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sleep", "600"], env=environ)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


async def test_strangers_markers_that_are_no_text_stop_nothing(
    backend: LocalBackend, ref: ModelRef, stranger: Callable[..., subprocess.Popen[bytes]], settings: Settings
) -> None:
    home = home_id(settings.home).encode()
    strangers = [
        stranger(MODELYARD_HOME_ID=b"\xff", MODELYARD_INSTANCE=b"a0000000"),
        stranger(MODELYARD_HOME_ID=home, MODELYARD_INSTANCE=b"\xff"),
        stranger(MODELYARD_HOME_ID=home, MODELYARD_INSTANCE=b"../../.."),
    ]
    instance = await run(backend, ref, worker_spec())
    assert processes(settings) == {instance.pid}
    await backend.release(ref, 5)
    await gone(backend, ref)
    async with opened(settings):
        pass
    assert all(process.poll() is None for process in strangers)


@pytest.mark.parametrize("broken", ["logs.excerpt", "files.write_exit", "tree.look", "files.remove_socket"])
async def test_an_exit_is_reported_and_the_instance_gone_whatever_fails_meanwhile(
    backend: LocalBackend, ref: ModelRef, settings: Settings, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    instance = await run(backend, ref, worker_spec(family="daemon"))
    repair = break_once(monkeypatch, backend, broken)
    assert instance.pid is not None
    os.kill(instance.pid, signal.SIGKILL)
    exit_ = await ended(backend, ref)
    assert exit_.failure.message == "The process was killed by SIGKILL."
    assert processes(settings) == set()
    assert repair.is_set()


@pytest.mark.parametrize("broken", ["files.mark_releasing", "tree.look", "_handle.signal", "files.remove_socket"])
async def test_an_asked_for_end_is_finished_whatever_fails_meanwhile(
    backend: LocalBackend, ref: ModelRef, settings: Settings, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    await run(backend, ref, worker_spec(family="daemon"))
    repair = break_once(monkeypatch, backend, broken)
    await backend.release(ref, 0.5)
    await gone(backend, ref)
    assert (await backend.observe(ref)).exits == ()
    assert processes(settings) == set()
    assert repair.is_set()


def break_once(monkeypatch: pytest.MonkeyPatch, backend: LocalBackend, what: str) -> asyncio.Event:
    """Let the only instance's ``what`` fail the first time it is called; set once it has."""
    (instance,) = backend._all()
    owner, name = what.split(".")
    target = backend._logs if owner == "logs" else getattr(instance, owner)
    really = getattr(type(target), name)
    failed = asyncio.Event()

    def fail_once(self: object, *args: object) -> object:
        if self is target and not failed.is_set():
            failed.set()
            raise RuntimeError("broken for a test")
        return really(self, *args)

    # On the class, because some have slots.
    monkeypatch.setattr(type(target), name, fail_once)
    return failed


async def test_ending_waits_out_a_lack_of_descriptors_and_takes_nothing_for_gone_meanwhile(
    backend: LocalBackend,
    ref: ModelRef,
    settings: Settings,
    no_descriptors: Callable[[], AbstractContextManager[None]],
) -> None:
    await run(backend, ref, worker_spec(family="daemon"))
    with no_descriptors():
        await backend.release(ref, 0)
        said = await until(
            backend, ref, lambda o: not o.instances or "tried again" in o.instances[0].message, lambda o: o
        )
        assert said.instances, "what could not be looked for was taken for gone"
        assert said.instances[0].phase is InstancePhase.TERMINATING
        assert "Too many open files" in said.instances[0].message
    await gone(backend, ref)
    assert processes(settings) == set()


async def test_closing_takes_no_longer_than_the_instances_take_to_end(settings: Settings, ref: ModelRef) -> None:
    backend = LocalBackend(settings, worker=WORKER)
    await backend.open()
    await run(backend, ref, worker_spec(on_term=0.3))
    await backend.converge(replace(ref, uid="u2", name="hanging"), member(worker_spec(load="hang")), 5)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await backend.close(release=True)
    assert 0.3 <= loop.time() - began < 2
    assert processes(settings) == set()


async def test_closing_with_release_ends_everything_and_without_it_nothing(settings: Settings, ref: ModelRef) -> None:
    first = LocalBackend(settings, worker=WORKER)
    await first.open()
    instance = await run(first, ref, worker_spec())
    await first.close(release=False)
    assert processes(settings) == {instance.pid}
    second = LocalBackend(settings, worker=WORKER)
    await second.open()
    assert [i.id for i in (await second.observe(ref)).instances] == [instance.id]
    await second.close(release=True)
    assert processes(settings) == set()
    assert list(settings.instances_dir.iterdir()) == []


async def test_usage_counts_the_memory_of_the_whole_tree(backend: LocalBackend, ref: ModelRef) -> None:
    instance = await run(backend, ref, worker_spec(family="children"))
    usage = await backend.usage()
    assert usage.keys() == {instance.id}
    assert usage[instance.id] > 8 * 2**20


async def test_a_start_that_hangs_times_out(backend: LocalBackend, ref: ModelRef, settings: Settings) -> None:
    check = HealthCheck(start_period=0.5)
    await backend.converge(ref, member(worker_spec(load="hang", check=check)), 5)
    exit_ = await ended(backend, ref)
    assert exit_.failure.code == "start_timeout"
    assert "500ms" in exit_.failure.message
    assert processes(settings) == set()


def _lives(pid: int) -> bool:
    stat = local_process.read_stat(pid)
    return stat is not None and not stat.gone
