"""A served model replaced again and again while requests come at a constant rate: none may fail, and none may take much
longer than the others.

Two models: digits, whose answer takes a fifth of what a core may be kept from a process by another one (a slice of the
kernel's, 3 ms), so that on two cores its slowest requests tell of the scheduler; and one that computes for longer than
that.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from bench.house import House, house
from bench.layers import write
from modelyard.loadtest.asking import Target, post
from modelyard.loadtest.measuring import Measured, measure
from modelyard.loadtest.plan import Plan

SWAPS = 100
_CONNECTIONS = 32
_WARM_UP, _QUIET_SECONDS = 2.0, 10.0
_LONGEST = 600.0
_TIMES = 2.5
# Of the model that computes: some 5 ms for a row.
_LAYERS, _WIDTH = 12, 1024

Report = Callable[[str, str, str, bool], None]


@dataclass(frozen=True)
class _Case:
    """``rate``: requests a second in an open loop: one that has to wait is late, and does not make the next one later.
    ``files``: the same model twice, so that each update is one, and answers stay right."""

    name: str
    rate: float
    request: bytes
    files: tuple[Path, Path]


def hot_swaps(report: Report) -> None:
    """Updates of the model's source, one after the other, beside the same load without any."""
    with house() as h:
        layers = write(h.home / "models" / "layers", _LAYERS, _WIDTH)
        row = {"name": "x", "datatype": "FP32", "shape": [1, _WIDTH], "data": [0.5] * _WIDTH}
        for case in (
            _Case("digits", 500, h.sample, _twice(h.digits / "model.onnx")),
            _Case("layers", 50, json.dumps({"inputs": [row]}).encode(), _twice(layers)),
        ):
            h.wait(h.post("/models", {"name": case.name, "spec": {"source": f"file://{case.files[0]}"}}))
            _report(report, case, *asyncio.run(_both(h, case)))
            h.wait(h.post(f"/models/{case.name}/stop"))


def _twice(file: Path) -> tuple[Path, Path]:
    return file, Path(shutil.copyfile(file, file.with_name("again.onnx")))


def _report(report: Report, case: _Case, quiet: Measured, swapped: Measured) -> None:
    latencies = swapped.latencies
    p50, worst = latencies.quantile(0.5) / 1e6, latencies.highest / 1e6
    report(
        f"{SWAPS} updates in place of {case.name} at {case.rate:,.0f} requests/s",
        f"{swapped.failed} of {latencies.count + swapped.failed:,} failed; p50 {p50:.2f} ms, worst {worst:.1f} ms: "
        f"{worst / p50:.1f} x", f"no error, worst <= {_TIMES} x p50", not swapped.failed and worst <= _TIMES * p50,
    )  # fmt: skip
    calm, longest = quiet.latencies.quantile(0.5) / 1e6, quiet.latencies.highest / 1e6
    print(f"       without updates: p50 {calm:.2f} ms, worst {longest:.1f} ms: {longest / calm:.1f} x")
    for errors in swapped.errors:
        print(f"       {errors.count} x {errors.status} {errors.code}: {errors.example}")


async def _both(h: House, case: _Case) -> tuple[Measured, Measured]:
    """The load alone, and with updates all along."""
    headers = {"Authorization": f"Bearer {h.token}", "Content-Type": "application/json"}
    target = Target("127.0.0.1", h.port, tls=False, prefix="")
    request = post(target, f"/v2/models/{case.name}/infer", headers, case.request)

    def plan(seconds: float) -> Plan:
        return Plan(
            host=target.host, port=target.port, requests=(request,), connections=_CONNECTIONS, rate=case.rate,
            duration=seconds, warm_up=_WARM_UP,
        )  # fmt: skip

    quiet = await measure(plan(_QUIET_SECONDS))
    stop, began = asyncio.Event(), asyncio.Event()
    loading = asyncio.create_task(measure(plan(_LONGEST), stop=stop, tell=lambda _: began.set()))
    loading.add_done_callback(lambda _: began.set())
    try:
        await began.wait()
        await asyncio.to_thread(_swap, h, case)
        # What the last update did is still being told.
        await asyncio.sleep(1)
    finally:
        stop.set()
    return quiet, await loading


def _swap(h: House, case: _Case) -> None:
    sources = cycle(reversed(case.files))
    for _ in range(SWAPS):
        change = {"spec": {"source": f"file://{next(sources)}"}, "acknowledge_restart": True}
        answer = h.http.patch(f"/api/v1/models/{case.name}", json=change)
        answer.raise_for_status()
        h.wait(answer.json())
