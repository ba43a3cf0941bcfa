"""The requests on many models as values: no I/O, shared by both clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from modelyard.client import types
from modelyard.client.bulk_types import BulkForecast
from modelyard.client.calls import API, EVERYWHERE, Call, post

_operation = partial(types.parse, types.Operation)
_forecast = partial(types.parse, BulkForecast)


def work(
    here: str, namespace: str | None, action: str, names: Sequence[str], selector: Mapping[str, Any], every: bool,
    more: Mapping[str, Any],
) -> Call[types.Operation]:  # fmt: skip
    """``here``: the client's namespace, which names without one are in."""
    return post(_path(here, namespace, names, selector), _operation, _body(here, action, names, selector, every, more))


def forecast(
    here: str, namespace: str | None, action: str, names: Sequence[str], selector: Mapping[str, Any], every: bool,
    more: Mapping[str, Any],
) -> Call[BulkForecast]:  # fmt: skip
    body = {**_body(here, action, names, selector, every, more), "dry_run": True}
    return post(_path(here, namespace, names, selector), _forecast, body)


def _path(here: str, namespace: str | None, names: Sequence[str], selector: Mapping[str, Any]) -> str:
    several = any("/" in name for name in names) or bool(selector.get("namespaces"))
    where = namespace or (EVERYWHERE if several else here)
    return f"{API}/bulk" if where == EVERYWHERE else f"{API}/namespaces/{quote(where, safe='')}/bulk"


def _body(
    here: str, action: str, names: Sequence[str], selector: Mapping[str, Any], every: bool, more: Mapping[str, Any]
) -> dict[str, Any]:
    wanted = {key: value for key, value in selector.items() if value}
    body: dict[str, Any] = {"action": action, **{key: value for key, value in more.items() if value is not None}}
    if names:
        body["models"] = [name if "/" in name else f"{here}/{name}" for name in names]
    if wanted:
        body["selector"] = wanted
    return {**body, "all": every}
