"""Workers forked from a warm parent: they are what fresh ones are, and nothing depends on the parent. Real
processes throughout."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from modelyard.backends.local import LocalBackend, launching, machine, warm
from modelyard.backends.local.process import ProcessId, is_alive, read_stat
from modelyard.domain.model import Instance, InstancePhase, ModelRef
from modelyard.domain.spec import Container, Engine, Resources, Spec
from modelyard.runtime.engines import ENGINES
from modelyard.runtime.frames import Head, connect
from modelyard.settings import Settings
from tests.backends.specs import log_lines, member, processes, run
from tests.backends.waiting import ended, gone, ready

ROOT = Path(__file__).parents[2]
# What a worker finds around it, said when its model is loaded.
MODEL = """
import gc, json, os, random, resource, signal, sys, uuid
import numpy

class Model:
    def load(self, folder):
        import numpy.random
        status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
        shm = os.statvfs("/dev/shm")
        print("found", json.dumps({
            "forked": "modelyard.runtime.engines.mock" in sys.modules,
            "environ": dict(os.environ),
            "shown": sorted(open("/proc/self/environ").read().split("\\0")[:-1]),
            "command": open("/proc/self/cmdline").read().split("\\0")[:-1],
            "main": sys.modules["__main__"].__file__,
            "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path[:-1], "flags": list(sys.flags),
            "cwd": os.getcwd(), "umask": status["Umask"], "nice": os.nice(0),
            "own_session": os.getsid(0) == os.getpid(), "own_group": os.getpgid(0) == os.getpid(),
            "signals": [status[name] for name in ("SigBlk", "SigIgn", "SigCgt")],
            "limits": [resource.getrlimit(n) for n in (
                resource.RLIMIT_DATA, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS)],
            "oom": open("/proc/self/oom_score_adj").read(),
            "capabilities": status["CapEff"], "affinity": sorted(os.sched_getaffinity(0)),
            "stdin": os.readlink("/proc/self/fd/0"),
            "open": sorted(re for fd in os.listdir("/proc/self/fd") for re in [fd] if is_file(fd)),
            "shm": shm.f_blocks * shm.f_frsize,
            "inheritable": [os.get_inheritable(int(os.environ["MODELYARD_SOCKET_FD"]))],
        }), flush=True)
        print("random", random.random(), numpy.random.random(), uuid.uuid4(), flush=True)

    def predict(self, inputs):
        os._exit(7)

def is_file(fd):
    try:
        return os.path.isfile(os.readlink(f"/proc/self/fd/{fd}"))
    except OSError:
        return False
