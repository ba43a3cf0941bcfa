"""The requests on policies as values, as in :mod:`modelyard.client.calls`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from modelyard.client import policy_types, types
from modelyard.client.calls import API, Call, get, model_path, post, query, seconds, write

_policy: Final = partial(types.parse, policy_types.Policy)
_policies: Final = partial(types.parse_items, policy_types.Policy)
_explained: Final = partial(types.parse, policy_types.ModelPolicies)


def _path(namespace: str | None, *rest: str) -> str:
    where = "" if namespace is None else f"/namespaces/{quote(namespace, safe='')}"
    return "/".join([f"{API}{where}/policies", *(quote(part, safe="") for part in rest)])


def _nothing(_: object) -> None:
    return None


def list_policies(namespace: str | None) -> Call[list[policy_types.Policy]]:
    return get(_path(namespace), _policies)


def get_policy(namespace: str | None, name: str) -> Call[policy_types.Policy]:
    return get(_path(namespace, name), _policy)


def set_policy(
    namespace: str | None, name: str, policy: Mapping[str, Any], version: int | None, reason: str
) -> Call[policy_types.Policy]:
    body = {**policy, **({"reason": reason} if reason else {})}
    return write("PUT", _path(namespace, name), _policy, body, version)


def delete_policy(namespace: str | None, name: str, reason: str) -> Call[None]:
    # A second DELETE would answer 404 for a policy that the first has deleted.
    return Call(
        method="DELETE", path=_path(namespace, name), read=_nothing, params=query({"reason": reason}), repeatable=False
    )


def preview_policy(namespace: str | None, policy: Mapping[str, Any]) -> Call[list[policy_types.ModelPolicies]]:
    read = partial(types.parse_items, policy_types.ModelPolicies)
    return post(_path(namespace, "preview"), read, policy, keyed=False)


def explain(namespace: str, model: str) -> Call[policy_types.ModelPolicies]:
    return get(model_path(namespace, model, "policies"), _explained)


def override(
    namespace: str, model: str, policy: str, reason: str, expires: datetime | float | str
) -> Call[policy_types.PolicyOverride]:
    until = expires.isoformat() if isinstance(expires, datetime) else seconds(expires)
    path = model_path(namespace, model, "overrides", policy)
    return write("PUT", path, partial(types.parse, policy_types.PolicyOverride), {"reason": reason, "expires": until})


def end_override(namespace: str, model: str, policy: str, reason: str) -> Call[None]:
    path = model_path(namespace, model, "overrides", policy)
    return Call(method="DELETE", path=path, read=_nothing, params=query({"reason": reason}), repeatable=False)
