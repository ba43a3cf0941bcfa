"""What of a request or a spec may be kept for ever: plain values in which nothing secret is left.

What is secret is known by where it stands and by what it looks like. Hidden are

- the values of fields, of options (``--password hunter2``) and of what is set in a text (``password: hunter2``) whose
  names say so, and all values in the environment of a container and in headers;
- of words that make up a command also every variable that is set (``LICENCE=…``), and who logs in (``-u name:secret``);
- of URLs the user with the password, and the query; of those of webhooks the path, for whoever knows it may call it;
- what follows ``Bearer`` or ``Basic``, and words in the form of well-known tokens.

Environment values are hidden whatever they are called: which of them are secret only their owner knows.
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
# No pattern is to run over a whole card.
_LOOKED_AT: Final = 8 * LONGEST
# Whole numbers that every JSON reader takes as they are.
_EXACT: Final = 2**53
_DEEPEST: Final = 12

# Of tokens as text is cut into (max_tokens, tokenizer) there is nothing to hide.
_WORDS: Final = (
    r"secret|token(?!s|i[sz])|(?:access|api|auth|refresh)[_-]?tokens|passw(?:or)?d|\bpwd?\b|[_-]pass\b|passphrase"
    r"|credential|authorization|cookie|(?:api|access|account|private|signing|encryption|license|licence)[_-]?key|bearer"
)
_SECRET_NAME: Final = re.compile(_WORDS, re.IGNORECASE)
# Values of these are hidden whatever they are called.
_SECRET_PLACES: Final = frozenset({"environment", "env", "headers"})
# Words of these make up a command.
_COMMANDS: Final = frozenset({"command", "cmd", "args", "arguments", "entrypoint", "argv"})
# URLs that stand here are those of webhooks.
_HOOKS: Final = frozenset({"url", "webhook", "webhook_url"})

_QUOTED: Final = r"\"[^\"]*(?:\"|$)|'[^']*(?:'|$)"
_SAID: Final = re.compile(rf"([\w-]*(?:{_WORDS})[\w-]*[\"']?\s*[=:]\s*)(?!//)({_QUOTED}|\S+)", re.IGNORECASE)
_OPTION: Final = re.compile(rf"--?[\w-]*(?:{_WORDS})[\w-]*", re.IGNORECASE)
# What begins with -- is the next option, not a value.
_OPTION_SAID: Final = re.compile(
    rf"((?<![\w-])--?[\w-]*(?:{_WORDS})[\w-]*[\"']?\s+)(?!--)({_QUOTED}|[^\s\"';|&]+)", re.IGNORECASE
)
_LOGIN: Final = re.compile(r"((?<![\w-])(?:-u|--(?:proxy-)?user)(?:\s+|=))[\"']?[^\s\"':]+:\S+")
_LOGIN_OPTIONS: Final = frozenset({"-u", "--user", "--proxy-user"})
_VARIABLE: Final = re.compile(rf"((?<![\w-])[A-Z_][A-Z0-9_]*=)({_QUOTED}|[^\s\"';|&]+)")
_BEARER: Final = re.compile(r"\b(bearer|basic)\s+\S+", re.IGNORECASE)
# As those who issue them write them: API keys of Modelyard, signed tokens (JWT), and some of the best known.
_TOKEN: Final = re.compile(
    r"\b(?:myk_\w{8,}|whsec_[\w-]{8,}|eyJ[\w-]{4,}\.[\w-]{4,}(?:\.[\w-]*)?|AKIA[0-9A-Z]{16}"
    r"|(?:gh[opsu]|glpat|hf|xox[abeprs]|sk|pk)[-_](?=[\w-]*\d)[\w-]{16,})|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*"
)
_MAY_BE_TOKEN: Final = re.compile(r"myk_|whsec_|eyJ|gh[opsu]_|glpat|hf_|xox|[sp]k[-_]|AKIA|-----BEGIN")
# A scheme is short: what looks for a longer one takes its time with texts that are made for that.
_SCHEME: Final = r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,20}://"
_USER: Final = re.compile(rf"({_SCHEME})[^/?#\s@]*@", re.IGNORECASE)
_QUERY: Final = re.compile(rf"({_SCHEME}[^?#\s]*)[?#]\S*", re.IGNORECASE)
_HOOK: Final = re.compile(
    rf"({_SCHEME}[^/?#\s]+/(?:[^/?#\s]+/){{0,4}}?(?:services/(?=T)|[\w-]*hooks?\w*/|workflows/))[^?#\s]+"
    rf"|({_SCHEME}[^/?#\s]+/bot)[^/?#\s]+",
    re.IGNORECASE,
)
_HOST: Final = re.compile(
    rf"({_SCHEME})(?:[^/?#\s@]*@)?((?:[\w.-]+|\[[\w:.%]+\])(?::\d+)?)(?:/?$|[/?#].*)", re.IGNORECASE | re.DOTALL
)


def is_secret_name(name: str) -> bool:
    """Whether what is called so is a secret."""
    return _SECRET_NAME.search(name) is not None


def scrubbed(text: str, *, command: bool = False) -> str:
    """``text`` as both databases take it, without what looks like a secret, and not too long. ``command``: it is one,
    or words of one."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    text = text.replace("\x00", "\ufffd")
    length = len(text)
    if length > _LOOKED_AT:
        # At the end of a word: half a URL would not be known as one.
        text = text[:_LOOKED_AT].rpartition(" ")[0] or text[:_LOOKED_AT]
    if "://" in text:
        text = _QUERY.sub(rf"\1?{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))
        text = _HOOK.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}", text)
    if _MAY_BE_TOKEN.search(text) is not None:
        text = _TOKEN.sub(HIDDEN, text)
    cut = text if len(text) <= LONGEST and length <= _LOOKED_AT else f"{text[:LONGEST]}… ({length} characters)"
    if command:
        cut = _VARIABLE.sub(rf"\1{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}", cut))
    if _SECRET_NAME.search(cut) is not None or "asic " in cut:
        cut = _OPTION_SAID.sub(rf"\1{HIDDEN}", cut) if "-" in cut else cut
        cut = _SAID.sub(rf"\1{HIDDEN}", _BEARER.sub(rf"\1 {HIDDEN}", cut))
    return cut


