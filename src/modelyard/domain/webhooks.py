"""Webhooks: who is told of alerts, when a delivery is tried again, and how it is signed.

A delivery is written down with the change of its alert, and sent afterwards: at least once, under an id of its own, in
order for each alert.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from modelyard.domain.alerts import INSTALLATION, Alert, AlertKind, Severity
from modelyard.domain.errors import Problem
from modelyard.domain.names import name_problem

SIGNATURE_HEADER: Final = "X-Modelyard-Signature"
DELIVERY_HEADER: Final = "X-Modelyard-Delivery"
MAX_URL: Final = 2048
MAX_HEADERS: Final = 20
# Tried again ever more slowly, for a day; then it is on the list of the dead.
_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 3600.0
GIVE_UP_AFTER: Final = timedelta(days=1)
# Headers that say what is sent, which only the sender knows.
_OWN_HEADERS: Final = frozenset(
    {
        "host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "user-agent",
        SIGNATURE_HEADER.lower(), DELIVERY_HEADER.lower(),
    }
)  # fmt: skip
_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class WebhookFormat(StrEnum):
    MODELYARD = "modelyard"  # one alert, as the API shows it, signed
    ALERTMANAGER = "alertmanager"  # the body of Alertmanager's POST /api/v2/alerts


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Who is told. ``namespace`` INSTALLATION: of the alerts of all models, or of those of ``namespaces``; otherwise of
    that namespace's. Empty ``kinds`` and ``severities``: all. ``url`` is as it may be shown, without its path.
    ``sealed`` is its whole URL, its secret and the values of its headers, which are never shown; until
    ``rotated_until`` there is an older secret as well."""

    namespace: str
    name: str
    url: str
    format: WebhookFormat = WebhookFormat.MODELYARD
    kinds: tuple[AlertKind, ...] = ()
    severities: tuple[Severity, ...] = ()
    namespaces: tuple[str, ...] = ()
    header_names: tuple[str, ...] = ()
    enabled: bool = True
    rotated_until: datetime | None = None
    created_at: datetime
    updated_at: datetime
    sealed: str = field(repr=False, default="")
    version: int = 0

    @property
    def identity(self) -> str:
        """Which it is: one that is set again under the name of a deleted one is another."""
        return f"{self.namespace}/{self.name}@{self.created_at.isoformat()}"

    def awaits_end(self, alert: Alert) -> bool:
        """Whether it was told that the alert fires: an Alertmanager is so again and again."""
        refreshed = self.format is WebhookFormat.ALERTMANAGER and self.wants(alert)
        return self.enabled and (refreshed or self.identity in alert.told)

    def wants(self, alert: Alert) -> bool:
        return (
            self.enabled
            and self.namespace in (INSTALLATION, alert.namespace)
            and (not self.namespaces or alert.namespace in self.namespaces)
            and (not self.kinds or alert.kind in self.kinds)
            and (not self.severities or alert.severity in self.severities)
        )


def webhook_problems(webhook: Webhook, url: str, headers: Mapping[str, str]) -> list[Problem]:
    """Everything wrong with it; ``url`` is whole, ``headers`` with their values."""
    found = []
    if (bad := name_problem("name", webhook.name)) is not None:
        found.append(bad)
    if (message := _url_problem(url)) is not None:
        found.append(Problem("url", "invalid_url", message))
    if webhook.namespaces and webhook.namespace != INSTALLATION:
        found.append(Problem("namespaces", "not_allowed", "A namespace's webhook is told of that namespace only."))
    if len(headers) > MAX_HEADERS:
        found.append(Problem("headers", "out_of_range", f"There are at most {MAX_HEADERS}."))
    for name, value in headers.items():
        if not name or not set(name) <= _TOKEN or name.lower() in _OWN_HEADERS:
            found.append(Problem(f"headers.{name}", "invalid_value", "This is no header that can be set here."))
        elif len(value) > 4096 or not value.isascii() or not value.isprintable():
            found.append(Problem(f"headers.{name}", "invalid_value", "A header's value is printable ASCII."))
    return found


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "This is no URL."
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or len(url) > MAX_URL:
        return "It is the http:// or https:// URL of whoever is to be told."
    if parts.username is not None or parts.password is not None:
        return "Names and passwords are not kept in URLs: send them as a header (Authorization)."
    if parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        return "A URL is printable ASCII without spaces, and has no #fragment here."
    return None


# ------------------------------------------------------------------------------------------- deliveries


