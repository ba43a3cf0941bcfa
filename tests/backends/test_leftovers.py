"""What no model has any more is found and cleared; what one has never is, however young it is."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from modelyard.backends.local import LocalBackend, leftovers
from modelyard.backends.local.files import InstanceFiles, home_id
from modelyard.backends.local.process import Census, read_stat
from modelyard.backends.port import Orphan
from modelyard.domain.errors import Unavailable
from modelyard.domain.model import ModelRef
from modelyard.settings import Settings
from tests.backends.conftest import WORKER
from tests.backends.specs import member, processes, run, worker_spec
from tests.backends.waiting import gone, until

WEEKS = 14 * 86_400


@pytest.fixture
def lost(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes that are marked as those of an instance that is on no record."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str = "print('up', flush=True); import time; time.sleep(600)") -> subprocess.Popen[bytes]:
        env = {**os.environ, "MODELYARD_INSTANCE": "lost0000", "MODELYARD_HOME_ID": home_id(settings.home)}
        process = subprocess.Popen([sys.executable, "-S", "-c", code], env=env, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def found(backend: LocalBackend, *known: str) -> dict[tuple[str, str], Orphan]:
    return {(orphan.kind, orphan.id): orphan for orphan in await backend.orphans(known)}


async def clear_all(backend: LocalBackend, *known: str) -> None:
    for orphan in await backend.orphans(known):
        await backend.clear(orphan)
        await backend.clear(orphan)


# -------------------------------------------------------------------------------------------- processes


async def test_a_process_of_no_instance_is_found_and_asked_to_end(
    backend: LocalBackend, ref: ModelRef, lost: Callable[..., subprocess.Popen[bytes]], settings: Settings
) -> None:
    instance = await run(backend, ref, worker_spec())
    process = lost()
    stat = read_stat(process.pid)
    assert stat is not None
    (orphan,) = (await found(backend, ref.uid)).values()
    assert (orphan.kind, orphan.id) == ("process", f"{process.pid}:{stat.id.ticks}")
    assert "of instance lost0000" in orphan.message
    assert "time.sleep(600)" in orphan.message
    await backend.clear(orphan)
    assert process.wait() == -signal.SIGTERM
    await backend.clear(orphan)
    assert await found(backend, ref.uid) == {}
    assert processes(settings) == {instance.pid}


async def test_one_that_ignores_the_request_is_killed_with_its_children(
    backend: LocalBackend,
    lost: Callable[..., subprocess.Popen[bytes]],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leftovers, "_GRACE", 0.2)
    # The child leaves no marker in its environment: only its descent tells whose it is.
    process = lost(
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'], env={});"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    (child,) = _children(process.pid)
    await clear_all(backend)
    assert process.wait() == -signal.SIGKILL
    stat = read_stat(child)
    assert stat is None or stat.gone


async def test_what_was_not_found_is_not_touched(
    backend: LocalBackend, ref: ModelRef, lost: Callable[..., subprocess.Popen[bytes]], settings: Settings
) -> None:
    instance = await run(backend, ref, worker_spec())
    process = lost()
    assert instance.pid is not None
    for pid in (instance.pid, process.pid):
        stat = read_stat(pid)
        assert stat is not None
        orphan = Orphan(kind="process", id=f"{pid}:{stat.id.ticks}", message="")
        with pytest.raises(Unavailable, match="look again"):
            await backend.clear(orphan)
    for kind, id_ in (("folder", instance.id), ("folder", "../.."), ("log", "default/digits/u1"), ("route", "u1")):
        with pytest.raises(Unavailable, match="look again"):
            await backend.clear(Orphan(kind=kind, id=id_, message=""))
    assert processes(settings) == {instance.pid, process.pid}


async def test_another_process_with_the_number_of_one_that_was_found_is_left_alone(
    backend: LocalBackend, lost: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = lost()
    (orphan,) = (await found(backend)).values()
    pid, ticks = orphan.id.split(":")
    stale = Orphan(kind="process", id=f"{pid}:{int(ticks) - 1}", message="")
    backend._leftovers._found.add((stale.kind, stale.id))
    await backend.clear(stale)
    assert process.poll() is None


async def test_what_cannot_be_ended_says_so(
    backend: LocalBackend, lost: Callable[..., subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = lost()
    monkeypatch.setattr(leftovers, "_GRACE", 0.1)
    monkeypatch.setattr(leftovers, "_KILL_TAKES", 0.3)
    monkeypatch.setattr(leftovers.process, "send_signal", lambda process, number: True)
    (orphan,) = (await found(backend)).values()
    with pytest.raises(Unavailable, match=f"Process {process.pid} does not end."):
        await backend.clear(orphan)
    monkeypatch.undo()
    await backend.clear(orphan)
    assert process.wait() == -signal.SIGTERM


async def test_instances_of_a_model_that_is_lost_are_found_once_they_are_no_longer_new(
    backend: LocalBackend, ref: ModelRef, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = await run(backend, ref, worker_spec())
    assert await found(backend) == {}, "it may have been created after the caller looked at the models"
    monkeypatch.setattr(leftovers, "SETTLED", timedelta(0))
    (orphan,) = (await found(backend)).values()
    assert orphan.kind == "process"
    assert f"Instance {instance.id} of {ref}" in orphan.message
    await backend.clear(orphan)
    assert (await backend.observe(ref)).instances == ()
    assert (await backend.observe(ref)).exits == ()
    assert processes(settings) == set()


# ---------------------------------------------------------------------- what is just being launched


async def test_a_launch_is_never_left_over_at_any_moment_of_it(backend: LocalBackend, ref: ModelRef) -> None:
    for _ in range(5):
        await backend.converge(ref, member(worker_spec(), 3), 5)
        ready = asyncio.ensure_future(until(backend, ref, lambda o: all(i.metadata for i in o.instances), lambda o: o))
        looks = 0
        while not ready.done():
            assert await found(backend, ref.uid) == {}
            assert await found(backend) == {}
            looks += 1
        assert looks
        ending = asyncio.ensure_future(gone(backend, ref))
        await backend.release(ref, 0)
        while not ending.done():
            assert await found(backend, ref.uid) == {}


async def test_a_launch_that_begins_while_one_looks_is_not_left_over(
    backend: LocalBackend, ref: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look stands still with nothing on record, and goes on when the process runs."""
    looking, go_on = threading.Event(), threading.Event()

    class Slow(Census):
        def __init__(self, home: str) -> None:
            looking.set()
            assert go_on.wait(20)
            super().__init__(home)

    monkeypatch.setattr(leftovers, "Census", Slow)
    look = asyncio.ensure_future(found(backend, ref.uid))
    await asyncio.to_thread(looking.wait, 20)
    instance = await run(backend, ref, worker_spec())
    go_on.set()
    assert await look == {}
    assert [i.id for i in (await backend.observe(ref)).instances] == [instance.id]


