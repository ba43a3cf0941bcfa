"""The settings of access, as the parts here want them."""

from __future__ import annotations

from typing import Protocol

from modelyard.access.fetching import fetch
from modelyard.access.members import Member, parse_roles
from modelyard.access.tokens import Rules, Tokens


class AccessSettings(Protocol):
    """What is read of the settings; lists have commas between their parts."""

    @property
    def oidc_issuer(self) -> str: ...
    @property
    def oidc_audience(self) -> str: ...
    @property
    def oidc_jwks_url(self) -> str: ...
    @property
    def oidc_algorithms(self) -> str: ...
    @property
    def oidc_groups_claim(self) -> str: ...
    @property
    def oidc_roles(self) -> str: ...
    @property
    def oidc_leeway(self) -> float: ...


def tokens_of(settings: AccessSettings) -> Tokens | None:
    """What checks tokens; None: no identity provider is set."""
    if not settings.oidc_issuer:
        return None
    rules = Rules(
        issuer=settings.oidc_issuer,
        audiences=frozenset(_parts(settings.oidc_audience)),
        algorithms=_parts(settings.oidc_algorithms),
        jwks_url=settings.oidc_jwks_url,
        groups_claim=settings.oidc_groups_claim,
        leeway=settings.oidc_leeway,
    )
    return Tokens(rules, fetch)


def members_of(settings: AccessSettings) -> tuple[Member, ...]:
    """Those whom the settings make members by their groups."""
    return parse_roles(settings.oidc_roles)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))
