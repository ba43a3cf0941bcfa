"""What is answered of members, keys and the caller, as values. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from modelyard.client.types import Resource


class Member(Resource):
    """``member`` (an e-mail address, ``group:NAME`` or ``subject:NAME``) has ``role`` in ``namespace`` (``*``: in all),
    for the ``models`` whose names match one of these patterns; none: for all."""

    namespace: str
    member: str
    role: str
    models: list[str] = msgspec.field(default_factory=list)
    added_at: datetime | None = None
    added_by: str = ""
    reason: str = ""


class ApiKey(Resource):
    """A key's record, which never holds the key itself. ``previous_until``: until then the secret before the last
    rotation works too."""

    id: str
    namespace: str
    name: str
    role: str
    created_at: datetime
    created_by: str = ""
    models: list[str] = msgspec.field(default_factory=list)
    groups: list[str] = msgspec.field(default_factory=list)
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    previous_until: datetime | None = None


class NewApiKey(ApiKey, kw_only=True):
    """With the ``secret``, which is told once: it is what a caller shows as its bearer token."""

    secret: str


class SignInLink(Resource):
    """``url`` opens the dashboard and signs in, once, until ``expires_at``; ``code`` is what in it does so."""

    url: str
    code: str
    expires_at: datetime


class Grant(msgspec.Struct, kw_only=True):
    """A role in a namespace (``*``: in all), and what it allows."""

    namespace: str
    role: str
    permissions: list[str] = []
    models: list[str] = []


class Me(Resource):
    """The caller, as the server knows it. ``oversees``: the installation is its to run."""

    name: str
    kind: str
    oversees: bool = False
    groups: list[str] = msgspec.field(default_factory=list)
    grants: list[Grant] = msgspec.field(default_factory=list)
