"""What the dashboard is promised to take: with 1,000 models and 100 changes a second, from a cold browser, in bytes.

A Modelyard of its own, with real models: those that are started wait for a device that another one holds, so that
they change for real and no process is launched for them.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from statistics import median
from typing import Any

import aiohttp
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from bench import chromium
from bench.house import House, house
from bench.load import percentile

MODELS, RATE, SECONDS, ROUNDS = 1000, 100, 20, 3
# Models that wait at once: each start is followed by the stop of the one that has waited longest.
WAITING = 200
ON_SCREEN = 100
# The numbers of a run vary with what else the machine does; in the browser there is one to wait for in vain.
PATIENCE = 60_000

# For each row the words of its state and when they were painted, in milliseconds since 1970.
_WATCH = """
() => {
  window.painted = [];
  const words = new Map();
  const look = () => {
    const now = performance.timeOrigin + performance.now();
    for (const row of document.querySelectorAll('tbody tr')) {
      const name = row.querySelector('[data-label="Name"] a')?.textContent;
      const state = row.querySelector('[data-label="State"] .pf-v6-c-label')?.textContent;
      if (name && state && words.get(name) !== state) {
        words.set(name, state);
        window.painted.push([name, state, now]);
      }
    }
  };
  look();
  let waits = false;
  new MutationObserver(() => {
    if (waits) return;
    waits = true;
    // The frame that shows it is there once the task after its callback runs.
    requestAnimationFrame(() => setTimeout(() => { waits = false; look(); }));
  }).observe(document.querySelector('table'), {subtree: true, childList: true, characterData: true});
}
"""

Report = Callable[[str, str, str, bool], None]


def dashboard(report: Report) -> None:
    path = chromium.found()
    if path is None:
        print(f"     {chromium.NONE}")
        return
    with house(MODELYARD_DEVICES="gpu:1") as h:
        # Before the browser, whose driver has this thread's event loop.
        asyncio.run(_fill(h))
        _in_browser(report, path, h)


def _in_browser(report: Report, path: str, h: House) -> None:
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright, path)
        _bytes(report, browser, h)
        _cold_load(report, browser, h)
        _changes(report, browser, h)
        browser.close()


def _context(browser: Browser, h: House) -> BrowserContext:
    """One that has nothing in its cache, and is signed in."""
    url = f"http://127.0.0.1:{h.port}"
    context = browser.new_context(base_url=url, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE)
    answer = context.request.post("/api/v1/session", data={"key": h.token}, headers={"Origin": url})
    assert answer.ok, answer.text()
    return context


async def _fill(h: House) -> None:
    """So many models that need the one device, and one that holds it."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{h.port}", headers=_headers(h)) as http:

        async def deploy(name: str, desired: str) -> None:
            body = {"name": name, "spec": {"engine": "mock", "resources": {"gpus": 1}}, "desired": desired}
            async with http.post("/api/v1/models", json=body) as answer:
                assert answer.status < 300, await answer.text()

        await deploy("holder", "running")
        for batch in (range(first, first + 20) for first in range(0, MODELS, 20)):
            await asyncio.gather(*(deploy(_name(number), "stopped") for number in batch))


def _name(number: int) -> str:
    return f"m{number:04}"


def _headers(h: House) -> dict[str, str]:
    return {"Authorization": f"Bearer {h.token}"}


# ------------------------------------------------------------------------------------------- from the change on


