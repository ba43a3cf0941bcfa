"""Sessions of browsers: signing in, and who is signed in."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field, model_validator

from modelyard.api.schemas.access import Grant
from modelyard.api.schemas.base import Request
from modelyard.domain.access import PrincipalKind


class Way(StrEnum):
    """How a browser can be signed in."""

    KEY = "key"
    LINK = "link"
    OIDC = "oidc"


class SignIn(Request):
    """One of the two."""

    key: str | None = Field(
        None, min_length=1, max_length=16_384,
        description="An API key, the administrator token, or a token of the identity provider.",
    )  # fmt: skip
    code: str | None = Field(None, min_length=1, max_length=256, description="Of a link that signs in once.")

    @model_validator(mode="after")
    def _one(self) -> SignIn:
        if (self.key is None) == (self.code is None):
            raise ValueError("send either a key or a code")
        return self


class Session(BaseModel):
    """Who is signed in, as in Me, and how one can sign in."""

    signed_in: bool
    name: str = Field(description="Empty: nobody is signed in.")
    kind: PrincipalKind | None
    oversees: bool = Field(description="Whether the installation is the caller's to run.")
    groups: list[str]
    grants: list[Grant]
    expires_at: datetime | None = Field(
        description="The end of the session; null without one (also where an Authorization header says who asks)."
    )
    ways: list[Way]
    issuer: str = Field(description="The identity provider's host; empty: nobody can sign in by one.")


class SignInLink(BaseModel):
    url: str = Field(description="Opens the dashboard and signs in, once.")
    code: str
    expires_at: datetime
