"""What signing needs of a store. The store implements it; signing names it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from modelyard.domain.registry import RegisteredModel, Version
from modelyard.domain.signing import Ring, RingChange, SigningChange, Standing, VersionSignature

DecideSigning = Callable[[Ring, RegisteredModel, Version, VersionSignature | None], SigningChange]


class SignatureStore(Protocol):
    """Each change is one transaction, and nobody else changes what it was decided from in between."""

    async def ring(self, namespace: str) -> Ring:
        """Raises NotFound."""

    async def change_ring(self, namespace: str, decide: Callable[[Ring], RingChange]) -> RingChange:
        """Write what ``decide`` makes of the namespace's keys, and return it. Raises NotFound."""

    async def add(
        self, namespace: str, name: str, number: str, fingerprint: str, decide: DecideSigning
    ) -> SigningChange:
        """Write what ``decide`` makes of the version and the signature of this key that it has (or None), and return
        it. Raises NotFound, naming what is missing."""

    async def signatures(self, namespace: str, name: str, number: str) -> Sequence[VersionSignature]:
        """Those of one version, the first that was added first. None where there is no such version."""

    async def standing(
        self, namespace: str, name: str, number: str, manifest: str, *, required: bool = False
    ) -> Standing:
        """As if the namespace ``required`` signatures, if that is set. Raises NotFound where there is no such
        namespace."""
