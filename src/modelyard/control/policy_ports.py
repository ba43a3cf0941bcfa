"""What policies need of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from modelyard.domain.commands import Asked
from modelyard.domain.model import Event, Model
from modelyard.domain.policies import Mark, Override, Policy


class PolicyStore(Protocol):
    """Each method is one transaction."""

    async def policies(self, *scopes: str) -> Sequence[Policy]:
        """Those of these namespaces (empty: the installation's), by namespace and name; of all without any."""

    async def get_policy(self, scope: str, name: str) -> Policy | None: ...

    async def put_policy(self, policy: Policy, if_match: int | None, asked: Asked) -> tuple[Policy, bool]:
        """The policy as written, and whether it is new. The same once more changes nothing.

        Raises:
            EtagMismatch: it is not at the version ``if_match``.
            NotFound: there is no such namespace.
            Refused: the installation has one of this name, or, for one of the installation, a namespace has
                (``policy_exists``): overrides and events name policies by it.
        """

    async def delete_policy(self, scope: str, name: str, if_match: int | None, asked: Asked) -> bool:
        """With its overrides and all that is remembered of it. False: there is none. Raises EtagMismatch."""

    async def overrides(self, model_uid: str | None = None) -> Sequence[Override]:
        """Of one model, or of all; those that have expired too."""

    async def put_override(self, override: Override, model: Model, asked: Asked) -> None:
        """In the place of the one that the model has of the policy. Raises NotFound: model or policy is gone."""

    async def delete_override(self, override: Override, model: Model, asked: Asked) -> None: ...

    async def marks(self, model_uid: str | None = None) -> Sequence[Mark]: ...

    async def mark(self, mark: Mark, event: Event | None = None) -> bool:
        """Remember it, in the place of an earlier one of its kind, and write ``event`` with it. False: it was
        remembered already, or the model or the policy is gone; then nothing is written."""

    async def unmark(self, mark: Mark) -> None: ...
