"""Policies, as the client for asyncio has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from modelyard.client import policy_calls as requests
from modelyard.client import policy_types as types

if TYPE_CHECKING:
    from modelyard.client.aio import AsyncModelyard


class AsyncPolicies:
    """Policies of a namespace, or of the whole installation where ``namespace`` is None. What concerns a model is of
    the client's namespace by default."""

    def __init__(self, client: AsyncModelyard) -> None:
        self._client = client

    def _ns(self, namespace: str | None) -> str:
        return namespace or self._client.namespace

    async def list(self, *, namespace: str | None = None) -> Sequence[types.Policy]:
        """By name."""
        return await self._client.send(requests.list_policies(namespace))

    async def get(self, name: str, *, namespace: str | None = None) -> types.Policy:
        return await self._client.send(requests.get_policy(namespace, name))

    async def set(
        self, name: str, policy: Mapping[str, Any], *, namespace: str | None = None, version: int | None = None,
        reason: str = "",
    ) -> types.Policy:  # fmt: skip
        """``policy``: ``rules``, and ``selector``, ``mode`` and ``description`` where they are not the usual ones.
        With ``version`` only if it is at that one."""
        return await self._client.send(requests.set_policy(namespace, name, policy, version, reason))

    async def delete(self, name: str, *, namespace: str | None = None, reason: str = "") -> None:
        """With its overrides. What it has stopped stays so."""
        await self._client.send(requests.delete_policy(namespace, name, reason))

    async def preview(
        self, policy: Mapping[str, Any], *, namespace: str | None = None
    ) -> Sequence[types.ModelPolicies]:
        """What it would come to for each model that it selects; nothing is changed."""
        return await self._client.send(requests.preview_policy(namespace, policy))

    async def explain(self, model: str, *, namespace: str | None = None) -> types.ModelPolicies:
        """Every rule of every policy that is for the model, and what has become of it."""
        return await self._client.send(requests.explain(self._ns(namespace), model))

    async def override(
        self, model: str, policy: str, *, reason: str, expires: datetime | float | str, namespace: str | None = None
    ) -> types.PolicyOverride:
        """Until ``expires`` (or for so many seconds, or ``"4h"``) the policy does not hold for the model."""
        return await self._client.send(requests.override(self._ns(namespace), model, policy, reason, expires))

    async def end_override(self, model: str, policy: str, *, namespace: str | None = None, reason: str = "") -> None:
        await self._client.send(requests.end_override(self._ns(namespace), model, policy, reason))