def _changes(report: Report, browser: Browser, h: House) -> None:
    found = [_round(browser, h) for _ in range(ROUNDS)]
    took = sorted(found, key=lambda samples: percentile(samples, 0.95))[len(found) // 2]
    p50, p95, most = percentile(took, 0.5), percentile(took, 0.95), max(took)
    report(
        f"a change on the screen, {MODELS:,} models, {RATE} changes a second ({len(took)} seen)",
        f"p50 {p50:.2f} s, p95 {p95:.2f} s, max {most:.2f} s", "<= 1 s", most <= 1,
    )  # fmt: skip


def _round(browser: Browser, h: House) -> list[float]:
    """Seconds from each change of a model on the screen until it was painted."""
    context = _context(browser, h)
    page = context.new_page()
    page.goto(f"/#/models?size={ON_SCREEN}")
    _row(page, _name(0)).wait_for()
    page.evaluate(_WATCH)
    changed: list[tuple[str, float]] = []
    driver = threading.Thread(target=lambda: changed.extend(asyncio.run(_drive(h))))
    driver.start()
    while driver.is_alive():
        page.wait_for_timeout(200)
    page.wait_for_timeout(2000)
    painted: dict[str, list[float]] = defaultdict(list)
    for name, _, at in page.evaluate("window.painted"):
        painted[name].append(at / 1e3)
    context.close()
    return [
        min((at - since for at in painted[name] if at >= since), default=math.inf)
        for name, since in changed
        if name in painted
    ]


async def _drive(h: House) -> list[tuple[str, float]]:
    """So many starts and stops a second, in turns over all models; of each its model and when it was decided."""
    changed: list[tuple[str, float]] = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{h.port}", headers=_headers(h)) as http:

        async def call(number: int, command: str, after: asyncio.Task[None] | None = None) -> None:
            if after is not None:
                await after
            async with http.post(f"/api/v1/models/{_name(number)}/{command}", json={}) as answer:
                operation: dict[str, Any] = await answer.json()
                assert answer.status < 300, operation
            at = datetime.fromisoformat(operation["created_at"]).timestamp()
            changed.append((_name(number), at))

        began, starts, stops = time.perf_counter(), list[asyncio.Task[None]](), list[asyncio.Task[None]]()
        # Far from each other in the list, so that some are on the screen at any time.
        numbers = [(turn * 7) % MODELS for turn in range(RATE * SECONDS // 2)]
        for turn in range(len(numbers) + WAITING):
            await asyncio.sleep(began + 2 * turn / RATE - time.perf_counter())
            if turn < len(numbers):
                starts.append(asyncio.create_task(call(numbers[turn], "start")))
            if turn >= WAITING:
                first = turn - WAITING
                stops.append(asyncio.create_task(call(numbers[first], "stop", starts[first])))
        await asyncio.gather(*starts, *stops)
    return changed


# ------------------------------------------------------------------------------------------- from nothing


def _cold_load(report: Report, browser: Browser, h: House) -> None:
    took = []
    for turn in range(ROUNDS):
        context = _context(browser, h)
        page = context.new_page()
        began = time.perf_counter()
        page.goto("/#/models", wait_until="commit")
        _row(page, _name(0)).wait_for()
        wanted = _name(500 + turn)
        page.get_by_role("textbox", name="Part of the name").fill(wanted)
        _row(page, wanted).wait_for()
        took.append(time.perf_counter() - began)
        context.close()
    report(f"the list of {MODELS:,} models from a cold browser, until a filter has found one ({ROUNDS} loads)",
           f"p50 {median(took):.2f} s, max {max(took):.2f} s", "<= 1.5 s", median(took) <= 1.5)  # fmt: skip


def _bytes(report: Report, browser: Browser, h: House) -> None:
    """What a cold browser fetches until the home page is there, as it came over the line."""
    context = _context(browser, h)
    page = context.new_page()
    session = context.new_cdp_session(page)
    kinds: dict[str, str] = {}
    sizes: dict[str, float] = defaultdict(float)
    session.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))

    def finished(event: dict[str, Any]) -> None:
        sizes[kinds.get(event["requestId"], "Other")] += event["encodedDataLength"] / 1e3

    session.on("Network.loadingFinished", finished)
    session.send("Network.enable")
    page.goto("/")
    page.get_by_role("heading", level=1).wait_for()
    page.evaluate("document.fonts.ready")
    page.wait_for_timeout(1000)
    context.close()
    code = sum(sizes[kind] for kind in ("Document", "Script", "Stylesheet"))
    fonts = sizes["Font"]
    report("first load of the home page, gzip", f"{code:.0f} kB of code, with fonts {code + fonts:.0f} kB",
           "<= 350 kB", code + fonts <= 350)  # fmt: skip
    print("       kB by kind: " + ", ".join(f"{kind.lower()} {size:.0f}" for kind, size in sorted(sizes.items())))


def _row(page: Page, name: str) -> Any:
    return page.get_by_role("link", name=name, exact=True)
