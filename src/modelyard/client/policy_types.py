"""What is answered of policies, as values. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from modelyard.client.types import Resource


class Policy(Resource):
    """A policy of ``namespace`` (empty: of the whole installation). ``mode``: ``enforce`` or ``warn``; ``selector`` and
    ``rules`` as they are sent, so that they can be sent back."""

    name: str
    namespace: str
    mode: str
    version: int
    selector: dict[str, Any] = msgspec.field(default_factory=dict)
    rules: dict[str, Any] = msgspec.field(default_factory=dict)
    description: str = ""
    created_at: datetime | None = None
    changed_at: datetime | None = None
    changed_by: str = ""


class PolicyOverride(Resource):
    """Until ``expires_at`` the policy does not hold for the model."""

    policy: str
    namespace: str
    reason: str
    by: str
    created_at: datetime
    expires_at: datetime


class PolicyRuling(msgspec.Struct, kw_only=True):
    """What has become of one rule of a policy for a model. ``standing``: ``in_force``, ``warns``, ``yields``,
    ``shielded`` or ``overridden``; ``why`` says what has brought that about."""

    rule: str
    policy: str
    namespace: str
    mode: str
    value: str
    standing: str
    why: str = ""
    override: dict[str, Any] | None = None


class PolicyFinding(msgspec.Struct, kw_only=True):
    """What speaks against what the model is now: its next launch would be ``refused``, or warned of."""

    policy: str
    rule: str
    refused: bool
    path: str
    message: str


class ModelPolicies(Resource):
    """What the policies come to for one model; ``stops_at``: when the clock stops it next, if it runs."""

    namespace: str
    name: str
    rulings: list[PolicyRuling] = msgspec.field(default_factory=list)
    findings: list[PolicyFinding] = msgspec.field(default_factory=list)
    closed_until: datetime | None = None
    stops_at: datetime | None = None
    stops_because: str | None = None
