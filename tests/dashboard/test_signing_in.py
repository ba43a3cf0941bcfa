"""Who may come in, by which way, and what the page does for those who may not."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from tests.dashboard.conftest import House, violations


def test_one_signs_in_with_a_key_is_led_to_where_one_wanted_and_signs_out(browser: Browser, house: House) -> None:
    page = browser.new_page(base_url=house.url)
    page.goto("/#/models")
    page.get_by_label("API key").fill("not-a-key")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Signing in failed")
    page.get_by_label("API key").fill(house.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Models", level=1)).to_be_visible()
    page.get_by_role("button", name="admin").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in to Modelyard")).to_be_visible()
    assert not page.context.cookies()
    page.close()


def test_the_link_of_the_command_line_signs_in_once(browser: Browser, house: House) -> None:
    link = house.ok("dashboard").strip().splitlines()[-1].strip()
    page = browser.new_page(base_url=house.url)
    page.goto(link)
    expect(page.get_by_role("heading", name="All namespaces")).to_be_visible()
    assert "code" not in page.url
    page.context.clear_cookies()
    page.goto("about:blank")
    page.goto(link)
    expect(page.get_by_role("alert")).to_contain_text("Signing in failed")
    page.close()


def test_signing_in_is_accessible(browser: Browser, house: House) -> None:
    for scheme in ("light", "dark"):
        page: Page = browser.new_page(base_url=house.url, color_scheme=scheme)  # type: ignore[arg-type]
        page.goto("/")
        expect(page.get_by_label("API key")).to_be_visible()
        assert violations(page) == []
        page.close()
