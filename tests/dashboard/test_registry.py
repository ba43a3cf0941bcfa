"""Registered models: their versions and aliases, where they come from, and how they compare."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.dashboard.conftest import House, sign_in, violations

CARD = """# Reader

Reads **digits**. [more](https://example.org/) [trap](javascript:alert(1)) <img src=x onerror=alert(1)>

| metric | value |
| --- | --- |
| accuracy | 0.96 |
"""


@pytest.fixture(scope="module")
def reader(house: House, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registered model of two versions, of which stable means the first, and which two models serve."""
    source, card = str(trained / "digits" / "model.onnx"), tmp_path_factory.mktemp("cards") / "card.md"
    card.write_text(CARD)
    house.ok(
        "push", source, "reader@1.0.0", "--alias", "stable", "--metric", "accuracy=0.95", "--metric", "latency_ms=1.4",
        "--dataset", "digits-2026", "--run", "run-17", "--card", str(card), "--framework", "onnx:1.17",
    )  # fmt: skip
    house.ok(
        "push", str(trained / "digits"), "reader@1.1.0", "--metric", "accuracy=0.96", "--metric", "latency_ms=1.6",
        "--parent", "1.0.0", "--dataset", "digits-2026", "--run", "run-18",
    )  # fmt: skip
    house.deploy("follower", {"source": "reader@stable", "follow": "auto"})
    house.deploy("offered", {"source": "reader@stable"})
    return "reader"


def test_an_empty_registry_says_how_to_begin(page: Page, house: House) -> None:
    house.ask("POST", "/namespaces", {"name": "bare"})
    page.add_init_script("localStorage.setItem('modelyard.namespace', 'bare')")
    page.goto("/#/registry")
    expect(page.get_by_text("No registered models yet")).to_be_visible()
    expect(page.get_by_text("modelyard push model.onnx")).to_be_visible()


def test_the_list_says_what_there_is_of_each_and_who_serves_it(page: Page, reader: str) -> None:
    page.goto("/#/registry")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=reader, exact=True))
    for words in ("1.1.0", "stable 1.0.0", "latest 1.1.0", "follower", "offered"):
        expect(row).to_contain_text(words)
    page.get_by_role("textbox", name="Part of the name").fill("nothing-like-it")
    expect(page.get_by_text("No model matches")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(row).to_be_visible()


def test_an_alias_is_promoted_after_a_look_at_who_follows_and_rolled_back(
    page: Page, house: House, reader: str
) -> None:
    page.goto(f"/#/registry/default/{reader}?view=aliases")
    page.get_by_role("button", name="Move… stable").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("reader@stable: 1.0.0 → 1.1.0. 1 of 2 that name it would be rolled.")
    expect(dialog).to_contain_text("follower follows by itself: 1.0.0 → 1.1.0")
    expect(dialog).to_contain_text("offered goes on with 1.0.0; 1.1.0 is offered to it")
    assert violations(page) == []
    dialog.get_by_label("Reason").fill("better on every digit")
    dialog.get_by_role("button", name="Move stable from 1.0.0 to 1.1.0").click()
    expect(dialog).to_have_count(0)
    assert house.ask("GET", "/registry/models/reader/aliases/stable").json()["version"] == "1.1.0"
    stable = page.get_by_role("rowgroup").filter(has=page.get_by_role("button", name="Move… stable"))
    expect(stable).to_contain_text("better on every digit")
    stable.get_by_role("button", name="Roll back… stable").click()
    expect(dialog).to_contain_text("reader@stable: 1.1.0 → 1.0.0")
    dialog.get_by_role("button", name="Roll back", exact=True).click()
    expect(dialog).to_have_count(0)
    expect(stable.get_by_role("link", name="1.0.0")).to_be_visible()
    stable.get_by_role("button", name="Details").click()
    history = page.get_by_role("list", name="History of stable")
    expect(history).to_contain_text("1.1.0 → 1.0.0 (rolled back)")
    expect(history).to_contain_text("nowhere → 1.0.0")


def test_a_move_that_somebody_else_came_before_is_refused(page: Page, house: House, reader: str) -> None:
    house.ask("PUT", "/registry/models/reader/aliases/raced", {"version": "1.0.0"})
    # With its stream the page asks for all again; what it shows from then on is what it has seen.
    with page.expect_response("**/api/v1/changes"):
        page.goto(f"/#/registry/default/{reader}?view=aliases")
    page.get_by_role("button", name="Move… raced").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1.0.0 → 1.1.0")
    house.ask("DELETE", "/registry/models/reader/aliases/raced")
    dialog.get_by_role("button", name="Move raced from 1.0.0 to 1.1.0").click()
    expect(dialog.get_by_role("alert")).to_contain_text("It was not moved")


def test_versions_are_compared_by_metrics_and_by_what_differs(page: Page, reader: str) -> None:
    page.goto(f"/#/registry/default/{reader}?view=compare")
    metrics = page.get_by_role("grid", name="Metrics of the versions")
    accuracy = metrics.get_by_role("row").filter(has_text="accuracy").get_by_role("gridcell")
    expect(accuracy.nth(1)).to_have_text("0.95 ")
    expect(accuracy.nth(2)).to_contain_text("best")
    expect(accuracy.nth(2)).to_contain_text("+0.01")
    latency = metrics.get_by_role("row").filter(has_text="latency_ms").get_by_role("gridcell")
    expect(latency.nth(1)).to_contain_text("best")
    expect(page.get_by_text("A machine that has 1.0.0 fetches")).to_be_visible()
    expect(page.get_by_role("grid", name="Files that differ")).to_contain_text("sample.json")
    expect(page.get_by_role("grid", name="What is said of them")).to_contain_text("lineage.training_run")


def test_a_version_shows_its_files_its_pull_and_its_card_as_text(page: Page, reader: str) -> None:
    page.goto(f"/#/registry/default/{reader}/1.0.0")
    expect(page.get_by_role("grid", name="Files")).to_contain_text("model.onnx")
    expect(page.get_by_text("fetches at most")).to_be_visible()
    page.get_by_role("button", name="What it has already").click()
    page.get_by_role("option", name="1.1.0").click()
    expect(page.get_by_role("status").filter(has_text="fetches 0 B")).to_be_visible()
    expect(page.get_by_text("Nobody has signed it.")).to_be_visible()
    expect(page.get_by_role("link", name="more")).to_have_attribute("href", "https://example.org/")
    expect(page.get_by_role("link", name="trap")).to_have_count(0)
    expect(page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()


def test_a_version_is_deleted_and_restored(page: Page, house: House, reader: str) -> None:
    house.ok("push", str(Path(__file__)), "spare@1.0.0", "--allow-code")
    house.ok("push", str(Path(__file__)), "spare@2.0.0", "--allow-code")
    page.goto("/#/registry/default/spare")
    page.get_by_role("button", name="Actions of 1.0.0").click()
    page.get_by_role("menuitem", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("link", name="1.0.0", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Deleted", exact=True).click()
    page.get_by_role("button", name="Restore spare@1.0.0").click()
    expect(page.get_by_text("No version is deleted.")).to_be_visible()
    page.get_by_role("button", name="Present", exact=True).click()
    expect(page.get_by_role("link", name="1.0.0", exact=True)).to_be_visible()


def test_a_viewer_is_told_why_it_may_not_promote(
    page: Page, context: BrowserContext, house: House, reader: str
) -> None:
    key = house.ask("POST", "/keys", {"name": "reader-looker", "role": "viewer"}).json()["secret"]
    context.clear_cookies()
    sign_in(context, house, key)
    page.goto(f"/#/registry/default/{reader}")
    promote = page.get_by_role("button", name="Promote…")
    expect(promote).to_have_attribute("aria-disabled", "true")
    promote.hover()
    expect(page.get_by_role("tooltip")).to_contain_text("Needs the role editor")


def test_the_registry_is_accessible_in_both_themes(page: Page, reader: str) -> None:
    looks = {
        "/#/registry": "Newest version",
        f"/#/registry/default/{reader}": "1.1.0",
        f"/#/registry/default/{reader}?view=aliases": "Move…",
        f"/#/registry/default/{reader}?view=lineage": "What was made of what",
        f"/#/registry/default/{reader}?view=compare": "A machine that has",
        f"/#/registry/default/{reader}/1.0.0": "Model card",
    }
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for address, words in looks.items():
            page.goto("about:blank")
            page.goto(address)
            expect(page.get_by_text(words).first).to_be_visible()
            assert violations(page) == [], address
