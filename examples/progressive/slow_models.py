"""Stands for what takes long to load: LOAD_SECONDS (30)."""

from __future__ import annotations

import os
import time


class Translator:
    """Knows one language."""

    def translate(self, text: str) -> str:
        return " ".join(word[1:] + word[0] + "ay" for word in text.lower().split())


def load() -> Translator:
    time.sleep(float(os.environ.get("LOAD_SECONDS", "30")))
    return Translator()
