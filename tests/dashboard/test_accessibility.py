"""axe-core over every screen, in both themes. Screens are found by their routes: a new one is covered by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.dashboard.conftest import House, violations
from tests.dashboard.screens import furnish, screens


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    house = House(environment={"MODELYARD_DEVICES": "gpu:2"})
    try:
        house.ok("up", "--detach")
        furnish(house)
        yield house
    finally:
        house.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_screen_is_in_anyones_way(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    found = {name: wrong for name in screens(page) if (wrong := violations(page))}
    assert found == {}


def test_no_screen_is_wider_than_a_phone_or_a_small_window(page: Page) -> None:
    for width in (400, 800):
        page.set_viewport_size({"width": width, "height": 900})
        wide = [name for name in screens(page) if page.evaluate("document.documentElement.scrollWidth") > width]
        assert wide == []
