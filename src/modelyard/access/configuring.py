"""The settings of access, as the parts here want them."""

from __future__ import annotations

from typing import Protocol

from modelyard.access.fetching import fetch, post
from modelyard.access.members import Member, parse_roles
from modelyard.access.provider import Client, Provider
from modelyard.access.secrets import SecretBox
from modelyard.access.sessions import Sessions
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
    @property
    def oidc_client_id(self) -> str: ...
    @property
    def oidc_client_secret(self) -> str: ...
    @property
    def oidc_scopes(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def address(self) -> str: ...


def tokens_of(settings: AccessSettings) -> Tokens | None:
    """What checks tokens; None: no identity provider is set."""
    if not settings.oidc_issuer:
        return None
    rules = Rules(
        issuer=settings.oidc_issuer,
        # Tokens for people who sign in here are for the client that they do it by.
        audiences=frozenset(filter(None, (*_parts(settings.oidc_audience), settings.oidc_client_id))),
        algorithms=_parts(settings.oidc_algorithms),
        jwks_url=settings.oidc_jwks_url,
        groups_claim=settings.oidc_groups_claim,
        leeway=settings.oidc_leeway,
    )
    return Tokens(rules, fetch)


def provider_of(settings: AccessSettings) -> Provider | None:
    """What signs people in; None: no identity provider is set, or none that knows this installation as a client."""
    if not (settings.oidc_issuer and settings.oidc_client_id):
        return None
    client = Client(
        id=settings.oidc_client_id, secret=settings.oidc_client_secret, scopes=" ".join(settings.oidc_scopes.split())
    )  # fmt: skip
    return Provider(settings.oidc_issuer, client, fetch, post)


def sessions_of(settings: AccessSettings, box: SecretBox) -> Sessions:
    """What makes and reads browsers' sessions."""
    return Sessions(box, secure=settings.address.startswith("https:"), port=settings.port)


def members_of(settings: AccessSettings) -> tuple[Member, ...]:
    """Those whom the settings make members by their groups."""
    return parse_roles(settings.oidc_roles)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))
