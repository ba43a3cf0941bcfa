"""Alerts, the rules by which they fire, webhooks and their deliveries."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, Field

from modelyard.api.schemas.base import Duration, Flag, Request, Whole
from modelyard.domain.alerts import AlertKind, AlertState, Severity
from modelyard.domain.webhooks import MAX_URL, DeliveryEvent, DeliveryState, WebhookFormat

_THRESHOLD = "The number from which on it fires: a share (0.05), seconds, or how many."
_CLEAR = "It is over below this; left out: nine tenths of the threshold for what is measured, else the threshold."
_WINDOW = "What is measured or counted is so over this long."
_LASTING = "It must be so for this long before it fires."
_KEEP = "It must have been well for this long before it is over."
_LEAST = "Fewer answers within the window are no reason to fire (error_rate, latency)."
_NAMESPACES = "Rules and webhooks of the installation: of these namespaces only; none: of all."
_NAMES = "Patterns as in shells; none: all models."
_KINDS = "None: all."


class SilenceAlert(Request):
    until: AwareDatetime = Field(description="Until then nobody is told; if it fires still, they are told then.")
    reason: str = Field("", max_length=1024)


class AlertSilence(BaseModel):
    until: datetime
    at: datetime
    by: str
    reason: str


class Alert(BaseModel):
    id: str
    fingerprint: str = Field(description="The same each time that this rule fires for this model.")
    state: AlertState
    kind: AlertKind
    severity: Severity
    namespace: str
    model: str
    rule: str = Field(description="The rule's namespace (empty: the installation's) and name.")
    starts_at: datetime
    ends_at: datetime | None
    value: float | None
    threshold: float
    labels: dict[str, str]
    annotations: dict[str, str]
    silence: AlertSilence | None = None


class SetAlertRule(Request):
    """What is left out is what is usual for the kind."""

    kind: AlertKind
    severity: Severity | None = None
    threshold: float | None = Field(None, description=_THRESHOLD)
    clear: float | None = Field(None, description=_CLEAR)
    window: Duration | None = Field(None, description=_WINDOW)
    lasting: Duration | None = Field(None, description=_LASTING)
    keep: Duration | None = Field(None, description=_KEEP)
    least: Whole | None = Field(None, description=_LEAST)
    quantile: float | None = Field(None, description="Of the latency: 0.95 is the 95th percentile.")
    namespaces: list[str] = Field([], max_length=100, description=_NAMESPACES)
    names: list[str] = Field([], max_length=100, description=_NAMES)
    labels: dict[str, str] = Field({}, max_length=32, description="All must match.")
    enabled: Flag = True
    description: str = Field("", max_length=1024)


class AlertRule(BaseModel):
    namespace: str = Field(description="Empty: the installation's.")
    name: str
    kind: AlertKind
    severity: Severity
    threshold: float
    clear: float | None
    window: Duration
    lasting: Duration
    keep: Duration
    least: int
    quantile: float
    namespaces: list[str]
    names: list[str]
    labels: dict[str, str]
    enabled: bool
    description: str
    built_in: bool = Field(description="It is in force without having been set.")
    version: int


class SetWebhook(Request):
    url: str | None = Field(
        None, min_length=1, max_length=MAX_URL, description="http:// or https://; kept sealed, as whoever knows it may "
        "use it. Left out, or as it is shown: as it is.",
    )  # fmt: skip
    format: WebhookFormat = Field(
        WebhookFormat.MODELYARD,
        description="modelyard: one alert a request; alertmanager: the body of Alertmanager's POST /api/v2/alerts.",
    )
    kinds: list[AlertKind] = Field([], max_length=20, description=_KINDS)
    severities: list[Severity] = Field([], max_length=3, description=_KINDS)
    namespaces: list[str] = Field([], max_length=100, description=_NAMESPACES)
    headers: dict[str, str] | None = Field(
        None, max_length=20, description="Sent with each request; kept sealed and never shown. Left out: as they are."
    )
    rotate_secret: Flag = Field(False, description="Sign by a new secret; for a day the old one signs as well.")
    enabled: Flag = True


class Webhook(BaseModel):
    namespace: str = Field(description="Empty: the installation's.")
    name: str
    url: str = Field(
        description="Without its path, which may be a secret.", examples=["https://hooks.example/(hidden)"]
    )
    format: WebhookFormat
    kinds: list[AlertKind]
    severities: list[Severity]
    namespaces: list[str]
    headers: list[str] = Field(description="Their names.")
    enabled: bool
    rotated_until: datetime | None = Field(description="Until then requests are signed by the older secret, too.")
    created_at: datetime
    updated_at: datetime
    version: int


class WebhookSet(Webhook):
    secret: str | None = Field(description="What it signs by, where that is new. It is shown this once.")


class Delivery(BaseModel):
    id: str = Field(description="Sent as X-Modelyard-Delivery: the same however often it is sent.")
    webhook: str
    event: DeliveryEvent
    state: DeliveryState
    fingerprint: str | None
    namespace: str | None
    model: str | None
    created_at: datetime
    attempts: int
    last_at: datetime | None
    next_at: datetime | None = Field(description="When it is sent next; null once it is over.")
    status: int | None = Field(description="What was answered last.")
    error: str
