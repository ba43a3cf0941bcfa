"""``make screenshots``: a picture of every screen in both themes. ``python -m tests.dashboard.screenshots [FOLDER]``;
with ``--readme`` also the pictures of the README, into docs/images/."""

from __future__ import annotations

import sys
from pathlib import Path

from bench import chromium
from playwright.sync_api import sync_playwright

from tests.dashboard.conftest import PATIENCE, House, sign_in
from tests.dashboard.screens import furnish, screens

IMAGES = Path(__file__).parents[2] / "docs" / "images"
README = {"home": "home.png", "models": "models.png", "models-default-digits": "model.png"}


def take(house: House, path: str, folder: Path, readme: bool) -> None:
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright, path)
        for scheme in ("light", "dark"):
            context = browser.new_context(
                base_url=house.url, viewport={"width": 1440, "height": 900}, reduced_motion="reduce",
                color_scheme=scheme,
            )  # fmt: skip
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            page.goto("/")
            page.get_by_label("API key").wait_for()
            page.screenshot(path=folder / f"sign-in-{scheme}.png")
            sign_in(context, house, house.token)
            for name in screens(page):
                # All of it, also what one would have to scroll to.
                height = page.evaluate("document.querySelector('#content')?.scrollHeight ?? 0") + 100
                page.set_viewport_size({"width": 1440, "height": min(3000, max(900, height))})
                page.screenshot(path=folder / f"{name}-{scheme}.png")
                page.set_viewport_size({"width": 1440, "height": 900})
                if readme and scheme == "light" and name in README:
                    page.set_viewport_size({"width": 1200, "height": 750})
                    page.screenshot(path=IMAGES / README[name])
                    page.set_viewport_size({"width": 1440, "height": 900})
                print(f"{name}-{scheme}.png", flush=True)
            context.close()
        browser.close()


def main(arguments: list[str]) -> int:
    path = chromium.found()
    if path is None:
        print(chromium.NONE, file=sys.stderr)
        return 1
    readme = "--readme" in arguments
    folder = Path(next((one for one in arguments if one != "--readme"), "screenshots"))
    for needed in (folder, *([IMAGES] if readme else [])):
        needed.mkdir(parents=True, exist_ok=True)
    house = House(environment={"MODELYARD_DEVICES": "gpu:2"})
    try:
        house.ok("up", "--detach")
        furnish(house)
        take(house, path, folder, readme)
    finally:
        house.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
