"""Administration: who comes in and may what, namespaces and their quotas, alerts, the record, settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.access.issuer import AUDIENCE, Issuer
from tests.dashboard.conftest import House, sign_in, violations

PAGES = (
    ("/namespaces", "Namespaces"),
    ("/namespaces/default", "default"),
    ("/access", "Access"),
    ("/access/keys", "Access"),
    ("/alerts", "Alerts"),
    ("/alerts/rules", "Alerts"),
    ("/alerts/webhooks", "Alerts"),
    ("/audit", "Audit"),
    ("/settings", "Settings"),
    ("/settings/registry", "Settings"),
    ("/settings/outside", "Settings"),
)


@pytest.fixture(scope="module")
def people() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture(scope="module")
def house(people: Issuer) -> Iterator[House]:
    """One that takes the tokens of an identity provider, too."""
    house = House(environment={"MODELYARD_OIDC_ISSUER": people.url, "MODELYARD_OIDC_AUDIENCE": AUDIENCE})
    try:
        house.ok("up", "--detach")
        yield house
    finally:
        house.close()


def _row(page: Page, text: str) -> Locator:
    return page.get_by_role("row").filter(has_text=text)


def _act(page: Page, of: str, words: str) -> None:
    page.get_by_role("button", name=f"Actions of {of}").click()
    page.get_by_role("menuitem", name=words).click()


def _answers(house: House, secret: str) -> int:
    """What the API answers to whoever shows ``secret``."""
    return httpx2.get(f"{house.url}/api/v1/me", headers={"Authorization": f"Bearer {secret}"}).status_code


def _make_broken(house: House, name: str) -> Path:
    """A model that cannot start, and the file to mend."""
    folder = house.home / name
    folder.mkdir()
    code = folder / "model.py"
    code.write_text("raise RuntimeError('no such luck')\n")
    house.ask("POST", "/models", {"name": name, "spec": {"engine": "python", "source": f"file://{folder}"}})
    return code


def test_a_key_is_made_used_rotated_and_revoked(page: Page, house: House) -> None:
    page.goto("/#/access/keys")
    page.get_by_role("button", name="Make a key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Web Shop")
    expect(dialog).to_contain_text("Small letters, digits and hyphens")
    expect(dialog.get_by_role("button", name="Make it")).to_be_disabled()
    dialog.get_by_label("Name").fill("web-shop")
    dialog.get_by_label("Models").fill("digits, wine-*")
    dialog.get_by_role("button", name="Make it").click()
    expect(dialog).to_contain_text("shown this once")
    assert violations(page) == []
    first = dialog.get_by_role("textbox", name="Secret").input_value()
    assert _answers(house, first) == 200
    dialog.get_by_role("button", name="I have it").click()
    expect(_row(page, "web-shop")).to_contain_text("wine-*")
    expect(page.get_by_text(first)).to_have_count(0)

    _act(page, "web-shop", "Rotate…")
    expect(dialog).to_contain_text("both work")
    dialog.get_by_role("button", name="Rotate", exact=True).click()
    expect(dialog).to_contain_text("The secret before ends")
    second = dialog.get_by_role("textbox", name="Secret").input_value()
    assert second != first
    assert (_answers(house, first), _answers(house, second)) == (200, 200)
    dialog.get_by_role("button", name="I have it").click()
    expect(_row(page, "web-shop")).to_contain_text("the old secret")

    _act(page, "web-shop", "Revoke…")
    expect(dialog).to_contain_text("refused from now on")
    dialog.get_by_label("Reason").fill("left on a train")
    dialog.get_by_role("button", name="Revoke", exact=True).click()
    expect(dialog).to_have_count(0)
    assert (_answers(house, first), _answers(house, second)) == (401, 401)
    page.get_by_role("button", name="Revoked and expired").click()
    expect(page.get_by_role("grid", name="Revoked and expired keys")).to_contain_text("web-shop")

    page.goto("/#/audit?search=left on a train")
    revoked = page.get_by_role("row").filter(has_text="api_keys.revoke")
    expect(revoked).to_have_count(1)
    revoked.get_by_role("button", name="Details").click()
    expect(page.get_by_role("grid", name="What changed")).to_contain_text("revoked_at")


def test_a_member_is_added_and_comes_in_with_that_role(
    page: Page, context: BrowserContext, house: House, people: Issuer
) -> None:
    house.ask("POST", "/namespaces", {"name": "vision"})
    page.goto("/#/namespaces/vision/members")
    page.get_by_role("button", name="Add a member").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Who").fill("somebody")
    expect(dialog.get_by_role("button", name="Add", exact=True)).to_be_disabled()
    dialog.get_by_label("Who").fill("group:painters")
    dialog.get_by_role("button", name="Role").click()
    page.get_by_role("option", name="Administrator").click()
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(_row(page, "group:painters")).to_contain_text("Administrator")

    context.clear_cookies()
    sign_in(context, house, people.token(email="ada@example.com", email_verified=True, groups=["painters"]))
    page.goto("/#/namespaces")
    page.reload()
    expect(_row(page, "vision")).to_be_visible()
    expect(_row(page, "default")).to_have_count(0)
    sections = page.get_by_role("navigation", name="Sections")
    expect(sections.get_by_role("link", name="Audit")).to_be_visible()
    expect(sections.get_by_role("link", name="Settings")).to_have_count(0)
    page.goto("/#/settings")
    expect(page.get_by_text("the role administrator in all namespaces")).to_be_visible()
    page.goto("/#/audit")
    expect(_row(page, "members.set")).to_contain_text("group:painters")


def test_a_namespace_is_made_given_a_quota_and_deleted_once_it_is_empty(page: Page, house: House) -> None:
    page.goto("/#/namespaces")
    page.get_by_role("button", name="Make a namespace").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("speech")
    dialog.get_by_label("Memory").fill("lots")
    expect(dialog).to_contain_text("A size: 512Mi, 32Gi.")
    dialog.get_by_label("Memory").fill("4Gi")
    dialog.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", name="speech", level=1)).to_be_visible()
    spec = {"engine": "mock", "resources": {"memory": "1Gi"}}
    operation = house.ask("POST", "/namespaces/speech/models", {"name": "talk", "spec": spec}).json()["id"]
    house.ask("GET", f"/operations/{operation}/wait?timeout=60s")
    expect(page.get_by_text("1.0 GiB of 4.0 GiB")).to_be_visible()

    page.get_by_role("button", name="Edit").click()
    dialog.get_by_label("Memory").fill("512Mi")
    expect(dialog).to_contain_text("It holds more than that now")
    dialog.get_by_label("Memory").fill("2Gi")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("1.0 GiB of 2.0 GiB")).to_be_visible()
    page.get_by_role("switch", name="Commands").press("Space")
    expect(page.get_by_role("switch", name="Commands")).not_to_be_checked()
    assert house.ask("GET", "/namespaces/speech").json()["features"]["command"] is False

    delete = page.get_by_role("button", name="Delete", exact=True)
    expect(delete).to_have_attribute("aria-disabled", "true")
    delete.hover()
    expect(page.get_by_role("tooltip")).to_contain_text("It has 1 model")
    operation = house.ask("DELETE", "/namespaces/speech/models/talk").json()["id"]
    house.ask("GET", f"/operations/{operation}/wait?timeout=60s")
    expect(delete).not_to_have_attribute("aria-disabled", "true")
    delete.click()
    dialog.get_by_label("Type speech to confirm").fill("speech")
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("heading", name="Namespaces", level=1)).to_be_visible()
    expect(_row(page, "speech")).to_have_count(0)


def test_what_cannot_start_fires_is_counted_in_the_navigation_and_is_silenced(page: Page, house: House) -> None:
    # It would fire as well, a little later.
    house.ask("PUT", "/alert-rules/crash-loop", {"kind": "crash_loop", "enabled": False})
    page.goto("/#/alerts")
    expect(page.get_by_text("Nothing fires")).to_be_visible()
    _make_broken(house, "unlucky")
    row = _row(page, "unlucky")
    expect(row).to_contain_text("Critical")
    expect(row).to_contain_text("modelyard logs unlucky")
    count = page.get_by_role("navigation", name="Sections").get_by_role("link", name="Alerts")
    expect(count).to_contain_text("1")
    assert violations(page) == []
    _act(page, "Start failed of unlucky", "Silence…")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("known, ticket 17")
    dialog.get_by_role("button", name="Silence", exact=True).click()
    expect(row).to_contain_text("known, ticket 17")
    expect(count).not_to_contain_text("1")
    house.ask("DELETE", "/models/unlucky")
    expect(page.get_by_text("Nothing fires")).to_be_visible()
    expect(page.get_by_role("grid", name="Ended alerts")).to_contain_text("unlucky")


def test_rules_and_webhooks_are_set_in_the_page(page: Page, house: House) -> None:
    page.goto("/#/alerts/rules")
    page.get_by_role("switch", name="schedule-failed is watched for").press("Space")
    expect(page.get_by_role("switch", name="schedule-failed is watched for")).not_to_be_checked()
    assert house.ask("GET", "/alert-rules/schedule-failed").json()["enabled"] is False
    page.get_by_role("button", name="Add a rule").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=False).first.fill("errors")
    dialog.get_by_label("Fires from").fill("2")
    dialog.get_by_role("button", name="Save").click()
    expect(_row(page, "errors")).to_contain_text("2 % or more within 5 min")
    assert house.ask("GET", "/alert-rules/errors").json()["threshold"] == 0.02

    page.goto("/#/alerts/webhooks")
    page.get_by_role("button", name="Add a webhook").click()
    dialog.get_by_label("Name").first.fill("on-call")
    dialog.get_by_label("URL").fill("https://hooks.example.invalid/secret-path")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_contain_text("shown this once")
    dialog.get_by_role("button", name="I have it").click()
    expect(_row(page, "on-call")).to_contain_text("https://hooks.example.invalid")
    expect(page.get_by_text("secret-path")).to_have_count(0)
    _act(page, "on-call", "Send a test")
    expect(dialog.get_by_role("grid", name="Deliveries")).to_contain_text("Test")


def test_the_record_is_verified_filtered_and_handed_on(page: Page, house: House) -> None:
    for number in range(60):
        house.ask(
            "PUT", "/members/bob@example.com", {"role": ("viewer", "user")[number % 2], "reason": f"turn {number}"}
        )
    page.goto("/#/audit?action=members.set&target=bob@example.com")
    rows = page.get_by_role("grid", name="The record").get_by_role("row").filter(has_text="members.set")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Show older entries").click()
    expect(rows).to_have_count(60)
    rows.first.get_by_role("button", name="Details").click()
    changed = page.get_by_role("grid", name="What changed")
    expect(changed.get_by_role("deletion")).to_have_text("viewer")
    expect(changed.get_by_role("insertion")).to_have_text("user")
    assert violations(page) == []
    page.get_by_role("textbox", name="Part of the reason").fill("turn 17")
    expect(rows).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as JSON lines").click()
    (line,) = Path(download.value.path()).read_text().splitlines()
    assert '"turn 17"' in line
    page.get_by_role("button", name="Verify the chain").click()
    expect(page.get_by_text("The record is whole")).to_be_visible()


def test_settings_say_what_the_installation_is_and_where_what_is_set(page: Page, house: House) -> None:
    page.goto("/#/settings")
    expect(page.get_by_role("grid", name="Sites")).to_contain_text(str(house.home))
    page.get_by_role("tab", name="Set outside").click()
    page.get_by_role("textbox", name="Find a setting").fill("oidc_audience")
    expect(page.get_by_role("grid", name="Settings")).to_contain_text(AUDIENCE)
    assert house.token not in page.content()
    page.get_by_role("tab", name="Store and cache").click()
    page.get_by_role("button", name="Clean up…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Nothing would go.")
    expect(dialog.get_by_role("button", name="Remove")).to_be_disabled()
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("tab", name="Doctor").click()
    expect(page.get_by_text("Everything belongs to something")).to_be_visible()


def test_a_viewer_sees_none_of_it(page: Page, context: BrowserContext, house: House) -> None:
    key = house.ask("POST", "/keys", {"name": "onlooker", "role": "viewer"}).json()["secret"]
    context.clear_cookies()
    sign_in(context, house, key)
    page.goto("/#/models")
    sections = page.get_by_role("navigation", name="Sections")
    expect(sections.get_by_role("link", name="Models")).to_be_visible()
    expect(sections).not_to_contain_text("Administration")
    for path in ("/namespaces", "/namespaces/default", "/access", "/audit", "/settings"):
        page.goto(f"/#{path}")
        expect(page.get_by_role("heading", name="Not for you to see")).to_be_visible()
        expect(page.get_by_role("main")).to_contain_text("This needs the role administrator")
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_administration_is_accessible(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for path, title in PAGES:
        page.goto(f"/#{path}")
        expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
        expect(page.locator("[aria-busy=true]")).to_have_count(0)
        assert violations(page) == [], path