def without_path(url: str) -> str:
    """Of a webhook's URL what may be shown: scheme and host."""
    found = _HOST.match(url)
    if found is None:
        return HIDDEN
    bare = f"{found[1]}{found[2]}"
    return scrubbed(bare if url[found.end(2) :] in ("", "/") else f"{bare}/{HIDDEN}")


def masked(value: Any, path: str = "") -> Any:
    """``value`` as plain JSON: dataclasses and mappings as objects, times and enums as text. ``path`` is where it
    stands, its parts with dots between them."""
    places = path.split(".") if path else []
    if any(part in _SECRET_PLACES for part in places[:-1]) or (places and is_secret_name(places[-1])):
        return None if value is None else HIDDEN
    return _masked(value, places[-1] if places else "", _DEEPEST)


def _masked(value: Any, name: str, depth: int) -> Any:
    """``name``: of the field that it is, or is in a list of."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return without_path(value) if name in _HOOKS else scrubbed(value, command=name in _COMMANDS)
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
        return _listed(list(items), name, depth)
    return scrubbed(str(value))


def _listed(items: list[Any], name: str, depth: int) -> list[Any]:
    """Of a command's words also what follows an option of a secret name, or of one by which somebody logs in."""
    found = []
    hide = logs_in = False
    for item in items:
        is_text = isinstance(item, str)
        hide = (hide and not (is_text and item.startswith("--"))) or (logs_in and is_text and ":" in item)
        found.append(HIDDEN if hide else _masked(item, name, depth - 1))
        hide = is_text and _OPTION.fullmatch(item) is not None
        logs_in = is_text and name in _COMMANDS and item in _LOGIN_OPTIONS
    return found


def _number(value: float) -> int | float | str:
    """As one JSON number that is written alike everywhere: a whole one without a point."""
    if not isfinite(value):
        return str(value)
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