"""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "_LATER", 0.0)
    monkeypatch.setattr(warm, "_TRY_AGAIN", (0.0, 300.0))
    monkeypatch.setattr(warm, "_ALWAYS", frozenset())


@pytest.fixture
def spec(home: Path) -> Spec:
    (home / "model").mkdir()
    (home / "model" / "model.py").write_text(MODEL)
    return Spec(engine=Engine.PYTHON, source=str(home / "model"))


@asynccontextmanager
async def opened(settings: Settings, family: str = "python") -> AsyncIterator[LocalBackend]:
    """A backend with a parent for workers, those of the mock and python engines if no others."""
    settings.warm_dir.mkdir(parents=True)
    (settings.warm_dir / family).touch()
    backend = LocalBackend(settings)
    await backend.open()
    await parent_of(backend, family=family)
    try:
        yield backend
    finally:
        await backend.close(release=True)


@pytest.fixture
async def backend(settings: Settings) -> AsyncIterator[LocalBackend]:
    async with opened(settings) as backend:
        yield backend


async def parent_of(backend: LocalBackend, other_than: int | None = None, family: str = "python") -> int:
    """The process id of the parent, once it can fork."""
    assert backend._site.warm is not None
    async with asyncio.timeout(20):
        while True:
            kept = backend._site.warm._families.get(family)
            if kept is not None and kept.parent is not None and kept.parent.handle.id.pid != other_than:
                return kept.parent.handle.id.pid
            await asyncio.sleep(0.01)


async def start(backend: LocalBackend, spec: Spec, uid: str) -> tuple[Instance, dict[str, Any]]:
    """One instance of a model of its own, and what it says that it found."""
    ref = ModelRef(uid, "default", uid)
    instance = await run(backend, ref, spec)
    return instance, json.loads(await said(backend, ref, "found"))


async def said(backend: LocalBackend, ref: ModelRef, word: str) -> str:
    """What its log says after that word."""
    return next(line for line in await log_lines(backend, ref) if line.startswith(f"{word} ")).partition(" ")[2]


async def test_a_forked_worker_finds_all_that_a_fresh_one_finds(
    settings: Settings, spec: Spec, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    monkeypatch.setenv("MODELYARD_TOKEN", "secret")
    size = 8 * 2**20 if machine.shared_memory_refusal() is None else None
    spec = replace(
        spec,
        resources=Resources(memory=300 * 2**20),
        container=Container(environment={"COLOUR": "réd", "EMPTY": ""}, shared_memory=size),
    )
    async with opened(settings) as backend:
        forked_instance, forked = await start(backend, spec, "u1")
        backend._site.warm._open = False  # type: ignore[union-attr]
        fresh_instance, fresh = await start(backend, spec, "u2")
    assert (forked.pop("forked"), fresh.pop("forked")) == (True, False)
    assert forked["environ"]["MODELYARD_INSTANCE"] == forked_instance.id
    assert forked["environ"]["COLOUR"] == "réd"
    assert "MODELYARD_TOKEN" not in forked["environ"]
    told = json.dumps([forked, fresh])
    told = re.sub(r'(MODELYARD_SOCKET_FD(=|": "))\d+', r"\1", told).replace(forked_instance.id, fresh_instance.id)
    forked, fresh = json.loads(told)
    # Descriptors that were passed on at an execution can be passed on again; there is no reason for it.
    assert (forked.pop("inheritable"), fresh.pop("inheritable")) == ([False], [True])
    for name in fresh:
        assert forked[name] == fresh[name], name


async def test_forked_workers_share_no_randomness(backend: LocalBackend, spec: Spec) -> None:
    drawn: list[str] = []
    for uid in ("u1", "u2", "u3"):
        _, found = await start(backend, spec, uid)
        assert found["forked"]
        drawn += (await said(backend, ModelRef(uid, "default", uid), "random")).split()
    assert len(set(drawn)) == 9


async def test_how_a_forked_worker_ended_is_known_also_without_its_parent(
    backend: LocalBackend, spec: Spec, ref: ModelRef
) -> None:
    for number, kill_parent in ((signal.SIGKILL, False), (signal.SIGSEGV, True)):
        parent = await parent_of(backend)
        instance = await run(backend, ref, spec)
        assert instance.pid is not None
        assert read_stat(instance.pid).parent == os.getpid()  # type: ignore[union-attr]
        if kill_parent:
            os.kill(parent, signal.SIGKILL)
        os.kill(instance.pid, number)
        exit_ = await ended(backend, ref)
        assert exit_.failure.message == f"The process was killed by {number.name}."
        await backend.forget(ref, (exit_.id,))


async def test_what_a_forked_worker_exits_with_is_reported(backend: LocalBackend, home: Path, ref: ModelRef) -> None:
    (home / "bad").mkdir()
    (home / "bad" / "model.py").write_text("import os\nos._exit(7)\n")
    await backend.converge(ref, member(Spec(engine=Engine.PYTHON, source=str(home / "bad"))), 5)
    assert "exited with code 7" in (await ended(backend, ref)).failure.message


async def test_a_model_that_does_not_load_says_why_when_forked(
    backend: LocalBackend, home: Path, ref: ModelRef
) -> None:
    (home / "bad").mkdir()
    (home / "bad" / "model.py").write_text("import nothing_of_that_name\n")
    await backend.converge(ref, member(Spec(engine=Engine.PYTHON, source=str(home / "bad"))), 5)
    assert (await ended(backend, ref)).failure.code == "missing_module"


async def test_a_killed_parent_fails_no_start_and_is_replaced(backend: LocalBackend, spec: Spec) -> None:
    parent = await parent_of(backend)
    os.kill(parent, signal.SIGKILL)
    _, found = await start(backend, spec, "u1")
    await parent_of(backend, other_than=parent)
    _, later = await start(backend, spec, "u2")
    assert (found["forked"], later["forked"]) == (False, True)


async def test_a_parent_that_hangs_fails_no_start_and_is_replaced(backend: LocalBackend, spec: Spec) -> None:
    parent = await parent_of(backend)
    os.kill(parent, signal.SIGSTOP)
    _, found = await start(backend, spec, "u1")
    assert not found["forked"]
    assert await parent_of(backend, other_than=parent) != parent
    assert read_stat(parent) is None


@pytest.mark.parametrize("after", [0.0, 0.003, 0.01, 0.03])
async def test_a_parent_killed_between_forks_loses_no_start_and_leaves_no_process(
    backend: LocalBackend, settings: Settings, ref: ModelRef, after: float
) -> None:
    before = uncollected()
    parent = await parent_of(backend)
    await backend.converge(ref, member(Spec(engine=Engine.MOCK), 8), 5)
    await asyncio.sleep(after)
    os.kill(parent, signal.SIGKILL)
    instances = await ready(backend, ref, 8)
    assert processes(settings) == {i.pid for i in instances}
    await parent_of(backend, other_than=parent)
    await backend.release(ref, 5)
    await gone(backend, ref)
    assert processes(settings) == set()
    assert uncollected() <= before


def uncollected() -> set[ProcessId]:
    """Children of this process whose exit status nobody has asked for."""
    stats = [stat for name in os.listdir("/proc") if name.isdecimal() and (stat := read_stat(int(name)))]
    return {stat.id for stat in stats if stat.parent == os.getpid() and stat.state == "Z"}


async def test_twenty_starts_at_once_are_all_forked(backend: LocalBackend, settings: Settings, ref: ModelRef) -> None:
    parent = await parent_of(backend)
    await backend.converge(ref, member(Spec(engine=Engine.MOCK), 20), 5)
    instances = await ready(backend, ref, 20)
    assert {i.pid for i in instances} == processes(settings)
    assert await parent_of(backend) == parent
    maps = [Path(f"/proc/{i.pid}/smaps_rollup").read_text() for i in instances]
    private = [int(re.search(r"Private_Dirty: +(\d+)", text)[1]) / 1024 for text in maps]  # type: ignore[index]
    # MiB; each has imported as much as one that was launched afresh, which has 20 of its own.
    assert max(private) < 12


async def test_what_acts_before_the_imports_is_launched_afresh(backend: LocalBackend, spec: Spec) -> None:
    afresh = [
        replace(spec, container=Container(environment={name: "1"}))
        for name in ("PYTHONOPTIMIZE", "OMP_WAIT_POLICY", "LC_ALL")
    ]
    for number, other in enumerate([*afresh, replace(spec, resources=Resources(cpu=2))]):
        _, found = await start(backend, other, f"u{number}")
        assert not found["forked"]
        for name, value in other.container.environment.items():
            assert found["environ"][name] == value
    assert found["environ"]["OMP_NUM_THREADS"] == "2"


async def test_memory_limits_hold_in_forked_workers(backend: LocalBackend, home: Path, ref: ModelRef) -> None:
    smallest = ENGINES["mock"].minimum_memory * 2**20
    instance = await run(backend, ref, Spec(engine=Engine.MOCK, resources=Resources(memory=smallest)))
    limits = Path(f"/proc/{instance.pid}/limits").read_text()
    assert str(smallest) in next(line for line in limits.splitlines() if line.startswith("Max data size"))
    (home / "big").mkdir()
    (home / "big" / "model.py").write_text("x = bytearray(200 * 2**20)\n")
    other = ModelRef("u2", "default", "big")
    big = Spec(engine=Engine.PYTHON, source=str(home / "big"), resources=Resources(memory=150 * 2**20))
    await backend.converge(other, member(big), 5)
    assert (await ended(backend, other)).failure.code == "out_of_memory"


async def test_onnx_models_answer_from_forked_workers(
    settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch, ref: ModelRef
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
    )  # fmt: skip
    onnx.save_model(
        helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)]), home / "m.onnx"
    )
    least = Resources(cpu=2, memory=ENGINES["onnx"].minimum_memory * 2**20)
    async with opened(settings, "onnx") as backend:

        async def afresh(*_: Any, **__: Any) -> None:
            raise AssertionError("a worker was launched afresh")

        monkeypatch.setattr(launching.process, "start", afresh)
        await backend.converge(
            ref, member(Spec(engine=Engine.ONNX, source=str(home / "m.onnx"), resources=least), 2), 5
        )
        for instance in await ready(backend, ref, 2):
            peer = await connect(instance.address.removeprefix("unix:"))
            tensor = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}
            head, answer = await peer.request(Head(op="infer"), json.dumps({"inputs": [tensor]}).encode())
            peer.close()
            assert (head.status, json.loads(bytes(answer))["outputs"][0]["data"]) == (200, [2, 4])


async def test_a_parent_for_onnx_models_is_there_before_anybody_asks_and_stays(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "_ALWAYS", frozenset({"onnx"}))
    monkeypatch.setattr(warm, "_KEPT", 0.0)
    backend = LocalBackend(settings)
    await backend.open()
    try:
        parent = await parent_of(backend, family="onnx")
        assert parent == await parent_of(backend, family="onnx")
        assert set(backend._site.warm._families) == {"onnx"}  # type: ignore[union-attr]
    finally:
        await backend.close(release=True)
    assert read_stat(parent) is None


async def test_no_instance_finds_what_another_was_told(backend: LocalBackend, settings: Settings, spec: Spec) -> None:
    word = "tell-nobody-" + "x" * 20
    instance, found = await start(backend, replace(spec, container=Container(environment={"WORD": word})), "u1")
    assert found["environ"]["WORD"] == word
    other, found = await start(backend, spec, "u2")
    assert found["forked"]
    secret = json.loads((settings.instances_dir / instance.id / "instance.json").read_bytes())["secret"]
    own = memory_of(instance.pid)
    assert word.encode() in own
    assert secret.encode() in own
    for pid in (await parent_of(backend), other.pid):
        memory = memory_of(pid)
        assert word.encode() not in memory
        assert secret.encode() not in memory
        assert instance.id.encode() not in memory


def memory_of(pid: int | None) -> bytes:
    """All that the process may write to."""
    parts = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, end = (int(bound, 16) for bound in bounds.split("-"))
                memory.seek(start)
                parts.append(memory.read(end - start))
    return b"".join(parts)


async def test_code_that_has_changed_is_not_forked(
    settings: Settings, spec: Spec, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "packages").mkdir()
    os.utime(home / "packages", (1, 1))
    monkeypatch.setenv("PYTHONPATH", str(home / "packages"))
    async with opened(settings) as backend:
        parent = await parent_of(backend)
        _, before = await start(backend, spec, "u1")
        (home / "packages" / "new.py").touch()
        _, after = await start(backend, spec, "u2")
        assert (before["forked"], after["forked"]) == (True, False)
        await parent_of(backend, other_than=parent)
        _, later = await start(backend, spec, "u3")
        assert later["forked"]


@pytest.mark.parametrize(
    "line", ["import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
             "kept = open('/dev/full', 'wb')"],
)  # fmt: skip
async def test_a_parent_that_workers_would_share_more_than_memory_with_is_none(
    settings: Settings, spec: Spec, home: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    (home / "packages").mkdir()
    (home / "packages" / "sitecustomize.py").write_text(line)
    monkeypatch.setenv("PYTHONPATH", str(home / "packages"))
    settings.warm_dir.mkdir(parents=True)
    (settings.warm_dir / "python").touch()
    backend = LocalBackend(settings)
    await backend.open()
    assert backend._site.warm is not None
    (family,) = backend._site.warm._families.values()
    assert family.task is not None
    await asyncio.wait_for(family.task, 20)
    _, found = await start(backend, spec, "u1")
    assert not found["forked"]
    await backend.close(release=True)


async def test_no_parent_is_started_where_none_is_wanted(settings: Settings, ref: ModelRef) -> None:
    backend = LocalBackend(settings.model_copy(update={"warm_start": False}))
    await backend.open()
    await run(backend, ref, Spec(engine=Engine.MOCK))
    await backend.close(release=True)
    assert not settings.warm_dir.exists()


async def test_a_parent_that_nobody_asks_ends(
    backend: LocalBackend, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = await parent_of(backend)
    monkeypatch.setattr(warm, "_KEPT", 0.0)
    assert backend._site.warm is not None
    (family,) = backend._site.warm._families.values()
    assert family.task is not None
    os.kill(parent, signal.SIGKILL)
    await asyncio.wait_for(family.task, 20)
    assert backend._site.warm._families == {}


async def test_a_forked_process_that_is_on_no_record_is_found(
    backend: LocalBackend, settings: Settings, ref: ModelRef
) -> None:
    instance = await run(backend, ref, Spec(engine=Engine.MOCK))
    (main,) = [i.main for i in backend._all()]
    assert main is not None
    await backend.close(release=False)
    shutil.rmtree(settings.instances_dir / instance.id)
    backend._models.clear()
    second = LocalBackend(settings)
    await second.open()
    async with asyncio.timeout(20):
        while is_alive(main):
            await asyncio.sleep(0.01)
    await second.close(release=True)


CONTROL = """
import asyncio, sys
from pathlib import Path
from modelyard.backends.local import LocalBackend
from modelyard.domain.model import ModelRef
from modelyard.domain.spec import Engine, Spec
from modelyard.settings import Settings
from tests.backends.specs import run
from tests.backends.test_warm import parent_of

