"""Models that run by themselves: the editor with its preview, the calendar of all, and policies over them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from playwright.sync_api import BrowserContext, Page, expect

from tests.dashboard.conftest import House, sign_in, violations

ALWAYS = {"type": "recurring", "timezone": "UTC", "recurring": {"start": "00:00", "stop": "24:00"}}


def test_a_schedule_is_made_with_a_preview_and_saved(page: Page, house: House) -> None:
    house.deploy("timed", desired="stopped")
    page.goto("/#/models/default/timed/schedule")
    page.get_by_role("button", name="Make a schedule").click()
    zone = page.get_by_role("combobox", name="Time zone")
    zone.fill("berlin")
    page.get_by_role("option", name="Europe/Berlin").click()
    for end, at in (("from", "20:00"), ("to", "06:00")):
        page.get_by_role("textbox", name=f"Friday, {end}").fill(at)
    expect(page.get_by_text("06:00 is not after 20:00 on the same day.")).to_be_visible()
    page.get_by_role("button", name="Make it two: Friday 20:00 to 24:00").click()
    expect(page.get_by_role("textbox", name="Saturday, to")).to_have_value("06:00")
    # What would come of it is drawn before it is saved.
    weeks = page.get_by_role("list", name="Week from")
    expect(weeks).to_have_count(2)
    expect(weeks.first).to_contain_text("runs 20:00 to 24:00")
    expect(weeks.first).to_contain_text("runs 08:00 to 20:00")
    assert violations(page) == []
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="Schedule", exact=True)).to_be_visible()
    saved = house.ask("GET", "/models/timed/schedule").json()
    assert (saved["timezone"], saved["daily"]["saturday"]) == ("Europe/Berlin", {"start": "00:00", "stop": "06:00"})
    expect(page.get_by_text("Start in")).to_be_visible()
    page.goto("/#/models?search=timed")
    expect(page.get_by_role("gridcell").filter(has_text="starts")).to_be_visible()
    page.goto("/#/")
    expect(page.get_by_role("link", name="timed", exact=True).first).to_be_visible()


def test_a_window_under_two_hours_cannot_be_saved(page: Page, house: House) -> None:
    house.deploy("short", desired="stopped")
    page.goto("/#/models/default/short/schedule")
    page.get_by_role("button", name="Make a schedule").click()
    page.get_by_role("textbox", name="Monday, to").fill("09:30")
    expect(page.get_by_text("A window is at least two hours long.")).to_be_visible()
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
    page.get_by_role("textbox", name="Monday, to").fill("10:00")
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_enabled()


def test_a_model_is_kept_running_for_longer_and_that_is_taken_back(page: Page, house: House) -> None:
    house.deploy("late")
    # It runs today until 24:00 of its zone, in which it is still long before that.
    house.ask("PUT", "/models/late/schedule", {**ALWAYS, "exceptions": [{"date": _tomorrow(), "note": "Off"}]})
    page.goto("/#/models/default/late/schedule")
    page.get_by_role("button", name="Keep running longer…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Until, today").fill("25:00")
    expect(dialog.get_by_text("Write the time as HH:MM")).to_be_visible()
    # Today's window ends later than that, as the server says at the field.
    dialog.get_by_role("textbox", name="Until, today").fill("23:59")
    dialog.get_by_role("button", name="Keep it running").click()
    expect(dialog.get_by_text("until which the model runs anyway").first).to_be_visible()
    dialog.get_by_role("button", name="Cancel").click()
    house.ask(
        "POST", "/models/late/schedule/extend", {"until": f"{_tomorrow()}T12:00:00Z", "reason": "a demonstration"}
    )
    expect(page.get_by_role("heading", name="Kept running until")).to_be_visible()
    page.get_by_role("button", name="Take that back").click()
    expect(page.get_by_role("heading", name="Kept running until")).to_have_count(0)
    assert house.ask("GET", "/models/late/schedule").json()["extension"] is None


def test_what_somebody_else_has_saved_meanwhile_is_not_lost(page: Page, house: House) -> None:
    house.deploy("shared", desired="stopped")
    house.ask("PUT", "/models/shared/schedule", {**ALWAYS, "recurring": {"start": "08:00", "stop": "12:00"}})
    page.goto("/#/models/default/shared/schedule")
    page.get_by_role("textbox", name="Every day, to").fill("18:00")
    house.ask("PUT", "/models/shared/schedule", {**ALWAYS, "recurring": {"start": "06:00", "stop": "12:00"}})
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Somebody else has changed it meanwhile")).to_be_visible()
    page.get_by_role("button", name="Look at theirs").click()
    expect(page.get_by_role("textbox", name="Every day, from")).to_have_value("06:00")
    expect(page.get_by_role("textbox", name="Every day, to")).to_have_value("12:00")


def test_who_may_not_edit_reads_the_schedule_and_why(page: Page, context: BrowserContext, house: House) -> None:
    house.deploy("read", desired="stopped")
    house.ask("PUT", "/models/read/schedule", {**ALWAYS, "recurring": {"start": "08:00", "stop": "12:00"}})
    key = house.ask("POST", "/keys", {"name": "reader", "role": "viewer"}).json()["secret"]
    context.clear_cookies()
    sign_in(context, house, key)
    page.goto("/#/models/default/read/schedule")
    expect(page.get_by_text("Needs the role operator in namespace default.")).to_be_visible()
    expect(page.get_by_text("08:00 to 12:00").first).to_be_visible()
    expect(page.get_by_role("button", name="Save", exact=True)).to_have_count(0)


def test_a_weekend_is_shut_down_by_a_policy_that_shows_what_it_would_do(page: Page, house: House) -> None:
    house.deploy("busy", {"engine": "mock", "labels": {"team": "night"}}, desired="stopped")
    daily = {"saturday": {"start": "08:00", "stop": "20:00"}}
    house.ask("PUT", "/models/busy/schedule", {"type": "daily", "timezone": "UTC", "daily": daily})
    page.goto("/#/policies/new")
    page.get_by_role("textbox", name="Name", exact=True).fill("weekend")
    page.get_by_role("textbox", name="Labels").fill("team=night")
    expect(page.get_by_text("For all models labelled team=night.")).to_be_visible()
    page.get_by_role("checkbox", name="Shut down in windows").check()
    zone = page.get_by_role("combobox", name="Time zone")
    zone.fill("utc")
    page.get_by_role("option", name="UTC").first.click()
    expect(page.get_by_role("list", name="Shut down in a week")).to_contain_text("Saturday: shut down 00:00 to 24:00")
    prospect = page.get_by_role("grid", name="What it would do")
    expect(prospect).to_contain_text("busy")
    expect(prospect).to_contain_text("friday 20:00 to monday 06:00")
    assert house.ask("GET", "/policies").json()["items"] == []
    assert violations(page) == []
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="weekend", level=1)).to_be_visible()

    page.get_by_role("button", name="Make an exception").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox", name="Model").fill("busy")
    page.get_by_role("option", name="default/busy").click()
    dialog.get_by_role("textbox", name="Reason").fill("a fair")
    dialog.get_by_role("button", name="Make it", exact=True).click()
    expect(page.get_by_role("grid", name="Overrides")).to_contain_text("a fair")
    page.get_by_role("button", name="End the override for busy").click()
    expect(page.get_by_text("None: it holds for every model")).to_be_visible()

    page.goto("/#/schedules")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="busy", exact=True))
    expect(row).to_contain_text("weekend is in the way")
    page.goto("/#/policies")
    expect(page.get_by_role("grid", name="Policies")).to_contain_text("1 model")
    house.ask("DELETE", "/policies/weekend")


def test_schedules_and_policies_are_accessible_in_both_themes(page: Page, house: House) -> None:
    house.deploy("seen", desired="stopped")
    house.ask("PUT", "/models/seen/schedule", {**ALWAYS, "recurring": {"start": "08:00", "stop": "12:00"}})
    house.ask("PUT", "/policies/night", {"rules": {"idle_after": "2h"}, "mode": "warn"})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for path, heading in (
            ("/models/default/seen/schedule", "The next 14 days"), ("/schedules", "Schedules"),
            ("/policies", "Policies"), ("/policies/_/night", "What it does"),
        ):  # fmt: skip
            page.goto(f"/#{path}")
            expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
            assert violations(page) == []
    page.goto("/#/schedules")
    page.get_by_role("button", name="Table", exact=True).click()
    expect(page.get_by_role("grid", name="Schedules")).to_contain_text("08:00")


def _tomorrow() -> str:
    return str(datetime.now(UTC).date() + timedelta(days=1))
