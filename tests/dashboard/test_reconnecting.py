"""Losing the server and finding it again, pages that nobody sees, and sign-ins that end while a page is open."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from tests.cli.yard import eventually
from tests.dashboard.conftest import House, sign_in

LOST = "Server lost, trying again"


def _row(page: Page, name: str):  # type: ignore[no-untyped-def]
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def _answers(house: House) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(f"{house.url}/api/v1/session").status_code == 200
    return False


def _asked(page: Page) -> list[str]:
    """The calls of the API that the page makes from here on."""
    calls: list[str] = []

    def note(request: Request) -> None:
        if "/api/" in request.url:
            calls.append(request.url)

    page.on("request", note)
    return calls


@pytest.fixture
def hide(page: Page) -> Callable[[bool], None]:
    """Has the page hidden, or shown again, as a browser tells it: without a screen there is no other tab in front."""
    page.add_init_script(
        "Object.defineProperty(document, 'hidden', {get: () => window.isHidden === true});"
        "Object.defineProperty(document, 'visibilityState', {get: () => window.isHidden ? 'hidden' : 'visible'});"
    )

    def become(hidden: bool) -> None:
        page.evaluate(
            "(hidden) => { window.isHidden = hidden; document.dispatchEvent(new Event('visibilitychange')); }", hidden
        )

    return become


def test_a_page_goes_on_by_itself_once_a_killed_server_is_back(page: Page, house: House) -> None:
    house.deploy("survivor")
    house.deploy("changed-meanwhile", desired="stopped")
    page.goto("/#/models")
    expect(_row(page, "survivor")).to_contain_text("Running")
    page.evaluate("window.isTheSame = true")
    control = house.process("control")
    assert control is not None
    # The one that takes its place may not answer before the page has noticed.
    supervisor = house.process("supervisor")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGSTOP)
    try:
        os.kill(control.pid, signal.SIGKILL)
        expect(page.get_by_text(LOST)).to_be_visible()
        # What was known stays readable.
        expect(_row(page, "survivor")).to_contain_text("Running")
    finally:
        os.kill(supervisor.pid, signal.SIGCONT)
    eventually(lambda: _answers(house), "the control process is back")
    house.deploy("born-meanwhile")
    house.ok("start", "changed-meanwhile")
    expect(_row(page, "born-meanwhile")).to_contain_text("Running")
    expect(_row(page, "changed-meanwhile")).to_contain_text("Running")
    expect(page.get_by_text(LOST)).to_have_count(0)
    assert page.evaluate("window.isTheSame"), "the page was loaded anew"
    # And live again: at once, not with the next look.
    house.ask("POST", "/models/survivor/stop", {"graceful": False})
    expect(_row(page, "survivor")).to_contain_text("Stopped", timeout=1000)


def test_who_is_signed_in_stays_so_when_the_server_is_taken_down_and_up(page: Page, house: House) -> None:
    house.deploy("taken-along")
    page.goto("/#/models")
    expect(_row(page, "taken-along")).to_contain_text("Running")
    house.ok("down")
    expect(page.get_by_text(LOST)).to_be_visible()
    house.ok("up", "--detach")
    expect(page.get_by_text(LOST)).to_have_count(0)
    expect(_row(page, "taken-along")).to_contain_text("Running")
    house.ok("stop", "taken-along")
    expect(_row(page, "taken-along")).to_contain_text("Stopped", timeout=1000)


def test_a_key_that_was_revoked_while_the_server_was_away_is_asked_for_again_with_the_reason(
    page: Page, context: BrowserContext, house: House
) -> None:
    key = house.ask("POST", "/keys", {"name": "short-lived", "role": "viewer"}).json()
    context.clear_cookies()
    sign_in(context, house, key["secret"])
    page.goto("/#/models?search=x")
    expect(page.get_by_role("heading", name="Models", level=1)).to_be_visible()
    house.ask("DELETE", f"/keys/{key['id']}")
    control = house.process("control")
    assert control is not None
    os.kill(control.pid, signal.SIGKILL)
    expect(page.get_by_role("heading", name="Sign in to Modelyard")).to_be_visible()
    expect(page.get_by_text("You are signed out")).to_be_visible()
    expect(page.get_by_text(re.compile("'short-lived' was revoked"))).to_be_visible()
    # And back to where one was.
    page.get_by_label("API key").fill(house.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Models", level=1)).to_be_visible()
    assert page.url.endswith("/#/models?search=x")


def test_whose_key_is_revoked_is_led_to_sign_in_by_the_next_call(
    page: Page, context: BrowserContext, house: House
) -> None:
    key = house.ask("POST", "/keys", {"name": "leaked", "role": "viewer"}).json()
    context.clear_cookies()
    sign_in(context, house, key["secret"])
    page.goto("/#/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    house.ask("DELETE", f"/keys/{key['id']}")
    # By the address: the page may have found out by itself, and have no links any more.
    page.evaluate("if (!location.hash.startsWith('#/sign-in')) location.hash = '#/models'")
    expect(page.get_by_role("heading", name="Sign in to Modelyard")).to_be_visible()
    expect(page.get_by_text(re.compile("'leaked' was revoked"))).to_be_visible()


def test_a_hidden_page_asks_for_nothing_and_is_right_at_once_when_it_is_seen(
    page: Page, house: House, hide: Callable[[bool], None]
) -> None:
    house.deploy("unseen")
    page.goto("/#/models")
    expect(_row(page, "unseen")).to_contain_text("Running")
    hide(True)
    calls = _asked(page)
    # Longer than the page waits between any two looks, and with enough to look at.
    house.ok("stop", "unseen")
    for turn in range(6):
        house.deploy(f"unseen-{turn}")
    page.wait_for_timeout(6_000)
    assert calls == []
    hide(False)
    expect(_row(page, "unseen")).to_contain_text("Stopped", timeout=1000)
    assert calls


def test_a_hidden_page_that_has_lost_the_server_does_not_look_for_it(
    page: Page, house: House, hide: Callable[[bool], None]
) -> None:
    house.deploy("left-alone")
    page.goto("/#/models")
    expect(_row(page, "left-alone")).to_contain_text("Running")
    house.ok("down")
    try:
        expect(page.get_by_text(LOST)).to_be_visible()
        hide(True)
        calls = _asked(page)
        page.wait_for_timeout(6_000)
        assert calls == []
    finally:
        house.ok("up", "--detach")
    hide(False)
    expect(page.get_by_text(LOST)).to_have_count(0)
    expect(_row(page, "left-alone")).to_contain_text("Running")


def test_a_link_does_not_make_somebody_else_of_who_is_signed_in_already(
    page: Page, context: BrowserContext, house: House
) -> None:
    key = house.ask("POST", "/keys", {"name": "elsewhere", "role": "viewer"}).json()["secret"]
    link = house.ask("POST", "/session/links", token=key).json()["url"]
    page.goto(link)
    expect(page.get_by_role("heading", name="Sign in by this link?")).to_be_visible()
    expect(page.get_by_text("admin is signed in here already")).to_be_visible()
    page.get_by_role("button", name="Stay admin").click()
    expect(page.get_by_role("button", name="admin", exact=True)).to_be_visible()
    # It was not used up, and who wants it may.
    page.goto("about:blank")
    page.goto(link)
    page.get_by_role("button", name="Sign in by the link").click()
    expect(page.get_by_role("button", name="key:elsewhere")).to_be_visible()


def test_who_was_never_signed_in_is_told_nothing_of_an_end(browser: Browser, house: House) -> None:
    page = browser.new_page(base_url=house.url)
    page.goto("/#/models")
    expect(page.get_by_label("API key")).to_be_visible()
    expect(page.get_by_text("You are signed out")).to_have_count(0)
    page.close()
