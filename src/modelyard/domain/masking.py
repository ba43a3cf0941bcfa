"""What of a request or a spec may be kept for ever: plain values in which nothing secret is left.

What is secret is known by where it stands (a field of such a name, the environment of a container, the value of such an
option) and by what it looks like (the password and the query of a URL, what follows ``Bearer``). All environment
values are hidden: which of them are secret only their owner knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from math import isfinite
from typing import Any, Final

HIDDEN: Final = "(hidden)"
# Of longer texts (a model's card, say) so many characters are kept.
LONGEST: Final = 512
# Whole numbers that every JSON reader takes as they are.
_EXACT: Final = 2**53
_DEEPEST: Final = 12

_WORDS: Final = (
    r"secret|token|passw(?:or)?d|\bpwd?\b|passphrase|credential|authorization|cookie|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|signing[_-]?key|bearer"
)
_SECRET_NAME: Final = re.compile(_WORDS, re.IGNORECASE)
# Values of these are hidden whatever they are called.
_SECRET_PLACES: Final = frozenset({"environment", "env", "headers"})
_SAID: Final = re.compile(rf"([\w-]*(?:{_WORDS})[\w-]*[\"']?\s*[=:]\s*)(?!//)(\"[^\"]*\"|'[^']*'|\S+)", re.IGNORECASE)
_BEARER: Final = re.compile(r"\b(bearer|basic)\s+\S+", re.IGNORECASE)
_USER: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/?#\s@]*@", re.IGNORECASE)
_QUERY: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^?#\s]*)[?#]\S*", re.IGNORECASE)
_OPTION: Final = re.compile(rf"--?[\w-]*(?:{_WORDS})[\w-]*", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether what is called so is a secret."""
    return _SECRET_NAME.search(name) is not None


def scrubbed(text: str) -> str:
    """``text`` as both databases take it, without what looks like a secret, and not too long."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    text = text.replace("\x00", "\ufffd")
    if "://" in text:
        text = _QUERY.sub(rf"\1?{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))
    # Cut first: no pattern is to run over a whole card.
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
    if _SECRET_NAME.search(cut) is not None or "asic " in cut:
        cut = _SAID.sub(rf"\1{HIDDEN}", _BEARER.sub(rf"\1 {HIDDEN}", cut))
    return cut


def masked(value: Any, path: str = "") -> Any:
    """``value`` as plain JSON: dataclasses and mappings as objects, times and enums as text. ``path`` is where it
    stands, its parts with dots between them."""
    places = path.split(".") if path else []
    if any(part in _SECRET_PLACES for part in places[:-1]) or (places and is_secret_name(places[-1])):
        return None if value is None else HIDDEN
    return _masked(value, places[-1] if places else "", _DEEPEST)


def _masked(value: Any, name: str, depth: int) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return scrubbed(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if depth == 0:
        return "…"
    if is_dataclass(value) and not isinstance(value, type):
        value = {part.name: getattr(value, part.name) for part in fields(value)}
    if isinstance(value, Mapping):
        all_of_it = name in _SECRET_PLACES
        return {
            scrubbed(str(key)): HIDDEN
            if item is not None and (all_of_it or is_secret_name(str(key)))
            else _masked(item, str(key), depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        if name in _SECRET_PLACES:
            return [HIDDEN for _ in items]
        return _listed(list(items), depth)
    return scrubbed(str(value))


def _listed(items: list[Any], depth: int) -> list[Any]:
    """Of a command's arguments also what follows an option of a secret name."""
    found = []
    hide = False
    for item in items:
        found.append(HIDDEN if hide else _masked(item, "", depth - 1))
        hide = isinstance(item, str) and _OPTION.fullmatch(item) is not None
    return found


def _number(value: float) -> int | float | str:
    """As one JSON number that is written alike everywhere: a whole one without a point."""
    if not isfinite(value):
        return str(value)
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
