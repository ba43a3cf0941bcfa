"""The requests on the registry as values: no I/O, shared by both clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from modelyard.client import cache_types, diff_types, registry_types, types
from modelyard.client.calls import API, EVERYWHERE, READ, Call, get, post, query, seconds, write

_model = partial(types.parse, registry_types.RegisteredModel)
_version = partial(types.parse, registry_types.ModelVersion)
_alias = partial(types.parse, registry_types.Alias)


class Anywhere:
    """An alias may be moved from wherever it is."""


ANYWHERE = Anywhere()


def _path(namespace: str, *rest: str) -> str:
    models = f"{API}/namespaces/{quote(namespace, safe='')}/registry/models"
    return "/".join([models, *(quote(part, safe="") for part in rest)])


# ------------------------------------------------------------------------------------------- models


def register(namespace: str, name: str, about: Mapping[str, Any], reason: str) -> Call[registry_types.RegisteredModel]:
    return post(_path(namespace), _model, {"name": name, **about, "reason": reason}, keyed=False)


def get_registered(namespace: str, name: str) -> Call[registry_types.RegisteredModel]:
    return get(_path(namespace, name), _model)


def list_registered(
    namespace: str, *, search: str | None, series: str | None, framework: str | None,
    label: Mapping[str, str] | None, deleted: bool, sort: str | None, page_size: int | None,
) -> Call[types.Page[registry_types.RegisteredModel]]:  # fmt: skip
    everywhere = namespace == EVERYWHERE
    labels = [f"{key}={value}" for key, value in (label or {}).items()]
    return get(
        f"{API}/registry/models" if everywhere else _path(namespace),
        partial(types.parse_page, registry_types.RegisteredModel), READ,
        search=search, series=series, framework=framework, label=labels, deleted=deleted or None, sort=sort,
        page_size=page_size, all_namespaces=True if everywhere else None,
    )  # fmt: skip


def describe(
    namespace: str, name: str, change: Mapping[str, Any], reason: str, version: int | None
) -> Call[registry_types.RegisteredModel]:
    return write("PATCH", _path(namespace, name), _model, {**change, "reason": reason}, version)


def delete_registered(
    namespace: str, name: str, grace: float | str | None, reason: str
) -> Call[registry_types.RegisteredModel]:
    # What is deleted already is not deleted once more.
    params = query({"grace": seconds(grace), "reason": reason})
    return Call(method="DELETE", path=_path(namespace, name), read=_model, params=params)


def restore_registered(namespace: str, name: str, reason: str) -> Call[registry_types.RegisteredModel]:
    return _again(post(_path(namespace, name, "restore"), _model, {"reason": reason}, keyed=False))


# ------------------------------------------------------------------------------------------- versions


def publish(
    namespace: str, name: str, version: str, manifest: str, metadata: Mapping[str, Any], reason: str
) -> Call[registry_types.ModelVersion]:
    body = {"version": version, "manifest": manifest, **metadata, "reason": reason}
    # The same version once more is the same version.
    return _again(post(_path(namespace, name, "versions"), _version, body, keyed=False))


def get_version(namespace: str, name: str, version: str) -> Call[registry_types.ModelVersion]:
    return get(_path(namespace, name, "versions", version), _version)


def list_versions(
    namespace: str, name: str, *, within: str | None, framework: str | None, deleted: bool, page_size: int | None
) -> Call[types.Page[registry_types.ModelVersion]]:
    return get(
        _path(namespace, name, "versions"), partial(types.parse_page, registry_types.ModelVersion), READ,
        range=within, framework=framework, deleted=deleted or None, page_size=page_size,
    )  # fmt: skip


def annotate(
    namespace: str, name: str, version: str, change: Mapping[str, Any], reason: str, edits: int | None
) -> Call[registry_types.ModelVersion]:
    body = {**change, "reason": reason}
    return write("PATCH", _path(namespace, name, "versions", version), _version, body, edits)


def delete_version(
    namespace: str, name: str, version: str, grace: float | str | None, reason: str
) -> Call[registry_types.ModelVersion]:
    params = query({"grace": seconds(grace), "reason": reason})
    return Call(method="DELETE", path=_path(namespace, name, "versions", version), read=_version, params=params)


def restore_version(namespace: str, name: str, version: str, reason: str) -> Call[registry_types.ModelVersion]:
    path = _path(namespace, name, "versions", version, "restore")
    return _again(post(path, _version, {"reason": reason}, keyed=False))


def resolve(namespace: str, name: str, pick: str) -> Call[registry_types.ModelVersion]:
    return get(_path(namespace, name, "resolve"), _version, READ, pick=pick)


def diff_versions(
    namespace: str, name: str, before: str, after: str, limit: int | None
) -> Call[diff_types.VersionDiff]:
    # One of them is named as no parameter of a function can be.
    call = get(_path(namespace, name, "diff"), partial(types.parse, diff_types.VersionDiff), READ)
    return replace(call, params=query({"from": before, "to": after, "limit": limit}))


# ------------------------------------------------------------------------------------------- aliases


def list_aliases(namespace: str, name: str) -> Call[list[registry_types.Alias]]:
    return get(_path(namespace, name, "aliases"), partial(types.parse_items, registry_types.Alias))


def get_alias(namespace: str, name: str, alias: str) -> Call[registry_types.Alias]:
    return get(_path(namespace, name, "aliases", alias), _alias)


def move_alias(
    namespace: str, name: str, alias: str, version: str, reason: str, expected: str | Anywhere | None, force: bool
) -> Call[registry_types.Alias]:
    body: dict[str, Any] = {"version": version, "reason": reason, **({"force": True} if force else {})}
    guarded = not isinstance(expected, Anywhere)
    if guarded:
        body["expected"] = expected
    call = write("PUT", _path(namespace, name, "aliases", alias), _alias, body)
    # Once it has moved it is no longer where it was expected.
    return replace(call, repeatable=not guarded)


def remove_alias(namespace: str, name: str, alias: str, reason: str) -> Call[None]:
    path = _path(namespace, name, "aliases", alias)
    return Call(method="DELETE", path=path, read=lambda _: None, params=query({"reason": reason}), repeatable=False)


def roll_back_alias(namespace: str, name: str, alias: str, reason: str) -> Call[registry_types.Alias]:
    return post(_path(namespace, name, "aliases", alias, "rollback"), _alias, {"reason": reason}, keyed=False)


def alias_history(
    namespace: str, name: str, alias: str, page_size: int | None
) -> Call[types.Page[registry_types.AliasMove]]:
    path = _path(namespace, name, "aliases", alias, "history")
    return get(path, partial(types.parse_page, registry_types.AliasMove), READ, page_size=page_size)


# ------------------------------------------------------------------------------------------- bytes


def store() -> Call[registry_types.RegistryStore]:
    return get(f"{API}/registry/store", partial(types.parse, registry_types.RegistryStore))


def list_files(namespace: str, name: str, version: str) -> Call[list[registry_types.VersionFile]]:
    path = _path(namespace, name, "versions", version, "files")
    return get(path, partial(types.parse_items, registry_types.VersionFile))


def collect(grace: float | str | None, dry_run: bool) -> Call[registry_types.Collected]:
    path, read = f"{API}/registry/gc", partial(types.parse, registry_types.Collected)
    # It looks at every object of the store.
    return replace(post(path, read, {}, keyed=False, grace=seconds(grace), dry_run=dry_run), read_timeout=None)


def clean_up(max_size: int | str | None, dry_run: bool) -> Call[cache_types.Evicted]:
    path, read = f"{API}/registry/cleanup", partial(types.parse, cache_types.Evicted)
    return replace(post(path, read, {}, keyed=False, max_size=max_size, dry_run=dry_run), read_timeout=None)


def _again(call: Call[Any]) -> Call[Any]:
    """A POST that does no more when it is sent twice."""
    return replace(call, repeatable=True)
