"""The Chromium of this machine, for what is measured and tested in a browser."""

from __future__ import annotations

import os
import shutil

from playwright.sync_api import Browser, Playwright

NONE = "There is no Chromium on this machine (apt install chromium, or name one in MODELYARD_CHROMIUM)."


def found() -> str | None:
    """Its path."""
    return os.environ.get("MODELYARD_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def launch(playwright: Playwright, path: str) -> Browser:
    # As root there is no sandbox to be had.
    return playwright.chromium.launch(executable_path=path, args=[] if os.getuid() else ["--no-sandbox"])
