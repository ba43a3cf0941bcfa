"""Who may do what: members, API keys, and the caller itself."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, Field

from modelyard.api.schemas.base import Duration, In
from modelyard.api.schemas.requests import Reasoned
from modelyard.domain.access import Permission, PrincipalKind, Role
from modelyard.domain.names import NAME_RULE

_MODELS = "For models whose names match one of these patterns (* and ?); empty: for all."
_NAMESPACE = "* is all namespaces."


class PutMember(Reasoned):
    role: Role
    models: list[str] = Field(default_factory=list, description=_MODELS, examples=[["digits", "wine-*"]])


class Member(BaseModel):
    namespace: str = Field(description=_NAMESPACE)
    member: str = Field(
        description="An e-mail address, group:NAME or subject:NAME.", examples=["alice@example.com", "group:vision"]
    )
    role: Role
    models: list[str] = Field(description=_MODELS)
    added_at: datetime
    added_by: str
    reason: str


class RateLimit(In):
    """How often requests may come; those above it are answered 429."""

    per_second: float = Field(gt=0, le=1_000_000)
    burst: int | None = Field(None, ge=1, le=1_000_000, description="So many may come at once; null: one second's.")


class CreateKey(Reasoned):
    name: str = Field(description=NAME_RULE, examples=["ci"])
    role: Role
    models: list[str] = Field(default_factory=list, description=_MODELS)
    groups: list[str] = Field(
        default_factory=list, max_length=100, description="Its bearer counts as a member of these groups of models."
    )
    rate: RateLimit | None = Field(None, description="Of its requests to models; null: none.")
    expires_at: AwareDatetime | None = Field(None, description="From then on it no longer works; null: never.")


class RotateKey(Reasoned):
    overlap: Duration = Field(3600.0, description="For so long the secret before works too; at most 30d.")


class ApiKey(BaseModel):
    """A key without its secret, of which only a digest is kept."""

    id: str
    namespace: str = Field(description=_NAMESPACE)
    name: str
    role: Role
    models: list[str] = Field(description=_MODELS)
    groups: list[str]
    rate: RateLimit | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    previous_until: datetime | None = Field(description="Until then the secret before the last rotation works too.")


class NewApiKey(ApiKey):
    secret: str = Field(description="The key itself, shown only now.")


class Grant(BaseModel):
    namespace: str = Field(description=_NAMESPACE)
    role: Role
    permissions: list[Permission]
    models: list[str] = Field(description=_MODELS)


class Me(BaseModel):
    """The caller, as it is known here."""

    name: str
    kind: PrincipalKind
    oversees: bool = Field(description="Whether the installation is its to run.")
    groups: list[str]
    grants: list[Grant]
