"""The bundled model of digits, and digits drawn as people draw them."""

from __future__ import annotations

from playwright.sync_api import Page

# Strokes in parts of the pad, from the top left.
ONE = [[(0.5, 0.1), (0.5, 0.9)]]
SEVEN = [[(0.25, 0.15), (0.75, 0.15), (0.45, 0.9)]]


def draw(page: Page, strokes: list[list[tuple[float, float]]]) -> None:
    """With the mouse, on the one pad that the page has."""
    pad = page.get_by_role("application")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    for first, *others in strokes:
        page.mouse.move(box["x"] + first[0] * box["width"], box["y"] + first[1] * box["height"])
        page.mouse.down()
        for x, y in others:
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
        page.mouse.up()
