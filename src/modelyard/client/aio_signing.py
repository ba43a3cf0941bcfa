"""Keys that may sign versions, as the client for asyncio has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelyard.client import signing_calls as requests
from modelyard.client import signing_types

if TYPE_CHECKING:
    from modelyard.client.aio import AsyncModelyard


class AsyncKeys:
    """The keys that a namespace (the client's by default) trusts to sign versions, and whether it requires that."""

    def __init__(self, client: AsyncModelyard) -> None:
        self._client = client

    def _ns(self, namespace: str | None) -> str:
        return namespace or self._client.namespace

    async def list(self, *, namespace: str | None = None) -> Sequence[signing_types.TrustedKey]:
        """By name, revoked ones too."""
        return await self._client.send(requests.list_keys(self._ns(namespace)))

    async def get(self, name: str, *, namespace: str | None = None) -> signing_types.TrustedKey:
        """The one that is trusted under this name, or else the last that was."""
        return await self._client.send(requests.get_key(self._ns(namespace), name))

    async def trust(
        self, name: str, public_key: str = "", *, kind: str = "openssf", namespace: str | None = None, reason: str = ""
    ) -> signing_types.TrustedKey:
        """Trust a public key (PEM), or with kind ``hmac`` the secret of that name which the server has."""
        return await self._client.send(requests.trust_key(self._ns(namespace), name, kind, public_key, reason))

    async def revoke(self, name: str, *, namespace: str | None = None, reason: str = "") -> signing_types.RevokedKey:
        """For good: all that it has signed counts as unsigned. Says which models could not be started again."""
        return await self._client.send(requests.revoke_key(self._ns(namespace), name, reason))

    async def policy(self, *, namespace: str | None = None) -> signing_types.SignaturePolicy:
        """Whether models are served from signed versions only."""
        return await self._client.send(requests.get_policy(self._ns(namespace)))

    async def set_policy(
        self, *, require_signature: bool, namespace: str | None = None, reason: str = ""
    ) -> signing_types.SignaturePolicy:
        return await self._client.send(requests.set_policy(self._ns(namespace), require_signature, reason))
