"""What a request's path asks for.

Paths are taken apart by hand and remembered, as a framework's router costs more than the rest of a hop.
"""

from __future__ import annotations

from enum import Enum, auto
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

from modelyard.domain.names import DEFAULT_NAMESPACE
from modelyard.runtime.calls import GENERATE, V1, V2

# Longer paths are taken apart each time, so that nobody can fill the memory with them.
_REMEMBERED_LENGTH: Final = 256


class Kind(Enum):
    """What a path asks for."""

    SERVER = auto()
    LIVE = auto()
    READY = auto()
    METRICS = auto()
    MODEL_METADATA = auto()
    MODEL_READY = auto()
    MODEL_INFER = auto()
    MODEL_GENERATE = auto()
    MODEL_STREAM = auto()
    V1_MODELS = auto()
    V1_READY = auto()
    V1_PREDICT = auto()
    REPOSITORY_INDEX = auto()
    MODEL_LOAD = auto()
    MODEL_UNLOAD = auto()
    PROXY = auto()
    CONTROL = auto()
    HIDDEN = auto()
    UNKNOWN = auto()


class Target(NamedTuple):
    """A path taken apart. ``rest`` is what a proxied path, still encoded, is passed on as."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    version: str | None = None
    rest: str = ""


_ACTIONS: Final = {
    "": Kind.MODEL_METADATA,
    "ready": Kind.MODEL_READY,
    "infer": Kind.MODEL_INFER,
    "generate": Kind.MODEL_GENERATE,
    "generate_stream": Kind.MODEL_STREAM,
}
# Inference, by the form of its body.
FORMS: Final = {
    Kind.MODEL_INFER: V2, Kind.V1_PREDICT: V1, Kind.MODEL_GENERATE: GENERATE, Kind.MODEL_STREAM: GENERATE,
}  # fmt: skip
_REPOSITORY: Final = {"load": Kind.MODEL_LOAD, "unload": Kind.MODEL_UNLOAD}
_V1_ACTIONS: Final = {"": Kind.V1_READY, "predict": Kind.V1_PREDICT}
_SERVER: Final = {(): Kind.SERVER, ("health", "live"): Kind.LIVE, ("health", "ready"): Kind.READY}


def parse_target(raw: bytes) -> Target:
    """Take a raw path apart. Each segment is decoded once, by itself: an encoded slash never makes two."""
    text = raw.decode("ascii", "replace")
    if not text.startswith("/"):
        return Target(Kind.UNKNOWN)
    encoded = text.split("/")[1:]
    parts = [unquote(part, errors="replace") for part in encoded]
    # Seen as the most lenient reader behind us might see it.
    plain = [part for part in unquote(text, errors="replace").split("/") if part not in ("", ".")]
    if plain[:1] == ["internal"] or ".." in plain:
        return Target(Kind.HIDDEN)
    if parts == ["metrics"]:
        return Target(Kind.METRICS)
    if parts[0] == "proxy":
        if len(parts) < 3:
            return Target(Kind.UNKNOWN)
        return Target(Kind.PROXY, parts[1], parts[2], rest="/" + "/".join(encoded[3:]))
    if parts[0] == "v2":
        return _v2_target(DEFAULT_NAMESPACE, parts, encoded)
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] == "v2":
        return _v2_target(parts[1], parts[2:], encoded[2:])
    if parts[:2] == ["v1", "models"]:
        return _v1_target(DEFAULT_NAMESPACE, parts, encoded)
    if parts[0] == "namespaces" and parts[2:4] == ["v1", "models"]:
        return _v1_target(parts[1], parts[2:], encoded[2:])
    return Target(Kind.CONTROL)


def _v2_target(namespace: str, parts: list[str], encoded: list[str]) -> Target:
    if len(parts) > 1 and not parts[-1]:
        parts = parts[:-1]
    tail = tuple(parts[1:])
    if tail in _SERVER:
        return Target(_SERVER[tail])
    if tail == ("repository", "index"):
        return Target(Kind.REPOSITORY_INDEX, namespace)
    if len(tail) == 4 and tail[:2] == ("repository", "models") and tail[3] in _REPOSITORY:
        return Target(_REPOSITORY[tail[3]], namespace, tail[2])
    if len(tail) < 2 or tail[0] != "models" or not tail[1]:
        return Target(Kind.UNKNOWN)
    name, tail = tail[1], tail[2:]
    version = None
    if len(tail) >= 2 and tail[0] == "versions":
        version, tail = tail[1], tail[2:]
    kind = _ACTIONS.get("/".join(tail), Kind.UNKNOWN)
    return Target(kind, namespace, name, version, rest="/" + "/".join(encoded))


def _v1_target(namespace: str, parts: list[str], encoded: list[str]) -> Target:
    if not parts[-1]:
        parts = parts[:-1]
    if len(parts) == 2:
        return Target(Kind.V1_MODELS, namespace)
    name, colon, action = parts[2].partition(":")
    if len(parts) > 3 or not name or (colon and not action):
        return Target(Kind.UNKNOWN)
    kind = _V1_ACTIONS.get(action, Kind.UNKNOWN)
    return Target(kind, namespace, name, rest="/" + "/".join(encoded))


_remembered_target = lru_cache(maxsize=4096)(parse_target)


def target_of(raw: bytes) -> Target:
    """:func:`parse_target`, remembered."""
    return _remembered_target(raw) if len(raw) <= _REMEMBERED_LENGTH else parse_target(raw)
