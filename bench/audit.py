"""What the record of who did what costs lifecycle calls: the same calls with it and without it, in turns.

One control process in this process (real store, API and reconciler, nothing launched) is called over its ASGI
application by many callers at once. There is no setting that switches the record off: here its two hooks are taken out.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
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
from modelyard.api.context import Services
from modelyard.app.plane import control_plane
from modelyard.control.auditing import AuditQuery
from modelyard.settings import Settings
from modelyard.store.recording import Recording

Report = Callable[[str, str, str, bool], None]

CALLERS, FOURS = 25, 8
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
                await _measure(http, services, report)
            verdict = await services.audit.verify()
            assert verdict.broken is None
            began = time.perf_counter()
            await services.audit.verify()
            took = (time.perf_counter() - began) / verdict.entries * 1e6
            print(f"       {verdict.entries} entries verified, {took:.0f} us each")
    finally:
        shutil.rmtree(home)


async def _measure(http: httpx2.AsyncClient, services: Services, report: Report) -> None:
    """By what the processor does in this process, so that others beside it weigh little. With the record, without,
    without, with: whatever grows slower by and by is the same for both, and each such four has a cost of its own."""
    await _calls(http)
    costs, spent = [], {True: 0.0, False: 0.0}
    calls = 0
    for _ in range(FOURS):
        took = {True: 0.0, False: 0.0}
        for recorded in (True, False, False, True):
            before = await _entries(services)
            gc.collect()
            with contextlib.nullcontext() if recorded else _unrecorded():
                began = time.process_time()
                calls += await _calls(http)
                took[recorded] += time.process_time() - began
            assert (await _entries(services) > before) == recorded
        costs.append((took[True] / took[False] - 1) * 100)
        spent = {recorded: spent[recorded] + took[recorded] for recorded in spent}
    cost, (low, _, high) = statistics.median(costs), statistics.quantiles(costs, n=4)
    with_it, without = (spent[recorded] / (calls / 2) * 1e6 for recorded in (True, False))
    measured = f"{with_it:.0f} us a call, {without:.0f} without: {cost:+.1f} % ({low:+.1f} to {high:+.1f})"
    report(f"record of who did what, {CALLERS} callers ({FOURS} times 4 turns)", measured, "<= 5 %", cost <= 5)


async def _entries(services: Services) -> int:
    page = await services.audit.list(AuditQuery(page_size=1))
    return page.items[0].number if page.items else 0


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

        wish = {"name": f"m{number}", "spec": {"engine": "mock"}, "desired": "stopped", "reason": "measured"}
        await call("POST", "/api/v1/models", wish)
        await call("GET", f"{path}/status")
        await call("PATCH", path, {"spec": {"description": "changed"}})
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
