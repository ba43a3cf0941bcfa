"""Every request on members and keys as a value, as in :mod:`modelyard.client.calls`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from modelyard.client import access_types, types
from modelyard.client.calls import API, EVERYWHERE, Call, get, post, query, seconds, write

_member: Final = partial(types.parse, access_types.Member)
_key: Final = partial(types.parse, access_types.ApiKey)
_new_key: Final = partial(types.parse, access_types.NewApiKey)


def _path(namespace: str, *rest: str) -> str:
    scope = API if namespace == EVERYWHERE else f"{API}/namespaces/{quote(namespace, safe='')}"
    return "/".join([scope, *(quote(part, safe="") for part in rest)])


def me() -> Call[access_types.Me]:
    return get(f"{API}/me", partial(types.parse, access_types.Me))


def sign_in_link() -> Call[access_types.SignInLink]:
    return post(f"{API}/session/links", partial(types.parse, access_types.SignInLink), {}, keyed=False)


def list_members(namespace: str) -> Call[list[access_types.Member]]:
    return get(_path(namespace, "members"), partial(types.parse_items, access_types.Member))


def put_member(
    namespace: str, member: str, role: str, models: Sequence[str], reason: str
) -> Call[access_types.Member]:  # fmt: skip
    body = {"role": role, "models": list(models), "reason": reason}
    return write("PUT", _path(namespace, "members", member), _member, body)


def remove_member(namespace: str, member: str, reason: str) -> Call[None]:
    return Call(
        method="DELETE", path=_path(namespace, "members", member), read=lambda _: None,
        params=query({"reason": reason}), repeatable=False,
    )  # fmt: skip


def list_keys(namespace: str) -> Call[list[access_types.ApiKey]]:
    return get(_path(namespace, "keys"), partial(types.parse_items, access_types.ApiKey))


def get_key(namespace: str, key_id: str) -> Call[access_types.ApiKey]:
    return get(_path(namespace, "keys", key_id), _key)


def create_key(
    namespace: str, name: str, role: str, models: Sequence[str], groups: Sequence[str],
    rate: Mapping[str, Any] | None, expires_at: datetime | str | None, reason: str,
) -> Call[access_types.NewApiKey]:  # fmt: skip
    ends = expires_at.isoformat() if isinstance(expires_at, datetime) else expires_at
    body = {
        "name": name, "role": role, "models": list(models), "groups": list(groups), "rate": rate, "expires_at": ends,
        "reason": reason,
    }  # fmt: skip
    return post(_path(namespace, "keys"), _new_key, body, keyed=False)


def rotate_key(namespace: str, key_id: str, overlap: float | str | None) -> Call[access_types.NewApiKey]:
    body = {} if overlap is None else {"overlap": seconds(overlap)}
    return post(_path(namespace, "keys", key_id, "rotate"), _new_key, body, keyed=False)


def revoke_key(namespace: str, key_id: str, reason: str) -> Call[access_types.ApiKey]:
    # What is revoked stays so.
    path = _path(namespace, "keys", key_id)
    return Call(method="DELETE", path=path, read=_key, params=query({"reason": reason}))