async def test_a_launch_that_has_only_its_folder_is_not_left_over(
    backend: LocalBackend, ref: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    created, go_on = threading.Event(), threading.Event()
    really_bind = InstanceFiles.bind

    def slow_bind(files: InstanceFiles) -> object:
        listener = really_bind(files)
        created.set()
        assert go_on.wait(20)
        return listener

    monkeypatch.setattr(InstanceFiles, "bind", slow_bind)
    await backend.converge(ref, member(worker_spec()), 5)
    await asyncio.to_thread(created.wait, 20)
    assert await found(backend, ref.uid) == {}
    assert await found(backend) == {}
    go_on.set()
    await until(backend, ref, lambda o: bool(o.instances[0].metadata), lambda o: o)


# ------------------------------------------------------------------------------------------------ files


async def test_folders_and_sockets_of_no_instance_are_found_and_removed(
    backend: LocalBackend, ref: ModelRef, settings: Settings
) -> None:
    instance = await run(backend, ref, worker_spec())
    (settings.instances_dir / "folder00").mkdir()
    (settings.instances_dir / "folder00" / "launch.json").touch()
    (settings.instances_dir / "folder00.sock").touch()
    (settings.instances_dir / "socket00.sock").touch()
    assert set(await found(backend, ref.uid)) == {("folder", "folder00"), ("socket", "socket00.sock")}
    await clear_all(backend, ref.uid)
    assert {path.name for path in settings.instances_dir.iterdir()} == {instance.id, f"{instance.id}.sock"}


async def test_an_exit_that_is_still_to_be_reported_keeps_its_folder(backend: LocalBackend, ref: ModelRef) -> None:
    await run(backend, ref, worker_spec(exit_after=0.05))
    await until(backend, ref, lambda o: bool(o.exits) and not o.instances, lambda o: o)
    assert await found(backend, ref.uid) == {}


async def test_logs_of_deleted_models_are_left_over_after_a_week(
    backend: LocalBackend, ref: ModelRef, settings: Settings
) -> None:
    logs = {uid: settings.logs_dir / "instances" / "default" / "digits" / uid for uid in ("old", "young", "known")}
    for uid, folder in logs.items():
        folder.mkdir(parents=True)
        (folder / "a0000000.log").write_text("why it failed\n")
        if uid != "young":
            for path in (folder / "a0000000.log", folder):
                os.utime(path, (time.time() - WEEKS,) * 2)
    (orphan,) = (await found(backend, "known")).values()
    assert (orphan.kind, orphan.id) == ("log", "default/digits/old")
    assert "14 d ago" in orphan.message
    # One that is written to again after all is kept.
    (logs["old"] / "a0000000.log").write_text("more\n")
    await backend.clear(orphan)
    assert logs["old"].exists()
    os.utime(logs["old"] / "a0000000.log", (time.time() - WEEKS,) * 2)
    os.utime(logs["old"], (time.time() - WEEKS,) * 2)
    await clear_all(backend, "known")
    assert {uid for uid, folder in logs.items() if folder.exists()} == {"young", "known"}


async def test_routes_of_no_model_are_left_over_once_they_are_no_longer_new(
    backend: LocalBackend, settings: Settings
) -> None:
    settings.routes_dir.mkdir(parents=True)
    for uid in ("old", "young", "known"):
        path = settings.routes_dir / f"{uid}.json"
        path.write_text("{}")
        if uid != "young":
            os.utime(path, (time.time() - 3600,) * 2)
    assert set(await found(backend, "known")) == {("route", "old")}
    await clear_all(backend, "known")
    assert {path.stem for path in settings.routes_dir.iterdir()} == {"young", "known"}


async def test_a_home_with_nothing_in_it_has_nothing_left_over(settings: Settings, home: Path) -> None:
    backend = LocalBackend(Settings(home=home / "new"), worker=WORKER)
    assert list(await backend.orphans(())) == []


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
