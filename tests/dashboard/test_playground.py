"""Trying models: what is drawn is recognised, what is written is sent, and what went wrong is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import House, violations
from tests.dashboard.digits import ONE, SEVEN, draw

WORDS = """
import time

class Model:
    def predict(self, inputs):
        for word in inputs["text_input"].flat[0].decode().split() * 400:
            time.sleep(0.02)
            yield {"text_output": word.upper() + " "}
"""


@pytest.fixture(scope="module")
def digits(house: House, trained: Path) -> str:
    """Twice the bundled model, which was trained on real digits; gives the first one's name."""
    source = str(trained / "digits" / "model.onnx")
    for name in ("digits", "digits-too"):
        house.deploy(name, {"source": source})
    return "digits"


def _answer(page: Page, number: int = 0):  # type: ignore[no-untyped-def]
    return page.locator(".yard-verdict").nth(number)


def test_a_drawn_digit_is_recognised_as_it_is_drawn(page: Page, digits: str) -> None:
    page.goto(f"/#/playground?model=default/{digits}")
    draw(page, ONE)
    expect(_answer(page)).to_contain_text("1label")
    expect(_answer(page)).to_contain_text("status 200")
    expect(page.get_by_role("progressbar").first).to_have_attribute("aria-label", "Class 1")
    page.get_by_role("button", name="Clear").click()
    draw(page, SEVEN)
    expect(_answer(page)).to_contain_text("7label")
    # What was sent is the same in the JSON, in the code and in the last requests.
    sent = json.loads(page.get_by_label("JSON").input_value())["inputs"][0]
    assert sent["shape"] == [1, 64]
    assert 0 < max(sent["data"]) <= 16
    page.get_by_role("button", name="View code").click()
    expect(page.get_by_role("dialog")).to_contain_text(json.dumps(sent["data"][:3], separators=(",", ":"))[:-1])
    page.get_by_role("dialog").get_by_role("button", name="Close", exact=True).last.click()
    rows = page.get_by_role("grid", name="Last requests").get_by_role("row")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("digits7200")


def test_the_pad_is_drawn_on_with_the_keys_alone(page: Page, digits: str) -> None:
    page.goto(f"/#/playground?model=default/{digits}")
    page.get_by_role("application").focus()
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    for _ in range(5):
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")
    expect(page.get_by_role("status").filter(has_text="Row 7, column 5, empty")).to_be_attached()
    page.keyboard.press("Enter")
    expect(_answer(page)).to_contain_text("1label")


def test_form_and_json_follow_each_other_and_an_error_is_said_with_its_request(page: Page, digits: str) -> None:
    page.goto(f"/#/playground?model=default/{digits}")
    page.get_by_role("button", name="Numbers").click()
    numbers = page.get_by_role("textbox", name="input")
    numbers.fill(", ".join(["3"] * 64))
    assert json.loads(page.get_by_label("JSON").input_value())["inputs"][0]["data"] == [3] * 64
    numbers.fill("3, 4")
    expect(page.get_by_text("It takes 64 or a multiple of it; there are 2.")).to_be_visible()
    page.get_by_label("JSON").fill("{")
    expect(page.get_by_text("The form waits for the JSON")).to_be_visible()
    expect(page.get_by_role("button", name="Ask", exact=True)).to_have_attribute("aria-disabled", "true")
    wrong = {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    page.get_by_label("JSON").fill(json.dumps(wrong))
    page.get_by_role("button", name="Ask", exact=True).click()
    problem = page.get_by_role("alert").filter(has_text="It gave no answer")
    expect(problem).to_contain_text("inputs[0].shape")
    expect(problem).to_contain_text("Request")
    assert violations(page) == []


def test_two_models_answer_the_same_drawing_side_by_side(page: Page, digits: str) -> None:
    page.goto(f"/#/playground?model=default/{digits}")
    page.get_by_role("combobox", name="Compare with").fill("too")
    page.get_by_role("option", name="digits-too").click()
    draw(page, SEVEN)
    expect(_answer(page, 0)).to_contain_text("7label")
    expect(_answer(page, 1)).to_contain_text("7label")
    expect(page.get_by_text("Both give the same outputs.")).to_be_visible()
    assert "beside=default" in page.url


def test_a_model_that_writes_text_is_talked_to_and_stopped(page: Page, house: House, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(WORDS)
    house.deploy(
        "words",
        {
            "source": str(tmp_path), "engine": "python", "trusted": True, "type": "textgen",
            "features": {"streaming": True},
        },
    )  # fmt: skip
    page.goto("/#/models/default/words/playground")
    page.get_by_label("Message").fill("good morning")
    page.keyboard.press("Enter")
    talk = page.get_by_role("log")
    expect(talk).to_contain_text("GOOD MORNING GOOD")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("stopped after")).to_be_visible()
    assert violations(page) == []


def test_the_playground_is_accessible_in_both_themes(page: Page, digits: str) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(f"/#/playground?model=default/{digits}")
        draw(page, ONE)
        expect(_answer(page)).to_be_visible()
        assert violations(page) == []
        page.get_by_role("button", name="View code").click()
        expect(page.get_by_role("dialog")).to_contain_text("curl")
        assert violations(page) == []
        page.goto("about:blank")
