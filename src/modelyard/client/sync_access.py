"""Members and API keys, as the blocking client has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from modelyard.client import access_calls as requests
from modelyard.client import access_types

if TYPE_CHECKING:
    from modelyard.client.sync import Modelyard


class Members:
    """Who may do what in a namespace (the client's by default; ``*``: in all)."""

    def __init__(self, client: Modelyard) -> None:
        self._client = client

    def _ns(self, namespace: str | None) -> str:
        return namespace or self._client.namespace

    def list(self, *, namespace: str | None = None) -> Sequence[access_types.Member]:
        return self._client.send(requests.list_members(self._ns(namespace)))

    def put(
        self, member: str, role: str, *, models: Sequence[str] = (), namespace: str | None = None, reason: str = ""
    ) -> access_types.Member:
        """Give ``member`` (an e-mail address, ``group:NAME`` or ``subject:NAME``) a role, instead of the one it has."""
        return self._client.send(requests.put_member(self._ns(namespace), member, role, models, reason))

    def remove(self, member: str, *, namespace: str | None = None, reason: str = "") -> None:
        self._client.send(requests.remove_member(self._ns(namespace), member, reason))


class ApiKeys:
    """Keys to the API of a namespace (the client's by default; ``*``: of all)."""

    def __init__(self, client: Modelyard) -> None:
        self._client = client

    def _ns(self, namespace: str | None) -> str:
        return namespace or self._client.namespace

    def list(self, *, namespace: str | None = None) -> Sequence[access_types.ApiKey]:
        """By name, ended ones too; without their secrets."""
        return self._client.send(requests.list_keys(self._ns(namespace)))

    def get(self, key_id: str, *, namespace: str | None = None) -> access_types.ApiKey:
        return self._client.send(requests.get_key(self._ns(namespace), key_id))

    def create(
        self, name: str, role: str, *, models: Sequence[str] = (), groups: Sequence[str] = (),
        rate: Mapping[str, Any] | None = None, expires_at: datetime | str | None = None, namespace: str | None = None,
        reason: str = "",
    ) -> access_types.NewApiKey:  # fmt: skip
        """``rate``: ``{"per_second": 10, "burst": 20}``. The ``secret`` of what is returned is told this once."""
        call = requests.create_key(self._ns(namespace), name, role, models, groups, rate, expires_at, reason)
        return self._client.send(call)

    def rotate(
        self, key_id: str, *, overlap: float | str | None = None, namespace: str | None = None
    ) -> access_types.NewApiKey:
        """Another secret; the one before works for ``overlap`` seconds more (an hour by default)."""
        return self._client.send(requests.rotate_key(self._ns(namespace), key_id, overlap))

    def revoke(self, key_id: str, *, namespace: str | None = None, reason: str = "") -> access_types.ApiKey:
        """At once and for good."""
        return self._client.send(requests.revoke_key(self._ns(namespace), key_id, reason))
