"""What this machine cannot give is said before anything is launched, all at once, each with its path."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from modelyard.backends.local import LocalBackend, check, machine
from modelyard.domain.spec import Container, Engine, HealthCheck, Replicas, Resources, Spec
from modelyard.domain.validation import spec_problems
from modelyard.settings import Settings


@pytest.fixture
def backend(settings: Settings) -> LocalBackend:
    return LocalBackend(settings)


async def found(backend: LocalBackend, spec: Spec) -> dict[str, str]:
    return {problem.path: problem.code for problem in await backend.check(spec)}


def onnx(path: Path) -> Spec:
    return Spec(engine=Engine.ONNX, source=f"file://{path}")


async def test_nothing_is_wrong_with_a_model_that_is_there(backend: LocalBackend, home: Path) -> None:
    (home / "m.onnx").write_bytes(b"")
    (home / "link.onnx").symlink_to(home / "m.onnx")
    (home / "code").mkdir()
    (home / "code" / "model.py").touch()
    assert await backend.check(onnx(home / "m.onnx")) == []
    assert await backend.check(onnx(home / "link.onnx")) == []
    assert await backend.check(Spec(engine=Engine.PYTHON, source=str(home / "code"))) == []
    assert await backend.check(Spec(engine=Engine.MOCK)) == []
    assert await backend.check(Spec(engine=Engine.COMMAND, options={"command": ["sh", "-c", "true"]})) == []


async def test_a_source_that_cannot_be_used_says_why(backend: LocalBackend, home: Path) -> None:
    (home / "folder").mkdir()
    (home / "file").touch()
    (home / "broken.onnx").symlink_to(home / "nowhere")
    assert await found(backend, onnx(home / "missing.onnx")) == {"source": "not_found"}
    assert await found(backend, onnx(home / "folder")) == {"source": "wrong_kind"}
    assert await found(backend, Spec(engine=Engine.PYTHON, source=str(home / "file"))) == {"source": "wrong_kind"}
    assert await found(backend, Spec(engine=Engine.PYTHON, source=str(home / "folder"))) == {"source": "not_found"}
    (problem,) = await backend.check(onnx(home / "broken.onnx"))
    assert str(home / "nowhere") in problem.message
    (problem,) = await backend.check(onnx(home / "file" / "below.onnx"))
    assert "Not a directory" in problem.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_source_that_may_not_be_read_is_named(backend: LocalBackend, home: Path) -> None:
    (home / "m.onnx").touch(mode=0o000)
    assert await found(backend, onnx(home / "m.onnx")) == {"source": "not_readable"}


async def test_all_problems_come_at_once(backend: LocalBackend, home: Path) -> None:
    (home / "not-executable").touch(mode=0o600)
    spec = Spec(
        engine=Engine.COMMAND,
        source="/missing",
        options={"command": ["no-such-server"]},
        resources=Resources(cpu=2**20, memory=2**50, gpus=1),
        container=Container(
            working_dir="/missing",
            shared_memory=2**51,
            health_check=HealthCheck(command=(str(home / "not-executable"),)),
        ),
    )
    assert await found(backend, spec) == {
        "source": "not_found",
        "resources.gpus": "exceeds_machine",
        "resources.cpu": "exceeds_machine",
        "resources.memory": "exceeds_machine",
        "container.working_dir": "not_found",
        "container.shared_memory": "exceeds_machine",
        "options.command[0]": "not_found",
        "container.health_check.command[0]": "not_executable",
    }


async def test_a_command_is_looked_for_in_the_specs_own_path(backend: LocalBackend, home: Path) -> None:
    (home / "server").touch(mode=0o755)
    spec = Spec(engine=Engine.COMMAND, options={"command": ["server"]})
    assert await found(backend, spec) == {"options.command[0]": "not_found"}
    container = Container(environment={"PATH": str(home)})
    assert await backend.check(Spec(engine=Engine.COMMAND, options=spec.options, container=container)) == []


async def test_shared_memory_is_refused_where_the_machine_refuses_it(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Spec(engine=Engine.MOCK, container=Container(shared_memory=2**20))
    monkeypatch.setattr(machine, "shared_memory_refusal", lambda: "no namespaces here")
    (problem,) = await backend.check(spec)
    assert (problem.path, problem.code, problem.message) == (
        "container.shared_memory", "unsupported", "no namespaces here",
    )  # fmt: skip
    monkeypatch.setattr(machine, "shared_memory_refusal", lambda: None)
    assert await backend.check(spec) == []


async def test_a_fixed_port_with_replicas_is_the_domains_to_refuse(backend: LocalBackend) -> None:
    spec = Spec(
        engine=Engine.COMMAND, options={"command": ["sh"], "port": 8000}, replicas=Replicas(min=1, max=2)
    )  # fmt: skip
    assert await backend.check(spec) == []
    assert [problem.path for problem in spec_problems(spec)] == ["replicas.max"]


async def test_a_look_that_hangs_is_a_problem_and_holds_up_nobody(
    backend: LocalBackend, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FIFO without a writer stands for a network file system whose server is away."""
    os.mkfifo(home / "fifo")
    really_stat = Path.stat

    def stat(path: Path) -> os.stat_result:
        if path.name == "hung.onnx":
            (home / "fifo").read_bytes()
        return really_stat(path)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(check, "PATIENCE", 0.3)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.01)

    beating = asyncio.ensure_future(beat())
    hung = await asyncio.gather(*(backend.check(onnx(home / "hung.onnx")) for _ in range(20)))
    assert {(p.path, p.code) for problems in hung for p in problems} == {("source", "unreachable")}
    assert "within 300ms" in hung[0][0].message
    assert beats > 5
    # None of those that hang has a thread that others need.
    assert await backend.check(Spec(engine=Engine.MOCK)) == []
    assert (await backend.inventory()).memory > 0
    beating.cancel()
    with (home / "fifo").open("wb"):
        pass


def test_shared_memory_that_cannot_be_tried_out_in_time_is_a_refusal_until_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine._try_shared_memory.cache_clear()
    monkeypatch.setattr(machine, "_PROBE_TAKES", 0.2)
    monkeypatch.setattr(machine, "_PROBE_SHARED_MEMORY", "import time; time.sleep(600)")
    refusal = machine.shared_memory_refusal()
    assert refusal is not None
    assert "could not be found out" in refusal
    assert "timed out after 0.2 seconds" in refusal
    monkeypatch.setattr(machine, "_PROBE_TAKES", 30)
    monkeypatch.setattr(machine, "_PROBE_SHARED_MEMORY", "raise SystemExit('no namespaces here')")
    assert machine.shared_memory_refusal() == "no namespaces here"
    monkeypatch.setattr(machine, "_PROBE_SHARED_MEMORY", "")
    assert machine.shared_memory_refusal() == "no namespaces here", "what is known is not tried again"
    machine._try_shared_memory.cache_clear()


def test_the_memory_of_the_machine_is_bounded_by_its_control_group(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    (home / "high").write_text("max\n")
    (home / "low").write_text(f"{100 * 2**20}\n")
    assert machine.total_memory() > 100 * 2**20
    monkeypatch.setattr(machine, "_memory_limit_files", lambda: [home / "high", home / "low", home / "missing"])
    assert machine.total_memory() == 100 * 2**20
