"""Every screen of the dashboard, found by its routes, before a Modelyard that has something on each of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page

from tests.dashboard.conftest import House

ROUTES = Path(__file__).parents[2] / "dashboard" / "src" / "app" / "routes.tsx"
# What stands in the addresses: what `furnish` has put there.
_PARAMETERS = {
    "/models": {"namespace": "default", "name": "digits"},
    "/registry": {"namespace": "default", "name": "reader", "version": "1.1.0"},
    "/policies": {"scope": "installation", "policy": "weekend"},
    "/namespaces": {"name": "default"},
}
# Nothing is on its way any longer.
_SETTLED = """() => document.querySelector('main h1') &&
    !document.querySelector('main .pf-v6-c-skeleton, main .pf-v6-c-spinner, main [aria-busy="true"]')"""


def furnish(house: House) -> None:
    """Models in all kinds of states, versions, schedules, policies, keys, members and alerts."""
    for name in ("digits", "wine"):
        house.ask("POST", f"/samples/{name}")
    _publish(house)
    for name, spec, desired in (
        ("churn-scores", {"engine": "mock", "labels": {"team": "growth"}, "replicas": {"min": 2, "max": 2}}, "running"),
        ("fraud-check", {"engine": "mock", "labels": {"team": "risk"}}, "running"),
        ("fraud-check-next", {"engine": "mock", "labels": {"team": "risk"}}, "stopped"),
        ("image-search", {"engine": "mock", "resources": {"gpus": 2}}, "running"),
        ("reader", {"source": "reader@stable"}, "running"),
        ("speech-to-text", {"engine": "mock", "resources": {"gpus": 1}}, "running"),
    ):
        house.ask("POST", "/models", {"name": name, "spec": spec, "desired": desired})
    crashing = {"engine": "command", "options": {"command": ["sh", "-c", "echo no such weights >&2; exit 3"]}}
    house.ask("POST", "/models", {"name": "recommender", "spec": crashing})
    days = ("monday", "tuesday", "wednesday", "thursday", "friday")
    week = {day: {"start": "08:00", "stop": "20:00"} for day in days}
    schedule = {"type": "daily", "timezone": "Europe/Berlin", "daily": week}
    house.ask("PUT", "/models/churn-scores/schedule", schedule)
    house.ask("PUT", "/policies/weekend", {"rules": {"idle_after": "2h"}, "mode": "warn"})
    house.ask("POST", "/namespaces", {"name": "research"})
    house.ask("POST", "/keys", {"name": "ci", "role": "editor"})
    house.ask("POST", "/keys", {"name": "grafana", "role": "viewer"})
    _call(house)
    states = ("digits", "running"), ("wine", "running"), ("recommender", "error"), ("reader", "running")
    deadline = time.monotonic() + 60
    while any(house.state(name) != state for name, state in states):
        assert time.monotonic() < deadline, {name: house.state(name) for name, _ in states}
        time.sleep(0.2)


def _publish(house: House) -> None:
    """Two versions of a model, of which the second was trained on from the first."""
    house.ok("push", str(_digits(house)), "reader@1.0.0", "--alias", "stable", "--metric", "accuracy=0.94")
    house.ok("push", str(_digits(house)), "reader@1.1.0", "--metric", "accuracy=0.96")


def _digits(house: House) -> Path:
    [file] = house.home.glob("**/digits/model.onnx")
    return file


def _call(house: House) -> None:
    """Some traffic, so that the charts have something to show."""
    sample = (_digits(house).parent / "sample.json").read_text()
    for _ in range(20):
        house.run("predict", "digits", "--file", "-", stdin=sample)


def screens(page: Page) -> Iterator[str]:
    """Goes from screen to screen; yields the name of each once all of it is there. A page's tabs are screens too."""
    for route in _routes():
        optional = route.endswith("/:tab?")
        address = _filled(route.removesuffix("/:tab?"))
        _go(page, address)
        name = address.strip("/").replace("/", "-") or "home"
        yield name
        if not optional:
            continue
        tabs = page.get_by_role("tablist").first.get_by_role("tab")
        for number in range(1, tabs.count()):
            tabs.nth(number).click()
            _settle(page)
            yield f"{name}-{re.sub(r'[^a-z0-9]+', '-', tabs.nth(number).inner_text().lower())}"


def _routes() -> list[str]:
    return re.findall(r'path: "([^"]+)", lazy:', ROUTES.read_text())


def _filled(route: str) -> str:
    known = next((values for prefix, values in _PARAMETERS.items() if route.startswith(prefix)), {})

    def value(match: re.Match[str]) -> str:
        assert match[1] in known, f"What should :{match[1]} of {route} be? Say so in {__name__}."
        return known[match[1]]

    return re.sub(r":(\w+)", value, route)


def _go(page: Page, address: str) -> None:
    # A page stays until the next one's code is there: from nothing, none is taken for the other.
    page.goto("about:blank")
    page.goto(f"/#{address}")
    _settle(page)
    assert page.evaluate("location.hash") == f"#{address}", f"{address} led to {page.url}"


def _settle(page: Page) -> None:
    page.wait_for_function(_SETTLED)
    page.evaluate("document.fonts.ready")
    # What comes in by itself once it is there: charts, tabs, dialogs.
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