class DeliveryEvent(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"
    TEST = "test"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"  # given up: it waits to be sent again by hand, or dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What one webhook is told once. ``id`` stays the same however often it is sent. ``alert`` is the alert as it was
    then (None for a test). ``since`` is when it was first to be sent, or was sent again by hand."""

    id: str
    site: str
    namespace: str
    webhook: str
    event: DeliveryEvent
    alert: Alert | None
    state: DeliveryState
    created_at: datetime
    since: datetime
    next_at: datetime
    attempts: int = 0
    last_at: datetime | None = None
    status: int | None = None
    error: str = ""

    @property
    def order(self) -> tuple[str, int]:
        """Whose deliveries go one after the other, and the place among them."""
        place = 0 if self.event is not DeliveryEvent.RESOLVED else 1
        return (self.id if self.alert is None else self.alert.id), place


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of sending: the HTTP status, or the error in words. ``retry_after`` in seconds, where it was told."""

    status: int | None = None
    error: str = ""
    retry_after: float | None = None

    @property
    def worked(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def pause(attempts: int, chance: float) -> float:
    """Seconds until the next try after so many: 5, 10, 20, … up to an hour, of which half is left to ``chance`` (0 to
    1), so that many that failed together do not come together again."""
    whole = min(_FIRST_PAUSE * 2.0 ** min(attempts - 1, 16), _LONGEST_PAUSE)
    return whole * (0.5 + 0.5 * chance)


def after_attempt(delivery: Delivery, attempt: Attempt, now: datetime, chance: float) -> Delivery:
    """As it is once it was tried."""
    tried = replace(
        delivery, attempts=delivery.attempts + 1, last_at=now, status=attempt.status, error=attempt.error
    )  # fmt: skip
    if attempt.worked:
        return replace(tried, state=DeliveryState.DELIVERED, error="")
    seconds = max(pause(tried.attempts, chance), min(attempt.retry_after or 0.0, _LONGEST_PAUSE))
    next_at = now + timedelta(seconds=seconds)
    if next_at - delivery.since > GIVE_UP_AFTER:
        return replace(tried, state=DeliveryState.DEAD)
    return replace(tried, next_at=next_at)


# ------------------------------------------------------------------------------------------- signatures


def signature(secrets: Sequence[str], at: int, body: bytes) -> str:
    """The value of the header: ``t=TIME,v1=HEX``, with one ``v1`` for each secret (two while one is replaced). Each is
    the HMAC-SHA256 of ``TIME.BODY``; ``at`` in seconds since 1970."""
    message = b"%d." % at + body
    signed = [hmac.new(secret.encode(), message, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={at}", *(f"v1={each}" for each in signed)])


def link(alert: Alert, url: str) -> str:
    """Where to look at it; ``url`` is this installation's."""
    return f"{url}/api/v1/alerts/{alert.fingerprint}"


def alert_body(alert: Alert, url: str) -> dict[str, Any]:
    """An alert as receivers see it; ``url`` is this installation's."""
    return {
        "url": link(alert, url),
        "id": alert.id,
        "fingerprint": alert.fingerprint,
        "state": str(alert.state),
        "kind": str(alert.kind),
        "severity": str(alert.severity),
        "namespace": alert.namespace,
        "model": alert.model,
        "rule": alert.rule,
        "starts_at": alert.starts_at.isoformat(),
        "ends_at": None if alert.ends_at is None else alert.ends_at.isoformat(),
        "value": alert.value,
        "threshold": alert.threshold,
        "labels": alert.labels,
        "annotations": alert.annotations,
    }


def modelyard_body(delivery: Delivery, url: str) -> dict[str, Any]:
    """What a webhook of the format ``modelyard`` is sent; ``url`` is this installation's."""
    return {
        "delivery": delivery.id,
        "event": f"alert.{delivery.event}" if delivery.alert is not None else "test",
        "created_at": delivery.created_at.isoformat(),
        "alert": None if delivery.alert is None else alert_body(delivery.alert, url),
    }


def alertmanager_body(alerts: Sequence[Alert], url: str, until: datetime) -> list[dict[str, Any]]:
    """``postableAlerts`` of Alertmanager's API v2: those that fire, until they are told of again or ``until`` has
    come, and those that are over. ``url`` is this installation's."""
    return [
        {
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": alert.starts_at.isoformat(),
            "endsAt": (alert.ends_at or until).isoformat(),
            "generatorURL": link(alert, url),
        }
        for alert in alerts
    ]
