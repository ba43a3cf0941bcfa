"""Metrics over time: a model's charts and numbers, and what all are asked on the first page."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.dashboard.conftest import PATIENCE, House, violations

# The gateway tells twice a second, a fine sample is of five seconds, and the page asks as often.
SOON = 3 * PATIENCE


def _call(house: House, name: str, times: int) -> None:
    for _ in range(times):
        house.ok("predict", name, "--sample")


def test_what_a_model_was_asked_is_on_its_page_with_what_happened_to_it(page: Page, house: House) -> None:
    house.deploy("busy")
    page.goto("/#/models/default/busy")
    page.get_by_role("tab", name="Metrics").click()
    expect(page.get_by_text("Nobody has called it in the last hour.")).to_be_visible()
    _call(house, "busy", 3)
    chart = page.get_by_role("figure", name=re.compile("3 in all, 0 failed"))
    # Nobody reloads the page.
    expect(chart).to_be_visible(timeout=SOON)
    house.ok("stop", "busy", "--force")
    happened = page.get_by_role("listitem")
    expect(happened.filter(has_text="Stopped.")).to_be_visible()
    expect(happened.filter(has_text="Deployed.")).to_be_visible()
    # Stopped, its history is still there.
    page.reload()
    expect(chart).to_be_visible()
    assert violations(page) == []


def test_the_numbers_can_be_read_without_charts(page: Page, house: House) -> None:
    house.deploy("read-aloud")
    _call(house, "read-aloud", 2)
    page.goto("/#/models/default/read-aloud/metrics?range=6h")
    page.get_by_role("button", name="Numbers").click()
    table = page.get_by_role("grid")
    expect(table).to_contain_text("Each row is 1 minute")
    expect(table.get_by_role("row").filter(has=page.get_by_role("gridcell", name="2", exact=True)).first).to_be_visible(
        timeout=SOON
    )
    # The address says what is shown, so it can be passed on.
    page.get_by_role("button", name="24 h").click()
    expect(table).to_contain_text("Each row is 5 minutes")
    expect(page).to_have_url(re.compile("range=24h.*as=numbers|as=numbers.*range=24h"))
    assert violations(page) == []


def test_home_says_what_all_are_asked(page: Page, house: House) -> None:
    house.deploy("one-of-all")
    _call(house, "one-of-all", 2)
    page.goto("/")
    expect(page.get_by_role("heading", name="Requests of the last hour")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile(r"^[1-9]\d* requests in the last hour"))).to_be_visible(timeout=SOON)
