"""Every request on signatures and keys as a value, as in :mod:`modelyard.client.calls`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final
from urllib.parse import quote

from modelyard.client import signing_types, types
from modelyard.client.calls import API, Call, get, post, query, write

_key: Final = partial(types.parse, signing_types.TrustedKey)
_policy: Final = partial(types.parse, signing_types.SignaturePolicy)


def _path(namespace: str, *rest: str) -> str:
    registry = f"{API}/namespaces/{quote(namespace, safe='')}/registry"
    return "/".join([registry, *(quote(part, safe="") for part in rest)])


def list_keys(namespace: str) -> Call[list[signing_types.TrustedKey]]:
    return get(_path(namespace, "keys"), partial(types.parse_items, signing_types.TrustedKey))


def get_key(namespace: str, name: str) -> Call[signing_types.TrustedKey]:
    return get(_path(namespace, "keys", name), _key)


def trust_key(namespace: str, name: str, kind: str, public_key: str, reason: str) -> Call[signing_types.TrustedKey]:
    body = {"kind": kind, "public_key": public_key, "reason": reason}
    return write("PUT", _path(namespace, "keys", name), _key, body)


def revoke_key(namespace: str, name: str, reason: str) -> Call[signing_types.RevokedKey]:
    # What is revoked stays so.
    read = partial(types.parse, signing_types.RevokedKey)
    return Call(method="DELETE", path=_path(namespace, "keys", name), read=read, params=query({"reason": reason}))


def get_policy(namespace: str) -> Call[signing_types.SignaturePolicy]:
    return get(_path(namespace, "policy"), _policy)


def set_policy(namespace: str, require_signature: bool, reason: str) -> Call[signing_types.SignaturePolicy]:
    body = {"require_signature": require_signature, "reason": reason}
    return write("PUT", _path(namespace, "policy"), _policy, body)


def list_signatures(namespace: str, name: str, version: str) -> Call[list[signing_types.VersionSignature]]:
    path = _path(namespace, "models", name, "versions", version, "signatures")
    return get(path, partial(types.parse_items, signing_types.VersionSignature))


def add_signature(
    namespace: str, name: str, version: str, kind: str, bundle: str, reason: str
) -> Call[signing_types.VersionSignature]:
    path = _path(namespace, "models", name, "versions", version, "signatures")
    body = {"kind": kind, "bundle": bundle, "reason": reason}
    call = post(path, partial(types.parse, signing_types.VersionSignature), body, keyed=False)
    # The server reads all of the version; and keeps one signature of a key.
    return replace(call, repeatable=True, read_timeout=None)


def verification(namespace: str, name: str, version: str) -> Call[signing_types.Verification]:
    path = _path(namespace, "models", name, "versions", version, "verification")
    return get(path, partial(types.parse, signing_types.Verification))
