"""The requests on the cache as values: no I/O, shared by both clients."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from urllib.parse import quote

from modelyard.client import cache_types, types
from modelyard.client.calls import API, Call, get, write

_pin = partial(types.parse, cache_types.Pin)


def get_cache() -> Call[cache_types.Cache]:
    # It looks at every file of the cache.
    return replace(get(f"{API}/registry/cache", partial(types.parse, cache_types.Cache)), read_timeout=None)


def pin(namespace: str, name: str, pick: str, reason: str, *, preload: bool) -> Call[cache_types.Pin]:
    return write("PUT", _path(namespace, name, pick, preload), _pin, {"reason": reason})


def unpin(namespace: str, name: str, pick: str, *, preload: bool) -> Call[None]:
    path = _path(namespace, name, pick, preload)
    return Call(method="DELETE", path=path, read=lambda _: None, repeatable=False)


def _path(namespace: str, name: str, pick: str, preload: bool) -> str:
    model = f"{API}/namespaces/{quote(namespace, safe='')}/registry/models/{quote(name, safe='')}"
    return f"{model}/{'preloads' if preload else 'pins'}/{quote(pick, safe='')}"
