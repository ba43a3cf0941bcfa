"""Starts: a small model from the call of the API to its first answer, the second replica of a large one."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.house import House, house
from bench.layers import write
from modelyard.backends.local import LocalBackend
from modelyard.backends.port import Member
from modelyard.domain.model import Instance, InstancePhase, ModelRef, Target
from modelyard.domain.spec import Engine, Spec
from modelyard.runtime.frames import Head, connect
from modelyard.settings import Settings

ROUNDS, PAIRS = 15, 7
# 25 of these in float32 are 400 MiB.
LAYERS, WIDTH = 25, 2048
# Seconds that a new home has to start its warm parents in.
_SETTLES = 3.0

Report = Callable[[str, str, str, bool], None]


def instant_starts(report: Report) -> None:
    small(report)
    asyncio.run(large(report))


def small(report: Report) -> None:
    """Forked and launched afresh, by turns."""
    with house() as warm, house(MODELYARD_WARM_START="false") as fresh:
        took: dict[int, list[float]] = {}
        for h in (warm, fresh):
            h.wait(h.post("/models", {"name": "digits", "spec": {"source": f"file://{h.digits / 'model.onnx'}"}}))
        time.sleep(_SETTLES)
        for _ in range(ROUNDS):
            for h in (warm, fresh):
                took.setdefault(h.port, []).append(_start(h))
    forked, launched = (statistics.median(took[h.port]) for h in (warm, fresh))
    report(f"start of digits, call to first answer ({ROUNDS} starts)",
           f"{forked:.0f} ms, launched afresh {launched:.0f} ms", "<= 100 ms", forked <= 100)  # fmt: skip


def _start(h: House) -> float:
    h.wait(h.post("/models/digits/stop"))
    began = time.perf_counter()
    h.wait(h.post("/models/digits/start"))
    while h.http.post("/v2/models/digits/infer", content=h.sample).status_code != 200:
        pass
    return (time.perf_counter() - began) * 1e3


async def large(report: Report) -> None:
    """A model of 400 MiB whose weights lie in a file of their own, against one that holds them itself."""
    home = Path(tempfile.mkdtemp(prefix="my-bench-", dir="/tmp"))
    backend = LocalBackend(Settings(home=home, devices="none"))
    try:
        await backend.open()
        apart, embedded = (
            Spec(engine=Engine.ONNX, source=str(write(home / name, LAYERS, WIDTH, external=name == "apart")))
            for name in ("apart", "embedded")
        )
        ref = ModelRef("u1", "default", "apart")
        await _converge(backend, ref, apart, 1)
        await asyncio.sleep(_SETTLES)
        took = []
        for _ in range(PAIRS):
            began = time.perf_counter()
            both = await _converge(backend, ref, apart, 2)
            took.append((time.perf_counter() - began) * 1e3)
            shared = await _memory(both)
            await _converge(backend, ref, apart, 1)
        await backend.release(ref, 5)
        copies = await _memory(await _converge(backend, ModelRef("u2", "default", "embedded"), embedded, 2))
        ready = statistics.median(took)
        report(f"second replica of 400 MiB, launch to ready ({PAIRS} launches)", f"{ready:.0f} ms", "<= 50 ms",
               ready <= 50)  # fmt: skip
        share = shared / copies
        report("both replicas together, of two with embedded weights (PSS)",
               f"{shared:.0f} of {copies:.0f} MiB: {share:.2f} x", "<= 0.45 x", share <= 0.45)  # fmt: skip
    finally:
        await backend.close(release=True)
        shutil.rmtree(home)


async def _converge(backend: LocalBackend, ref: ModelRef, spec: Spec, replicas: int) -> tuple[Instance, ...]:
    changes = backend.changes()
    await backend.converge(ref, (Member(target=Target(1), spec=spec, replicas=replicas),), 5)
    while True:
        instances = (await backend.observe(ref)).instances
        if [i.phase for i in instances] == [InstancePhase.READY] * replicas:
            return instances
        await anext(changes)


async def _memory(instances: tuple[Instance, ...]) -> float:
    """MiB of them all once each has used all of its weights, by their proportional shares."""
    body = np.zeros((1, WIDTH), np.float32).tolist()
    request = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, %d], "data": %s}]}' % (
        WIDTH, str(body).encode(),
    )  # fmt: skip
    for instance in instances:
        peer = await connect(instance.address.removeprefix("unix:"))
        for _ in range(3):
            answer, _ = await peer.request(Head(op="infer", params={"content_type": "application/json"}), request)
            assert answer.status == 200
        peer.close()
    total = 0
    for instance in instances:
        lines = Path(f"/proc/{instance.pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
