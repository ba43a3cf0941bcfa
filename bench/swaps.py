"""A served model replaced again and again while requests come at a constant rate: none may fail, and none may take much
longer than the others."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from bench.house import House, deploy, house
from modelyard.loadtest.asking import Target, post
from modelyard.loadtest.measuring import Measured, measure
from modelyard.loadtest.plan import Plan

SWAPS = 100
# Requests a second in an open loop: one that has to wait is late, and does not make the next one later.
RATE, CONNECTIONS = 500.0, 32
_WARM_UP, _QUIET_SECONDS = 2.0, 10.0
_LONGEST = 600.0
_TIMES = 2.5

Report = Callable[[str, str, str, bool], None]


def hot_swaps(report: Report) -> None:
    """Updates of the model's source, one after the other, beside the same load without any."""
    with house() as h:
        deploy(h)
        quiet, swapped = asyncio.run(_both(h))
    latencies = swapped.latencies
    p50, worst = latencies.quantile(0.5) / 1e6, latencies.highest / 1e6
    report(
        f"{SWAPS} updates in place at {RATE:,.0f} requests/s",
        f"{swapped.failed} of {latencies.count + swapped.failed:,} failed; p50 {p50:.2f} ms, worst {worst:.1f} ms: "
        f"{worst / p50:.1f} x", f"no error, worst <= {_TIMES} x p50", not swapped.failed and worst <= _TIMES * p50,
    )  # fmt: skip
    calm, longest = quiet.latencies.quantile(0.5) / 1e6, quiet.latencies.highest / 1e6
    print(f"       without updates: p50 {calm:.2f} ms, worst {longest:.1f} ms: {longest / calm:.1f} x")
    for errors in swapped.errors:
        print(f"       {errors.count} x {errors.status} {errors.code}: {errors.example}")


async def _both(h: House) -> tuple[Measured, Measured]:
    """The load alone, and with updates all along."""
    headers = {"Authorization": f"Bearer {h.token}", "Content-Type": "application/json"}
    target = Target("127.0.0.1", h.port, tls=False, prefix="")
    request = post(target, "/v2/models/digits/infer", headers, h.sample)

    def plan(seconds: float) -> Plan:
        return Plan(
            host=target.host, port=target.port, requests=(request,), connections=CONNECTIONS, rate=RATE,
            duration=seconds, warm_up=_WARM_UP,
        )  # fmt: skip

    quiet = await measure(plan(_QUIET_SECONDS))
    stop, began = asyncio.Event(), asyncio.Event()
    loading = asyncio.create_task(measure(plan(_LONGEST), stop=stop, tell=lambda _: began.set()))
    loading.add_done_callback(lambda _: began.set())
    try:
        await began.wait()
        await asyncio.to_thread(_swap, h)
        # What the last update did is still being told.
        await asyncio.sleep(1)
    finally:
        stop.set()
    return quiet, await loading


def _swap(h: House) -> None:
    """Between two files of the same model, so that each update is one, and answers stay right."""
    files: list[Path] = [h.digits / "model.onnx", h.digits / "again.onnx"]
    shutil.copyfile(*files)
    sources = cycle(reversed(files))
    for _ in range(SWAPS):
        change = {"spec": {"source": f"file://{next(sources)}"}, "acknowledge_restart": True}
        answer = h.http.patch("/api/v1/models/digits", json=change)
        answer.raise_for_status()
        h.wait(answer.json())
