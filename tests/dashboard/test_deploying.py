"""The wizards: a model is deployed from a file, from the registry and as a sample, and changed, alone and by two."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.dashboard.conftest import House, sign_in, violations


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """With one device, which is quickly taken, and a model of the registry."""
    house = House(environment={"MODELYARD_DEVICES": "gpu:1"})
    try:
        house.ok("up", "--detach")
        house.ask("POST", "/samples/digits")
        house.ok("push", str(_digits(house)), "reader@1.0.0")
        house.ok("push", str(_digits(house)), "reader@1.1.0")
        house.ask("PUT", "/registry/models/reader/aliases/stable", {"version": "1.0.0"})
        yield house
    finally:
        house.close()


def _digits(house: House) -> Path:
    return house.home / "models" / "digits" / "model.onnx"


def _box(page: Page, name: str) -> Locator:
    return page.get_by_role("textbox", name=name, exact=True)


def _next(page: Page, times: int = 1) -> None:
    for _ in range(times):
        page.get_by_role("button", name="Next", exact=True).click()


def _step(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Steps").get_by_role("button", name=name, exact=True).click()


def _name_a_file(page: Page, house: House, name: str) -> None:
    page.goto("/#/deploy")
    _box(page, "Name").fill(name)
    page.get_by_role("radio", name="A file or folder").check()
    _box(page, "Path").fill(str(_digits(house)))


def _text(page: Page, way: str) -> str:
    page.get_by_role("tab", name=way).click()
    return page.get_by_role("tabpanel", name=way).locator("code").last.inner_text()


def _paste(house: House, text: str, **variables: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**house.env, "PATH": path, "MODELYARD_URL": house.url, "MODELYARD_TOKEN": house.token}
    environment.update(variables)
    subprocess.run(["bash", "-ec", text], check=True, env=environment, capture_output=True, timeout=60)


def test_a_model_is_deployed_from_a_file_and_its_text_does_the_same(page: Page, house: House) -> None:
    _name_a_file(page, house, "from-file")
    _next(page)
    _box(page, "Memory").fill("256Mi")
    _next(page)
    _box(page, "At most").fill("2")
    page.get_by_text("Hold nothing until the next request").click()
    _next(page)
    _box(page, "Description").fill("Reads digits; it's $HOME-made")
    _next(page)
    expect(page.get_by_text("It fits")).to_be_visible()
    assert violations(page) == []
    for number, way in enumerate(("Command", "API")):
        _paste(house, _text(page, way).replace("from-file", f"pasted-{number}"))
    page.get_by_role("button", name="Deploy", exact=True).click()
    expect(page.get_by_role("heading", name="from-file", level=1)).to_be_visible()
    expect(page.get_by_text("Running", exact=True).first).to_be_visible()
    spec = house.ask("GET", "/models/from-file").json()["spec"]
    assert (spec["engine"], spec["replicas"]["max"], spec["autoscaling"]["idle_after"]) == ("onnx", 2, "900s")
    for number in range(2):
        assert house.ask("GET", f"/models/pasted-{number}").json()["spec"] == spec


def test_what_options_cannot_say_is_applied_as_yaml_and_secrets_stay_out_of_the_text(page: Page, house: House) -> None:
    _name_a_file(page, house, "limited")
    _next(page)
    page.get_by_role("button", name="Environment and options").click()
    page.get_by_role("button", name="Add secret").click()
    page.get_by_label("Name of secret 1").fill("HUB_TOKEN")
    page.get_by_label("Value of secret 1").fill("hush-hush")
    page.get_by_role("button", name="Limits").click()
    _box(page, "A request takes at most").fill("20s")
    _next(page, 3)
    expect(page.get_by_text("It fits")).to_be_visible()
    for number, (way, begins) in enumerate({"Command": "modelyard apply", "API": "curl"}.items()):
        text = _text(page, way)
        assert (text.startswith(begins), "hush-hush" in page.content()) == (True, False)
        _paste(house, text.replace("limited", f"limited-{number}"), HUB_TOKEN="hush-hush")
        spec = house.ask("GET", f"/models/limited-{number}").json()["spec"]
        assert (spec["limits"]["request_timeout"], spec["container"]["secrets"]) == ("20s", {"HUB_TOKEN": "********"})


def test_a_model_is_deployed_from_the_registry_by_its_alias(page: Page, house: House) -> None:
    page.goto("/#/deploy")
    _box(page, "Name").fill("from-registry")
    page.get_by_role("combobox", name="Registered model").fill("rea")
    page.get_by_role("option", name="reader").click()
    page.get_by_role("combobox", name="Version or alias").fill("sta")
    page.get_by_role("option", name="stable (now 1.0.0)").click()
    _next(page, 4)
    page.get_by_role("button", name="Deploy", exact=True).click()
    expect(page.get_by_role("heading", name="from-registry", level=1)).to_be_visible()
    expect(page.get_by_text("Running", exact=True).first).to_be_visible()
    model = house.ask("GET", "/models/from-registry").json()
    assert (model["spec"]["source"], model["status"]["artifact"]["version"]) == ("reader@stable", "1.0.0")


def test_a_sample_is_one_click_away(page: Page, house: House) -> None:
    page.goto("/#/deploy")
    page.get_by_role("button", name="Deploy wine").click()
    expect(page.get_by_role("heading", name="wine", level=1)).to_be_visible()
    expect(page.get_by_text("Running", exact=True).first).to_be_visible()


def test_it_says_who_is_in_the_way_and_which_place_is_left(page: Page, house: House) -> None:
    house.deploy("hog", {"engine": "mock", "resources": {"gpus": 1}})
    _name_a_file(page, house, "waits")
    _next(page)
    _box(page, "GPUs").fill("1")
    fit = page.get_by_role("status").filter(has_text="Free now")
    expect(fit).to_contain_text("It waits in the queue")
    expect(fit).to_contain_text("Place 1")
    expect(fit.get_by_role("link", name="hog")).to_be_visible()
    _box(page, "Priority").fill("5")
    page.get_by_role("button", name="May take the place of").click()
    page.get_by_role("option", name="Models of lower priority").click()
    expect(fit).to_contain_text("It makes room for itself")
    house.ask("DELETE", "/models/hog")
    expect(fit).to_contain_text("It fits")


def test_what_the_server_refuses_is_shown_at_its_field_and_step(page: Page, house: House) -> None:
    _name_a_file(page, house, "wrong")
    _next(page)
    _box(page, "GPUs").fill("7")
    expect(page.get_by_text("7 GPUs asked for, and this machine has 1.")).to_be_visible()
    _step(page, "Review")
    expect(page.get_by_role("button", name="Deploy", exact=True)).to_be_disabled()
    page.get_by_role("alert").get_by_role("button", name="Runtime and resources").click()
    expect(_box(page, "GPUs")).to_have_value("7")
    assert violations(page) == []


def test_a_restart_is_acknowledged_before_a_model_is_updated(page: Page, house: House) -> None:
    house.deploy("updated")
    page.goto("/#/models/default/updated/update")
    _step(page, "Runtime and resources")
    page.get_by_role("button", name="Environment and options").click()
    page.get_by_role("button", name="Add variable").click()
    page.get_by_label("Name of variable 1").fill("TZ")
    page.get_by_label("Value of variable 1").fill("UTC")
    _step(page, "What changes")
    table = page.get_by_role("grid", name="What changes")
    expect(table.get_by_role("row").filter(has_text="container.environment.TZ")).to_contain_text("Restarts instances")
    expect(page.get_by_text("1 instance will be replaced")).to_be_visible()
    update = page.get_by_role("button", name="Update", exact=True)
    expect(update).to_be_disabled()
    assert violations(page) == []
    page.get_by_role("checkbox", name="I know that updated gets new instances").check()
    update.click()
    expect(page.get_by_role("heading", name="updated", level=1)).to_be_visible()
    model = house.ask("GET", "/models/updated").json()
    assert (model["generation"], model["spec"]["container"]["environment"]) == (2, {"TZ": "UTC"})


def test_an_update_as_yaml_sends_only_what_differs_and_its_command_does_the_same(page: Page, house: House) -> None:
    house.deploy("written")
    house.deploy("written-too")
    page.goto("/#/models/default/written/update")
    page.get_by_text("As YAML").click()
    spec = _box(page, "Spec")
    spec.fill("engine: [")
    expect(page.get_by_role("switch", name="As YAML")).to_be_disabled()
    spec.fill("engine: mock\nlabels:\n  team: vision\npriority: 3\n")
    _step(page, "What changes")
    expect(page.get_by_text("No instance is restarted.")).to_be_visible()
    _paste(house, _text(page, "Command").replace("update written", "update written-too"))
    page.get_by_role("button", name="Update", exact=True).click()
    expect(page.get_by_role("heading", name="written", level=1)).to_be_visible()
    for name in ("written", "written-too"):
        changed = house.ask("GET", f"/models/{name}").json()["spec"]
        assert (changed["labels"], changed["priority"]) == ({"team": "vision"}, 3)


def test_what_an_alias_means_by_now_is_taken_up(page: Page, house: House) -> None:
    house.ask("PUT", "/registry/models/reader/aliases/canary", {"version": "1.0.0"})
    house.deploy("follower", {"source": "reader@canary"})
    house.ask("PUT", "/registry/models/reader/aliases/canary", {"version": "1.1.0"})
    page.goto("/#/models/default/follower/update")
    page.get_by_role("checkbox", name="Take up version 1.1.0").check()
    _step(page, "What changes")
    table = page.get_by_role("grid", name="What changes")
    expect(table.get_by_role("row").filter(has_text="1.1.0").first).to_contain_text("New instances")
    page.get_by_role("button", name="Update", exact=True).click()
    expect(page.get_by_role("heading", name="follower", level=1)).to_be_visible()
    assert house.ask("GET", "/models/follower").json()["status"]["artifact"]["version"] == "1.1.0"


def test_two_change_one_model_and_neither_loses_anything(page: Page, house: House) -> None:
    house.deploy("shared")
    page.goto("/#/models/default/shared/update")
    _step(page, "Access and features")
    _box(page, "Description").fill("mine")
    theirs = {"description": "theirs", "priority": 7}
    house.ask("PATCH", "/models/shared", {"spec": theirs, "reason": "they came first"})
    conflict = page.get_by_role("alert").filter(has_text="changed shared meanwhile")
    expect(conflict).to_contain_text("they came first")
    expect(conflict.get_by_role("row").filter(has_text="priority")).to_contain_text("Theirs stays")
    assert violations(page) == []
    _step(page, "What changes")
    expect(page.get_by_role("button", name="Update", exact=True)).to_be_disabled()
    conflict.get_by_role("button", name="Take up mine on top").click()
    expect(conflict).to_have_count(0)
    page.get_by_role("button", name="Update", exact=True).click()
    expect(page.get_by_role("heading", name="shared", level=1)).to_be_visible()
    spec = house.ask("GET", "/models/shared").json()["spec"]
    assert (spec["description"], spec["priority"]) == ("mine", 7)


def test_who_may_not_deploy_is_told_why(page: Page, context: BrowserContext, house: House) -> None:
    house.deploy("kept")
    key = house.ask("POST", "/keys", {"name": "looker", "role": "viewer"}).json()["secret"]
    context.clear_cookies()
    sign_in(context, house, key)
    for path in ("/#/deploy", "/#/models/default/kept/update"):
        page.goto(path)
        expect(page.get_by_text("Not for you to see")).to_be_visible()
        expect(page.get_by_text("the role editor")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_step_is_accessible(page: Page, house: House, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    _name_a_file(page, house, f"seen-{scheme}")
    assert violations(page) == []
    for _ in range(4):
        _next(page)
        assert violations(page) == []
    house.deploy(f"changed-{scheme}")
    page.goto(f"/#/models/default/changed-{scheme}/update")
    for step in ("Source", "Runtime and resources", "Scaling", "Access and features", "What changes"):
        _step(page, step)
        assert violations(page) == []
    page.set_viewport_size({"width": 800, "height": 900})
    assert violations(page) == []
