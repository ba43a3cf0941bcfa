"""The local backend with Modelyard's own worker and launcher: what each relies on in the other."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelyard.backends.local import LocalBackend, machine
from modelyard.domain.model import InstancePhase, ModelRef
from modelyard.domain.spec import Container, Engine, HealthCheck, Resources, Spec
from modelyard.runtime.frames import Head, connect
from modelyard.settings import Settings
from tests.backends.specs import log_lines, member, processes, run
from tests.backends.waiting import ended, gone, until


@pytest.fixture
async def backend(settings: Settings) -> AsyncIterator[LocalBackend]:
    backend = LocalBackend(settings)
    await backend.open()
    yield backend
    await backend.close(release=True)


async def test_an_instance_answers_at_its_address(backend: LocalBackend, ref: ModelRef) -> None:
    instance = await run(backend, ref, Spec(engine=Engine.MOCK))
    peer = await connect(instance.address.removeprefix("unix:"))
    answer, _ = await peer.request(Head(op="metadata"))
    peer.close()
    assert answer.status == 200
    assert answer.params["metadata"] == instance.metadata


async def test_a_model_that_does_not_load_says_why(backend: LocalBackend, ref: ModelRef, home: Path) -> None:
    (home / "m.onnx").write_bytes(b"this is no model")
    await backend.converge(ref, member(Spec(engine=Engine.ONNX, source=str(home / "m.onnx"))), 5)
    failure = (await ended(backend, ref)).failure
    assert failure.code not in ("crashed", "start_timeout")
    assert str(home / "m.onnx") in failure.message
    assert failure.log


async def test_a_running_worker_is_adopted_and_proves_itself(settings: Settings, ref: ModelRef) -> None:
    first = LocalBackend(settings)
    await first.open()
    instance = await run(first, ref, Spec(engine=Engine.MOCK))
    await first.close(release=False)
    second = LocalBackend(settings)
    await second.open()
    (adopted,) = (await second.observe(ref)).instances
    assert (adopted.id, adopted.phase, adopted.metadata) == (instance.id, InstancePhase.READY, instance.metadata)
    await second.release(ref, 5)
    await gone(second, ref)
    await second.close(release=True)
    assert processes(settings) == set()


async def test_a_request_in_flight_is_finished_before_the_worker_ends(backend: LocalBackend, ref: ModelRef) -> None:
    instance = await run(backend, ref, Spec(engine=Engine.MOCK, options={"latency_ms": 400}))
    peer = await connect(instance.address.removeprefix("unix:"))
    body = b'{"inputs": []}'
    infer = peer.request(Head(op="infer", params={"content_type": "application/json"}), body)
    answering = asyncio.ensure_future(infer)
    await asyncio.sleep(0.1)
    await backend.release(ref, 5)
    answer, _ = await answering
    peer.close()
    assert answer.status == 200
    await gone(backend, ref)


async def test_workers_killed_while_they_load_are_an_exit_each(backend: LocalBackend, ref: ModelRef) -> None:
    await backend.converge(ref, member(Spec(engine=Engine.MOCK), 2), 5)
    seen = await until(backend, ref, lambda o: all(i.pid for i in o.instances), lambda o: o.instances)
    for instance in seen:
        assert instance.pid is not None
        os.kill(instance.pid, signal.SIGKILL)
    observed = await until(backend, ref, lambda o: not o.instances, lambda o: o)
    assert {e.id for e in observed.exits} == {i.id for i in seen}
    assert {e.failure.message for e in observed.exits} == {"The process was killed by SIGKILL before it was ready."}


async def test_limits_hold_in_the_child(backend: LocalBackend, ref: ModelRef, home: Path) -> None:
    if (refusal := machine.shared_memory_refusal()) is not None:
        pytest.skip(refusal)
    script = (
        "import os, resource, sys; shm = os.statvfs('/dev/shm');"
        "print('limits', os.getcwd(), resource.getrlimit(resource.RLIMIT_DATA)[0], shm.f_blocks * shm.f_frsize,"
        " os.environ['COLOUR'], flush=True);"
        "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]),"
        " bind='127.0.0.1')"
    )
    container = Container(
        environment={"COLOUR": "red"},
        working_dir=str(home),
        shared_memory=8 * 2**20,
        health_check=HealthCheck(path="/"),
    )
    spec = Spec(
        engine=Engine.COMMAND,
        options={"command": [sys.executable, "-c", script, "{port}"]},
        resources=Resources(memory=256 * 2**20),
        container=container,
    )
    await run(backend, ref, spec)
    (line,) = [text for text in await log_lines(backend, ref) if text.startswith("limits")]
    assert line == f"limits {home} {256 * 2**20} {8 * 2**20} red"


async def test_a_working_folder_that_is_gone_is_a_failure_that_says_so(
    backend: LocalBackend, ref: ModelRef, home: Path
) -> None:
    container = Container(working_dir=str(home / "missing"))
    await backend.converge(ref, member(Spec(engine=Engine.MOCK, container=container)), 5)
    failure = (await ended(backend, ref)).failure
    assert str(home / "missing") in failure.message
    assert failure.code == "working_dir_unavailable"
