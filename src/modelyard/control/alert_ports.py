"""What alerting needs of a store, and of whoever sends. Others implement these; control names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from modelyard.control.ports import Fence, Page
from modelyard.domain.alerts import Alert, AlertKind, AlertRule, AlertState, Severity
from modelyard.domain.secrets import Secret
from modelyard.domain.webhooks import Attempt, Delivery, DeliveryState, Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertQuery:
    """Newest first. ``namespaces`` None: all; ``fingerprint``: of this one only."""

    namespaces: tuple[str, ...] | None = None
    model: str | None = None
    kind: AlertKind | None = None
    severity: Severity | None = None
    state: AlertState | None = None
    fingerprint: str | None = None
    page_size: int = 50
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryQuery:
    """Newest first, of a namespace (INSTALLATION: of the webhooks of the installation). ``webhook`` None: of all."""

    namespace: str
    webhook: str | None = None
    state: DeliveryState | None = None
    page_size: int = 50
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Nobody is told of this fingerprint until then."""

    fingerprint: str
    until: datetime
    at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What one pass writes in one transaction: alerts as they are now, what is to be sent of them, and up to which
    event the pass has seen everything (None: as before)."""

    alerts: tuple[Alert, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    cursor: int | None = None


class AlertStore(Protocol):
    """Rules, webhooks, alerts and the outbox."""

    async def rules(self, namespace: str | None = None) -> Sequence[AlertRule]:
        """Those stored, of a namespace (INSTALLATION: of the installation) or of all."""

    async def put_rule(self, rule: AlertRule, if_match: int | None) -> AlertRule:
        """With its new version. Raises EtagMismatch, NotFound (no such namespace)."""

    async def delete_rule(self, namespace: str, name: str, if_match: int | None) -> None:
        """Raises NotFound, EtagMismatch."""

    async def webhooks(self, namespace: str | None = None) -> Sequence[Webhook]: ...

    async def webhook(self, namespace: str, name: str) -> Webhook:
        """Raises NotFound."""

    async def put_webhook(self, webhook: Webhook, before: int | None) -> Webhook:
        """Over the version ``before`` (None: there was none). Raises VersionConflict, NotFound (no namespace)."""

    async def delete_webhook(self, namespace: str, name: str, if_match: int | None) -> None:
        """With all its deliveries. Raises NotFound, EtagMismatch."""

    async def list_alerts(self, query: AlertQuery) -> Page[Alert]: ...

    async def alert_counts(self) -> Mapping[tuple[str, str], int]:
        """How many fire, by kind and severity."""

    async def delivery_counts(self) -> Mapping[tuple[str, str, str], int]:
        """How many are not delivered, by the webhook's namespace and name, and their state."""

    async def firing(self) -> Sequence[tuple[str, Alert]]:
        """Those that fire, each with its site."""

    async def record(self, site: str, recorded: Recorded, fence: Fence | None = None) -> None:
        """Raises LeaseLost."""

    async def cursor(self, site: str) -> int | None:
        """None: nothing was ever recorded."""

    async def silences(self) -> Mapping[str, Silence]:
        """By fingerprint, those that may be over too."""

    async def silence(self, silence: Silence) -> None: ...

    async def end_silence(self, fingerprint: str) -> None:
        """Raises NotFound."""

    async def list_deliveries(self, query: DeliveryQuery) -> Page[Delivery]: ...

    async def delivery(self, namespace: str, delivery_id: str) -> Delivery:
        """Raises NotFound."""

    async def add_delivery(self, delivery: Delivery) -> None: ...

    async def due(self, site: str, webhook: tuple[str, str], now: datetime, limit: int) -> Sequence[Delivery]:
        """Those that are to be sent now to the webhook (namespace and name): of each alert the first only."""

    async def next_due(self, site: str) -> dict[tuple[str, str], datetime]:
        """When each webhook (namespace and name) is to be sent something next; those without are missing."""

    async def write_delivery(self, before: Delivery, after: Delivery) -> bool:
        """False: it is no longer what it was before, and nothing was written."""

    async def drop_delivery(self, namespace: str, delivery_id: str) -> None:
        """Raises NotFound, Refused (it is not dead)."""


class Sealer(Protocol):
    """Keeps what must be used again from whoever reads the database."""

    def seal(self, namespace: str, variable: str, value: str) -> Secret:
        """Raises ModelyardError: there is no key."""

    def open(self, namespace: str, variable: str, secret: Secret) -> str:
        """Raises ModelyardError: its key is not there."""


class Sender(Protocol):
    """Sends one request to a webhook. Never raises for what the receiver does."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt: ...

    async def close(self) -> None: ...
