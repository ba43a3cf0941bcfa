"""Signatures of versions, the keys that a namespace trusts, and its policy."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from modelyard.api.schemas.base import Flag
from modelyard.api.schemas.requests import Reasoned
from modelyard.domain.signing import MAX_BUNDLE, MAX_PUBLIC_KEY, SignatureKind

_KIND = "openssf: a bundle of the OpenSSF's model-signing; hmac: by a secret that the server has too."


class TrustKey(Reasoned):
    kind: SignatureKind = Field(SignatureKind.OPENSSF, description=_KIND)
    public_key: str = Field(
        "", max_length=MAX_PUBLIC_KEY,
        description="In PEM: ECDSA on P-256, P-384 or P-521. Empty for hmac: the secret is on the server already.",
    )  # fmt: skip


_NOT_STARTABLE = (
    "Models that are to run and that signatures, or what is missing of them, would keep from being started now; of the "
    "namespace's first 1,000 models."
)


class TrustedKey(BaseModel):
    name: str
    kind: SignatureKind
    fingerprint: str = Field(description="SHA-256 of the public key in DER; of a secret the HMAC of a fixed word.")
    public_key: str
    trusted_at: datetime
    trusted_by: str
    reason: str
    revoked_at: datetime | None = Field(description="Since then nothing that it has signed counts as signed.")
    revoked_by: str
    revoked_for: str


class RevokedKey(TrustedKey):
    not_startable: list[str] = Field(description=_NOT_STARTABLE)


class SignVersion(Reasoned):
    kind: SignatureKind = Field(SignatureKind.OPENSSF, description=_KIND)
    bundle: str = Field(min_length=1, max_length=MAX_BUNDLE, description="The signature, made where the key is.")


class VersionSignature(BaseModel):
    kind: SignatureKind
    key: str = Field(description="The name under which the key is trusted, or was.")
    fingerprint: str
    manifest: str = Field(description="Whose files it signs.")
    bundle: str
    content_checked_at: datetime = Field(description="When all bytes in the store were read and found to be these.")
    added_at: datetime
    added_by: str
    reason: str


class SignatureVerdict(BaseModel):
    kind: SignatureKind
    key: str
    fingerprint: str
    valid: bool = Field(description="It is a signature of this version's files by this key.")
    trusted: bool = Field(description="The key is trusted.")
    problem: str = Field(description="Why it is not both; empty where it is.")
    content_checked_at: datetime
    added_at: datetime
    added_by: str


class Verification(BaseModel):
    version: str
    manifest: str
    signed: bool = Field(description="By one key at least that is trusted, validly.")
    required: bool = Field(description="The namespace serves models from signed versions only.")
    signatures: list[SignatureVerdict]


class SignaturePolicy(BaseModel):
    require_signature: bool = Field(description="The namespace serves models from signed versions only.")
    not_startable: list[str] = Field(description=_NOT_STARTABLE)


class SetSignaturePolicy(Reasoned):
    require_signature: Flag = Field(
        description="Serve models from signed versions of registered models only, nothing from files or commands. "
        "What runs goes on; what is started is checked."
    )
