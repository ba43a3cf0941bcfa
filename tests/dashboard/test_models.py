"""The table of models: what it shows as it happens, what can be done with one and with many."""

from __future__ import annotations

import re

from playwright.sync_api import BrowserContext, Page, expect

from tests.dashboard.conftest import House, sign_in, violations


def _row(page: Page, name: str):  # type: ignore[no-untyped-def]
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def test_a_model_is_stopped_with_a_reason_and_the_release_is_shown_verified(page: Page, house: House) -> None:
    house.deploy("bad")
    page.goto("/#/models")
    _row(page, "bad").get_by_role("button", name="Actions of bad").click()
    start = page.get_by_role("menuitem", name=re.compile("^Start"))
    expect(start).to_have_attribute("aria-disabled", "true")
    expect(start).to_contain_text("running")
    page.get_by_role("menuitem", name="Stop…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Callers get")
    dialog.get_by_label("Reason").fill("wrong answers since noon")
    dialog.get_by_role("button", name="Stop", exact=True).click()
    expect(dialog).to_contain_text("Verified stopped")
    expect(dialog).to_contain_text("0 cut off")
    dialog.get_by_role("button", name="Close", exact=True).last.click()
    expect(_row(page, "bad")).to_contain_text("Stopped")
    events = house.ask("GET", "/models/bad/events").json()["items"]
    assert any("wrong answers since noon" in str(event) for event in events)
    _row(page, "bad").get_by_role("button", name="Actions of bad").click()
    page.get_by_role("menuitem", name=re.compile("^Start")).click()
    expect(_row(page, "bad")).to_contain_text("Running")


def test_what_others_do_is_on_the_screen_within_a_second(page: Page, house: House) -> None:
    house.deploy("watched")
    page.goto("/#/models")
    expect(_row(page, "watched")).to_contain_text("Running")
    house.ask("POST", "/models/watched/stop", {"graceful": False})
    expect(_row(page, "watched")).to_contain_text("Stopped", timeout=1000)
    house.deploy("newcomer")
    expect(_row(page, "newcomer")).to_be_visible(timeout=1000)
    house.ask("DELETE", "/models/newcomer")
    expect(_row(page, "newcomer")).to_have_count(0)


def test_twenty_models_are_stopped_at_once_after_a_look_at_what_would_come_of_it(page: Page, house: House) -> None:
    for number in range(20):
        house.deploy(f"many-{number:02}", desired="running" if number else "stopped")
    page.goto("/#/models?search=many-")
    page.get_by_role("checkbox", name="Select all rows").check()
    page.get_by_role("button", name="20 selected").click()
    page.get_by_role("menuitem", name="Stop…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("19 models would change, 1 would not.")
    assert violations(page) == []
    dialog.get_by_role("button", name="Stop 19").click()
    expect(dialog.get_by_role("status")).to_contain_text("Done.")
    expect(dialog.get_by_text("Done", exact=True)).to_have_count(20)
    states = {m["name"]: m["status"]["state"] for m in house.ask("GET", "/models?search=many-").json()["items"]}
    assert set(states.values()) == {"stopped"}


def test_a_view_is_in_the_address_and_an_empty_one_leads_on(page: Page, house: House) -> None:
    house.deploy("alpha")
    page.goto("/#/models?search=alpha&state=running")
    expect(_row(page, "alpha")).to_be_visible()
    page.get_by_role("textbox", name="Part of the name").fill("nothing-like-it")
    expect(page.get_by_text("No model matches")).to_be_visible()
    assert "search=nothing-like-it" in page.url
    page.get_by_role("button", name="Clear filters").last.click()
    expect(_row(page, "alpha")).to_be_visible()


def test_a_viewer_is_told_why_it_may_not_act(page: Page, context: BrowserContext, house: House) -> None:
    house.deploy("looked-at")
    key = house.ask("POST", "/keys", {"name": "looker", "role": "viewer"}).json()["secret"]
    context.clear_cookies()
    sign_in(context, house, key)
    page.goto("/#/models?search=looked-at")
    _row(page, "looked-at").get_by_role("button", name="Actions of looked-at").click()
    for words in ("Start", "Stop", "Delete"):
        item = page.get_by_role("menuitem", name=re.compile(f"^{words}"))
        expect(item).to_have_attribute("aria-disabled", "true")
        expect(item).to_contain_text("Needs the role")


def test_home_and_models_are_accessible_in_both_themes(page: Page, house: House) -> None:
    house.deploy("seen")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto("/#/")
        expect(page.get_by_role("heading", name="Needs a look")).to_be_visible()
        assert violations(page) == []
        page.goto("/#/models")
        expect(_row(page, "seen")).to_be_visible()
        assert violations(page) == []
        page.goto("/#/models/default/seen")
        expect(page.get_by_role("heading", name="seen", level=1)).to_be_visible()
        expect(page.get_by_text("Call it")).to_be_visible()
        assert violations(page) == []