async def main(home):
    backend = LocalBackend(Settings(home=Path(home), devices="none"))
    await backend.open()
    parent = await parent_of(backend)
    instance = await run(backend, ModelRef("u1", "default", "digits"), Spec(engine=Engine.MOCK))
    print(parent, instance.id, instance.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main(sys.argv[1]))
"""


async def test_forked_workers_outlive_the_control_process_and_the_parent_does_not(
    settings: Settings, ref: ModelRef
) -> None:
    settings.warm_dir.mkdir(parents=True)
    (settings.warm_dir / "python").touch()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    control = subprocess.Popen(
        [sys.executable, "-c", CONTROL, str(settings.home)], stdout=subprocess.PIPE, text=True, env=environment
    )
    with control:
        assert control.stdout is not None
        line = await asyncio.to_thread(control.stdout.readline)
        parent, instance, pid = line.split()
        control.kill()
    async with asyncio.timeout(10):
        while (stat := read_stat(int(parent))) is not None and not stat.gone:
            await asyncio.sleep(0.01)
    backend = LocalBackend(settings)
    await backend.open()
    (adopted,) = (await backend.observe(ref)).instances
    assert (adopted.id, adopted.pid, adopted.phase) == (instance, int(pid), InstancePhase.READY)
    await backend.release(ref, 5)
    await gone(backend, ref)
    await backend.close(release=True)
    assert processes(settings) == set()
