"""What the record of who did what costs lifecycle calls: the same calls with it and without it, in turns.

One control process in this process (real store, API and reconciler, nothing launched) is called over its ASGI
application by many callers at once. There is no setting that switches the record off: here its two hooks are taken out.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2

from modelyard.api.app import create_app
from modelyard.api.auditing import Audited
from modelyard.app.plane import control_plane
from modelyard.settings import Settings
from modelyard.store.recording import Recording

Report = Callable[[str, str, str, bool], None]

CALLERS, ROUNDS, TURNS = 50, 2, 12
TOKEN = "bench"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def audit(report: Report) -> None:
    asyncio.run(_audit(report))


async def _audit(report: Report) -> None:
    home = Path(tempfile.mkdtemp(prefix="my-bench-", dir="/tmp"))
    try:
        async with control_plane(Settings(home=home, token=TOKEN)) as services:
            app = create_app(services)
            async with httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app=app), base_url="http://bench", headers=HEADERS
            ) as http:
                await _measure(http, report)
            verdict = await services.audit.verify()
            assert verdict.broken is None
            began = time.perf_counter()
            await services.audit.verify()
            took = (time.perf_counter() - began) / verdict.entries * 1e6
            print(f"       {verdict.entries} entries verified, {took:.0f} us each")
    finally:
        shutil.rmtree(home)


async def _measure(http: httpx2.AsyncClient, report: Report) -> None:
    await _calls(http)
    rates: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * TURNS):
        # With, without, without, with: whatever grows slower by and by is the same for both.
        recorded = turn % 4 in (0, 3)
        with contextlib.nullcontext() if recorded else _unrecorded():
            began = time.process_time()
            count = await _calls(http)
            rates[recorded].append(count / (time.process_time() - began))
    pairs = zip(rates[True], rates[False], strict=True)
    cost = statistics.median(1 - with_it / without for with_it, without in pairs) * 100
    with_it, without = (statistics.median(rates[recorded]) for recorded in (True, False))
    measured = f"{with_it:.0f} of {without:.0f} calls/s of a core: {-cost:+.1f} %"
    report(f"record of who did what, {CALLERS} callers ({TURNS} pairs)", measured, "<= 5 % of the calls", cost <= 5)


async def _calls(http: httpx2.AsyncClient) -> int:
    """The lifecycle calls that launch nothing; how many."""

    async def caller(number: int) -> int:
        path, count = f"/api/v1/models/m{number}", 0

        async def call(method: str, path: str, body: Any = None) -> dict[str, Any]:
            nonlocal count
            answer = await http.request(method, path, json=body)
            assert answer.status_code < 300, answer.text
            count += 1
            return dict(answer.json())

        for turn in range(ROUNDS):
            wish = {"name": f"m{number}", "spec": {"engine": "mock"}, "desired": "stopped", "reason": "measured"}
            await call("POST", "/api/v1/models", wish)
            await call("GET", f"{path}/status")
            await call("PATCH", path, {"spec": {"description": f"turn {turn}"}})
            await call("GET", path)
            await call("POST", f"{path}/stop", {})
            await call("GET", "/api/v1/models?page_size=20")
            gone = await call("DELETE", path)
            await http.get(f"/api/v1/operations/{gone['id']}/wait")
        return count

    jobs: list[Awaitable[int]] = [caller(number) for number in range(CALLERS)]
    return sum(await asyncio.gather(*jobs))


@contextlib.contextmanager
def _unrecorded() -> Iterator[None]:
    """Without the hooks in the API and in the store's writes."""

    def run(self: Recording[Any], connection: Any) -> Any:
        return self._work(connection)

    async def call(self: Audited, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    with patch.object(Recording, "run", run), patch.object(Audited, "__call__", call):
        yield
