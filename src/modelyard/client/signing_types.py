"""What is answered of signatures and keys, as values. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from modelyard.client.types import Resource


class TrustedKey(Resource):
    """A key that may sign versions (``kind``: ``openssf`` or ``hmac``); with ``revoked_at`` it no longer may."""

    name: str
    kind: str
    fingerprint: str
    trusted_at: datetime
    trusted_by: str = ""
    reason: str = ""
    public_key: str = ""
    revoked_at: datetime | None = None
    revoked_by: str = ""
    revoked_for: str = ""


class RevokedKey(TrustedKey):
    """``not_startable``: models that are to run, and could not be started again now."""

    not_startable: list[str] = msgspec.field(default_factory=list)


class VersionSignature(Resource):
    """A signature of a version's files, by the key that is called ``key``."""

    kind: str
    key: str
    fingerprint: str
    manifest: str
    bundle: str
    content_checked_at: datetime
    added_at: datetime
    added_by: str = ""
    reason: str = ""


class SignatureVerdict(msgspec.Struct, kw_only=True):
    """What one signature is worth; ``problem`` says why it is not both ``valid`` and ``trusted``."""

    kind: str
    key: str
    fingerprint: str
    valid: bool
    trusted: bool
    content_checked_at: datetime
    added_at: datetime
    added_by: str = ""
    problem: str = ""


class Verification(Resource):
    """What a version's signatures are worth: ``signed`` by one trusted key at least; ``required`` in its namespace."""

    version: str
    manifest: str
    signed: bool
    required: bool
    signatures: list[SignatureVerdict] = msgspec.field(default_factory=list)


class SignaturePolicy(Resource):
    """Whether a namespace serves models from signed versions only."""

    require_signature: bool
    not_startable: list[str] = msgspec.field(default_factory=list)
