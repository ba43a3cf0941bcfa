"""What is answered of alerts, rules and webhooks, as values. As in :mod:`modelyard.client.types`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from modelyard.client.types import Resource


class AlertSilence(msgspec.Struct, kw_only=True):
    until: datetime
    by: str = ""
    reason: str = ""


class Alert(Resource):
    """One time that a rule fired for a model; ``state`` is ``firing`` or ``resolved``."""

    id: str
    fingerprint: str
    state: str
    kind: str
    severity: str
    namespace: str
    model: str
    rule: str
    starts_at: datetime
    ends_at: datetime | None = None
    value: float | None = None
    threshold: float = 0.0
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    silence: AlertSilence | None = None


class AlertRule(Resource):
    """What is watched for; an empty ``namespace`` is the installation."""

    name: str
    kind: str
    severity: str
    threshold: float
    namespace: str = ""
    clear: float | None = None
    window: str = ""
    lasting: str = ""
    keep: str = ""
    least: int = 0
    quantile: float = 0.0
    namespaces: list[str] = msgspec.field(default_factory=list)
    names: list[str] = msgspec.field(default_factory=list)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    enabled: bool = True
    description: str = ""
    built_in: bool = False
    version: int = 0


class Webhook(Resource):
    """Who is told of alerts. ``url`` is without its path. ``secret`` is there once: in the answer to the call that has
    made it."""

    name: str
    url: str
    namespace: str = ""
    format: str = "modelyard"
    kinds: list[str] = msgspec.field(default_factory=list)
    severities: list[str] = msgspec.field(default_factory=list)
    namespaces: list[str] = msgspec.field(default_factory=list)
    headers: list[str] = msgspec.field(default_factory=list)
    enabled: bool = True
    rotated_until: datetime | None = None
    version: int = 0
    secret: str | None = None


class Delivery(Resource):
    """What a webhook was to be told once; ``state`` is ``pending``, ``delivered`` or ``dead``."""

    id: str
    webhook: str
    event: str
    state: str
    created_at: datetime
    fingerprint: str | None = None
    namespace: str | None = None
    model: str | None = None
    attempts: int = 0
    last_at: datetime | None = None
    next_at: datetime | None = None
    status: int | None = None
    error: str = ""
