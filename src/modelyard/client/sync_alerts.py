"""Alerts, rules and webhooks, as the blocking client has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from modelyard.client import alert_calls as requests
from modelyard.client import alert_types

if TYPE_CHECKING:
    from modelyard.client.sync import Modelyard


class Alerts:
    """What fires, and what is watched for. Rules are of a namespace, or (None) of the whole installation."""

    def __init__(self, client: Modelyard) -> None:
        self._client = client

    def list(
        self, *, namespace: str | None = None, model: str | None = None, kind: str | None = None,
        severity: str | None = None, state: str | None = None, page_size: int | None = None,
    ) -> Iterator[alert_types.Alert]:  # fmt: skip
        """Those that the caller may see (of all namespaces, or of one), newest first, page after page; ``state`` is
        ``firing`` or ``resolved``."""
        call = requests.list_alerts(
            namespace=namespace, model=model, kind=kind, severity=severity, state=state, page_size=page_size
        )  # fmt: skip
        return self._client.pages(call)

    def get(self, fingerprint: str) -> alert_types.Alert:
        """The last of this fingerprint."""
        return self._client.send(requests.get_alert(fingerprint))

    def silence(self, fingerprint: str, until: datetime, *, reason: str = "") -> alert_types.Alert:
        """Have nobody told of it until then (an aware time)."""
        return self._client.send(requests.silence(fingerprint, until, reason))

    def end_silence(self, fingerprint: str) -> None:
        self._client.send(requests.end_silence(fingerprint))

    def rules(self, *, namespace: str | None = None) -> Sequence[alert_types.AlertRule]:
        """Those of the installation with what is built in."""
        return self._client.send(requests.list_rules(namespace))

    def rule(self, name: str, *, namespace: str | None = None) -> alert_types.AlertRule:
        return self._client.send(requests.get_rule(namespace, name))

    def set_rule(
        self, name: str, rule: Mapping[str, Any], *, namespace: str | None = None, version: int | None = None
    ) -> alert_types.AlertRule:
        """``rule`` as the API takes it: ``kind``, and what is to be other than usual for it."""
        return self._client.send(requests.set_rule(namespace, name, rule, version))

    def delete_rule(self, name: str, *, namespace: str | None = None, version: int | None = None) -> None:
        self._client.send(requests.delete_rule(namespace, name, version))


class Webhooks:
    """Who is told of alerts: webhooks of a namespace, or (None) of the whole installation."""

    def __init__(self, client: Modelyard) -> None:
        self._client = client

    def list(self, *, namespace: str | None = None) -> Sequence[alert_types.Webhook]:
        return self._client.send(requests.list_webhooks(namespace))

    def get(self, name: str, *, namespace: str | None = None) -> alert_types.Webhook:
        return self._client.send(requests.get_webhook(namespace, name))

    def set(
        self, name: str, webhook: Mapping[str, Any], *, namespace: str | None = None, version: int | None = None
    ) -> alert_types.Webhook:
        """``webhook`` as the API takes it: ``url``, and for example ``format`` or ``kinds``. The first time, and with
        ``rotate_secret``, the answer holds the secret by which :func:`modelyard.client.webhooks.verify` checks."""
        return self._client.send(requests.set_webhook(namespace, name, webhook, version))

    def delete(self, name: str, *, namespace: str | None = None, version: int | None = None) -> None:
        self._client.send(requests.delete_webhook(namespace, name, version))

    def test(self, name: str, *, namespace: str | None = None) -> alert_types.Delivery:
        """Have a test sent; :meth:`deliveries` say what came of it."""
        return self._client.send(requests.test_webhook(namespace, name))

    def deliveries(
        self, name: str, *, namespace: str | None = None, page_size: int | None = None
    ) -> Iterator[alert_types.Delivery]:
        """Newest first, page after page."""
        return self._client.pages(requests.deliveries(namespace, name, page_size))

    def dead_letters(
        self, *, namespace: str | None = None, page_size: int | None = None
    ) -> Iterator[alert_types.Delivery]:
        """What was sent in vain for a day."""
        return self._client.pages(requests.dead_letters(namespace, page_size))

    def retry(self, delivery_id: str, *, namespace: str | None = None) -> alert_types.Delivery:
        """Send a dead letter again."""
        return self._client.send(requests.retry(namespace, delivery_id))

    def drop(self, delivery_id: str, *, namespace: str | None = None) -> None:
        """Drop a dead letter."""
        self._client.send(requests.drop(namespace, delivery_id))
