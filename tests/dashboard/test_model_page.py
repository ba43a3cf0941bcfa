"""One model's page: what is wrong and how it is mended, how it is stopped, what was before and how to go back to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.cli.yard import eventually
from tests.dashboard.conftest import House, sign_in, violations

GOOD = "class Model:\n    def predict(self, inputs):\n        return inputs\n"
BROKEN = "class Model:\n    def load(self, folder):\n        raise RuntimeError('the weights are of another shape')\n"
TABS = ("", "instances", "traffic", "revisions", "logs", "events", "spec")


def _open(page: Page, name: str, tab: str = "") -> None:
    page.goto(f"/#/models/default/{name}/{tab}")
    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()


def _head(page: Page) -> Locator:
    return page.locator("section").filter(has=page.get_by_role("heading", level=1))


@contextmanager
def _load(house: House, name: str, requests: int) -> Iterator[list[int]]:
    """So many requests at once to a model that takes its time; yields the codes that have come."""
    body = {"inputs": [{"name": "input", "shape": [1, 1], "datatype": "FP32", "data": [0.0]}]}
    codes: list[int] = []

    def call() -> None:
        answer = httpx2.post(
            f"{house.url}/v2/models/{name}/infer", json=body, timeout=60,
            headers={"Authorization": f"Bearer {house.token}"},
        )  # fmt: skip
        codes.append(answer.status_code)

    threads = [threading.Thread(target=call) for _ in range(requests)]
    for thread in threads:
        thread.start()
    try:
        in_flight = f"/models/{name}/in-flight"
        eventually(lambda: house.ask("GET", in_flight).json()["requests"] == requests, "all requests in flight")
        yield codes
    finally:
        for thread in threads:
            thread.join()


def test_a_broken_model_says_what_to_do_and_a_rollback_mends_it(page: Page, house: House, tmp_path: Path) -> None:
    for name, code in (("good", GOOD), ("broken", BROKEN)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.py").write_text(code)
    spec = {"engine": "python", "source": str(tmp_path / "good"), "trusted": True}
    # Of one that never ran there is nothing to go back to by itself.
    house.deploy("ranking", spec, desired="stopped")
    change = {"spec": {"source": str(tmp_path / "broken")}, "reason": "new weights"}
    house.ask("PATCH", "/models/ranking", {**change, "acknowledge_restart": True})
    _open(page, "ranking")
    page.get_by_role("button", name="Actions of ranking").click()
    page.get_by_role("menuitem", name="Start", exact=True).click()
    expect(_head(page)).to_contain_text("the weights are of another shape", timeout=30_000)
    conditions = page.get_by_role("list", name="Conditions")
    expect(conditions).to_contain_text("in its log")
    conditions.get_by_role("link", name="Its log").first.click()
    expect(page.get_by_role("log")).to_contain_text("RuntimeError: the weights are of another shape")
    page.get_by_role("button", name="Level").click()
    page.get_by_role("option", name="Errors", exact=True).click()
    expect(page.get_by_role("log")).to_contain_text("raise RuntimeError")
    expect(page.get_by_role("log")).not_to_contain_text("INFO")

    page.get_by_role("tab", name="Revisions").click()
    page.get_by_role("button", name="Roll back to revision 1").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("row").filter(has_text="source")).to_contain_text("New instances")
    assert violations(page) == []
    dialog.get_by_label("Reason").fill("the old weights answer")
    dialog.get_by_role("button", name="Roll back", exact=True).click()
    expect(dialog).to_contain_text("Done.", timeout=30_000)
    dialog.get_by_role("button", name="Close", exact=True).last.click()
    expect(_head(page)).to_contain_text("Running")
    newest = page.get_by_role("row").filter(has_text="the old weights answer")
    expect(newest).to_contain_text("In effect")


def test_an_update_that_fails_is_told_beside_what_serves(page: Page, house: House, trained: Path) -> None:
    house.deploy("kept", {"engine": "sklearn", "source": str(trained / "wine" / "model.skops")})
    _open(page, "kept")
    house.ask("PATCH", "/models/kept", {"spec": {"resources": {"memory": "64Mi"}}, "acknowledge_restart": True})
    expect(_head(page)).to_contain_text("The update to revision 2 failed; the last good instances serve.")
    _head(page).get_by_role("link", name="See why").click()
    failed = page.get_by_role("row").filter(has_text="Failed")
    expect(failed).to_contain_text("resources.memory is 64 MiB")
    expect(page.get_by_role("row").filter(has_text="resources.memory").last).to_contain_text("64Mi")
    again = failed.get_by_role("button", name="Roll back to revision 2")
    expect(again).to_have_attribute("aria-disabled", "true")


def test_a_stop_under_load_shows_the_requests_left_until_the_release_is_verified(page: Page, house: House) -> None:
    house.deploy("busy", {"engine": "mock", "options": {"latency_ms": 3000}})
    house.deploy("door", {"engine": "mock", "traffic": {"split": [{"model": "busy", "weight": 5}]}})
    _open(page, "busy", "instances")
    with _load(house, "busy", 4) as codes:
        (instance,) = [i["id"] for i in house.ask("GET", "/models/busy/instances").json()["items"]]
        expect(page.get_by_role("row").filter(has_text=instance).locator("td[data-label='In flight']")).to_have_text(
            "4"
        )
        page.get_by_role("button", name="Actions of busy").click()
        page.get_by_role("menuitem", name="Stop…").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("4 requests: finished first")
        expect(dialog).to_contain_text("door sends 5 % of its requests here")
        dialog.get_by_role("button", name="Stop", exact=True).click()
        expect(dialog).to_contain_text("4 requests left")
        expect(dialog).to_contain_text("What is not finished after 30 s is cut off")
        expect(dialog.get_by_role("button", name="Kill now")).to_be_visible()
        assert violations(page) == []
        expect(dialog).to_contain_text("Verified stopped")
        expect(dialog).to_contain_text("4 finished, 0 refused, 0 cut off")
    assert codes == [200] * 4
    dialog.get_by_role("button", name="Close", exact=True).last.click()
    expect(_head(page)).to_contain_text("verified")
    expect(page.get_by_role("heading", name="No instance now")).to_be_visible()


def test_a_protected_model_is_stopped_with_a_reason_only(page: Page, context: BrowserContext, house: House) -> None:
    house.deploy("precious")
    rules = {"selector": {"models": ["precious"]}, "rules": {"protected": True}}
    house.ask("PUT", "/policies/treasure", {**rules, "reason": "customers"})
    _open(page, "precious")
    page.get_by_role("button", name="Actions of precious").click()
    page.get_by_role("menuitem", name="Stop…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("treasure, of the whole installation")
    stop = dialog.get_by_role("button", name="Stop", exact=True)
    expect(stop).to_be_disabled()
    dialog.get_by_role("checkbox").check()
    expect(stop).to_be_disabled()
    dialog.get_by_role("textbox", name="Reason").fill("it answers wrongly")
    stop.click()
    expect(dialog).to_contain_text("Verified stopped")
    house.ask("POST", "/models/precious/start")

    key = house.ask("POST", "/keys", {"name": "operating", "role": "operator"}).json()["secret"]
    context.clear_cookies()
    sign_in(context, house, key)
    page.reload()
    page.get_by_role("button", name="Actions of precious").click()
    page.get_by_role("menuitem", name="Stop…").click()
    expect(dialog).to_contain_text("Only administrators of the whole installation may stop it nevertheless.")
    expect(dialog.get_by_role("button", name="Stop", exact=True)).to_be_disabled()


def test_an_instance_is_terminated_and_another_takes_its_place(page: Page, house: House) -> None:
    house.deploy("pair", {"engine": "mock", "replicas": {"min": 2, "max": 2}})
    first, second = [i["id"] for i in house.ask("GET", "/models/pair/instances").json()["items"]]
    _open(page, "pair", "instances")
    page.get_by_role("button", name=f"Terminate {first}").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).not_to_contain_text("the only one that serves")
    dialog.get_by_label("Force: kill at once").check()
    dialog.get_by_label("Reason").fill("it hangs")
    dialog.get_by_role("button", name="Kill now").click()
    expect(dialog).to_have_count(0)
    rows = page.get_by_role("grid", name="Instances").locator("tbody tr")
    expect(rows.filter(has_text=first)).to_have_count(0)
    expect(rows.filter(has_text="Ready")).to_have_count(2)
    expect(rows.filter(has_text=second)).to_have_count(1)
    page.get_by_role("tab", name="Events").click()
    timeline = page.get_by_role("grid", name="Events and audit")
    expect(timeline).to_contain_text("it hangs")
    page.get_by_role("button", name="Kind").click()
    page.get_by_role("menuitem", name="Audit").click()
    expect(timeline.get_by_role("row").filter(has_text="Terminate")).to_have_count(1)
    expect(timeline.get_by_role("row").filter(has_text="State changed")).to_have_count(0)


def test_a_canary_is_paused_set_and_aborted(page: Page, house: House) -> None:
    canary = {"steps": [10, 50], "interval": "1h"}
    house.deploy("ramp", {"engine": "mock", "replicas": {"min": 2, "max": 2}, "rollout": {"canary": canary}})
    _open(page, "ramp", "traffic")
    expect(page.get_by_text("All requests go the same way")).to_be_visible()
    house.ask("PATCH", "/models/ramp", {"spec": {"options": {"latency_ms": 1}}, "acknowledge_restart": True})
    expect(page.get_by_role("heading", name="Revision 1 → 2")).to_be_visible()
    expect(page.locator("tbody tr").filter(has_text="Front")).to_contain_text("90 %")
    assert violations(page) == []
    expect(page.get_by_role("button", name="Pause…")).to_be_enabled()
    for command, seen in (("Pause", "Paused"), ("Resume", "waits"), ("Set share", "30 %")):
        page.get_by_role("button", name=f"{command}…").click()
        dialog = page.get_by_role("dialog")
        if command == "Set share":
            dialog.get_by_label("Per cent").fill("100")
            expect(dialog).to_contain_text("From 1 to 99.")
            expect(dialog.get_by_role("button", name=command)).to_be_disabled()
            dialog.get_by_label("Per cent").fill("30")
        dialog.get_by_role("button", name=command).click()
        expect(dialog).to_have_count(0)
        expect(page.locator("#model-tab")).to_contain_text(seen)
    page.get_by_role("button", name="Abort…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("All requests go to revision 1 again")
    dialog.get_by_role("button", name="Abort").click()
    expect(page.get_by_text("All requests go the same way")).to_be_visible()
    page.get_by_role("tab", name="Revisions").click()
    expect(page.get_by_role("row").filter(has_text="cancelled by")).to_contain_text("Failed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_is_accessible_in_both_themes(page: Page, house: House, scheme: str) -> None:
    name = f"told-{scheme}"
    house.deploy(name)
    house.ask("PATCH", f"/models/{name}", {"spec": {"description": "tells all"}})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for tab in TABS:
        _open(page, name, tab)
        expect(page.locator("#model-tab .pf-v6-c-skeleton, #model-tab .pf-v6-c-spinner")).to_have_count(0)
        expect(page.locator("#model-tab")).not_to_be_empty()
        assert violations(page) == [], tab
