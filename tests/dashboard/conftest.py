"""A browser, a Modelyard with models for it, and pages that are signed in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from modelyard.api.pages import FOLDER
from tests.cli.yard import Yard

AXE = Path(__file__).parents[2] / "dashboard" / "node_modules" / "axe-core" / "axe.min.js"
# Milliseconds that what is waited for may take on a busy machine; it never waits longer than it must.
PATIENCE = 15_000


class House(Yard):
    """A running Modelyard, and its API for what a test sets up or looks at behind the page's back."""

    @property
    def token(self) -> str:
        return (self.home / "admin.token").read_text().strip()

    def ask(self, method: str, path: str, body: Any = None, token: str = "") -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        answer = httpx2.request(method, f"{self.url}/api/v1{path}", json=body, headers=headers, timeout=60)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def deploy(self, name: str, spec: dict[str, Any] | None = None, **more: Any) -> None:
        """Deploy a model (a mock, unless ``spec`` says otherwise) and wait until that is done."""
        body = {"name": name, "spec": spec or {"engine": "mock"}, **more}
        operation = self.ask("POST", "/models", body).json()["id"]
        done = self.ask("GET", f"/operations/{operation}/wait?timeout=60s").json()
        assert done["state"] == "succeeded", done


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = os.environ.get("MODELYARD_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("There is no Chromium on this machine (apt install chromium, or name one in MODELYARD_CHROMIUM).")
    assert (FOLDER / "index.html").is_file(), "The dashboard is not built: make dashboard."
    # As root there is no sandbox to be had.
    sandbox = [] if os.getuid() else ["--no-sandbox"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """One for all tests of a module: each names its models by itself."""
    house = House()
    try:
        house.ok("up", "--detach")
        yield house
    finally:
        house.close()


@pytest.fixture
def context(browser: Browser, house: House) -> Iterator[BrowserContext]:
    """Signed in as the administrator."""
    context = browser.new_context(base_url=house.url, viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    sign_in(context, house, house.token)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page on which nothing may go wrong unseen."""
    expect.set_options(timeout=PATIENCE)
    page, wrong = context.new_page(), list[str]()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if _is_wrong(message) else None)
    yield page
    assert not wrong, wrong


def sign_in(context: BrowserContext, house: House, key: str) -> None:
    answer = context.request.post(f"{house.url}/api/v1/session", data={"key": key}, headers={"Origin": house.url})
    assert answer.ok, answer.text()


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it is shown now."""
    # Not as a script of the page: those may come from its server alone.
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{v['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for v in found["violations"]
        for node in v["nodes"]
    ]


def _is_wrong(message: ConsoleMessage) -> bool:
    # The browser logs each answer that is no success; the page deals with those.
    return message.type == "error" and not message.text.startswith("Failed to load resource")
